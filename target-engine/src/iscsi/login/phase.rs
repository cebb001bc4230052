//! The login phase as a sequence of requests and responses: fields that must stay the same in all of them, stages and
//! transitions, text over several PDUs, and the final response.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use iscsi_proto::chap::Secret;
use iscsi_proto::frame::{self, Cut, Digests, FrameError, Limits};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::params::{SessionParams, SessionType};
use iscsi_proto::pdu::{BHS_LEN, Bhs, LoginRequest, LoginResponse};
use iscsi_proto::sn::StatSn;
use iscsi_proto::text::keys::{Key, Role, Rule};
use iscsi_proto::text::negotiate::{Event, Negotiation, NegotiationError};
use iscsi_proto::text::{REJECT, TextBuilder, TextError, TextLimits};

use super::names::{LoginNames, Names, VALUE_SHOWN_MAX, shown};
use super::question::{Question, Refusal, TargetAnswer};
use super::security::Security;
use super::{CloseReason, LoggedIn, LoginConfig, operational, wire};
use crate::iscsi::discovery::DiscoveryStart;
use crate::iscsi::text_exchange::split_first;

/// The result of a request or an answer.
pub(super) enum Verdict {
    /// Send this response; the login goes on.
    Respond(Bytes),
    /// Ask this question; the login waits.
    Ask(Question),
    /// The login of a normal session is complete.
    Attach(Box<LoggedIn>),
    /// The login of a discovery session is complete; its final response is sent first.
    Discovery(Bytes, Box<DiscoveryStart>),
    /// The login is refused with this response.
    Refuse(Bytes, Refusal),
    /// The login ends without a response.
    Close(CloseReason),
}

impl From<CloseReason> for Verdict {
    fn from(reason: CloseReason) -> Self {
        Self::Close(reason)
    }
}

/// The state of a login between its requests.
pub(super) struct Phase {
    config: LoginConfig,
    pdus: u32,
    text_len: usize,
    /// The request to be answered next. Its constant fields are those of the whole login.
    request: Option<LoginRequest>,
    stage: Stage,
    next_stat_sn: StatSn,
    /// The text of requests with the C bit set.
    text: BytesMut,
    /// The rest of an answer that is too long for one response.
    outgoing: Option<Outgoing>,
    names: Option<Names>,
    declared: Option<LoginNames>,
    /// Set by the answer to the question.
    terms: Option<(TargetAnswer, Negotiation)>,
    /// The first text was answered.
    introduced: bool,
    security: Security,
}

struct Outgoing {
    rest: Bytes,
    next: Option<Stage>,
}

impl Phase {
    pub(super) fn new(config: LoginConfig) -> Self {
        Self {
            config,
            pdus: 0,
            text_len: 0,
            request: None,
            stage: Stage::SecurityNegotiation,
            next_stat_sn: StatSn(0),
            text: BytesMut::new(),
            outgoing: None,
            names: None,
            declared: None,
            terms: None,
            introduced: false,
            security: Security::new(),
        }
    }

    /// Takes the next PDU from `received`, once it is complete.
    pub(super) fn read(&mut self, received: &mut BytesMut) -> Option<Verdict> {
        let opcode = received.first()? & 0x3f;
        if opcode != LoginRequest::OPCODE {
            return Some(self.not_a_login(opcode));
        }
        let limits = Limits { max_data_len: self.config.pdu_data_len_max, max_ahs_len: 0 };
        let (bhs, data_len, wire_len) = match frame::cut(received, Digests::default(), &limits) {
            Ok(Cut::More(_)) => return None,
            Ok(Cut::Header(header)) if header.wire_len > received.len() => return None,
            Ok(Cut::Header(header)) => (*header.bhs, header.data_len, header.wire_len),
            Err(error) => return Some(self.unframed(received, error)),
        };
        let mut data = received.split_to(wire_len);
        data.advance(BHS_LEN);
        data.truncate(data_len);
        Some(self.receive(&bhs, &data))
    }

