//! Ready To Transfer (RFC 7143 11.8).

use super::header::{Bhs, FINAL, PduError, be32, bytes, expect, put_bytes, put32, task_tag};
use crate::ids::{Itt, Ttt};
use crate::sn::{CmdSn, R2tSn, StatSn};

/// Ready To Transfer: the target asks for a piece of a write's data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct R2t {
    /// Logical unit number, as SAM-5 codes it.
    pub lun: [u8; 8],
    /// The task.
    pub itt: Itt,
    /// The name under which the data is to be sent.
    pub ttt: Ttt,
    /// The next response's number; an R2T does not use it up.
    pub stat_sn: StatSn,
    /// The next command expected.
    pub exp_cmd_sn: CmdSn,
    /// The last command that would be taken now.
    pub max_cmd_sn: CmdSn,
    /// Counts from 0 for each command.
    pub r2t_sn: R2tSn,
    /// Where in the command's data the piece starts, in bytes.
    pub buffer_offset: u32,
    /// Desired Data Transfer Length in bytes: never 0, at most MaxBurstLength.
    pub desired_len: u32,
}

impl R2t {
    /// The opcode.
    pub const OPCODE: u8 = 0x31;

    /// Decodes a header.
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

    /// Writes all 48 bytes, with both lengths zero.
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
        0, 1, 0, 0, 0, 2, 0, 0,                 // at 64 KiB, 128 KiB
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
    fn an_r2t_needs_a_transfer_tag() {
        let mut bytes = GOLDEN;
        bytes[20..24].fill(0xff);
        assert_eq!(R2t::decode(&bytes), Err(PduError::ReservedTtt));
    }
}
