//! Text requests in the full feature phase (RFC 7143 11.10, 11.11): requests and answers that continue over several
//! PDUs, SendTargets, and keys that may still be declared.
//!
//! It serves discovery and normal sessions. It holds one exchange at a time, because an initiator may have only one on a
//! connection. It has no sequence numbers: the owner of the connection adds them to a [`TextPiece`].

use bytes::{Bytes, BytesMut};
use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams, SessionType};
use iscsi_proto::pdu::{RejectReason, TextRequest, TextResponse};
use iscsi_proto::sn::{CmdSn, StatSn};
use iscsi_proto::text::keys::{Key, Role};
use iscsi_proto::text::negotiate::{Event, Negotiation, Preferences};
use iscsi_proto::text::{self, TextBuilder, TextLimits};

use super::login::{SendTargetsScope, TargetList};
use crate::limits;

/// The text exchanges of one connection.
#[derive(Debug)]
pub struct TextExchange {
    session: TextSession,
    params: SessionParams,
    connection: ConnectionParams,
    last_ttt: u32,
    state: State,
}

/// The kind of session that the text requests are of.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TextSession {
    /// A discovery session, which may ask for any target.
    Discovery,
    /// A normal session, which may ask only for this target.
    Normal(IscsiName),
}

/// The result of a text request.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TextStep {
    /// Send this response.
    Send(TextPiece),
    /// Answer with [`TextExchange::targets`], now or later.
    SendTargets(SendTargetsScope),
    /// Send a Reject; the exchange has ended.
    Reject(RejectReason),
}

/// A Text Response without its sequence numbers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TextPiece {
    /// F: the exchange has ended.
    pub last: bool,
    /// C: the text goes on in the next response.
    pub continues: bool,
    /// As in the request.
    pub lun: [u8; 8],
    /// As in the request.
    pub itt: Itt,
    /// Target transfer tag for the next request; `None` if the exchange has ended.
    pub ttt: Option<Ttt>,
    /// The data segment.
    pub text: Bytes,
}

impl TextPiece {
    /// The PDU's header, with the numbers of its connection and session.
    pub fn response(&self, stat_sn: StatSn, exp_cmd_sn: CmdSn, max_cmd_sn: CmdSn) -> TextResponse {
        TextResponse {
            last: self.last,
            continues: self.continues,
            lun: self.lun,
            itt: self.itt,
            ttt: self.ttt,
            stat_sn,
            exp_cmd_sn,
            max_cmd_sn,
        }
    }
}

#[derive(Debug)]
enum State {
    Idle,
    /// The request goes on in the next PDU.
    Gathering {
        call: Call,
        ttt: Ttt,
        text: BytesMut,
    },
    /// The targets are still to be given.
    Asking {
        call: Call,
        answer: TextBuilder,
    },
    /// The answer goes on in the next response.
    Sending {
        call: Call,
        ttt: Ttt,
        rest: Bytes,
    },
    /// Answered; the initiator continues with another request.
    Open {
        call: Call,
        ttt: Ttt,
    },
}

/// The fields of a request that its response repeats.
#[derive(Clone, Copy, Debug)]
struct Call {
    itt: Itt,
    lun: [u8; 8],
    last: bool,
}

impl TextExchange {
    /// The exchanges of a connection in the full feature phase, with the parameters of its login.
    pub fn new(session: TextSession, params: SessionParams, connection: ConnectionParams) -> Self {
        Self { session, params, connection, last_ttt: 0, state: State::Idle }
    }

    /// A Text Request and its data segment.
    pub fn receive(&mut self, request: &TextRequest, data: &[u8]) -> TextStep {
        let call = Call { itt: request.itt, lun: request.lun, last: request.last };
        match (std::mem::replace(&mut self.state, State::Idle), request.ttt) {
            // One exchange at a time: the targets are for the first.
            (asking @ State::Asking { .. }, _) => {
                self.state = asking;
                TextStep::Reject(RejectReason::PROTOCOL_ERROR)
            }
            // Without a tag it is a new exchange, whatever was going on (RFC 7143 11.10.4).
            (_, None) => self.gather(call, BytesMut::new(), data, request.continues),
            (State::Gathering { call: begun, ttt, text }, Some(tag))
                if begun.itt == call.itt && ttt == tag =>
            {
                self.gather(call, text, data, request.continues)
            }
            (State::Open { call: begun, ttt }, Some(tag)) if begun.itt == call.itt && ttt == tag => {
                self.gather(call, BytesMut::new(), data, request.continues)
            }
            (State::Sending { call: begun, ttt, rest }, Some(tag)) if begun.itt == call.itt && ttt == tag => {
                if data.is_empty() && !request.continues {
                    TextStep::Send(self.send(call, rest))
                } else {
                    self.reject(RejectReason::PROTOCOL_ERROR)
                }
            }
            _ => self.reject(RejectReason::INVALID_PDU_FIELD),
        }
    }

