//! A record's meaning: mode, operation, numbers and strings become one [`Request`], or a refusal.
//!
//! The rules are those of the stock daemon as far as they can be told from outside, without its crashes: a payload
//! that is missing, has no end or is not text is refused.

mod strings;
mod unit;

pub use strings::{Strings, c_number};
pub use unit::{ModePage, UnitChange, UnitStrings};

use super::error::TgtadmError;
use super::wire::{Mode, Op, REQUEST_HEADER_LEN, Record, RequestHeader};
use crate::model::Tid;
use crate::model::portal::PortalOptions;
use strings::{after, pairs, text};

/// What a client wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Request {
    /// State, drivers, stores and device types.
    SystemShow,
    /// Counters of all targets.
    SystemStat,
    /// Changes of the daemon's own settings, in their order.
    SystemUpdate(Vec<SystemChange>),
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
        /// End its sessions first.
        force: bool,
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
    },
    /// Change a logical unit.
    UnitUpdate {
        /// Whose.
        tid: Tid,
        /// Its number.
        lun: u64,
        /// In their order; all that are right are done, and the last error is the answer.
        changes: Vec<Result<UnitChange, TgtadmError>>,
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
#[derive(Clone, Eq, PartialEq)]
pub struct Secret(zeroize::Zeroizing<String>);

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
    pub const ALL: [Self; 1] = [Self::Iscsi];

    /// The name after `--lld`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Iscsi => "iscsi",
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

impl Request {
    /// Reads a record.
    ///
    /// # Errors
    /// The number that the reply carries.
    pub fn parse(record: &Record) -> Result<Self, TgtadmError> {
        let header = &record.header;
        let driver = Driver::from_name(&header.lld).ok_or(TgtadmError::NoDriver)?;
        let mode = Mode::from_number(header.mode).ok_or(TgtadmError::InvalidRequest)?;
        let op = Op::from_number(header.op).ok_or(TgtadmError::InvalidRequest)?;
        let payload = text(&record.payload)?;
        match mode {
            Mode::System => system(op, payload),
            Mode::Target => target(op, header, payload),
            Mode::LogicalUnit => logical_unit(op, header, payload),
            Mode::Portal => portal(op, payload),
            Mode::Lld => lld(op, driver),
            Mode::Session => session(op, header),
            Mode::Connection => connection(op, header),
            Mode::Account => account(op, header, payload),
        }
    }
}

fn tid(header: &RequestHeader) -> Result<Tid, TgtadmError> {
    Tid::from_wire(header.tid).ok_or(TgtadmError::NoTarget)
}

fn system(op: Op, payload: &str) -> Result<Request, TgtadmError> {
    match op {
        Op::Show => Ok(Request::SystemShow),
        Op::Stat => Ok(Request::SystemStat),
        Op::Delete => Ok(Request::SystemDelete),
        Op::Update if payload.is_empty() => Err(TgtadmError::InvalidRequest),
        Op::Update => pairs(payload).map(system_change).collect::<Result<_, _>>().map(Request::SystemUpdate),
        _ => Err(TgtadmError::InvalidRequest),
    }
}

fn system_change((key, value): (&str, &str)) -> Result<SystemChange, TgtadmError> {
    let on_off = |value: &str| match value {
        "On" => Ok(true),
        "Off" => Ok(false),
        _ => Err(TgtadmError::InvalidRequest),
    };
    Ok(match key {
        "debug" if value.starts_with("on") => SystemChange::Debug(true),
        "debug" if value.starts_with("off") => SystemChange::Debug(false),
        "State" => SystemChange::State(State::from_word(value).ok_or(TgtadmError::InvalidRequest)?),
        "iSNS" => SystemChange::Isns(on_off(value)?),
        "iSNSServerIP" => SystemChange::IsnsServer(value.to_owned()),
        "iSNSServerPort" => SystemChange::IsnsPort(value.parse().map_err(|_| TgtadmError::InvalidRequest)?),
        "iSNSAccessControl" => SystemChange::IsnsAccessControl(value == "On"),
        _ => return Err(TgtadmError::InvalidRequest),
    })
}

fn target(op: Op, header: &RequestHeader, payload: &str) -> Result<Request, TgtadmError> {
    match op {
        Op::New => {
            let tid = Tid::from_wire(header.tid).ok_or(TgtadmError::InvalidRequest)?;
            let name = pairs(payload).filter(|(key, _)| *key == "targetname").map(|(_, value)| value).last();
            let name = name.filter(|name| is_target_name(name)).ok_or(TgtadmError::InvalidRequest)?;
            Ok(Request::TargetNew { tid, name: name.to_owned() })
        }
        Op::Delete => Ok(Request::TargetDelete { tid: tid(header)?, force: header.force != 0 }),
        Op::Show if header.tid < 0 => Ok(Request::TargetShowAll),
        Op::Show => Ok(Request::TargetShow(tid(header)?)),
        Op::Stat if header.tid < 0 => Ok(Request::TargetStat(None)),
        Op::Stat => Ok(Request::TargetStat(Some(tid(header)?))),
        Op::Bind => Ok(Request::TargetBind { tid: tid(header)?, rule: binding(header, payload)? }),
        Op::Unbind => Ok(Request::TargetUnbind { tid: tid(header)?, rule: binding(header, payload)? }),
        Op::Update if payload.is_empty() => Err(TgtadmError::InvalidRequest),
        Op::Update => {
            let (name, value) = payload.split_once('=').ok_or(TgtadmError::UnsupportedOperation)?;
            Ok(Request::TargetUpdate { tid: tid(header)?, name: name.to_owned(), value: value.to_owned() })
        }
        Op::Start | Op::Stop => Err(TgtadmError::InvalidRequest),
    }
}

/// What stock takes as a name; whether it is an iSCSI name is not asked here, as it is not there.
fn is_target_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":.-".contains(&byte);
    (1..=223).contains(&name.len()) && name.bytes().all(allowed)
}

