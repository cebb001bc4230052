//! Reject (RFC 7143 11.17).

use super::code::open_code;
use super::header::{Bhs, FINAL, PduError, be32, expect, put32};
use crate::sn::{CmdSn, StatSn};

/// Reject: the target did not accept a PDU. The data segment is the header of that PDU.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Reject {
    /// Reason code.
    pub reason: RejectReason,
    /// StatSN of this response.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// DataSN or R2TSN: the next number of the task if a Data SNACK is rejected (RFC 7143 11.17.4), else 0.
    pub data_sn: u32,
}

open_code! {
    /// Reason for a reject (RFC 7143 11.17.1).
    RejectReason {
        /// The data digest does not match; the initiator may resend the PDU.
        DATA_DIGEST_ERROR = 0x02,
        /// The target cannot serve the SNACK.
        SNACK_REJECT = 0x03,
        /// The PDU violates the protocol.
        PROTOCOL_ERROR = 0x04,
        /// The target does not support the opcode.
        COMMAND_NOT_SUPPORTED = 0x05,
        /// Too many immediate commands are in progress.
        IMMEDIATE_COMMAND_REJECT = 0x06,
        /// A task with the same tag is in progress.
        TASK_IN_PROGRESS = 0x07,
        /// A DataACK SNACK acknowledges no outstanding data.
        INVALID_DATA_ACK = 0x08,
        /// A field has a value that is not allowed.
        INVALID_PDU_FIELD = 0x09,
        /// Resources for a long operation are exhausted.
        LONG_OPERATION_REJECT = 0x0a,
        /// The negotiation was reset (deprecated in RFC 7143).
        NEGOTIATION_RESET = 0x0b,
        /// The target waits for a logout.
        WAITING_FOR_LOGOUT = 0x0c,
    }
}

impl Reject {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x3f;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            reason: RejectReason(bhs[2]),
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            data_sn: be32::<36>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL;
        bhs[2] = self.reason.0;
        bhs[16..20].fill(0xff);
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        put32::<36>(bhs, self.data_sn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x3f, 0x80, 4, 0, 0, 0, 0, 0,           // protocol error
        0, 0, 0, 0, 0, 0, 0, 0,
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,     // no task
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 3,                // MaxCmdSN 42; DataSN 3
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn golden_bytes() {
        assert_golden(
            &GOLDEN,
            Reject {
                reason: RejectReason::PROTOCOL_ERROR,
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
                data_sn: 3,
            },
        );
    }
}
