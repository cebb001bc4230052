//! A discovery session after its login (RFC 7143 4.3, appendix C): SendTargets, pings and logout.
//!
//! It is driven as [`Login`](super::login::Login) is, without socket and clock. It asks [`Question::SendTargets`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use iscsi_proto::frame::{self, Cut, Limits};
use iscsi_proto::ids::Cid;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::{
    BHS_LEN, Bhs, LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode, NopIn, NopOut, Pdu,
    PduError, Reject, RejectReason, TextRequest,
};
use iscsi_proto::sn::{CmdSn, StatSn};

use super::login::{Answer, CloseReason, Question, SendTargetsQuestion};
use super::text_exchange::{TextExchange, TextPiece, TextSession, TextStep};
use crate::limits;

/// One discovery session, which has one connection.
#[derive(Debug)]
pub struct Discovery {
    start: DiscoveryStart,
    deadline: Instant,
    received: BytesMut,
    transmit: VecDeque<Bytes>,
    events: VecDeque<DiscoveryEvent>,
    text: TextExchange,
    /// Whole requests received.
    requests: u64,
    over: bool,
}

/// What happened in a discovery session. The driver acts on it.
#[derive(Debug)]
pub enum DiscoveryEvent {
    /// Answer it with [`Discovery::answer`]; always [`Question::SendTargets`].
    Ask(Question),
    /// The session has ended: send what is left to transmit, then close the connection.
    Closed(CloseReason),
}

/// What the session takes over from its login.
#[derive(Debug)]
pub(super) struct DiscoveryStart {
    pub(super) initiator_name: IscsiName,
    pub(super) chap_user: Option<String>,
    pub(super) cid: Cid,
    pub(super) connection: ConnectionParams,
    pub(super) next_cmd_sn: CmdSn,
    pub(super) next_stat_sn: StatSn,
    pub(super) idle: Duration,
}

impl Discovery {
    /// Begins after a login: with the bytes that it had to transmit and had not read, and with its deadline, from which on
    /// the time without requests counts.
    pub(super) fn new(
        start: DiscoveryStart,
        transmit: VecDeque<Bytes>,
        received: BytesMut,
        login_end: Instant,
    ) -> Self {
        let deadline = login_end + start.idle;
        let text = TextExchange::new(TextSession::Discovery, SessionParams::default(), start.connection);
        let mut discovery = Self {
            start,
            deadline,
            received,
            transmit,
            events: VecDeque::new(),
            text,
            requests: 0,
            over: false,
        };
        discovery.read();
        discovery
    }

    /// The initiator.
    pub fn initiator_name(&self) -> &IscsiName {
        &self.start.initiator_name
    }

