//! A record's meaning: mode, operation, numbers and strings become one [`Request`], or a refusal.
//!
//! The rules are those of the stock daemon as far as they can be told from outside, without its crashes: a payload
//! that is missing, has no end or is not text is refused.

pub(super) mod parse;
pub(super) mod settings;
mod strings;
mod unit;

pub(super) use strings::text;
pub use strings::{Key, Strings};
pub use unit::UnitStrings;

use std::time::Duration;

use super::error::ControlError;
use super::wire::{Form, RequestHeader};
use crate::model::Tid;
pub use crate::model::account::Direction;
pub use crate::model::number::c_number;
use crate::model::portal::PortalOptions;
pub use crate::model::secret::Secret;
pub use crate::model::state::{Driver, State};
pub use crate::model::unit_parameters::UnitChange;

/// A record whose mode and operation are known: what an operation's parser reads.
#[derive(Debug)]
pub struct Asked<'a> {
    pub(super) header: &'a RequestHeader,
    /// The strings, without their NUL.
    pub(super) text: &'a str,
    pub(super) driver: Driver,
    pub(super) form: Form,
}

/// What a client wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// State, drivers, stores and device types.
    SystemShow,
    /// Counters of all targets.
    SystemStat,
    /// Changes of the daemon's own settings, in their order; all that are right are made, and an error is the answer.
    SystemUpdate(Vec<Result<SystemChange, ControlError>>),
    /// End the daemon; only without targets.
    SystemDelete,
    /// Make a target with its controller.
    TargetNew {
        /// Its number.
        tid: Tid,
        /// Its iSCSI name as given.
        name: String,
    },
    /// Remove a target.
    TargetDelete {
        /// Whose.
        tid: Tid,
        /// End its sessions first: what runs may finish within this time. `None`: only if there are none.
        within: Option<Duration>,
    },
    /// The tree of all targets.
    TargetShowAll,
    /// One target's parameters.
    TargetShow(Tid),
    /// Counters of one target.
    TargetStat(Option<Tid>),
    /// Let initiators in, or bind a host.
    TargetBind {
        /// Whose.
        tid: Tid,
        /// Whom.
        rule: Binding,
    },
    /// The reverse.
    TargetUnbind {
        /// Whose.
        tid: Tid,
        /// Whom.
        rule: Binding,
    },
    /// Change a parameter of a target.
    TargetUpdate {
        /// Whose.
        tid: Tid,
        /// The parameter as given.
        name: String,
        /// Its value as given.
        value: String,
    },
    /// Make a logical unit.
    UnitNew {
        /// Whose.
        tid: Tid,
        /// Its number, any 64 bits.
        lun: u64,
        /// The peripheral device type.
        device_type: u32,
        /// Its store.
        strings: UnitStrings,
    },
    /// Remove a logical unit.
    UnitDelete {
        /// Whose.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// What runs may finish within this time. `None`: only if nothing runs.
        within: Option<Duration>,
    },
    /// Change a logical unit.
    UnitUpdate {
        /// Whose.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// In their order; all that are right are done, and the last error is the answer.
        changes: Vec<Result<UnitChange, ControlError>>,
    },
    /// A target's units, or one of them; only the JSON form has it.
    UnitShow {
        /// Whose.
        tid: Tid,
        /// Its number; all ones for all of them.
        lun: u64,
    },
    /// Counters of one unit, or of one session.
    UnitStat {
        /// Whose.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// Only this session, where it is not 0.
        sid: u64,
    },
    /// Listen at more places.
    PortalNew(PortalOptions),
    /// Listen there no more.
    PortalDelete(PortalOptions),
    /// All portals.
    PortalShow,
    /// Drivers and their targets.
    LldShow,
    /// Make a driver ready.
    LldStart(Driver),
    /// Stop a driver; only without targets.
    LldStop(Driver),
    /// Sessions, of one target or one of them or all; only the JSON form has it.
    SessionShow {
        /// Whose.
        tid: Option<Tid>,
        /// Only this one, where it is not 0.
        sid: u64,
    },
    /// Counters of a session and its connections.
    SessionStat {
        /// The session's number.
        sid: u64,
    },
    /// A target's connections.
    ConnectionShow(Tid),
    /// Counters of a connection.
    ConnectionStat {
        /// Its session.
        sid: u64,
        /// Its number.
        cid: u32,
    },
    /// Close a connection.
    ConnectionDelete {
        /// Whose.
        tid: Tid,
        /// Its session.
        sid: u64,
        /// Its number.
        cid: u32,
    },
    /// Make an account.
    AccountNew {
        /// CHAP_N.
        user: String,
        /// The secret.
        password: Secret,
    },
    /// Replace the secret of an account; its bindings stay.
    AccountUpdate {
        /// CHAP_N.
        user: String,
        /// The new secret.
        password: Secret,
    },
    /// Whether an account has this secret; only the JSON form has it.
    AccountCompare {
        /// CHAP_N.
        user: String,
        /// The secret to compare with.
        password: Secret,
    },
    /// Remove an account and its bindings.
    AccountDelete {
        /// CHAP_N.
        user: String,
    },
    /// All accounts.
    AccountShow,
    /// Use an account for a target, or for discovery.
    AccountBind {
        /// Whose; `None` for discovery.
        tid: Option<Tid>,
        /// CHAP_N.
        user: String,
        /// Who proves itself by it.
        direction: Direction,
    },
    /// Use it no more.
    AccountUnbind {
        /// Whose; `None` for discovery.
        tid: Option<Tid>,
        /// CHAP_N.
        user: String,
        /// As what it is bound.
        direction: Direction,
    },
}

/// A change of the daemon's settings.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SystemChange {
    /// `debug=on`, `debug=off`.
    Debug(bool),
    /// `State=ready`, `State=offline`.
    State(State),
    /// `iSNS=On`, `iSNS=Off`.
    Isns(bool),
    /// `iSNSServerIP=`.
    IsnsServer(String),
    /// `iSNSServerPort=`.
    IsnsPort(u16),
    /// `iSNSAccessControl=On`, else off.
    IsnsAccessControl(bool),
}

/// Who is bound to a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Binding {
    /// Initiators, by address, by name, or by both in one call.
    Initiators {
        /// `initiator-address=`.
        address: Option<String>,
        /// `initiator-name=`.
        name: Option<String>,
    },
    /// A SCSI host; kept for old scripts, of no effect.
    Host(u32),
}

#[cfg(test)]
mod tests;