    /// Gives the targets that were asked for. Returns `None` if the exchange has ended meanwhile.
    pub fn targets(&mut self, targets: &TargetList) -> Option<TextPiece> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Asking { call, answer } => {
                let answer = answer.finish();
                let text = if answer.is_empty() {
                    targets.text().clone()
                } else {
                    [&answer[..], &targets.text()[..]].concat().into()
                };
                Some(self.send(call, text))
            }
            other => {
                self.state = other;
                None
            }
        }
    }

    /// Whether the exchange waits for [`TextExchange::targets`].
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::Asking { .. })
    }

    /// The connection's present parameters. The peer may have declared another MaxRecvDataSegmentLength, which applies to
    /// all PDUs sent from now on.
    pub fn connection(&self) -> ConnectionParams {
        self.connection
    }

    /// Ends the present exchange, because its request is rejected elsewhere.
    pub fn reset(&mut self) {
        self.state = State::Idle;
    }

    fn reject(&mut self, reason: RejectReason) -> TextStep {
        self.state = State::Idle;
        TextStep::Reject(reason)
    }

    fn gather(&mut self, call: Call, mut text: BytesMut, data: &[u8], continues: bool) -> TextStep {
        if data.len() > limits::TEXT_REQUEST_LEN_MAX.saturating_sub(text.len()) {
            return self.reject(RejectReason::PROTOCOL_ERROR);
        }
        text.extend_from_slice(data);
        if !continues {
            return self.evaluate(call, &text);
        }
        let ttt = self.next_ttt();
        self.state = State::Gathering { call, ttt, text };
        TextStep::Send(piece(call, Some(ttt), Bytes::new()))
    }

    fn evaluate(&mut self, call: Call, request: &[u8]) -> TextStep {
        let limits = TextLimits { text_len_max: limits::TEXT_REQUEST_LEN_MAX, ..TextLimits::default() };
        let session_type = match self.session {
            TextSession::Discovery => SessionType::Discovery,
            TextSession::Normal(_) => SessionType::Normal,
        };
        let wishes = Preferences::default();
        let mut keys =
            Negotiation::full_feature(Role::Target, wishes, session_type, self.params, self.connection);
        let mut answer = TextBuilder::new();
        let mut wanted = None;
        for pair in text::pairs(request, &limits) {
            let Ok((name, value)) = pair else { return self.reject(RejectReason::PROTOCOL_ERROR) };
            match keys.receive(name, value, &mut answer) {
                Ok(Event::Request(Key::SendTargets)) => match self.scope(value) {
                    Some(scope) => wanted = Some(scope),
                    None => answer.pair(name, text::REJECT),
                },
                Ok(Event::Request(_)) => answer.pair(name, text::REJECT),
                Ok(_) => {}
                Err(_) => return self.reject(RejectReason::PROTOCOL_ERROR),
            }
        }
        self.connection = keys.connection();
        match wanted {
            Some(scope) => {
                self.state = State::Asking { call, answer };
                TextStep::SendTargets(scope)
            }
            None => TextStep::Send(self.send(call, answer.finish())),
        }
    }

    /// The meaning of a value of SendTargets in this session; `None`: the session must not ask for it.
    fn scope(&self, value: &str) -> Option<SendTargetsScope> {
        match (&self.session, value) {
            (TextSession::Discovery, "All") => Some(SendTargetsScope::All),
            (TextSession::Discovery, _) => IscsiName::parse_any(value).ok().map(SendTargetsScope::Named),
            (TextSession::Normal(own), "") => Some(SendTargetsScope::Named(own.clone())),
            (TextSession::Normal(own), _) => {
                IscsiName::parse_any(value).ok().filter(|name| name == own).map(SendTargetsScope::Named)
            }
        }
    }

    fn send(&mut self, call: Call, mut answer: Bytes) -> TextPiece {
        let text = split_first(&mut answer, self.connection.max_xmit_data_segment_len);
        if answer.is_empty() && call.last {
            self.state = State::Idle;
            return TextPiece { last: true, ..piece(call, None, text) };
        }
        let ttt = self.next_ttt();
        let continues = !answer.is_empty();
        self.state =
            if continues { State::Sending { call, ttt, rest: answer } } else { State::Open { call, ttt } };
        TextPiece { continues, ..piece(call, Some(ttt), text) }
    }

    fn next_ttt(&mut self) -> Ttt {
        // All values but the reserved one.
        self.last_ttt = (self.last_ttt + 1) % u32::MAX;
        Ttt(self.last_ttt)
    }
}

fn piece(call: Call, ttt: Option<Ttt>, text: Bytes) -> TextPiece {
    TextPiece { last: false, continues: false, lun: call.lun, itt: call.itt, ttt, text }
}