    /// Resumes the request that had to ask.
    pub(super) fn resume(&mut self, mut terms: TargetAnswer) -> Verdict {
        let session_type = self.names.as_ref().map_or(SessionType::Normal, |names| names.session_type);
        if session_type == SessionType::Discovery {
            // Its requests are few and short.
            terms.keys.max_recv_data_segment_len = DEFAULT_SEGMENT_LEN;
        }
        let joins = self.request.is_some_and(|request| !request.tsih.is_new());
        let mut negotiation = if joins {
            // The owner of the session has its parameters; they do not change.
            Negotiation::joining(Role::Target, terms.keys, SessionParams::default())
        } else {
            Negotiation::new(Role::Target, terms.keys)
        };
        // The key may follow others that depend on it.
        negotiation.set_session_type(session_type);
        self.terms = Some((terms, negotiation));
        let verdict = self.negotiate();
        self.or_refuse(verdict)
    }

    /// Resumes the request that named an account; `None`: the initiator cannot authenticate with it.
    pub(super) fn resume_with_secret(&mut self, secret: Option<Secret>) -> Verdict {
        self.security.set_secret(secret);
        let verdict = self.negotiate();
        self.or_refuse(verdict)
    }

    /// Ends the login with a status, and with another address in the case of a redirection.
    pub(super) fn refuse(&mut self, refusal: Refusal) -> Verdict {
        let Some(response) = self.response(None, false) else { return CloseReason::Malformed.into() };
        let mut text = TextBuilder::new();
        if let Some(address) = &refusal.target_address {
            text.pair("TargetAddress", address);
        }
        Verdict::Refuse(wire::encode(&wire::refusal(&response, refusal.status), &text.finish()), refusal)
    }

    /// The names in the first request; `Some` once.
    pub(super) fn take_declared(&mut self) -> Option<LoginNames> {
        self.declared.take()
    }

    fn or_refuse(&mut self, verdict: Result<Verdict, Refusal>) -> Verdict {
        verdict.unwrap_or_else(|refusal| self.refuse(refusal))
    }

    /// Bytes that are no PDU: before the first request the connection is closed, later the login is refused.
    fn not_a_login(&mut self, opcode: u8) -> Verdict {
        if self.request.is_none() {
            return CloseReason::NotALogin(opcode).into();
        }
        let why = format!("opcode {opcode:#04x} during login");
        self.refuse(Refusal::because(LoginStatus::InvalidDuringLogin, why))
    }

    /// A login request whose lengths are out of bounds.
    fn unframed(&mut self, received: &[u8], error: FrameError) -> Verdict {
        let Some(bhs) = received.first_chunk() else { return CloseReason::Malformed.into() };
        self.remember_for_refusal(bhs);
        self.or_refuse(broken(error.to_string()))
    }

    /// The fields of a malformed request that a response needs.
    fn remember_for_refusal(&mut self, bhs: &Bhs) {
        if self.request.is_none() {
            let mut plain = *bhs;
            plain[1] = 0;
            self.request = LoginRequest::decode(&plain).ok();
        }
    }

    fn receive(&mut self, bhs: &Bhs, data: &[u8]) -> Verdict {
        let verdict = match LoginRequest::decode(bhs) {
            Ok(request) => self.admit(request).and_then(|()| self.take(request, data)),
            Err(error) => {
                self.remember_for_refusal(bhs);
                broken(error.to_string())
            }
        };
        self.or_refuse(verdict)
    }

    /// Whether a request belongs to this login, and to its stage.
    fn admit(&mut self, request: LoginRequest) -> Result<(), Refusal> {
        let Some(before) = self.request.replace(request) else {
            self.next_stat_sn = request.exp_stat_sn;
            self.stage = request.stage;
            if request.version_min > VERSION {
                let why = format!("VersionMin {}: expected {VERSION}", request.version_min);
                return Err(Refusal::because(LoginStatus::UnsupportedVersion, why));
            }
            return if request.stage == Stage::FullFeature {
                broken("CSG: a login begins in an earlier stage than FullFeaturePhase")
            } else {
                legal_transit(&request)
            };
        };
        // The refusal has the tags of the login that it ends.
        self.request = Some(LoginRequest { stage: self.stage, ..before });
        if let Some(field) = changed_field(&before, &request) {
            return broken(format!("{field} changes during login"));
        }
        if request.stage != self.stage {
            return broken(format!("CSG {}: expected {}", request.stage, self.stage));
        }
        self.request = Some(request);
        legal_transit(&request)
    }

