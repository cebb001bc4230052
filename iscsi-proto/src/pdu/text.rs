//! Text Request and Response (RFC 7143 11.10, 11.11).

use super::header::{
    Bhs, FINAL, PduError, be32, bytes, expect, is_immediate, put_bytes, put32, request, task_tag,
};
use crate::ids::{Itt, Ttt};
use crate::sn::{CmdSn, StatSn};

/// Text Request. Its data segment is key=value pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TextRequest {
    /// I: immediate delivery, outside of the command window (RFC 7143 4.2.2.1).
    pub immediate: bool,
    /// F: the initiator has nothing further to send in this exchange.
    pub last: bool,
    /// C: the text continues in the next request. Excludes `last`.
    pub continues: bool,
    /// Logical unit number; copied from the previous response, as is `ttt`.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the exchange.
    pub itt: Itt,
    /// Target Transfer Tag of the running exchange; `None` starts one.
    pub ttt: Option<Ttt>,
    /// CmdSN of this request.
    pub cmd_sn: CmdSn,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
}

/// Text Response. Its data segment is key=value pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TextResponse {
    /// F: the exchange is complete.
    pub last: bool,
    /// C: the text continues in the next response. Excludes `last`.
    pub continues: bool,
    /// Logical unit number, which the initiator copies into its next request.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the exchange.
    pub itt: Itt,
    /// Target Transfer Tag of the running exchange; `None` with `last`.
    pub ttt: Option<Ttt>,
    /// StatSN of this response.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
}

impl TextRequest {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x04;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        let (last, continues) = flags(bhs)?;
        Ok(Self {
            immediate: is_immediate(bhs),
            last,
            continues,
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            ttt: Ttt::from_wire(be32::<20>(bhs)),
            cmd_sn: CmdSn(be32::<24>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = request(Self::OPCODE, self.immediate);
        bhs[1] = u8::from(self.last) << 7 | u8::from(self.continues) << 6;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, Ttt::to_wire(self.ttt));
        put32::<24>(bhs, self.cmd_sn.0);
        put32::<28>(bhs, self.exp_stat_sn.0);
    }
}

impl TextResponse {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x24;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        let (last, continues) = flags(bhs)?;
        Ok(Self {
            last,
            continues,
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            ttt: Ttt::from_wire(be32::<20>(bhs)),
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = u8::from(self.last) << 7 | u8::from(self.continues) << 6;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, Ttt::to_wire(self.ttt));
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
    }
}

/// Decodes the F and C bits, which exclude each other.
fn flags(bhs: &Bhs) -> Result<(bool, bool), PduError> {
    let (last, continues) = (bhs[1] & FINAL != 0, bhs[1] & 0x40 != 0);
    if last && continues { Err(PduError::ContinuedAndFinal) } else { Ok((last, continues)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const REQUEST: Bhs = [
        0x44, 0x80, 0, 0, 0, 0, 0, 0,           // immediate; F
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff,     // ITT 8; a new exchange
        0, 0, 0, 10, 0, 0, 0, 11,               // CmdSN 10, ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const RESPONSE: Bhs = [
        0x24, 0x40, 0, 0, 0, 0, 0, 0,           // C
        0, 4, 0, 0, 0, 0, 0, 0,                 // LUN 4
        0, 0, 0, 8, 0, 0, 0, 5,                 // ITT 8, TTT 5
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 0,                // MaxCmdSN 42
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn golden_request() {
        assert_golden(
            &REQUEST,
            TextRequest {
                immediate: true,
                last: true,
                continues: false,
                lun: [0; 8],
                itt: Itt(8),
                ttt: None,
                cmd_sn: CmdSn(10),
                exp_stat_sn: StatSn(11),
            },
        );
    }

    #[test]
    fn golden_response() {
        assert_golden(
            &RESPONSE,
            TextResponse {
                last: false,
                continues: true,
                lun: [0, 4, 0, 0, 0, 0, 0, 0],
                itt: Itt(8),
                ttt: Some(Ttt(5)),
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
            },
        );
    }

    #[test]
    fn continued_text_with_the_f_bit_is_an_error() {
        for mut bytes in [REQUEST, RESPONSE] {
            bytes[1] = 0xc0;
            assert_eq!(super::super::Pdu::decode(&bytes), Err(PduError::ContinuedAndFinal));
        }
    }
}
