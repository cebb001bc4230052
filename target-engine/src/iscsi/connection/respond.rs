//! Response PDUs, each with the connection's StatSN and the session's command window.

use bytes::{BufMut, Bytes, BytesMut};
use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::pdu::Bhs;
use iscsi_proto::pdu::{
    AsyncEvent, AsyncMessage, DataIn, DataInStatus, LogoutResponse, LogoutResponseCode, NopIn, R2t, Reject,
    RejectReason, Residual, ScsiResponse, ScsiResponseCode, TaskManagementResponse, TaskResponse,
};
use iscsi_proto::sn::{CmdSn, DataSn, StatSn};

use super::Connection;
use super::data_out::R2tRequest;
use crate::iscsi::text_exchange::TextPiece;
use crate::iscsi::transmit::Payload;

/// The session's command window, which every response announces.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// ExpCmdSN.
    pub expected: CmdSn,
    /// MaxCmdSN.
    pub max: CmdSn,
}

/// The end of a command, for its SCSI Response.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// SCSI status.
    pub status: u8,
    /// How much more or less than expected was transferred.
    pub residual: Residual,
    /// Encoded sense data; may be empty.
    pub sense: &'a [u8],
    /// Data-In and R2T PDUs sent for the command.
    pub exp_data_sn: u32,
}

/// One segment of Data-In.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The task's tag.
    pub itt: Itt,
    /// DataSN.
    pub data_sn: DataSn,
    /// Buffer Offset, in bytes.
    pub offset: u32,
    /// F: the end of a sequence.
    pub last: bool,
    /// The command's status, if the segment carries it.
    pub status: Option<(u8, Residual)>,
}

/// Bytes that fit into the burst of Data-In that goes on at byte `at` of a command's data.
#[inline]
#[must_use]
pub fn burst_left(max_burst: u32, at: u64) -> u64 {
    let max_burst = u64::from(max_burst);
    max_burst - at % max_burst
}

impl Connection {
    /// Queues a Data-In, with the status if it is given.
    #[inline]
    pub fn data_in(&mut self, segment: Segment, payload: Payload, window: Window) {
        let status = segment.status.map(|(status, residual)| {
            let stat_sn = self.take_stat_sn();
            DataInStatus { status, residual, stat_sn }
        });
        let pdu = DataIn {
            last: segment.last,
            acknowledge: false,
            status,
            lun: [0; 8],
            itt: segment.itt,
            ttt: None,
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            data_sn: segment.data_sn,
            buffer_offset: segment.offset,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, payload);
    }

    /// Queues a SCSI Response.
    #[inline]
    pub fn scsi_response(&mut self, itt: Itt, ending: &Ending<'_>, window: Window) {
        let pdu = ScsiResponse {
            response: ScsiResponseCode::COMPLETED,
            status: ending.status,
            itt,
            snack_tag: 0,
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            exp_data_sn: ending.exp_data_sn,
            residual: ending.residual,
            bidi_residual: Residual::None,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, sense_payload(ending.sense));
    }

    /// Queues an R2T. It takes no StatSN, but announces the next one (RFC 7143 11.8).
    pub fn r2t(&mut self, itt: Itt, ttt: Ttt, lun: [u8; 8], request: R2tRequest, window: Window) {
        let pdu = R2t {
            lun,
            itt,
            ttt,
            stat_sn: self.next_stat_sn,
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            r2t_sn: request.r2t_sn,
            buffer_offset: request.offset,
            desired_len: request.len,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Empty);
    }

    /// Queues a NOP-In that answers a NOP-Out, with its data.
    pub fn nop_answer(&mut self, itt: Itt, lun: [u8; 8], data: Bytes, window: Window) {
        let stat_sn = self.take_stat_sn();
        self.nop_in(Some(itt), None, lun, stat_sn, data, window);
    }

    /// Queues a NOP-In that asks for an answer. It takes no StatSN (RFC 7143 11.19).
    pub fn ping(&mut self, ttt: Ttt, window: Window) {
        self.nop_in(None, Some(ttt), [0; 8], self.next_stat_sn, Bytes::new(), window);
    }

    fn nop_in(
        &mut self,
        itt: Option<Itt>,
        ttt: Option<Ttt>,
        lun: [u8; 8],
        stat_sn: StatSn,
        data: Bytes,
        window: Window,
    ) {
        let pdu = NopIn { lun, itt, ttt, stat_sn, exp_cmd_sn: window.expected, max_cmd_sn: window.max };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Bytes(data));
    }

    /// Queues a Task Management Function Response.
    pub fn task_response(&mut self, itt: Itt, response: TaskResponse, window: Window) {
        let pdu = TaskManagementResponse {
            response,
            itt,
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Empty);
    }

    /// Queues a Logout Response; `times` are Time2Wait and Time2Retain in seconds.
    pub fn logout_response(
        &mut self,
        itt: Itt,
        response: LogoutResponseCode,
        times: (u16, u16),
        window: Window,
    ) {
        let pdu = LogoutResponse {
            response,
            itt,
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            time2wait: times.0,
            time2retain: times.1,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Empty);
    }

    /// Queues a Text Response.
    pub fn text_response(&mut self, piece: TextPiece, window: Window) {
        let stat_sn = self.take_stat_sn();
        let pdu = piece.response(stat_sn, window.expected, window.max);
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Bytes(piece.text));
    }

    /// Queues a Reject of the PDU with this header.
    pub fn reject(&mut self, reason: RejectReason, rejected: &Bhs, window: Window) {
        let pdu = Reject {
            reason,
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            data_sn: 0,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Bytes(Bytes::copy_from_slice(rejected)));
    }

    /// Queues an Asynchronous Message; `times` are parameters 2 and 3, in seconds.
    pub fn async_message(&mut self, event: AsyncEvent, times: (u16, u16), window: Window) {
        let pdu = AsyncMessage {
            lun: [0; 8],
            stat_sn: self.take_stat_sn(),
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            event,
            vendor_code: 0,
            parameter_1: 0,
            parameter_2: times.0,
            parameter_3: times.1,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Empty);
    }

    fn take_stat_sn(&mut self) -> StatSn {
        let stat_sn = self.next_stat_sn;
        self.next_stat_sn = stat_sn.next();
        stat_sn
    }
}

/// Sense data after its length (RFC 7143 11.4.7).
fn sense_payload(sense: &[u8]) -> Payload {
    if sense.is_empty() {
        return Payload::Empty;
    }
    let mut data = BytesMut::with_capacity(2 + sense.len());
    data.put_u16(sense.len() as u16);
    data.extend_from_slice(sense);
    Payload::Bytes(data.freeze())
}