    /// Collects text until it is complete.
    fn take(&mut self, request: LoginRequest, data: &[u8]) -> Result<Verdict, Refusal> {
        self.pdus += 1;
        self.text_len += data.len();
        let LoginConfig { pdus_max, text_len_max, .. } = self.config;
        if self.pdus > pdus_max {
            return broken(format!("more than {pdus_max} requests"));
        }
        if self.text_len > text_len_max {
            return broken(format!("more than {text_len_max} bytes of text"));
        }
        if let Some(outgoing) = self.outgoing.take() {
            // The initiator may only ask for the rest (RFC 7143 6.2).
            return if data.is_empty() && !request.continues {
                self.send(outgoing.rest, outgoing.next)
            } else {
                broken("text, or the C bit, before the target's own text is sent whole")
            };
        }
        self.text.extend_from_slice(data);
        if request.continues {
            return self.send(Bytes::new(), None);
        }
        let pairs = parse(&self.text)?;
        if let Some(names) = &self.names {
            return match self.security.named_account(&pairs) {
                Some(user) => Ok(Verdict::Ask(names.account_question(user))),
                None => self.negotiate(),
            };
        }
        self.declared = Some(LoginNames::declared(&pairs));
        let names = Names::of_first_request(&pairs)?;
        let question = names.question(&request)?;
        self.names = Some(names);
        Ok(Verdict::Ask(question))
    }

    /// Answers one complete text.
    fn negotiate(&mut self) -> Result<Verdict, Refusal> {
        let received = self.text.split().freeze();
        let pairs = parse(&received)?;
        let (Some(request), Some(names), Some((terms, negotiation))) =
            (&self.request, &mut self.names, &mut self.terms)
        else {
            return Err(lost());
        };
        let mut answer = TextBuilder::new();
        if !std::mem::replace(&mut self.introduced, true) && names.session_type == SessionType::Normal {
            answer.pair("TargetPortalGroupTag", terms.portal_group_tag);
        }
        let in_security = self.stage == Stage::SecurityNegotiation;
        let mut proofs = Vec::new();
        for (name, value) in pairs {
            if in_security && operational::is_operational(name) {
                answer.pair(name, REJECT);
                continue;
            }
            match negotiation.receive(name, value, &mut answer).map_err(|error| wrong_key(error, value))? {
                Event::Declared(key) => names.declared(key, value)?,
                Event::Security(key) if in_security => proofs.push((key, value)),
                Event::Security(_) | Event::Request(_) => answer.pair(name, REJECT),
                // The target offers only keys that it needs.
                Event::Refused(key) => return broken(format!("{key}: the target's offer is rejected")),
                Event::Answered(_) | Event::Settled(_) | Event::Unknown => {}
            }
        }
        let ready = if in_security {
            self.security.negotiate(&terms.auth, &proofs, request.next, &mut answer)?
        } else if self.security.is_passed(&terms.auth) {
            operational::declare(negotiation, &mut answer);
            if request.next.is_some() {
                operational::offer_the_necessary(negotiation, &terms.keys, &mut answer);
            }
            negotiation.pending().is_empty()
        } else {
            return Err(Refusal::because(
                LoginStatus::AuthenticationFailure,
                "AuthMethod: the security stage is skipped, and a proof is required",
            ));
        };
        let next = request.next.filter(|_| ready);
        self.send(answer.finish(), next)
    }

    /// Sends as much of an answer as one PDU may hold; the last piece may transit to the next stage.
    fn send(&mut self, mut answer: Bytes, next: Option<Stage>) -> Result<Verdict, Refusal> {
        let declared = self.terms.as_ref().map(|(_, so_far)| so_far.connection().max_xmit_data_segment_len);
        let text = split_first(&mut answer, declared.unwrap_or(DEFAULT_SEGMENT_LEN).min(DEFAULT_SEGMENT_LEN));
        let continues = !answer.is_empty();
        let next = if continues {
            self.outgoing = Some(Outgoing { rest: answer, next });
            None
        } else {
            next
        };
        let response = self.response(next, continues).ok_or_else(lost)?;
        self.next_stat_sn = self.next_stat_sn.next();
        match next {
            Some(Stage::FullFeature) => self.finish(response, text),
            next => {
                self.stage = next.unwrap_or(self.stage);
                Ok(Verdict::Respond(wire::encode(&response, &text)))
            }
        }
    }

