//! Logout Request and Response (RFC 7143 11.14, 11.15).

use super::code::open_code;
use super::header::{
    Bhs, FINAL, PduError, be16, be32, expect, is_immediate, put16, put32, request, task_tag,
};
use crate::ids::{Cid, Itt};
use crate::sn::{CmdSn, StatSn};

/// Logout Request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogoutRequest {
    /// I: immediate delivery, outside of the command window (RFC 7143 4.2.2.1).
    pub immediate: bool,
    /// Reason Code: what to close.
    pub reason: LogoutReason,
    /// Initiator Task Tag of this request.
    pub itt: Itt,
    /// Connection to close; ignored for [`LogoutReason::CLOSE_SESSION`].
    pub cid: Cid,
    /// CmdSN of this request.
    pub cmd_sn: CmdSn,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
}

open_code! {
    /// Reason for a logout (RFC 7143 11.14.1); seven bits.
    LogoutReason {
        /// Close the session with all its connections.
        CLOSE_SESSION = 0,
        /// Close one connection.
        CLOSE_CONNECTION = 1,
        /// Close one connection for recovery: its tasks will be reassigned.
        RECOVERY = 2,
    }
}

/// Logout Response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LogoutResponse {
    /// Response code.
    pub response: LogoutResponseCode,
    /// Initiator Task Tag of the request.
    pub itt: Itt,
    /// StatSN of this response.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// Time2Wait: minimum time before a reconnect, in seconds.
    pub time2wait: u16,
    /// Time2Retain: time after Time2Wait during which tasks can be reassigned, in seconds.
    pub time2retain: u16,
}

open_code! {
    /// Response code of a logout (RFC 7143 11.15.1).
    LogoutResponseCode {
        /// The connection or session was closed.
        CLOSED = 0,
        /// The session has no connection with this CID.
        CID_NOT_FOUND = 1,
        /// Connection recovery is not supported.
        RECOVERY_NOT_SUPPORTED = 2,
        /// The cleanup of the connection failed.
        CLEANUP_FAILED = 3,
    }
}

impl LogoutRequest {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x06;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            immediate: is_immediate(bhs),
            reason: LogoutReason(bhs[1] & 0x7f),
            itt: task_tag(bhs)?,
            cid: Cid(be16::<20>(bhs)),
            cmd_sn: CmdSn(be32::<24>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = request(Self::OPCODE, self.immediate);
        bhs[1] = FINAL | self.reason.0 & 0x7f;
        put32::<16>(bhs, self.itt.0);
        put16::<20>(bhs, self.cid.0);
        put32::<24>(bhs, self.cmd_sn.0);
        put32::<28>(bhs, self.exp_stat_sn.0);
    }
}

impl LogoutResponse {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x26;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            response: LogoutResponseCode(bhs[2]),
            itt: task_tag(bhs)?,
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            time2wait: be16::<40>(bhs),
            time2retain: be16::<42>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL;
        bhs[2] = self.response.0;
        put32::<16>(bhs, self.itt.0);
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        put16::<40>(bhs, self.time2wait);
        put16::<42>(bhs, self.time2retain);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const REQUEST: Bhs = [
        0x46, 0x81, 0, 0, 0, 0, 0, 0,           // immediate; close the connection
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 8, 0, 3, 0, 0,                 // ITT 8, CID 3
        0, 0, 0, 10, 0, 0, 0, 11,               // CmdSN 10, ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const RESPONSE: Bhs = [
        0x26, 0x80, 1, 0, 0, 0, 0, 0,           // no such CID
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 8, 0, 0, 0, 0,                 // ITT 8
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 0,                // MaxCmdSN 42
        0, 2, 0, 20, 0, 0, 0, 0,                // wait 2 s, retain 20 s
    ];

    #[test]
    fn golden_request() {
        assert_golden(
            &REQUEST,
            LogoutRequest {
                immediate: true,
                reason: LogoutReason::CLOSE_CONNECTION,
                itt: Itt(8),
                cid: Cid(3),
                cmd_sn: CmdSn(10),
                exp_stat_sn: StatSn(11),
            },
        );
    }

    #[test]
    fn golden_response() {
        assert_golden(
            &RESPONSE,
            LogoutResponse {
                response: LogoutResponseCode::CID_NOT_FOUND,
                itt: Itt(8),
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
                time2wait: 2,
                time2retain: 20,
            },
        );
    }
}
