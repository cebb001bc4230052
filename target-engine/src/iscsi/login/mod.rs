//! One login, from the first byte of a connection to the full feature phase (RFC 7143 6.3, 11.12, 11.13).
//!
//! [`Login`] owns no socket and reads no clock. Give it what arrives ([`Login::receive`]), the time
//! ([`Login::handle_timeout`]) and answers ([`Login::answer`]); after each, send what [`Login::poll_transmit`] has
//! and see what [`Login::poll_event`] says. It knows nothing of targets and accounts: it asks a [`Question`] and
//! resumes by its answer, so that a slow answer delays this login only.
//!
//! A normal session's last response is left to whoever makes the session, see [`LoggedIn`].

mod attach;
#[doc(hidden)]
pub mod fuzzing;
mod names;
mod operational;
mod phase;
mod question;
mod security;
mod wire;

#[cfg(test)]
pub(in crate::iscsi) mod tests;

use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use iscsi_proto::ids::Tsih;
use iscsi_proto::login::LoginStatus;
pub use iscsi_proto::params::SessionType;
pub use iscsi_proto::text::negotiate::{DigestChoice, Preferences};

pub use self::attach::LoggedIn;
pub use self::names::LoginNames;
use self::phase::{Phase, Verdict};
pub use self::question::{
    Answer, AuthRequirement, ChapAccount, ChapTerms, Question, Refusal, SendTargetsQuestion,
    SendTargetsScope, TargetAddress, TargetAnswer, TargetQuestion, TargetRecord, challenge_from_os,
    challenger_from_os,
};
use super::discovery::Discovery;
use crate::limits;

/// What is the same for every login of a daemon.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// From the first byte to the end of the login, waiting for answers included.
    pub timeout: Duration,
    /// Data bytes in one PDU.
    pub pdu_data_len_max: u32,
    /// Text bytes in the whole login.
    pub text_len_max: usize,
    /// PDUs in the whole login.
    pub pdus_max: u32,
    /// Bytes kept while an answer is awaited.
    pub unread_len_max: usize,
    /// The handle of discovery sessions: none of theirs is ever joined, so one serves all.
    pub discovery_tsih: Tsih,
    /// A discovery session that is silent for so long is closed.
    pub discovery_idle: Duration,
}

impl Default for LoginConfig {
    fn default() -> Self {
        Self {
            timeout: limits::LOGIN_TIMEOUT,
            pdu_data_len_max: limits::LOGIN_PDU_DATA_LEN_MAX,
            text_len_max: limits::LOGIN_TEXT_LEN_MAX,
            pdus_max: limits::LOGIN_PDUS_MAX,
            unread_len_max: limits::LOGIN_UNREAD_LEN_MAX,
            discovery_tsih: Tsih(0xffff),
            discovery_idle: limits::DISCOVERY_IDLE,
        }
    }
}

/// What a login tells its driver.
#[derive(Debug)]
pub enum LoginEvent {
    /// To be answered by [`Login::answer`].
    Ask(Question),
    /// Agreed: a normal session is to be made or joined; the login is over.
    Attach(Box<LoggedIn>),
    /// Agreed: this serves the connection from here on, beginning with its `poll_transmit`; the login is over.
    Discovery(Box<Discovery>),
    /// Over: send what is left to transmit, then close.
    Closed(CloseReason),
}

/// Why a login or a discovery session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer was told why.
    #[error("login refused: {0:?}")]
    Refused(LoginStatus),
    /// Something else than a login came first.
    #[error("opcode {0:#04x} before login")]
    NotALogin(u8),
    /// The bytes are no PDU that could be answered.
    #[error("malformed PDU")]
    Malformed,
    /// More was sent than a login may need.
    #[error("peer sent too much")]
    TooMuch,
    /// The time is up.
    #[error("timed out")]
    TimedOut,
    /// The peer logged out of its discovery session.
    #[error("logged out")]
    LoggedOut,
}

/// One connection's login, as a target.
pub struct Login {
    config: LoginConfig,
    deadline: Instant,
    received: BytesMut,
    transmit: VecDeque<Bytes>,
    /// Bytes taken from the peer, and made for it.
    octets: (u64, u64),
    events: VecDeque<LoginEvent>,
    state: State,
    why: Cow<'static, str>,
    names: LoginNames,
}

