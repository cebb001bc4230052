//! How keys are settled (RFC 7143 6.2), for either role, as the side that answers and the side that offers.
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

/// What a received pair was, after what there was to do was done.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event {
    /// An offer or an inquiry; the answer is written. It may be Reject or Irrelevant.
    Answered(Key),
    /// The peer's answer to an offer of ours; the result holds.
    Settled(Key),
    /// The peer refused our offer with Reject: the negotiation failed, what was before still holds
    /// (RFC 7143 7.12).
    Refused(Key),
    /// A declaration. What is not a parameter (names, aliases, addresses) is the caller's to keep.
    Declared(Key),
    /// Part of an authentication: the caller's.
    Security(Key),
    /// A request, such as SendTargets: the caller's to answer.
    Request(Key),
    /// A key nobody knows; NotUnderstood is written, unless the value was such an answer itself.
    Unknown,
}

/// The peer broke the rules; a login ends here with "initiator error", a text request with a reject.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NegotiationError {
    /// A key came twice (RFC 7143 6.3), and not as a declaration of the same value.
    #[error("{0} came more than once")]
    Repeated(Key),
    /// An answer that our offer does not allow.
    #[error("answer to {0} is not among what was offered")]
    BadAnswer(Key),
    /// A declaration with a value that is not allowed, where no answer is foreseen.
    #[error("declaration of {0} has a value that is not allowed")]
    BadDeclaration(Key),
    /// SessionType is neither Normal nor Discovery: "session type not supported".
    #[error("unknown session type")]
    SessionType,
}

/// Where a negotiation takes place.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// The login that makes a session.
    LeadingLogin,
    /// The login of a further connection.
    JoiningLogin,
    /// Text requests.
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
    /// What the peer has offered or declared.
    seen: KeySet,
    /// What we have offered or declared.
    sent: KeySet,
    /// Our offers without an answer yet.
    pending: KeySet,
    /// What the peer has declared.
    declared: Vec<(Key, Box<str>)>,
}

impl Negotiation {
    /// For the login of a leading connection; what nobody mentions has the standard's defaults.
    pub fn new(role: Role, preferences: Preferences) -> Self {
        Self::start(
            role,
            Phase::LeadingLogin,
            preferences,
            SessionParams::default(),
            ConnectionParams::default(),
        )
    }

    /// For the login of a further connection to a session, whose parameters stand.
    pub fn joining(role: Role, preferences: Preferences, session: SessionParams) -> Self {
        Self::start(role, Phase::JoiningLogin, preferences, session, ConnectionParams::default())
    }

    /// For text requests on a connection in the full feature phase.
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

    /// Replaces the wishes, once it is known which target is meant; before any parameter is negotiated.
    pub fn set_preferences(&mut self, preferences: Preferences) {
        self.preferences = preferences;
    }

    /// What the session is for: an initiator says so first, a target learns it by SessionType. A target that finds
    /// SessionType behind other keys of the first request may set it before it goes through them.
    pub fn set_session_type(&mut self, session_type: SessionType) {
        self.session_type = session_type;
    }

    /// What the session is for, as far as known.
    pub fn session_type(&self) -> SessionType {
        self.session_type
    }

    /// Begins a new exchange of text requests: keys may come again.
    pub fn begin_exchange(&mut self) {
        (self.seen, self.sent, self.pending) = (KeySet::default(), KeySet::default(), KeySet::default());
        self.declared.clear();
    }

    /// The session's parameters as they stand.
    pub fn session(&self) -> SessionParams {
        // RFC 7143 13.14; the keys may have come in any order.
        let first_burst_len = self.session.first_burst_len.min(self.session.max_burst_len);
        SessionParams { first_burst_len, ..self.session }
    }

    /// The connection's parameters as they stand. Digests are used from the full feature phase on.
    pub fn connection(&self) -> ConnectionParams {
        self.connection
    }

    /// What the peer has offered or declared so far.
    pub fn seen(&self) -> KeySet {
        self.seen
    }

    /// Our offers the peer has not answered yet.
    pub fn pending(&self) -> KeySet {
        self.pending
    }

    /// Declares our MaxRecvDataSegmentLength and offers every key for which our wish is not what holds now, unless
    /// it was offered by either side already. A responder calls it once the peer has made its offers.
    pub fn offer_wanted(&mut self, out: &mut TextBuilder) {
        for row in KEYS {
            if self.is_wanted(row) {
                self.offer(row.key, out);
            }
        }
    }

    /// Offers or declares one parameter with the value we wish. Whether it was written: not if it is none of
    /// [`Preferences`], or has no place in this phase and session.
    pub fn offer(&mut self, key: Key, out: &mut TextBuilder) -> bool {
        let row = key.row();
        if !self.has_place(row) || self.sent.contains(key) {
            return false;
        }
        match row.rule {
            Rule::ReceiveLimit => {
                self.connection.max_recv_data_segment_len = self.receive_limit();
                out.pair(row.name, self.receive_limit());
                return self.sent.insert(key);
            }
            Rule::Boolean { get, .. } => out.pair(row.name, format_bool(get(&self.preferences.session))),
            Rule::Number { get, .. } => out.pair(row.name, self.number_wish(row.key, get)),
            Rule::Digest { wish, .. } => out.pair(row.name, wish(&self.preferences).offer()),
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
        let wishes = &self.preferences.session;
        let differs = match row.rule {
            Rule::ReceiveLimit => return true,
            Rule::Boolean { get, .. } => get(wishes) != get(&self.session),
            Rule::Number { get, .. } => self.number_wish(row.key, get) != get(&self.session),
            Rule::Digest { wish, get, .. } => wish(&self.preferences).prefers() != get(&self.connection),
            Rule::TaskReporting => wishes.task_reporting != self.session.task_reporting,
            Rule::Security | Rule::Declared | Rule::Request | Rule::Constant(_) => false,
        };
        differs && !self.seen.contains(row.key)
    }

    /// Whether the key may be used now, by whomever.
    fn has_place(&self, row: &Row) -> bool {
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

    /// Our wish, in such bounds that the result keeps FirstBurstLength within MaxBurstLength.
    fn number_wish(&self, key: Key, get: fn(&SessionParams) -> u32) -> u32 {
        let wishes = &self.preferences.session;
        if key != Key::FirstBurstLength {
            return get(wishes);
        }
        let settled = self.seen.contains(Key::MaxBurstLength);
        let max_burst_len = if settled { self.session.max_burst_len } else { u32::MAX };
        get(wishes).min(wishes.max_burst_len).min(max_burst_len).max(LENGTH_MIN)
    }
}

/// Chooses from a list the first member that we accept: for AuthMethod and the like.
pub fn choose<'a>(offered: &'a str, accepted: &[&str]) -> Option<&'a str> {
    super::value::list(offered).find(|member| accepted.contains(member))
}

#[cfg(test)]
mod tests;
