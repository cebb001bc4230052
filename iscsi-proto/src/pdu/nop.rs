//! NOP-Out and NOP-In (RFC 7143 11.18, 11.19).

use super::header::{
    Bhs, FINAL, PduError, be32, bytes, expect, is_immediate, itt, put_bytes, put32, request,
};
use crate::ids::{Itt, Ttt};
use crate::sn::{CmdSn, StatSn};

/// NOP-Out: an initiator's ping or its answer to a target's. The data segment is ping data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NopOut {
    /// For immediate delivery: outside of the command window.
    pub immediate: bool,
    /// Logical unit number; echoes the target's ping.
    pub lun: [u8; 8],
    /// Names a ping that wants an answer; `None` wants none.
    pub itt: Option<Itt>,
    /// The target's ping that this answers.
    pub ttt: Option<Ttt>,
    /// This request's place in the session.
    pub cmd_sn: CmdSn,
    /// Acknowledges all responses before it.
    pub exp_stat_sn: StatSn,
}

/// NOP-In: a target's ping or its answer to an initiator's. The data segment is ping data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NopIn {
    /// Logical unit number, to be echoed.
    pub lun: [u8; 8],
    /// The initiator's ping that this answers.
    pub itt: Option<Itt>,
    /// Names a ping that wants an answer; `None` wants none.
    pub ttt: Option<Ttt>,
    /// This response's number, where `itt` is given; else the next one's, which is not used up.
    pub stat_sn: StatSn,
    /// The next command expected.
    pub exp_cmd_sn: CmdSn,
    /// The last command that would be taken now.
    pub max_cmd_sn: CmdSn,
}

impl NopOut {
    /// The opcode.
    pub const OPCODE: u8 = 0x00;

    /// Decodes a header.
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

    /// Writes all 48 bytes, with both lengths zero.
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
    /// The opcode.
    pub const OPCODE: u8 = 0x20;

    /// Decodes a header.
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

    /// Writes all 48 bytes, with both lengths zero.
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
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5,     // no ITT: an answer to TTT 5
        0, 0, 0, 10, 0, 0, 0, 11,               // CmdSN 10, ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const IN: Bhs = [
        0x20, 0x80, 0, 0, 0, 0, 0, 0,
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0, 0, 0, 8, 0xff, 0xff, 0xff, 0xff,     // an answer to ITT 8
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
