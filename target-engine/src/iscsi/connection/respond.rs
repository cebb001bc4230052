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
use super::data_out::Ask;
use crate::iscsi::text_exchange::TextPiece;
use crate::iscsi::transmit::Payload;

/// The session's command window, as every response tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Window {
    /// ExpCmdSN.
    pub expected: CmdSn,
    /// MaxCmdSN.
    pub max: CmdSn,
}

/// How a command ended, for its SCSI Response.
#[derive(Clone, Copy, Debug)]
pub struct Ending<'a> {
    /// SCSI status.
    pub status: u8,
    /// Too much or too little was transferred.
    pub residual: Residual,
    /// Encoded sense data; empty without.
    pub sense: &'a [u8],
    /// Data-In and R2T PDUs sent for the command.
    pub exp_data_sn: u32,
}

/// One segment of Data-In.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// Whose.
    pub itt: Itt,
    /// Its number.
    pub data_sn: DataSn,
    /// Where in the command's data.
    pub offset: u32,
    /// F: the end of a sequence.
    pub last: bool,
    /// The command's status rides on it.
    pub status: Option<(u8, Residual)>,
}

impl Connection {
    /// Data-In, with the status if it is given.
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

    /// SCSI Response.
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

    /// R2T; it takes no StatSN, but tells the next one (RFC 7143 11.8).
    pub fn r2t(&mut self, itt: Itt, ttt: Ttt, lun: [u8; 8], ask: Ask, window: Window) {
        let pdu = R2t {
            lun,
            itt,
            ttt,
            stat_sn: self.next_stat_sn,
            exp_cmd_sn: window.expected,
            max_cmd_sn: window.max,
            r2t_sn: ask.r2t_sn,
            buffer_offset: ask.offset,
            desired_len: ask.len,
        };
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Empty);
    }

    /// NOP-In that answers a NOP-Out, with its data.
    pub fn nop_answer(&mut self, itt: Itt, lun: [u8; 8], data: Bytes, window: Window) {
        let stat_sn = self.take_stat_sn();
        self.nop_in(Some(itt), None, lun, stat_sn, data, window);
    }

    /// NOP-In that asks for an answer; it takes no StatSN (RFC 7143 11.19).
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

    /// Task Management Function Response.
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

    /// Logout Response; `times` are Time2Wait and Time2Retain in seconds.
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

    /// A piece of a text answer.
    pub fn text_response(&mut self, piece: TextPiece, window: Window) {
        let stat_sn = self.take_stat_sn();
        let pdu = piece.response(stat_sn, window.expected, window.max);
        let mut bhs = [0; 48];
        pdu.encode(&mut bhs);
        self.push(bhs, Payload::Bytes(piece.text));
    }

    /// Reject, with the header it speaks of.
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

    /// Asynchronous Message; `times` are parameters 2 and 3, in seconds.
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

/// Sense with its length in front (RFC 7143 11.4.7).
fn sense_payload(sense: &[u8]) -> Payload {
    if sense.is_empty() {
        return Payload::Empty;
    }
    let mut data = BytesMut::with_capacity(2 + sense.len());
    data.put_u16(sense.len() as u16);
    data.extend_from_slice(sense);
    Payload::Bytes(data.freeze())
}
