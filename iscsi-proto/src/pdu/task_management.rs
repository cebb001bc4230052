//! Task Management Function Request and Response (RFC 7143 11.5, 11.6; RFC 7144 4).

use super::code::open_code;
use super::header::{
    Bhs, FINAL, PduError, be32, bytes, expect, is_immediate, put_bytes, put32, request, task_tag,
};
use crate::ids::Itt;
use crate::sn::{CmdSn, StatSn};

/// Task Management Function Request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TaskManagementRequest {
    /// I: immediate delivery, outside of the command window (RFC 7143 4.2.2.1).
    pub immediate: bool,
    /// Function to perform.
    pub function: TaskFunction,
    /// Logical unit number, in the format of SAM-5 4.7; ignored by the functions on the whole target.
    pub lun: [u8; 8],
    /// Initiator Task Tag of this request.
    pub itt: Itt,
    /// Referenced Task Tag; `None` for functions that concern no single task.
    pub referenced_task: Option<Itt>,
    /// CmdSN of this request.
    pub cmd_sn: CmdSn,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
    /// RefCmdSN: the CmdSN of the task to abort (RFC 7143 11.5.5).
    pub ref_cmd_sn: CmdSn,
    /// ExpDataSN: the next DataSN or R2TSN expected, for TASK REASSIGN (RFC 7143 11.5.6).
    pub exp_data_sn: u32,
}

open_code! {
    /// Task management function (RFC 7143 11.5.1); seven bits. An unknown function decodes, so that the target can
    /// respond to it.
    TaskFunction {
        /// Abort the referenced task.
        ABORT_TASK = 1,
        /// Abort all tasks of this nexus on the logical unit.
        ABORT_TASK_SET = 2,
        /// Clear an auto contingent allegiance condition.
        CLEAR_ACA = 3,
        /// Abort all tasks in the task set of the logical unit.
        CLEAR_TASK_SET = 4,
        /// Reset the logical unit.
        LOGICAL_UNIT_RESET = 5,
        /// Reset all logical units of the target.
        TARGET_WARM_RESET = 6,
        /// Reset the target and end its sessions.
        TARGET_COLD_RESET = 7,
        /// Reassign a task to this connection.
        TASK_REASSIGN = 8,
        /// Report whether the referenced task exists (RFC 7144).
        QUERY_TASK = 9,
        /// Report whether this nexus has tasks on the logical unit (RFC 7144).
        QUERY_TASK_SET = 10,
        /// Reset the I_T nexus (RFC 7144).
        I_T_NEXUS_RESET = 11,
        /// Report whether a unit attention is pending (RFC 7144).
        QUERY_ASYNCHRONOUS_EVENT = 12,
    }
}

/// Task Management Function Response.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TaskManagementResponse {
    /// Response code.
    pub response: TaskResponse,
    /// Initiator Task Tag of the request.
    pub itt: Itt,
    /// StatSN of this response.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
}

open_code! {
    /// Response code of a task management function (RFC 7143 11.6.1).
    TaskResponse {
        /// The function is complete.
        COMPLETE = 0,
        /// The referenced task does not exist.
        NO_TASK = 1,
        /// The logical unit does not exist.
        NO_LUN = 2,
        /// The task is still allegiant to another connection.
        TASK_STILL_ALLEGIANT = 3,
        /// Task allegiance reassignment is not supported.
        REASSIGNMENT_NOT_SUPPORTED = 4,
        /// The function is not supported.
        NOT_SUPPORTED = 5,
        /// The initiator is not authorized for this function.
        AUTHORIZATION_FAILED = 6,
        /// The answer to a query is yes (RFC 7144 4.2).
        SUCCEEDED = 7,
        /// The target rejects the function.
        REJECTED = 255,
    }
}

impl TaskManagementRequest {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x02;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            immediate: is_immediate(bhs),
            function: TaskFunction(bhs[1] & 0x7f),
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            referenced_task: Itt::from_wire(be32::<20>(bhs)),
            cmd_sn: CmdSn(be32::<24>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
            ref_cmd_sn: CmdSn(be32::<32>(bhs)),
            exp_data_sn: be32::<36>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = request(Self::OPCODE, self.immediate);
        bhs[1] = FINAL | self.function.0 & 0x7f;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, Itt::to_wire(self.referenced_task));
        put32::<24>(bhs, self.cmd_sn.0);
        put32::<28>(bhs, self.exp_stat_sn.0);
        put32::<32>(bhs, self.ref_cmd_sn.0);
        put32::<36>(bhs, self.exp_data_sn);
    }
}

impl TaskManagementResponse {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x22;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            response: TaskResponse(bhs[2]),
            itt: task_tag(bhs)?,
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::BHS_LEN;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const REQUEST: Bhs = [
        0x42, 0x81, 0, 0, 0, 0, 0, 0,           // immediate; ABORT TASK
        0, 2, 0, 0, 0, 0, 0, 0,                 // LUN 2
        0, 0, 0, 8, 0, 0, 0, 7,                 // ITT 8; referenced task 7
        0, 0, 0, 10, 0, 0, 0, 11,               // CmdSN 10, ExpStatSN 11
        0, 0, 0, 9, 0, 0, 0, 3,                 // RefCmdSN 9, ExpDataSN 3
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[rustfmt::skip]
    const RESPONSE: Bhs = [
        0x22, 0x80, 0xff, 0, 0, 0, 0, 0,        // rejected
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 8, 0, 0, 0, 0,                 // ITT 8
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 0,                // MaxCmdSN 42
        0, 0, 0, 0, 0, 0, 0, 0,
    ];

    #[test]
    fn golden_request() {
        assert_golden(
            &REQUEST,
            TaskManagementRequest {
                immediate: true,
                function: TaskFunction::ABORT_TASK,
                lun: [0, 2, 0, 0, 0, 0, 0, 0],
                itt: Itt(8),
                referenced_task: Some(Itt(7)),
                cmd_sn: CmdSn(10),
                exp_stat_sn: StatSn(11),
                ref_cmd_sn: CmdSn(9),
                exp_data_sn: 3,
            },
        );
    }

    #[test]
    fn golden_response() {
        assert_golden(
            &RESPONSE,
            TaskManagementResponse {
                response: TaskResponse::REJECTED,
                itt: Itt(8),
                stat_sn: StatSn(11),
                exp_cmd_sn: CmdSn(10),
                max_cmd_sn: CmdSn(42),
            },
        );
    }

    #[test]
    fn unknown_function_decodes() {
        let mut bytes = REQUEST;
        bytes[1] = 0xfe;
        let request = TaskManagementRequest::decode(&bytes).unwrap();
        assert_eq!((request.function, request.itt), (TaskFunction(0x7e), Itt(8)));
    }

    #[test]
    fn missing_referenced_task_is_the_reserved_tag() {
        let mut bytes = REQUEST;
        bytes[20..24].fill(0xff);
        let request = TaskManagementRequest::decode(&bytes).unwrap();
        assert_eq!(request.referenced_task, None);
        let mut out = [0; BHS_LEN];
        request.encode(&mut out);
        assert_eq!(out, bytes);
    }
}