    /// Takes in received bytes, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if self.over {
            return;
        }
        if bytes.len() > limits::LOGIN_UNREAD_LEN_MAX.saturating_sub(self.received.len()) {
            return self.close(CloseReason::TooMuch);
        }
        self.deadline = now + self.start.idle;
        self.received.extend_from_slice(bytes);
        self.read();
    }

    /// Resumes with the answer to the last question. An answer that was not asked for is ignored.
    pub fn answer(&mut self, answer: Answer) {
        let targets = match answer {
            Answer::Targets(targets) => targets,
            Answer::Target(_) | Answer::Refuse(_) => Vec::new(),
        };
        if let Some(piece) = self.text.targets(&targets) {
            self.send_text(&piece);
            self.read();
        }
    }

    /// Bytes for the peer, in order. Call it when the previous ones are sent.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.transmit.pop_front();
        // Requests that waited for space can be answered now.
        self.read();
        bytes
    }

    /// Events, in order.
    pub fn poll_event(&mut self) -> Option<DiscoveryEvent> {
        self.events.pop_front()
    }

    /// The number of whole requests that were received.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// When [`Discovery::handle_timeout`] is due; `None` once the session is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!self.over).then_some(self.deadline)
    }

    /// Ends the session if it had no requests for too long.
    pub fn handle_timeout(&mut self, now: Instant) {
        if !self.over && now >= self.deadline {
            self.close(CloseReason::TimedOut);
        }
    }

    /// Reads requests, unless the answer to a question is pending.
    fn read(&mut self) {
        while !self.over && !self.text.is_asking() && self.transmit.len() < limits::DISCOVERY_TRANSMIT_MAX {
            let digests = self.start.connection.digests();
            let limits =
                Limits { max_data_len: self.start.connection.max_recv_data_segment_len, ..Limits::default() };
            let (bhs, header_len, data_len, padded_len, wire_len) =
                match frame::cut(&self.received, digests, &limits) {
                    Ok(Cut::Header(header)) if header.wire_len <= self.received.len() => {
                        (*header.bhs, header.header_len, header.data_len, header.padded_len, header.wire_len)
                    }
                    Ok(_) => return,
                    Err(_) => return self.close(CloseReason::Malformed),
                };
            self.requests += 1;
            let mut data = self.received.split_to(wire_len);
            data.advance(header_len);
            let (data, digest) = data.split_at(padded_len);
            if digest.is_empty() || frame::data_digest([data]) == *digest {
                self.handle(&bhs, &data[..data_len]);
            } else {
                self.reject(&bhs, RejectReason::DATA_DIGEST_ERROR);
            }
        }
    }

    fn handle(&mut self, bhs: &Bhs, data: &[u8]) {
        match Pdu::decode(bhs) {
            Ok(Pdu::TextRequest(request)) => {
                self.count(request.immediate, request.cmd_sn);
                self.handle_text(bhs, &request, data);
            }
            Ok(Pdu::NopOut(nop)) => {
                self.count(nop.immediate, nop.cmd_sn);
                self.handle_nop(&nop, data);
            }
            Ok(Pdu::LogoutRequest(logout)) => {
                self.count(logout.immediate, logout.cmd_sn);
                self.handle_logout(&logout);
            }
            // RFC 7143 4.3: a discovery session is for text and logout.
            Ok(_) => self.reject(bhs, RejectReason::PROTOCOL_ERROR),
            Err(PduError::Opcode(_)) => self.reject(bhs, RejectReason::COMMAND_NOT_SUPPORTED),
            Err(_) => self.reject(bhs, RejectReason::INVALID_PDU_FIELD),
        }
    }

    /// Takes over the request's CmdSN. With one connection, commands arrive in order.
    fn count(&mut self, immediate: bool, cmd_sn: CmdSn) {
        if !immediate && !cmd_sn.is_before(self.start.next_cmd_sn) {
            self.start.next_cmd_sn = cmd_sn.next();
        }
    }

    fn handle_text(&mut self, bhs: &Bhs, request: &TextRequest, data: &[u8]) {
        match self.text.receive(request, data) {
            TextStep::Send(piece) => self.send_text(&piece),
            TextStep::SendTargets(scope) => {
                let (initiator_name, chap_user) =
                    (self.start.initiator_name.clone(), self.start.chap_user.clone());
                let question = SendTargetsQuestion { initiator_name, chap_user, scope };
                self.events.push_back(DiscoveryEvent::Ask(Question::SendTargets(Box::new(question))));
            }
            TextStep::Reject(reason) => self.reject(bhs, reason),
        }
        self.start.connection = self.text.connection();
    }

    fn handle_nop(&mut self, nop: &NopOut, data: &[u8]) {
        // Without a tag it asks for no answer.
        if nop.itt.is_none() {
            return;
        }
        let echo = data.len().min(self.start.connection.max_xmit_data_segment_len as usize);
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        let answer = NopIn { lun: nop.lun, itt: nop.itt, ttt: None, stat_sn, exp_cmd_sn, max_cmd_sn };
        self.send(answer.into(), &data[..echo]);
    }

    fn handle_logout(&mut self, logout: &LogoutRequest) {
        let response = match logout.reason {
            LogoutReason::CLOSE_CONNECTION if logout.cid != self.start.cid => {
                LogoutResponseCode::CID_NOT_FOUND
            }
            LogoutReason::CLOSE_SESSION | LogoutReason::CLOSE_CONNECTION => LogoutResponseCode::CLOSED,
            _ => LogoutResponseCode::RECOVERY_NOT_SUPPORTED,
        };
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        let answer = LogoutResponse {
            response,
            itt: logout.itt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
            time2wait: 0,
            time2retain: 0,
        };
        self.send(answer.into(), &[]);
        if response == LogoutResponseCode::CLOSED {
            self.close(CloseReason::LoggedOut);
        }
    }

    fn reject(&mut self, bhs: &Bhs, reason: RejectReason) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        self.send(Reject { reason, stat_sn, exp_cmd_sn, max_cmd_sn, data_sn: 0 }.into(), bhs);
    }

    fn send_text(&mut self, piece: &TextPiece) {
        let (stat_sn, exp_cmd_sn, max_cmd_sn) = self.numbers();
        self.send(piece.response(stat_sn, exp_cmd_sn, max_cmd_sn).into(), &piece.text);
    }

    /// The numbers of the next response; each response takes one StatSN.
    fn numbers(&mut self) -> (StatSn, CmdSn, CmdSn) {
        let stat_sn = self.start.next_stat_sn;
        self.start.next_stat_sn = stat_sn.next();
        (stat_sn, self.start.next_cmd_sn, self.start.next_cmd_sn.plus(limits::DISCOVERY_WINDOW - 1))
    }

    fn send(&mut self, pdu: Pdu, data: &[u8]) {
        let mut bhs = [0; BHS_LEN];
        pdu.encode(&mut bhs);
        let mut out = BytesMut::new();
        frame::encode_pdu(&mut out, &bhs, &[], data, self.start.connection.digests());
        self.transmit.push_back(out.freeze());
    }

    fn close(&mut self, reason: CloseReason) {
        self.over = true;
        self.received = BytesMut::new();
        self.events.push_back(DiscoveryEvent::Closed(reason));
    }
}

#[cfg(test)]
mod tests;