/// Splits off what fits into one data segment: whole pairs if one fits, for peers that parse each response by itself.
pub(super) fn split_first(text: &mut Bytes, len_max: u32) -> Bytes {
    let len_max = len_max as usize;
    if text.len() <= len_max {
        return std::mem::take(text);
    }
    let pairs_end = text[..len_max].iter().rposition(|byte| *byte == 0).map(|nul| nul + 1);
    text.split_to(pairs_end.unwrap_or(len_max))
}

#[cfg(test)]
mod tests {
    use super::super::login::TargetRecord;
    use super::*;

    const REQUEST: TextRequest = TextRequest {
        immediate: false,
        last: true,
        continues: false,
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        itt: Itt(7),
        ttt: None,
        cmd_sn: CmdSn(1),
        exp_stat_sn: StatSn(1),
    };

    fn own() -> IscsiName {
        IscsiName::parse("iqn.2026-01.org.example:own").unwrap()
    }

    fn exchange(session: TextSession) -> TextExchange {
        TextExchange::new(session, SessionParams::default(), ConnectionParams::default())
    }

    fn normal() -> TextExchange {
        exchange(TextSession::Normal(own()))
    }

    fn sent(step: TextStep) -> TextPiece {
        match step {
            TextStep::Send(piece) => piece,
            other => panic!("not a response but {other:?}"),
        }
    }

    #[test]
    fn what_may_be_asked_for_depends_on_the_session() {
        let named = |name: &str| Some(SendTargetsScope::Named(IscsiName::parse(name).unwrap()));
        let cases = [
            (TextSession::Discovery, "All", Some(SendTargetsScope::All)),
            (TextSession::Discovery, "iqn.2026-01.org.example:a", named("iqn.2026-01.org.example:a")),
            (TextSession::Discovery, "", None),
            (TextSession::Discovery, "a b", None),
            (TextSession::Normal(own()), "", named("iqn.2026-01.org.example:own")),
            (TextSession::Normal(own()), "iqn.2026-01.org.example:own", named("iqn.2026-01.org.example:own")),
            (TextSession::Normal(own()), "iqn.2026-01.org.example:a", None),
            (TextSession::Normal(own()), "All", None),
        ];
        for (session, value, scope) in cases {
            let mut exchange = exchange(session.clone());
            let step = exchange.receive(&REQUEST, format!("SendTargets={value}\0").as_bytes());
            match scope {
                Some(scope) => assert_eq!(step, TextStep::SendTargets(scope), "{session:?} {value}"),
                None => assert_eq!(sent(step).text, &b"SendTargets=Reject\0"[..], "{session:?} {value}"),
            }
        }
    }

    #[test]
    fn answers_repeat_tag_and_lun_and_end_with_the_request() {
        let mut exchange = normal();
        let piece = sent(exchange.receive(&REQUEST, b"X-a=1\0MaxBurstLength=512\0InitiatorAlias=me\0"));
        assert_eq!(piece.text, &b"X-a=NotUnderstood\0MaxBurstLength=Reject\0"[..]);
        assert_eq!((piece.last, piece.continues, piece.ttt), (true, false, None));
        assert_eq!((piece.itt, piece.lun), (REQUEST.itt, REQUEST.lun));
    }

    #[test]
    fn an_exchange_stays_open_until_the_initiator_ends_it() {
        let mut exchange = normal();
        let piece = sent(exchange.receive(&TextRequest { last: false, ..REQUEST }, b"X-a=1\0"));
        assert_eq!((piece.last, piece.continues), (false, false));
        let again = TextRequest { ttt: piece.ttt, ..REQUEST };
        assert!(piece.ttt.is_some());
        let piece = sent(exchange.receive(&again, b"X-b=1\0"));
        assert_eq!((piece.last, piece.ttt, &piece.text[..]), (true, None, &b"X-b=NotUnderstood\0"[..]));
        // Its tag is not valid any more.
        assert_eq!(exchange.receive(&again, b""), TextStep::Reject(RejectReason::INVALID_PDU_FIELD));
    }

    #[test]
    fn a_request_may_go_on_over_several_pdus() {
        let mut exchange = normal();
        let mut ttt = None;
        for piece in [&b"X-a"[..], b"", b"=1\0X-"] {
            let request = TextRequest { last: false, continues: true, ttt, ..REQUEST };
            let answer = sent(exchange.receive(&request, piece));
            assert_eq!((answer.last, answer.continues, &answer.text[..]), (false, false, &b""[..]));
            assert!(answer.ttt.is_some() && answer.ttt != ttt);
            ttt = answer.ttt;
        }
        let answer = sent(exchange.receive(&TextRequest { ttt, ..REQUEST }, b"b=2\0"));
        assert_eq!(answer.text, &b"X-a=NotUnderstood\0X-b=NotUnderstood\0"[..]);
    }