    fn finish(&mut self, response: LoginResponse, text: Bytes) -> Result<Verdict, Refusal> {
        let (Some(request), Some(names), Some((terms, negotiation))) =
            (self.request, self.names.take(), self.terms.take())
        else {
            return Err(lost());
        };
        let (session, connection) = (negotiation.session(), negotiation.connection());
        let Some(target_name) = names.target_name.filter(|_| names.session_type == SessionType::Normal)
        else {
            let response = LoginResponse { tsih: self.config.discovery_tsih, ..response };
            let start = DiscoveryStart {
                initiator_name: names.initiator_name,
                chap_user: self.security.take_user(),
                cid: request.cid,
                connection,
                next_cmd_sn: request.cmd_sn,
                next_stat_sn: self.next_stat_sn,
                idle: self.config.discovery_idle,
            };
            return Ok(Verdict::Discovery(wire::encode(&response, &text), Box::new(start)));
        };
        Ok(Verdict::Attach(Box::new(LoggedIn {
            initiator_name: names.initiator_name,
            initiator_alias: names.initiator_alias,
            target_name,
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
            chap_user: self.security.take_user(),
            session,
            connection,
            portal_group_tag: terms.portal_group_tag,
            response,
            response_text: text,
            next_cmd_sn: request.cmd_sn,
            next_stat_sn: self.next_stat_sn,
            unread: Bytes::new(),
            received: 0,
            sent: 0,
        })))
    }

    fn response(&self, next: Option<Stage>, continues: bool) -> Option<LoginResponse> {
        let request = self.request?;
        Some(LoginResponse {
            next,
            continues,
            stage: self.stage,
            version_max: VERSION,
            version_active: VERSION,
            isid: request.isid,
            tsih: request.tsih,
            itt: request.itt,
            stat_sn: self.next_stat_sn,
            // A login is immediate: the first command has its CmdSN (RFC 7143 11.12.8).
            exp_cmd_sn: request.cmd_sn,
            max_cmd_sn: request.cmd_sn,
            status: LoginStatus::Success,
        })
    }
}

fn parse(text: &[u8]) -> Result<Vec<(&str, &str)>, Refusal> {
    let pairs: Result<_, TextError> = iscsi_proto::text::pairs(text, &TextLimits::default()).collect();
    pairs.or_else(|error| broken(error.to_string()))
}

fn legal_transit(request: &LoginRequest) -> Result<(), Refusal> {
    match request.next {
        Some(next) if !request.stage.may_transit_to(next) => {
            broken(format!("NSG {next} does not follow CSG {}", request.stage))
        }
        _ => Ok(()),
    }
}

/// The first field of a request that differs from the one before and must not.
fn changed_field(before: &LoginRequest, request: &LoginRequest) -> Option<&'static str> {
    let fields = [
        ("ISID", before.isid != request.isid),
        ("TSIH", before.tsih != request.tsih),
        ("Initiator Task Tag", before.itt != request.itt),
        ("CID", before.cid != request.cid),
        // Other connections of an existing session may have advanced CmdSN (RFC 7143 11.12.8).
        ("CmdSN", before.tsih.is_new() && before.cmd_sn != request.cmd_sn),
        ("VersionMax", before.version_max != request.version_max),
        ("VersionMin", before.version_min != request.version_min),
    ];
    fields.into_iter().find_map(|(name, has_changed)| has_changed.then_some(name))
}

fn broken<T>(why: impl Into<Cow<'static, str>>) -> Result<T, Refusal> {
    Err(Refusal::because(LoginStatus::InitiatorError, why))
}

/// The login has lost the result of an earlier request, which is a bug.
fn lost() -> Refusal {
    Refusal::because(LoginStatus::TargetError, "internal error: the login has no terms")
}

/// Names the key and its value, without values of the authentication.
fn wrong_key(error: NegotiationError, value: &str) -> Refusal {
    let (status, key) = match error {
        NegotiationError::SessionType => (LoginStatus::SessionTypeNotSupported, Some(Key::SessionType)),
        NegotiationError::Repeated(key)
        | NegotiationError::BadAnswer(key)
        | NegotiationError::BadDeclaration(key) => (LoginStatus::InitiatorError, Some(key)),
        _ => (LoginStatus::InitiatorError, None),
    };
    let shown_key = key.filter(|key| !matches!(key.row().rule, Rule::Security));
    let why = shown_key
        .map_or_else(|| error.to_string(), |key| format!("{error}: {key}={}", shown(value, VALUE_SHOWN_MAX)));
    Refusal::because(status, why)
}

/// Data bytes in one PDU of a login or of a discovery session: the default of RFC 7143 13.12.
const DEFAULT_SEGMENT_LEN: u32 = 8192;

/// The only version (RFC 7143 11.12.4).
const VERSION: u8 = 0;
