//! One login, from the first byte of a connection to the full feature phase (RFC 7143 6.3, 11.12, 11.13).
//!
//! [`Login`] owns no socket and reads no clock. The driver feeds it received bytes ([`Login::receive`]), the time
//! ([`Login::handle_timeout`]) and answers ([`Login::answer`]). After each call the driver sends the bytes of
//! [`Login::poll_transmit`] and acts on the events of [`Login::poll_event`], until both return `None`. The login knows
//! no targets and no accounts: it asks a [`Question`] and resumes with the answer, so that a slow answer delays only
//! this login.
//!
//! The final response of a normal login is sent by the owner of the session, see [`LoggedIn`].

mod attach;
mod close;
mod config;
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
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use iscsi_proto::login::LoginStatus;
pub use iscsi_proto::params::SessionType;
pub use iscsi_proto::text::negotiate::{DigestChoice, Preferences};

pub use self::attach::LoggedIn;
pub use self::close::CloseReason;
pub use self::config::LoginConfig;
pub use self::names::LoginNames;
use self::phase::{Phase, Verdict};
pub use self::question::{
    AccountQuestion, Answer, AuthRequirement, ChapAccount, ChapTerms, Question, Refusal, SendTargetsQuestion,
    SendTargetsScope, TargetAddress, TargetAnswer, TargetList, TargetQuestion, TargetRecord,
    challenge_from_os, challenger_from_os,
};
use super::discovery::Discovery;

/// What happened in a login. The driver acts on it.
#[derive(Debug)]
pub enum LoginEvent {
    /// Answer it with [`Login::answer`].
    Ask(Question),
    /// A proof has failed. The refusal follows after a delay.
    ProofFailed,
    /// The negotiation is done and the login is over: make or join a normal session.
    Attach(Box<LoggedIn>),
    /// The negotiation is done and the login is over: this session serves the connection from now on, beginning with
    /// its `poll_transmit`.
    Discovery(Box<Discovery>),
    /// The login is over: send what is left to transmit, then close the connection.
    Closed(CloseReason),
}

/// One connection's login, as a target.
pub struct Login {
    config: LoginConfig,
    deadline: Instant,
    last_received_at: Instant,
    received: BytesMut,
    transmit: VecDeque<Bytes>,
    /// Whole requests received.
    requests: u64,
    /// Bytes received and bytes sent.
    octets: (u64, u64),
    events: VecDeque<LoginEvent>,
    state: State,
    why: Cow<'static, str>,
    names: LoginNames,
}

enum State {
    /// Requests are read and answered.
    Reading(Box<Phase>),
    /// A question waits for its answer; received bytes are kept.
    Asking(Box<Phase>),
    /// The refusal of a failed proof waits until this time; received bytes are kept.
    Delayed(Instant, Bytes, Refusal),
    Over,
}

impl Login {
    /// A login that begins now.
    pub fn new(config: LoginConfig, now: Instant) -> Self {
        Self {
            deadline: now + config.timeout,
            last_received_at: now,
            received: BytesMut::new(),
            transmit: VecDeque::new(),
            requests: 0,
            octets: (0, 0),
            events: VecDeque::new(),
            state: State::Reading(Box::new(Phase::new(config.clone()))),
            config,
            why: Cow::Borrowed(""),
            names: LoginNames::default(),
        }
    }

    /// Takes in received bytes, cut anywhere.
    pub fn receive(&mut self, bytes: &[u8], now: Instant) {
        if matches!(self.state, State::Over) || now >= self.deadline {
            return self.handle_timeout(now);
        }
        if bytes.len() > self.config.unread_len_max.saturating_sub(self.received.len()) {
            return self.close(CloseReason::TooMuch);
        }
        self.octets.0 += bytes.len() as u64;
        self.last_received_at = now;
        self.received.extend_from_slice(bytes);
        self.read();
    }

    /// Resumes with the answer to the last question. An answer that was not asked for is ignored.
    pub fn answer(&mut self, answer: Answer) {
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(mut phase) => {
                let verdict = match answer {
                    Answer::Target(terms) => phase.resume(*terms),
                    Answer::Account(secret) => phase.resume_with_secret(secret),
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

    /// Events, in order.
    pub fn poll_event(&mut self) -> Option<LoginEvent> {
        self.events.pop_front()
    }

    /// Why it was refused, for the log; empty unless it ended with [`CloseReason::Refused`].
    pub fn why(&self) -> &str {
        &self.why
    }

    /// The names of initiator and target as far as they are known, for the log.
    pub fn names(&self) -> &LoginNames {
        &self.names
    }

    /// The number of whole requests that were received.
    pub fn requests(&self) -> u64 {
        self.requests
    }

    /// When [`Login::handle_timeout`] is due; `None` once the login is over.
    pub fn poll_timeout(&self) -> Option<Instant> {
        match &self.state {
            State::Reading(_) | State::Asking(_) => Some(self.deadline),
            State::Delayed(until, ..) => Some(*until),
            State::Over => None,
        }
    }

    /// Sends a refusal that was delayed. Ends the login if its time is up: a peer that waits for an answer is refused, the
    /// connection of a silent one is closed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.poll_timeout().is_none_or(|due| now < due) {
            return;
        }
        match std::mem::replace(&mut self.state, State::Over) {
            State::Asking(mut phase) => {
                let why = "the configuration gave no answer in time";
                let verdict = phase.refuse(Refusal::because(LoginStatus::ServiceUnavailable, why));
                self.conclude(phase, verdict);
            }
            State::Delayed(_, response, refusal) => self.refuse(response, refusal),
            State::Reading(_) => self.close(CloseReason::TimedOut),
            State::Over => {}
        }
    }

    fn read(&mut self) {
        loop {
            match std::mem::replace(&mut self.state, State::Over) {
                State::Reading(mut phase) => {
                    let Some(verdict) = phase.read(&mut self.received) else {
                        self.state = State::Reading(phase);
                        return;
                    };
                    self.requests += 1;
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
                self.state = State::Reading(phase);
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
            Verdict::Refuse(response, refusal) if refusal.failed_proof => {
                let until = (self.last_received_at + self.config.proof_delay).min(self.deadline);
                self.events.push_back(LoginEvent::ProofFailed);
                self.state = State::Delayed(until, response, refusal);
            }
            Verdict::Refuse(response, refusal) => self.refuse(response, refusal),
            Verdict::Close(reason) => self.close(reason),
        }
    }

    fn refuse(&mut self, response: Bytes, refusal: Refusal) {
        self.transmit.push_back(response);
        self.why = refusal.why;
        self.close(CloseReason::Refused(refusal.status));
    }

    fn close(&mut self, reason: CloseReason) {
        self.state = State::Over;
        self.received = BytesMut::new();
        self.events.push_back(LoginEvent::Closed(reason));
    }
}
