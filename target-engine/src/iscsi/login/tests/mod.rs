//! Logins as traces: a little initiator speaks, in pieces of 1, 47, 48, 49 bytes and all at once, and what the
//! target says is compared line by line.

mod bounds;
mod chap;
mod operational;
mod refusals;
mod stages;

use std::time::{Duration, Instant};

use bytes::BytesMut;
use iscsi_proto::chap::Secret;
use iscsi_proto::frame::{self, Cut, Digests, Limits};
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{BHS_LEN, Bhs, LoginRequest, LoginResponse, set_lengths};
use iscsi_proto::sn::{CmdSn, StatSn};

use super::*;

pub(crate) const SECURITY: Stage = Stage::SecurityNegotiation;
pub(crate) const OPERATIONAL: Stage = Stage::OperationalNegotiation;
pub(crate) const FULL: Stage = Stage::FullFeature;

/// The template of all requests: leading login, security stage, no transit.
pub(crate) const REQUEST: LoginRequest = LoginRequest {
    next: None,
    continues: false,
    stage: SECURITY,
    version_max: 0,
    version_min: 0,
    isid: Isid([0x00, 0x02, 0x3d, 0, 0, 1]),
    tsih: Tsih::NEW,
    itt: Itt(0x17),
    cid: Cid(3),
    cmd_sn: CmdSn(500),
    exp_stat_sn: StatSn(70),
};

pub(crate) const INITIATOR: &str = "InitiatorName=iqn.2026-01.org.example:host";
pub(crate) const TARGET: &str = "TargetName=iqn.2026-01.org.example:disk";
pub(crate) const DISCOVERY: &str = "SessionType=Discovery";

/// The sizes of the pieces in which bytes arrive.
pub(crate) const CHUNKS: [usize; 5] = [1, 47, 48, 49, usize::MAX];

/// Runs a trace once for each size of pieces.
pub(crate) fn each_chunk(trace: impl Fn(&mut Peer)) {
    for chunk in CHUNKS {
        trace(&mut Peer::new(chunk, LoginConfig::default()));
    }
}

/// The initiator's side of one login, and the configuration that is asked.
pub(crate) struct Peer {
    pub(crate) login: Login,
    pub(crate) now: Instant,
    chunk: usize,
    inbox: BytesMut,
    events: VecDeque<LoginEvent>,
    /// The accounts that were asked for.
    pub(crate) asked_for: Vec<String>,
    shown_names: String,
}

impl Peer {
    pub(crate) fn new(chunk: usize, config: LoginConfig) -> Self {
        let now = Instant::now();
        Self {
            login: Login::new(config, now),
            now,
            chunk,
            inbox: BytesMut::new(),
            events: VecDeque::new(),
            asked_for: Vec::new(),
            shown_names: String::new(),
        }
    }

    pub(crate) fn send(&mut self, request: LoginRequest, pairs: &[&str]) {
        self.send_text(request, &text(pairs));
    }

    pub(crate) fn send_text(&mut self, request: LoginRequest, text: &[u8]) {
        let mut bhs = [0; BHS_LEN];
        request.encode(&mut bhs);
        self.send_pdu(&bhs, text);
    }

    pub(crate) fn send_pdu(&mut self, bhs: &Bhs, data: &[u8]) {
        let mut wire = BytesMut::new();
        frame::encode_pdu(&mut wire, bhs, &[], data, Digests::default());
        self.send_bytes(&wire);
    }

    /// A header alone that announces lengths which need not come.
    pub(crate) fn send_header(&mut self, request: LoginRequest, ahs_len: usize, data_len: usize) {
        let mut bhs = [0; BHS_LEN];
        request.encode(&mut bhs);
        set_lengths(&mut bhs, ahs_len, data_len);
        self.send_bytes(&bhs);
    }

    pub(crate) fn send_bytes(&mut self, wire: &[u8]) {
        for piece in wire.chunks(self.chunk) {
            self.login.receive(piece, self.now);
            self.take_events();
        }
    }

    /// Answers the question for an account: `joe` and `jim` have theirs.
    fn take_events(&mut self) {
        while let Some(event) = self.login.poll_event() {
            match event {
                LoginEvent::Ask(Question::Account(question)) => {
                    let user = question.user;
                    let secret =
                        ["joe", "jim"].contains(&user.as_str()).then(|| format!("{user}'s secret word"));
                    self.login.answer(Answer::Account(secret.map(Secret::new)));
                    self.asked_for.push(user);
                }
                other => self.events.push_back(other),
            }
        }
    }

