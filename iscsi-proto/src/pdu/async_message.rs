//! Asynchronous Message (RFC 7143 11.9).

use super::code::open_code;
use super::header::{Bhs, FINAL, PduError, be16, be32, bytes, expect, put_bytes, put16, put32};
use crate::sn::{CmdSn, StatSn};

/// Asynchronous Message: the target tells or asks something no command is waiting for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct AsyncMessage {
    /// Logical unit number, for a SCSI event.
    pub lun: [u8; 8],
    /// This message's number among the responses.
    pub stat_sn: StatSn,
    /// The next command expected.
    pub exp_cmd_sn: CmdSn,
    /// The last command that would be taken now.
    pub max_cmd_sn: CmdSn,
    /// What happened.
    pub event: AsyncEvent,
    /// Vendor's code, for a vendor's event.
    pub vendor_code: u8,
    /// Parameter1: a connection's CID, or seconds; by event.
    pub parameter_1: u16,
    /// Parameter2: Time2Wait in seconds, by event.
    pub parameter_2: u16,
    /// Parameter3: Time2Retain in seconds, or seconds to go; by event.
    pub parameter_3: u16,
}

open_code! {
    /// AsyncEvent (RFC 7143 11.9.1).
    AsyncEvent {
        /// A SCSI event, with sense data in the data segment.
        SCSI = 0,
        /// The target asks for a logout within Parameter3 seconds.
        LOGOUT_REQUEST = 1,
        /// The target will drop the connection Parameter1.
        CONNECTION_DROP = 2,
        /// The target will drop all connections of the session.
        SESSION_DROP = 3,
        /// The target asks for a parameter negotiation by text within Parameter3 seconds.
        NEGOTIATION_REQUEST = 4,
        /// Tasks of a unit were terminated (RFC 7143 11.9.1, FastAbort).
        TASK_TERMINATION = 5,
        /// A vendor's own.
        VENDOR = 255,
    }
}

impl AsyncMessage {
    /// The opcode.
    pub const OPCODE: u8 = 0x32;

    /// Decodes a header.
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

    /// Writes all 48 bytes, with both lengths zero.
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