fn binding(header: &RequestHeader, payload: &str) -> Result<Binding, TgtadmError> {
    if header.len as usize == REQUEST_HEADER_LEN {
        return Ok(Binding::Host(header.host_no));
    }
    let value = |marker| {
        let value = after(payload, marker)?.split(',').next().unwrap_or_default().trim();
        (!value.is_empty()).then(|| value.to_owned())
    };
    match (value("initiator-address="), value("initiator-name=")) {
        (None, None) => Err(TgtadmError::InvalidRequest),
        (address, name) => Ok(Binding::Initiators { address, name }),
    }
}

fn logical_unit(op: Op, header: &RequestHeader, payload: &str) -> Result<Request, TgtadmError> {
    let lun = header.lun;
    Ok(match op {
        Op::New => Request::UnitNew {
            tid: tid(header)?,
            lun,
            device_type: header.device_type,
            strings: UnitStrings::parse(payload),
        },
        Op::Delete => Request::UnitDelete { tid: tid(header)?, lun },
        Op::Update => Request::UnitUpdate { tid: tid(header)?, lun, changes: unit::changes(payload) },
        Op::Stat => Request::UnitStat { tid: tid(header)?, lun, sid: header.sid },
        _ => return Err(TgtadmError::UnsupportedOperation),
    })
}

fn portal(op: Op, payload: &str) -> Result<Request, TgtadmError> {
    let options = || {
        let list = payload.find("portal=").map(|at| &payload[at..]).ok_or(TgtadmError::InvalidRequest)?;
        PortalOptions::parse(list).map_err(|error| {
            log::warn!("portal list {list:?}: {error}");
            TgtadmError::InvalidRequest
        })
    };
    match op {
        Op::New => options().map(Request::PortalNew),
        Op::Delete => options().map(Request::PortalDelete),
        Op::Show => Ok(Request::PortalShow),
        _ => Err(TgtadmError::InvalidRequest),
    }
}

fn lld(op: Op, driver: Driver) -> Result<Request, TgtadmError> {
    match op {
        Op::Show => Ok(Request::LldShow),
        Op::Start => Ok(Request::LldStart(driver)),
        Op::Stop => Ok(Request::LldStop(driver)),
        _ => Err(TgtadmError::InvalidRequest),
    }
}

fn session(op: Op, header: &RequestHeader) -> Result<Request, TgtadmError> {
    match op {
        Op::Stat => Ok(Request::SessionStat { sid: header.sid }),
        _ => Err(TgtadmError::InvalidRequest),
    }
}

fn connection(op: Op, header: &RequestHeader) -> Result<Request, TgtadmError> {
    let RequestHeader { sid, cid, .. } = *header;
    match op {
        Op::Show => Ok(Request::ConnectionShow(tid(header)?)),
        Op::Stat => Ok(Request::ConnectionStat { sid, cid }),
        Op::Delete => Ok(Request::ConnectionDelete { tid: tid(header)?, sid, cid }),
        _ => Err(TgtadmError::InvalidRequest),
    }
}

fn account(op: Op, header: &RequestHeader, payload: &str) -> Result<Request, TgtadmError> {
    let user = || {
        let user = after(payload, "user=").filter(|user| !user.is_empty());
        user.map(str::to_owned).ok_or(TgtadmError::InvalidRequest)
    };
    let scope = || if header.tid == -1 { Ok(None) } else { tid(header).map(Some) };
    let direction = if header.ac_dir == 0 { Direction::Incoming } else { Direction::Outgoing };
    match op {
        Op::New => {
            let (user, password) = after(payload, "user=")
                .and_then(|rest| rest.split_once(",password="))
                .filter(|(user, _)| !user.is_empty() && !user.contains(','))
                .ok_or(TgtadmError::InvalidRequest)?;
            Ok(Request::AccountNew { user: user.to_owned(), password: Secret::new(password.to_owned()) })
        }
        Op::Delete => Ok(Request::AccountDelete { user: user()? }),
        Op::Show => Ok(Request::AccountShow),
        Op::Bind => Ok(Request::AccountBind { tid: scope()?, user: user()?, direction }),
        Op::Unbind => Ok(Request::AccountUnbind { tid: scope()?, user: user()? }),
        _ => Err(TgtadmError::InvalidRequest),
    }
}

#[cfg(test)]
mod tests;
