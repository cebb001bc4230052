//! Negotiation of keys (RFC 7143 6.2), for both roles and for both the offering and the answering side.
//!
//! ```
//! use iscsi_proto::text::TextBuilder;
//! use iscsi_proto::text::keys::{Key, Role};
//! use iscsi_proto::text::negotiate::{Event, Negotiation, Preferences};
//!
//! let mut target = Negotiation::new(Role::Target, Preferences::default());
//! let mut answer = TextBuilder::new();
//! let event = target.receive("MaxBurstLength", "65536", &mut answer)?;
//! assert_eq!(event, Event::Answered(Key::MaxBurstLength));
//! assert_eq!(target.session().max_burst_len, 65536);
//! assert_eq!(answer.finish(), &b"MaxBurstLength=65536\0"[..]);
//! # Ok::<(), iscsi_proto::text::negotiate::NegotiationError>(())
//! ```

mod receive;

pub use super::preferences::{DigestChoice, Preferences};

use super::TextBuilder;
use super::keys::{KEYS, Key, KeySet, LENGTH_MAX, LENGTH_MIN, Role, Row, Rule, Use};
use super::value::format_bool;
use crate::params::{ConnectionParams, SessionParams, SessionType};

/// Result of a received pair.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// The pair was an offer or an inquiry; the answer was written, which may be Reject or Irrelevant.
    Answered(Key),
    /// The pair was the answer to an offer of ours; the result is in force.
    Settled(Key),
    /// The peer refused our offer with Reject. The previous value stays in force (RFC 7143 7.12).
    Refused(Key),
    /// The pair was a declaration. The caller stores names, aliases and addresses.
    Declared(Key),
    /// The pair is part of an authentication, which the caller performs.
    Security(Key),
    /// The pair is a request, as SendTargets, which the caller answers.
    Request(Key),
    /// The key is unknown. NotUnderstood was written, unless the value was an answer itself.
    Unknown,
}

/// Violation of the negotiation rules by the peer. It ends a login with "initiator error" and a text request with a
/// Reject PDU.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// The peer sent a key twice (RFC 7143 6.3), other than a declaration with the same value.
    #[error("{0} came more than once")]
    Repeated(Key),
    /// The answer is not permitted by our offer.
    #[error("answer to {0} is not among what was offered")]
    BadAnswer(Key),
    /// The declared value is invalid, and the key has no answer.
    #[error("declaration of {0} has a value that is not allowed")]
    BadDeclaration(Key),
    /// SessionType is neither Normal nor Discovery. Ends the login with "session type not supported".
    #[error("unknown session type")]
    SessionType,
}

/// The phase of the connection in which a negotiation takes place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Login that creates a session.
    LeadingLogin,
    /// Login of a further connection of a session.
    JoiningLogin,
    /// Text requests in the full feature phase.
    FullFeature,
}

/// The state of one negotiation, on one side of one connection.
#[derive(Clone, Debug)]
pub struct Negotiation {
    role: Role,
    phase: Phase,
    preferences: Preferences,
    session_type: SessionType,
    session: SessionParams,
    connection: ConnectionParams,
    /// Keys that the peer has offered or declared.
    seen: KeySet,
    /// Keys that we have offered or declared.
    sent: KeySet,
    /// Keys that we have offered and the peer has not answered.
    pending: KeySet,
    /// Declarations of the peer, for repetitions.
    declared: Vec<(Key, Box<str>)>,
}

impl Negotiation {
    /// A negotiation for the login of a leading connection. Keys that neither side sends get the defaults of the standard.
    pub fn new(role: Role, preferences: Preferences) -> Self {
        Self::start(
            role,
            Phase::LeadingLogin,
            preferences,
            SessionParams::default(),
            ConnectionParams::default(),
        )
    }

    /// A negotiation for the login of a further connection of a session with these parameters.
    pub fn joining(role: Role, preferences: Preferences, session: SessionParams) -> Self {
        Self::start(role, Phase::JoiningLogin, preferences, session, ConnectionParams::default())
    }

    /// A negotiation for text requests in the full feature phase.
    pub fn full_feature(
        role: Role,
        preferences: Preferences,
        session_type: SessionType,
        session: SessionParams,
        connection: ConnectionParams,
    ) -> Self {
        let start = Self::start(role, Phase::FullFeature, preferences, session, connection);
        Self { session_type, ..start }
    }

    fn start(
        role: Role,
        phase: Phase,
        preferences: Preferences,
        session: SessionParams,
        connection: ConnectionParams,
    ) -> Self {
        Self {
            role,
            phase,
            preferences,
            session_type: SessionType::Normal,
            session,
            connection,
            seen: KeySet::default(),
            sent: KeySet::default(),
            pending: KeySet::default(),
            declared: Vec::new(),
        }
    }

    /// Replaces the preferences once the target is known. Call it before any parameter is negotiated.
    pub fn set_preferences(&mut self, preferences: Preferences) {
        self.preferences = preferences;
    }

