//! Ready To Transfer (RFC 7143 11.8).

use super::header::{Bhs, FINAL, PduError, be32, bytes, expect, put_bytes, put32, task_tag};
use crate::ids::{Itt, Ttt};
use crate::sn::{CmdSn, R2tSn, StatSn};

/// Ready To Transfer: the target requests write data of a command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct R2t {
    /// Logical unit number, in the format of SAM-5 4.7.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the command.
    pub itt: Itt,
    /// Target Transfer Tag that the Data-Out PDUs carry.
    pub ttt: Ttt,
    /// StatSN: the next one, which an R2T does not advance.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// R2TSN: counts from 0 for each command.
    pub r2t_sn: R2tSn,
    /// Buffer Offset: position of the requested data in the data of the command, in bytes.
    pub buffer_offset: u32,
    /// Desired Data Transfer Length in bytes: 1 to MaxBurstLength.
    pub desired_len: u32,
}

impl R2t {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x31;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            ttt: Ttt::from_wire(be32::<20>(bhs)).ok_or(PduError::ReservedTtt)?,
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            r2t_sn: R2tSn(be32::<36>(bhs)),
            buffer_offset: be32::<40>(bhs),
            desired_len: be32::<44>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, self.ttt.0);
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        put32::<36>(bhs, self.r2t_sn.0);
        put32::<40>(bhs, self.buffer_offset);
        put32::<44>(bhs, self.desired_len);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x31, 0x80, 0, 0, 0, 0, 0, 0,
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0, 0, 0, 7, 0, 0, 0, 5,                 // ITT 7, TTT 5
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 1,                // MaxCmdSN 42, R2TSN 1
        0, 1, 0, 0, 0, 2, 0, 0,                 // offset 64 KiB, length 128 KiB
    ];

    #[test]
    fn golden_bytes() {
        assert_golden(
            &GOLDEN,
            R2t {
                lun: [0, 1, 0, 0, 0, 0, 0, 0],
                itt: Itt(7),
                ttt: Ttt(5),
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
                r2t_sn: R2tSn(1),
                buffer_offset: 0x1_0000,
                desired_len: 0x2_0000,
            },
        );
    }

    #[test]
    fn reserved_transfer_tag_is_an_error() {
        let mut bytes = GOLDEN;
        bytes[20..24].fill(0xff);
        assert_eq!(R2t::decode(&bytes), Err(PduError::ReservedTtt));
    }
}