enum State {
    /// Requests are read and answered.
    Talking(Box<Phase>),
    /// A question is out; what arrives is kept.
    Asking(Box<Phase>),
    Over,
}

impl Login {
    /// A login that begins now.
    pub fn new(config: LoginConfig, now: Instant) -> Self {
        Self {
            deadline: now + config.timeout,
            received: BytesMut::new(),
            transmit: VecDeque::new(),
            octets: (0, 0),
            events: VecDeque::new(),
            state: State::Talking(Box::new(Phase::new(config.clone()))),
            config,
            why: Cow::Borrowed(""),
            names: LoginNames::default(),
        }
    }

    /// Takes bytes from the peer, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.state, State::Over) || now >= self.deadline {
            return self.handle_timeout(now);
        }
        if bytes.len() > self.config.unread_len_max.saturating_sub(self.received.len()) {
            return self.close(CloseReason::TooMuch);
        }
        self.octets.0 += bytes.len() as u64;
        self.received.extend_from_slice(bytes);
        self.read();
    }

    /// The answer to the question asked last; one that was not asked for is ignored.
    pub fn answer(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(mut phase) => {
                let verdict = match answer {
                    Answer::Target(terms) => phase.resume(*terms),
                    Answer::Refuse(refusal) => phase.refuse(refusal),
                    Answer::Targets(_) => {
                        let why = "internal error: the answer is one to SendTargets";
                        phase.refuse(Refusal::because(LoginStatus::TargetError, why))
                    }
                };
                self.conclude(phase, verdict);
                self.read();
            }
            other => self.state = other,
        }
    }

    /// Bytes for the peer, in order.
    pub fn poll_transmit(&mut self) -> Option<Bytes> {
        self.transmit.pop_front()
    }

    /// What happened, in order.
    pub fn poll_event(&mut self) -> Option<LoginEvent> {
        self.events.pop_front()
    }

    /// Why it was refused, for the log; empty unless it ended by [`CloseReason::Refused`].
    pub fn why(&self) -> &str {
        &self.why
    }

    /// Who logs in where, as far as it is known, for the log.
    pub fn names(&self) -> &LoginNames {
        &self.names
    }

    /// When [`Login::handle_timeout`] is due; `None` once the login is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        (!matches!(self.state, State::Over)).then_some(self.deadline)
    }

    /// Ends the login if its time is up. A peer that waits for an answer is refused, a silent one is closed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if now < self.deadline {
            return;
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(mut phase) => {
                let why = "the configuration gave no answer in time";
                let verdict = phase.refuse(Refusal::because(LoginStatus::ServiceUnavailable, why));
                self.conclude(phase, verdict);
            }
            State::Talking(_) => self.close(CloseReason::TimedOut),
            State::Over => {}
        }
    }

    fn read(&mut self) {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Talking(mut phase) => {
                    let Some(verdict) = phase.read(&mut self.received) else {
                        self.state = State::Talking(phase);
                        return;
                    };
                    self.conclude(phase, verdict);
                }
                other => {
                    self.state = other;
                    return;
                }
            }
        }
    }

    fn conclude(&mut self, mut phase: Box<Phase>, verdict: Verdict) {
        if let Some(names) = phase.take_declared() {
            self.names = names;
        }
        match verdict {
            Verdict::Respond(response) => {
                self.octets.1 += response.len() as u64;
                self.transmit.push_back(response);
                self.state = State::Talking(phase);
            }
            Verdict::Ask(question) => {
                self.events.push_back(LoginEvent::Ask(question));
                self.state = State::Asking(phase);
            }
            Verdict::Attach(mut logged_in) => {
                logged_in.unread = self.received.split().freeze();
                (logged_in.received, logged_in.sent) = self.octets;
                self.events.push_back(LoginEvent::Attach(logged_in));
            }
            Verdict::Discovery(response, start) => {
                self.transmit.push_back(response);
                let transmit = std::mem::take(&mut self.transmit);
                let discovery = Discovery::new(*start, transmit, self.received.split(), self.deadline);
                self.events.push_back(LoginEvent::Discovery(Box::new(discovery)));
            }
            Verdict::Refuse(response, refusal) => {
                self.transmit.push_back(response);
                self.why = refusal.why;
                self.close(CloseReason::Refused(refusal.status));
            }
            Verdict::Close(reason) => self.close(reason),
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Over;
        self.received = BytesMut::new();
        self.events.push_back(LoginEvent::Closed(reason));
    }
}
