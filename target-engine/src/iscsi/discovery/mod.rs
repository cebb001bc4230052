//! A discovery session after its login (RFC 7143 4.3, appendix C): SendTargets, pings and logout.
//!
//! It is driven as [`Login`](super::login::Login) is, without socket and clock, except that it handles one request at a time:
//! the driver calls [`Discovery::handle_request`], so that it can serve others in between. It asks
//! [`Question::SendTargets`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use iscsi_proto::frame::{self, Cut, FrameError, Limits};
use iscsi_proto::ids::Cid;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::{
    BHS_LEN, Bhs, LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode, NopIn, NopOut, Pdu,
    PduError, Reject, RejectReason, TextRequest, set_lengths,
};
use iscsi_proto::sn::{CmdSn, StatSn};

use super::login::{Answer, CloseReason, Question, SendTargetsQuestion, TargetList};
use super::text_exchange::{TextExchange, TextPiece, TextSession, TextStep};
use crate::limits;

/// One discovery session, which has one connection.
#[derive(Debug)]
pub struct Discovery {
    start: DiscoveryStart,
    deadline: Instant,
    received: BytesMut,
    received_at: Instant,
    transmit: VecDeque<Bytes>,
    /// Bytes in `transmit`.
    transmit_len: usize,
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
        Self {
            start,
            deadline,
            received,
            received_at: login_end,
            transmit_len: transmit.iter().map(Bytes::len).sum(),
            transmit,
            events: VecDeque::new(),
            text,
            requests: 0,
            over: false,
        }
    }

    /// The initiator.
    pub fn initiator_name(&self) -> &IscsiName {
        &self.start.initiator_name
    }

    /// Takes in received bytes, cut anywhere. They are handled by [`Discovery::handle_request`].
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if self.over {
            return;
        }
        if bytes.len() > limits::LOGIN_UNREAD_LEN_MAX.saturating_sub(self.received.len()) {
            return self.close(CloseReason::TooMuch);
        }
        self.received_at = now;
        self.received.extend_from_slice(bytes);
    }

    /// Whether to receive: no whole request waits to be handled.
    pub fn wants_bytes(&self) -> bool {
        !self.over && !self.is_whole()
    }

    /// Whether a request can be handled: a whole one has come, no answer is pending, and of the responses fewer than
    /// [`limits::DISCOVERY_TRANSMIT_BYTES_MAX`] bytes wait for [`Discovery::poll_transmit`].
    pub fn has_request(&self) -> bool {
        !self.over
            && !self.text.is_asking()
            && self.transmit_len < limits::DISCOVERY_TRANSMIT_BYTES_MAX
            && self.is_whole()
    }

    /// Resumes with the answer to the last question. An answer that was not asked for is ignored.
    pub fn answer(&mut self, answer: Answer) {
        let targets = match answer {
            Answer::Targets(targets) => targets,
            Answer::Target(_) | Answer::Account(_) | Answer::Refuse(_) => TargetList::default(),
        };
        if let Some(piece) = self.text.targets(&targets) {
            self.send_text(&piece);
        }
    }

    /// Bytes for the peer, in order. Call it when the previous ones are sent.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        let bytes = self.transmit.pop_front()?;
        self.transmit_len -= bytes.len();
        Some(bytes)
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

    /// Handles one request, if [`Discovery::has_request`].
    pub fn handle_request(&mut self) {
        if !self.has_request() {
            return;
        }
        let (bhs, header_len, data_len, padded_len, wire_len) = match self.cut() {
            Ok(Cut::Header(header)) => {
                (*header.bhs, header.header_len, header.data_len, header.padded_len, header.wire_len)
            }
            Ok(Cut::More(_)) => return,
            Err(_) => return self.close(CloseReason::Malformed),
        };
        self.requests += 1;
        self.deadline = self.received_at + self.start.idle;
        let mut data = self.received.split_to(wire_len);
        data.advance(header_len);
        let (data, digest) = data.split_at(padded_len);
        if digest.is_empty() || frame::data_digest([data]) == *digest {
            self.handle(&bhs, &data[..data_len]);
        } else {
            self.reject(&bhs, RejectReason::DATA_DIGEST_ERROR);
        }
    }

    fn cut(&self) -> Result<Cut<'_>, FrameError> {
        let limits =
            Limits { max_data_len: self.start.connection.max_recv_data_segment_len, ..Limits::default() };
        frame::cut(&self.received, self.start.connection.digests(), &limits)
    }

    /// Whether a whole request has come, or one that is malformed.
    fn is_whole(&self) -> bool {
        match self.cut() {
            Ok(Cut::Header(header)) => header.wire_len <= self.received.len(),
            Ok(Cut::More(_)) => false,
            Err(_) => true,
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
        let response = piece.response(stat_sn, exp_cmd_sn, max_cmd_sn).into();
        if piece.text.len() < SHARED_LEN_MIN {
            return self.send(response, &piece.text);
        }
        let digests = self.start.connection.digests();
        let mut bhs = [0; BHS_LEN];
        response.encode(&mut bhs);
        set_lengths(&mut bhs, 0, piece.text.len());
        let mut header = BytesMut::from(&bhs[..]);
        if digests.header {
            header.extend_from_slice(&frame::header_digest(&bhs, &[]));
        }
        let (trailer, len) = frame::trailer([&piece.text[..]], digests);
        self.push(header.freeze());
        self.push(piece.text.clone());
        if len > 0 {
            self.push(Bytes::copy_from_slice(&trailer[..len]));
        }
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
        self.push(out.freeze());
    }

    fn push(&mut self, bytes: Bytes) {
        self.transmit_len += bytes.len();
        self.transmit.push_back(bytes);
    }

    fn close(&mut self, reason: CloseReason) {
        self.over = true;
        self.received = BytesMut::new();
        self.events.push_back(DiscoveryEvent::Closed(reason));
    }
}

/// A text from this length on is not copied, in bytes: sessions share the list of targets.
const SHARED_LEN_MIN: usize = 4096;

#[cfg(test)]
mod tests;