    /// Sets the session type. An initiator sets it first. A target gets it from SessionType, and may set it before it
    /// passes in the other keys of the first request, which may precede SessionType.
    pub fn set_session_type(&mut self, session_type: SessionType) {
        self.session_type = session_type;
    }

    /// The session type; Normal until SessionType is received.
    pub fn session_type(&self) -> SessionType {
        self.session_type
    }

    /// Starts a new exchange of text requests, in which all keys may be sent again.
    pub fn begin_exchange(&mut self) {
        (self.seen, self.sent, self.pending) = (KeySet::default(), KeySet::default(), KeySet::default());
        self.declared.clear();
    }

    /// The current parameters of the session.
    pub fn session(&self) -> SessionParams {
        // RFC 7143 13.14. The peer may send the keys in any order.
        let first_burst_len = self.session.first_burst_len.min(self.session.max_burst_len);
        SessionParams { first_burst_len, ..self.session }
    }

    /// The current parameters of the connection. Digests are in use from the full feature phase on.
    pub fn connection(&self) -> ConnectionParams {
        self.connection
    }

    /// Keys that the peer has offered or declared so far.
    pub fn seen(&self) -> KeySet {
        self.seen
    }

    /// Keys that we have offered and the peer has not answered.
    pub fn pending(&self) -> KeySet {
        self.pending
    }

    /// Declares our MaxRecvDataSegmentLength and offers every key for which our preference differs from the current value,
    /// unless either side has offered it. A responder calls it after the offers of the peer.
    pub fn offer_wanted(&mut self, out: &mut TextBuilder) {
        for row in KEYS {
            if self.is_wanted(row) {
                self.offer(row.key, out);
            }
        }
    }

    /// Offers or declares one parameter with our preferred value. Returns false if nothing was written: the key is not
    /// among [`Preferences`], was sent already, or is not allowed in this phase and session.
    pub fn offer(&mut self, key: Key, out: &mut TextBuilder) -> bool {
        let row = key.row();
        if !self.is_allowed(row) || self.sent.contains(key) {
            return false;
        }
        match row.rule {
            Rule::ReceiveLimit => {
                self.connection.max_recv_data_segment_len = self.receive_limit();
                out.pair(row.name, self.receive_limit());
                return self.sent.insert(key);
            }
            Rule::Boolean { get, .. } => out.pair(row.name, format_bool(get(&self.preferences.session))),
            Rule::Number { get, .. } => out.pair(row.name, self.preferred_number(row.key, get)),
            Rule::Digest { choice, .. } => out.pair(row.name, choice(&self.preferences).offer()),
            Rule::TaskReporting => out.pair(row.name, self.preferences.session.task_reporting.offer()),
            Rule::Security | Rule::Declared | Rule::Request | Rule::Constant(_) => return false,
        }
        self.pending.insert(key);
        self.sent.insert(key)
    }

    fn is_wanted(&self, row: &Row) -> bool {
        if self.sent.contains(row.key) {
            return false;
        }
        let preferences = &self.preferences.session;
        let differs = match row.rule {
            Rule::ReceiveLimit => return true,
            Rule::Boolean { get, .. } => get(preferences) != get(&self.session),
            Rule::Number { get, .. } => self.preferred_number(row.key, get) != get(&self.session),
            Rule::Digest { choice, get, .. } => {
                choice(&self.preferences).prefers_crc32c() != get(&self.connection)
            }
            Rule::TaskReporting => preferences.task_reporting != self.session.task_reporting,
            Rule::Security | Rule::Declared | Rule::Request | Rule::Constant(_) => false,
        };
        differs && !self.seen.contains(row.key)
    }

    /// Whether either side may use the key in this phase and session.
    fn is_allowed(&self, row: &Row) -> bool {
        let in_phase = match row.usage {
            Use::Always => true,
            Use::Login => self.phase != Phase::FullFeature,
            Use::LeadingLogin => self.phase == Phase::LeadingLogin,
            Use::FullFeature => self.phase == Phase::FullFeature,
        };
        in_phase && self.is_relevant(row)
    }

    fn is_relevant(&self, row: &Row) -> bool {
        row.in_discovery || self.session_type == SessionType::Normal
    }

    fn receive_limit(&self) -> u32 {
        self.preferences.max_recv_data_segment_len.clamp(LENGTH_MIN, LENGTH_MAX)
    }

    /// Our preferred number; that of FirstBurstLength is limited to MaxBurstLength.
    fn preferred_number(&self, key: Key, get: fn(&SessionParams) -> u32) -> u32 {
        let preferences = &self.preferences.session;
        if key != Key::FirstBurstLength {
            return get(preferences);
        }
        let settled = self.seen.contains(Key::MaxBurstLength);
        let max_burst_len = if settled { self.session.max_burst_len } else { u32::MAX };
        get(preferences).min(preferences.max_burst_len).min(max_burst_len).max(LENGTH_MIN)
    }
}

/// Chooses the first member of an offered list that is accepted, as for AuthMethod.
pub fn choose<'a>(offered: &'a str, accepted: &[&str]) -> Option<&'a str> {
    super::value::list(offered).find(|member| accepted.contains(member))
}

#[cfg(test)]
mod tests;