    /// Whether there is no event.
    pub(crate) fn is_quiet(&mut self) -> bool {
        self.take_events();
        self.events.is_empty()
    }

    pub(crate) fn recv(&mut self) -> (LoginResponse, Vec<String>) {
        self.try_recv().expect("the target has something to say")
    }

    pub(crate) fn try_recv(&mut self) -> Option<(LoginResponse, Vec<String>)> {
        let (response, data) = self.try_recv_raw()?;
        Some((response, pairs(&data)))
    }

    pub(crate) fn try_recv_raw(&mut self) -> Option<(LoginResponse, Vec<u8>)> {
        while let Some(bytes) = self.login.poll_transmit() {
            self.inbox.extend_from_slice(&bytes);
        }
        if self.inbox.is_empty() {
            return None;
        }
        let (bhs, data) = cut(&mut self.inbox);
        Some((LoginResponse::decode(&bhs).unwrap(), data))
    }

    pub(crate) fn event(&mut self) -> LoginEvent {
        self.take_events();
        self.events.pop_front().expect("something happened")
    }

    pub(crate) fn question(&mut self) -> TargetQuestion {
        match self.event() {
            LoginEvent::Ask(Question::Target(question)) => *question,
            other => panic!("not a question but {other:?}"),
        }
    }

    /// Expects a question and lets the initiator in.
    pub(crate) fn admit(&mut self, terms: TargetAnswer) {
        assert!(self.try_recv().is_none(), "answered before it was asked");
        self.question();
        self.login.answer(Answer::Target(Box::new(terms)));
    }

    /// Expects the end, with this status and no other word; after a delay if a proof has failed.
    pub(crate) fn assert_refused(&mut self, status: LoginStatus) {
        self.take_events();
        if matches!(self.events.front(), Some(LoginEvent::ProofFailed)) {
            self.events.pop_front();
            assert!(self.try_recv().is_none(), "refused without delay");
            self.now = self.login.poll_timeout().expect("the refusal is due");
            self.login.handle_timeout(self.now);
        }
        let (response, text) = self.recv();
        assert_eq!((response.status, text), (status, vec![]));
        assert_eq!((response.next, response.continues), (None, false));
        assert!(!self.login.why().is_empty(), "a refusal has a reason");
        self.assert_closed(CloseReason::Refused(status));
    }

    /// Names and reason of a refusal, as the log shows them.
    pub(crate) fn reason(&mut self) -> (&str, &str) {
        self.shown_names = self.login.names().to_string();
        (&self.shown_names, self.login.why())
    }

    pub(crate) fn assert_closed(&mut self, expected: CloseReason) {
        match self.event() {
            LoginEvent::Closed(reason) => assert_eq!(reason, expected),
            other => panic!("not closed but {other:?}"),
        }
        assert!(self.try_recv().is_none() && self.is_quiet());
        assert_eq!(self.login.poll_timeout(), None);
    }

    pub(crate) fn logged_in(&mut self) -> LoggedIn {
        assert!(self.try_recv().is_none(), "the last response is not the login's to send");
        match self.event() {
            LoginEvent::Attach(logged_in) => *logged_in,
            other => panic!("not logged in but {other:?}"),
        }
    }
}

pub(crate) fn open() -> TargetAnswer {
    TargetAnswer { keys: Preferences::default(), auth: AuthRequirement::None, portal_group_tag: 1 }
}

pub(crate) fn text(pairs: &[&str]) -> Vec<u8> {
    pairs.iter().flat_map(|pair| pair.bytes().chain([0])).collect()
}

pub(crate) fn pairs(text: &[u8]) -> Vec<String> {
    assert!(text.is_empty() || text.ends_with(&[0]), "pairs end with NUL");
    let pairs = text.split_inclusive(|byte| *byte == 0);
    pairs.map(|pair| String::from_utf8(pair[..pair.len() - 1].to_vec()).unwrap()).collect()
}

/// One whole PDU off the front.
pub(crate) fn cut(wire: &mut BytesMut) -> (Bhs, Vec<u8>) {
    let limits = Limits { max_data_len: 8192, max_ahs_len: 0 };
    let (bhs, data_len, wire_len) = match frame::cut(wire, Digests::default(), &limits).unwrap() {
        Cut::Header(header) => (*header.bhs, header.data_len, header.wire_len),
        Cut::More(_) => panic!("half a PDU: {wire:?}"),
    };
    let pdu = wire.split_to(wire_len);
    (bhs, pdu[BHS_LEN..BHS_LEN + data_len].to_vec())
}

pub(crate) fn later(now: Instant, seconds: u64) -> Instant {
    now + Duration::from_secs(seconds)
}
