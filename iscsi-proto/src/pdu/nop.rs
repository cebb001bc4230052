//! NOP-Out and NOP-In (RFC 7143 11.18, 11.19).

use super::header::{
    Bhs, FINAL, PduError, be32, bytes, expect, is_immediate, itt, put_bytes, put32, request,
};
use crate::ids::{Itt, Ttt};
use crate::sn::{CmdSn, StatSn};

/// NOP-Out: a ping of the initiator, or its response to a ping of the target. The data segment is ping data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NopOut {
    /// I: immediate delivery, outside of the command window (RFC 7143 4.2.2.1).
    pub immediate: bool,
    /// Logical unit number; copied from the ping of the target.
    pub lun: [u8; 8],
    /// Initiator Task Tag of a ping; `None` requests no response.
    pub itt: Option<Itt>,
    /// Target Transfer Tag of the ping that this responds to.
    pub ttt: Option<Ttt>,
    /// CmdSN of this request.
    pub cmd_sn: CmdSn,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
}

/// NOP-In: a ping of the target, or its response to a ping of the initiator. The data segment is ping data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NopIn {
    /// Logical unit number, which the initiator copies into its response.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the ping that this responds to.
    pub itt: Option<Itt>,
    /// Target Transfer Tag of a ping; `None` requests no response.
    pub ttt: Option<Ttt>,
    /// StatSN of this response if `itt` is given, else the next StatSN, which the ping does not advance.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
}

impl NopOut {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x00;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            immediate: is_immediate(bhs),
            lun: bytes::<8, 8>(bhs),
            itt: itt(bhs),
            ttt: Ttt::from_wire(be32::<20>(bhs)),
            cmd_sn: CmdSn(be32::<24>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = request(Self::OPCODE, self.immediate);
        bhs[1] = FINAL;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, Itt::to_wire(self.itt));
        put32::<20>(bhs, Ttt::to_wire(self.ttt));
        put32::<24>(bhs, self.cmd_sn.0);
        put32::<28>(bhs, self.exp_stat_sn.0);
    }
}

impl NopIn {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x20;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            lun: bytes::<8, 8>(bhs),
            itt: itt(bhs),
            ttt: Ttt::from_wire(be32::<20>(bhs)),
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, Itt::to_wire(self.itt));
        put32::<20>(bhs, Ttt::to_wire(self.ttt));
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const OUT: Bhs = [
        0x40, 0x80, 0, 0, 0, 0, 0, 0,           // immediate
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5,     // no ITT: response to TTT 5
        0, 0, 0, 10, 0, 0, 0, 11,               // CmdSN 10, ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const IN: Bhs = [
        0x20, 0x80, 0, 0, 0, 0, 0, 0,
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff,     // response to ITT 8
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 0,                // MaxCmdSN 42
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn golden_nop_out() {
        assert_golden(
            &OUT,
            NopOut {
                immediate: true,
                lun: [0, 1, 0, 0, 0, 0, 0, 0],
                itt: None,
                ttt: Some(Ttt(5)),
                cmd_sn: CmdSn(10),
                exp_stat_sn: StatSn(11),
            },
        );
    }

    #[test]
    fn golden_nop_in() {
        assert_golden(
            &IN,
            NopIn {
                lun: [0, 1, 0, 0, 0, 0, 0, 0],
                itt: Some(Itt(8)),
                ttt: None,
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
            },
        );
    }
}
