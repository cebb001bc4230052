//! A record's meaning: mode, operation, numbers and strings become one [`Request`], or a refusal.
//!
//! The rules are those of the stock daemon as far as they can be told from outside, without its crashes: a payload
//! that is missing, has no end or is not text is refused.

mod parse;
mod strict;
mod strings;
mod unit;

pub use strings::{Strings, c_number};
pub use unit::{ModePage, UnitChange, UnitStrings};

use std::time::Duration;

use super::error::ControlError;
use crate::model::Tid;
use crate::model::portal::PortalOptions;

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

/// Whether new logins are let in.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum State {
    /// They are.
    #[default]
    Ready,
    /// They are not; what is logged in goes on.
    Offline,
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

/// A low-level driver.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Driver {
    /// iSCSI over TCP.
    Iscsi,
    /// iSCSI over RDMA: known by its name, and never ready.
    Iser,
}

/// Whose proof an account is for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// The initiator's.
    Incoming,
    /// The target's own.
    Outgoing,
}

/// A password, never shown and wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(zeroize::Zeroizing<String>);

/// In constant time: how long a comparison takes does not depend on the stored secret.
impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        let chap = |secret: &Self| iscsi_proto::chap::Secret::new(secret.reveal());
        chap(self).is_same(&chap(other))
    }
}

impl Eq for Secret {}

impl Secret {
    /// Takes it over.
    #[must_use]
    pub fn new(secret: String) -> Self {
        Self(zeroize::Zeroizing::new(secret))
    }

    /// For computing a CHAP response.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Whether it is shorter than the 96 bits that RFC 7143 12.1.3 asks for.
    #[must_use]
    pub fn is_weak(&self) -> bool {
        iscsi_proto::chap::Secret::new(self.reveal()).is_weak()
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Secret")
    }
}

impl State {
    /// The word in reports and updates.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Offline => "offline",
        }
    }

    /// From that word.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Ready, Self::Offline].into_iter().find(|state| state.word() == word)
    }
}

impl Driver {
    /// All drivers there are.
    pub const ALL: [Self; 2] = [Self::Iscsi, Self::Iser];

    /// The name after `--lld`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Iscsi => "iscsi",
            Self::Iser => "iser",
        }
    }

    /// `None` for a driver we do not have; no name at all is the first one.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        if name.is_empty() {
            return Some(Self::Iscsi);
        }
        Self::ALL.into_iter().find(|driver| driver.name() == name)
    }
}

#[cfg(test)]
mod tests;
