//! Asynchronous Message (RFC 7143 11.9).

use super::code::open_code;
use super::header::{Bhs, FINAL, PduError, be16, be32, bytes, expect, put_bytes, put16, put32};
use crate::sn::{CmdSn, StatSn};

/// Asynchronous Message: an event or a request of the target that belongs to no task.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AsyncMessage {
    /// Logical unit number; valid for [`AsyncEvent::SCSI`] and [`AsyncEvent::TASK_TERMINATION`].
    pub lun: [u8; 8],
    /// StatSN of this message.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// AsyncEvent.
    pub event: AsyncEvent,
    /// AsyncVCode: the vendor's code, for [`AsyncEvent::VENDOR`].
    pub vendor_code: u8,
    /// Parameter1: a CID for [`AsyncEvent::CONNECTION_DROP`], else 0.
    pub parameter_1: u16,
    /// Parameter2: Time2Wait in seconds, for the drop events.
    pub parameter_2: u16,
    /// Parameter3: Time2Retain in seconds for the drop events, the time limit in seconds for the requests.
    pub parameter_3: u16,
}

open_code! {
    /// AsyncEvent (RFC 7143 11.9.1).
    AsyncEvent {
        /// A SCSI event, with sense data in the data segment.
        SCSI = 0,
        /// The target requests a logout within Parameter3 seconds.
        LOGOUT_REQUEST = 1,
        /// The target will drop the connection Parameter1.
        CONNECTION_DROP = 2,
        /// The target will drop all connections of the session.
        SESSION_DROP = 3,
        /// The target requests a negotiation by Text Request within Parameter3 seconds.
        NEGOTIATION_REQUEST = 4,
        /// The target terminated all tasks of a logical unit (FastAbort).
        TASK_TERMINATION = 5,
        /// A vendor-specific event, see AsyncVCode.
        VENDOR = 255,
    }
}

impl AsyncMessage {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x32;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            lun: bytes::<8, 8>(bhs),
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            event: AsyncEvent(bhs[36]),
            vendor_code: bhs[37],
            parameter_1: be16::<38>(bhs),
            parameter_2: be16::<40>(bhs),
            parameter_3: be16::<42>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL;
        put_bytes::<8, 8>(bhs, self.lun);
        bhs[16..20].fill(0xff);
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        bhs[36] = self.event.0;
        bhs[37] = self.vendor_code;
        put16::<38>(bhs, self.parameter_1);
        put16::<40>(bhs, self.parameter_2);
        put16::<42>(bhs, self.parameter_3);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x32, 0x80, 0, 0, 0, 0, 0, 0,
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0,     // no task
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 2, 9, 0, 1,                // MaxCmdSN 42; drop; vendor's 9; CID 1
        0, 2, 0, 20, 0, 0, 0, 0,                // wait 2 s, retain 20 s
    ];

    #[test]
    fn golden_bytes() {
        assert_golden(
            &GOLDEN,
            AsyncMessage {
                lun: [0, 1, 0, 0, 0, 0, 0, 0],
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
                event: AsyncEvent::CONNECTION_DROP,
                vendor_code: 9,
                parameter_1: 1,
                parameter_2: 2,
                parameter_3: 20,
            },
        );
    }
}
