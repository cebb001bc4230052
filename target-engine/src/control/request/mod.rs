//! Requests, and how the numbers and strings of a record become one.
//!
//! The rules are those of tgt's daemon, as observed from outside, but for its crashes: a payload that is missing, has no
//! end or is not text is refused.

pub(super) mod parse;
pub(super) mod settings;
mod strings;
mod unit;

pub(super) use strings::text;
pub use strings::{Key, Strings};
pub use unit::UnitStrings;

use std::time::Duration;

use iscsi_proto::name::IscsiName;

use super::error::ControlError;
use super::wire::{Form, RequestHeader};
use crate::model::Tid;
pub use crate::model::account::Direction;
pub use crate::model::number::c_number;
use crate::model::portal::PortalOptions;
pub use crate::model::secret::Secret;
pub use crate::model::state::{Driver, State};
pub use crate::model::unit_parameters::UnitChange;

/// The input of an operation's parser: a record of known mode and operation.
#[derive(Debug)]
pub struct Asked<'a> {
    pub(super) header: &'a RequestHeader,
    /// The strings, without their NUL.
    pub(super) text: &'a str,
    pub(super) driver: Driver,
    pub(super) form: Form,
}

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// Show state, drivers, stores and device types.
    SystemShow,
    /// Show the counters of all targets.
    SystemStat,
    /// Change settings of the daemon, in this order. The valid changes are made; an error among them is the answer.
    SystemUpdate(Vec<Result<SystemChange, ControlError>>),
    /// End the daemon. Refused while there are targets.
    SystemDelete,
    /// Create a target with its controller.
    TargetNew {
        /// Its number.
        tid: Tid,
        /// Its iSCSI name as given.
        name: String,
    },
    /// Remove a target.
    TargetDelete {
        /// The target.
        tid: Tid,
        /// Ends its sessions first; their commands may complete within this time. `None`: refused while there are sessions.
        within: Option<Duration>,
    },
    /// Show all targets.
    TargetShowAll,
    /// Show the parameters of a target.
    TargetShow(Tid),
    /// Show the counters of a target; `None` for all.
    TargetStat(Option<Tid>),
    /// Admit initiators, or bind a SCSI host.
    TargetBind {
        /// The target.
        tid: Tid,
        /// The initiators or the host.
        rule: Binding,
    },
    /// Remove an access rule, or unbind a SCSI host.
    TargetUnbind {
        /// The target.
        tid: Tid,
        /// The initiators or the host.
        rule: Binding,
    },
    /// Change a parameter of a target.
    TargetUpdate {
        /// The target.
        tid: Tid,
        /// The parameter as given.
        name: String,
        /// Its value as given.
        value: String,
    },
    /// Create a logical unit.
    UnitNew {
        /// The target.
        tid: Tid,
        /// Its number, any 64 bits.
        lun: u64,
        /// The peripheral device type.
        device_type: u32,
        /// The store.
        strings: UnitStrings,
    },
    /// Remove a logical unit.
    UnitDelete {
        /// The target.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// Running commands may complete within this time. `None`: refused while commands run.
        within: Option<Duration>,
    },
    /// Change a logical unit.
    UnitUpdate {
        /// The target.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// In this order. The valid changes are made; the last error is the answer.
        changes: Vec<Result<UnitChange, ControlError>>,
    },
    /// Show the units of a target, or one of them. Only the JSON form has it.
    UnitShow {
        /// The target.
        tid: Tid,
        /// Its number; all ones for all of them.
        lun: u64,
    },
    /// Show the counters of a unit.
    UnitStat {
        /// The target.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// The session; 0 for all.
        sid: u64,
    },
    /// Open portals.
    PortalNew(PortalOptions),
    /// Close portals.
    PortalDelete(PortalOptions),
    /// Show the portals.
    PortalShow,
    /// Show the drivers and their targets.
    LldShow,
    /// Start a driver.
    LldStart(Driver),
    /// Stop a driver. Refused while there are targets.
    LldStop(Driver),
    /// Show sessions. Only the JSON form has it.
    SessionShow {
        /// The target; `None` for all.
        tid: Option<Tid>,
        /// The session; 0 for all.
        sid: u64,
    },
    /// Show the counters of a session and its connections.
    SessionStat {
        /// The session's number.
        sid: u64,
    },
    /// Show the connections of a target.
    ConnectionShow(Tid),
    /// Show the counters of a connection.
    ConnectionStat {
        /// Its session.
        sid: u64,
        /// Its number.
        cid: u32,
    },
    /// Close a connection.
    ConnectionDelete {
        /// The target.
        tid: Tid,
        /// Its session.
        sid: u64,
        /// Its number.
        cid: u32,
    },
    /// Create an account.
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
    /// Compare a secret with that of an account. Only the JSON form has it.
    AccountCompare {
        /// CHAP_N.
        user: String,
        /// The secret to compare with.
        password: Secret,
    },
    /// Delete an account and its bindings.
    AccountDelete {
        /// CHAP_N.
        user: String,
    },
    /// Show the accounts.
    AccountShow,
    /// Bind an account to a target or to discovery.
    AccountBind {
        /// The target; `None` for discovery.
        tid: Option<Tid>,
        /// CHAP_N.
        user: String,
        /// Which side is authenticated by it.
        direction: Direction,
        /// The only initiator, or one of those, that may use the account; `None`: any may.
        name: Option<IscsiName>,
    },
    /// Unbind an account.
    AccountUnbind {
        /// The target; `None` for discovery.
        tid: Option<Tid>,
        /// CHAP_N.
        user: String,
        /// Which side is authenticated by it.
        direction: Direction,
        /// Only this initiator may not use the account any more; `None`: it is unbound.
        name: Option<IscsiName>,
    },
}

/// A change of a setting of the daemon.
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

/// What is bound to a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Binding {
    /// Rules that admit initiators: by address, by name, or one of each.
    Initiators {
        /// `initiator-address=`.
        address: Option<String>,
        /// `initiator-name=`.
        name: Option<String>,
    },
    /// A SCSI host. It has no effect; old scripts use it.
    Host(u32),
}

#[cfg(test)]
mod tests;