    #[test]
    fn a_request_is_bounded_in_all() {
        let mut exchange = normal();
        let mut ttt = None;
        let piece = [b'x'; 8192];
        for _ in 0..limits::TEXT_REQUEST_LEN_MAX / piece.len() {
            let request = TextRequest { last: false, continues: true, ttt, ..REQUEST };
            ttt = sent(exchange.receive(&request, &piece)).ttt;
        }
        let request = TextRequest { ttt, ..REQUEST };
        assert_eq!(exchange.receive(&request, b"x"), TextStep::Reject(RejectReason::PROTOCOL_ERROR));
    }

    #[test]
    fn asking_for_the_rest_says_nothing_else() {
        let mut exchange = exchange(TextSession::Discovery);
        exchange.connection.max_xmit_data_segment_len = 512;
        let records = TargetList::new((0..50).map(|_| TargetRecord { name: own(), addresses: vec![] }));
        exchange.receive(&REQUEST, b"SendTargets=All\0");
        let piece = exchange.targets(&records).unwrap();
        assert!(piece.continues && !piece.last && piece.text.ends_with(b"\0"));
        assert_eq!(exchange.targets(&records), None);
        let next = TextRequest { ttt: piece.ttt, ..REQUEST };
        assert_eq!(exchange.receive(&next, b"X-a=1\0"), TextStep::Reject(RejectReason::PROTOCOL_ERROR));
        assert_eq!(exchange.receive(&next, b""), TextStep::Reject(RejectReason::INVALID_PDU_FIELD));
    }

    #[test]
    fn tags_must_be_those_of_the_exchange() {
        for (itt, ttt_delta) in [(Itt(8), 0), (REQUEST.itt, 1)] {
            let mut exchange = normal();
            let piece = sent(exchange.receive(&TextRequest { last: false, ..REQUEST }, b""));
            let ttt = piece.ttt.map(|ttt| Ttt(ttt.0 + ttt_delta));
            let stray = TextRequest { itt, ttt, ..REQUEST };
            assert_eq!(exchange.receive(&stray, b""), TextStep::Reject(RejectReason::INVALID_PDU_FIELD));
        }
    }

    #[test]
    fn a_request_without_a_tag_begins_a_new_exchange_unless_targets_are_pending() {
        let mut exchange = normal();
        sent(exchange.receive(&TextRequest { last: false, continues: true, ..REQUEST }, b"X-a=1\0"));
        assert_eq!(sent(exchange.receive(&REQUEST, b"X-b=1\0")).text, &b"X-b=NotUnderstood\0"[..]);

        exchange.receive(&REQUEST, b"SendTargets=\0");
        assert!(exchange.is_asking());
        assert_eq!(exchange.receive(&REQUEST, b"X-b=1\0"), TextStep::Reject(RejectReason::PROTOCOL_ERROR));
        assert!(exchange.targets(&TargetList::default()).unwrap().last);
    }

    #[test]
    fn the_peer_may_declare_another_segment_length() {
        let mut exchange = normal();
        let piece = sent(exchange.receive(&REQUEST, b"MaxRecvDataSegmentLength=1024\0"));
        assert_eq!((piece.last, &piece.text[..]), (true, &b""[..]));
        assert_eq!(exchange.connection().max_xmit_data_segment_len, 1024);
        let step = exchange.receive(&REQUEST, b"MaxRecvDataSegmentLength=511\0");
        assert_eq!(step, TextStep::Reject(RejectReason::PROTOCOL_ERROR));
        assert_eq!(exchange.connection().max_xmit_data_segment_len, 1024);
    }

    #[test]
    fn what_holds_may_be_inquired() {
        let piece = sent(normal().receive(&REQUEST, b"MaxBurstLength=?\0"));
        assert_eq!(piece.text, &b"MaxBurstLength=262144\0"[..]);
    }

    #[test]
    fn what_is_no_text_is_rejected() {
        for bad in [&b"no equals sign"[..], b"SendTargets=\0SendTargets=\0", b"X-a=\xff\0"] {
            assert_eq!(normal().receive(&REQUEST, bad), TextStep::Reject(RejectReason::PROTOCOL_ERROR));
        }
    }

    #[test]
    fn text_is_cut_after_a_pair_where_one_fits() {
        let mut text = Bytes::from_static(b"a=1\0bb=22\0");
        assert_eq!(split_first(&mut text, 9), &b"a=1\0"[..]);
        assert_eq!(split_first(&mut text, 4), &b"bb=2"[..]);
        assert_eq!(split_first(&mut text, 4), &b"2\0"[..]);
        assert_eq!(split_first(&mut text, 4), &b""[..]);
    }
}
