//! Reports as structs. [`text`] writes them as tgt does, [`json`] writes them for programs.

mod encode;
mod errors;
pub mod json;
#[cfg(test)]
mod samples;
pub mod stat;
pub mod text;

pub use encode::encode;

use std::net::IpAddr;
use std::time::Instant;

use iscsi_proto::ids::Isid;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use scsi_core::device::unit::{DeviceType, UnitConfig};
use scsi_core::lun::Lun;

use crate::model::account::BoundAccounts;
use crate::model::acl::Matching;
use crate::model::parameters::Value;
use crate::model::portal::PortalSpec;
use crate::model::sessions::{Connection, Session, SessionDirectory};
use crate::model::store::{StoreKind, StoreSpec};
use crate::model::target::{Redirect, Target};
use crate::model::unit::TargetUnit;
use crate::model::{DriverState, Isns, Model};

use super::admission::AdmissionCounts;
use super::error::ControlError;
use super::request::{Driver, State};
use stat::{ConnectionRow, LoginCounts, StoreRow, UnitRow};

/// The answer to a request: a report or a refusal.
pub type Reply = Result<Report, ControlError>;

/// The answer to a request that was carried out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Report {
    /// The request is done; there is nothing to report.
    Done,
    /// `sys show`.
    System(SystemReport),
    /// `target show`: all of them.
    Targets(Vec<TargetReport>),
    /// `target show --tid`.
    Target(Box<TargetReport>),
    /// `lld show`.
    Drivers(Vec<DriverReport>),
    /// `portal show`, newest first.
    Portals(Vec<PortalSpec>),
    /// `account show`: names, newest first.
    Accounts(Vec<String>),
    /// `account show` of a name and a secret: whether it is the account's; only the JSON form has it.
    Secret {
        /// The account.
        user: String,
        /// Whether the secret is the same.
        same: bool,
    },
    /// `conn show`: sessions with their connections, newest first.
    Sessions(Vec<SessionReport>),
    /// `logicalunit show`, by number; tgt's tgtadm does not have it.
    Units(Vec<UnitReport>),
    /// `stat` of target and logical unit.
    UnitCounts(Vec<UnitRow>, Vec<StoreRow>),
    /// `stat` of the system; only the JSON form has the logins and the connections that are not part of a normal session.
    SystemCounts(Vec<UnitRow>, Vec<StoreRow>, LoginCounts, AdmissionCounts),
    /// `session stat`: its units, its connections.
    SessionCounts(Vec<UnitRow>, Vec<ConnectionRow>),
    /// `conn stat`.
    ConnectionCounts(Vec<ConnectionRow>),
}

/// `sys show`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SystemReport {
    /// The daemon's version.
    pub version: &'static str,
    /// Whether new connections are served.
    pub state: State,
    /// Whether debug messages are logged.
    pub debug: bool,
    /// How I/O is done, where that is unusual; tgt has no such line.
    pub remark: Option<String>,
    /// The drivers.
    pub drivers: Vec<(Driver, DriverState)>,
    /// The kinds of stores.
    pub stores: Vec<StoreKind>,
    /// The device types that a unit can have.
    pub device_types: Vec<DeviceType>,
    /// Discovery's accounts.
    pub accounts: AccountsReport,
    /// The iSNS client.
    pub isns: Isns,
}

/// Accounts that are used somewhere.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AccountsReport {
    /// Those of initiators, by name.
    pub incoming: Vec<String>,
    /// The target's own.
    pub outgoing: Option<String>,
    /// The initiator names, in lower case, of each incoming account that is bound to names.
    pub initiator_names: Vec<(String, Vec<String>)>,
}

/// A target in `target show`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TargetReport {
    /// Its number.
    pub tid: u32,
    /// Its iSCSI name.
    pub name: String,
    /// Its driver.
    pub driver: Driver,
    /// Whether it takes logins.
    pub state: State,
    /// Loops that serve it.
    pub loops: usize,
    /// What it negotiates with, and where it sends initiators.
    pub parameters: ParametersReport,
    /// The sessions, by number.
    pub sessions: Vec<SessionReport>,
    /// Its units, by number.
    pub units: Vec<UnitReport>,
    /// The accounts it uses.
    pub accounts: AccountsReport,
    /// The access rules.
    pub acl: AclReport,
}

/// A target's access rules as written.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AclReport {
    /// Whether one rule of any kind must match, or one of each kind.
    pub matching: Matching,
    /// Rules on addresses.
    pub addresses: Vec<String>,
    /// Rules on names.
    pub names: Vec<String>,
}

/// A session, which is an I_T nexus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionReport {
    /// Its number.
    pub sid: u16,
    /// Its target's number.
    pub tid: u32,
    /// The initiator's name.
    pub initiator: String,
    /// The initiator's alias, safe to print.
    pub alias: Option<String>,
    /// The account that it logged in with, if authentication was required.
    pub user: Option<String>,
    /// The initiator's part of the session's identifier.
    pub isid: Isid,
    /// Which of its target's loops serves it.
    pub loop_index: usize,
    /// The negotiated parameters.
    pub params: SessionParams,
    /// Its connections, the first one first.
    pub connections: Vec<ConnectionReport>,
}

/// A connection of a session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ConnectionReport {
    /// Its number.
    pub cid: u16,
    /// The initiator's address.
    pub address: IpAddr,
    /// The negotiated parameters.
    pub params: ConnectionParams,
}

/// A logical unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnitReport {
    /// Its number.
    pub lun: u16,
    /// Its configuration.
    pub config: UnitConfig,
    /// Bytes of the medium.
    pub size: u64,
    /// The medium's physical block length in bytes, where there is one.
    pub physical_block_len: Option<u32>,
    /// An initiator prevents removal of the medium.
    pub removal_prevented: bool,
    /// Its store lost writes that were acknowledged.
    pub lost_writes: bool,
    /// For how many seconds its store could not be reached; `None`: it can be.
    pub unreachable_seconds: Option<u64>,
    /// How its store was opened; the path is empty where there is no medium.
    pub store: StoreSpec,
}

/// A target's parameters: `target show --tid`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParametersReport {
    /// Seconds of silence before a ping.
    pub nop_interval: u32,
    /// Pings without an answer before the connection is closed.
    pub nop_count: u32,
    /// The keys and their values.
    pub keys: Vec<(&'static str, Value)>,
    /// Login redirection.
    pub redirect: Redirect,
}

/// A driver in `lld show`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DriverReport {
    /// Which.
    pub driver: Driver,
    /// Its state.
    pub state: DriverState,
    /// Number and name of its targets, oldest first.
    pub targets: Vec<(u32, String)>,
}

/// The device types that a unit can have, in tgt's order.
pub const DEVICE_TYPES: [DeviceType; 2] = [DeviceType::Disk, DeviceType::Controller];

/// `sys show`.
#[must_use]
pub fn system(model: &Model, stores: Vec<StoreKind>) -> SystemReport {
    SystemReport {
        version: env!("CARGO_PKG_VERSION"),
        state: model.state,
        debug: model.debug,
        remark: model.remark.clone(),
        drivers: Driver::ALL.map(|driver| (driver, model.driver(driver))).to_vec(),
        stores,
        device_types: DEVICE_TYPES.to_vec(),
        accounts: accounts(&model.discovery_accounts),
        isns: model.isns.clone(),
    }
}

fn accounts(bound: &BoundAccounts) -> AccountsReport {
    let names = |user: &str| {
        let names = bound.names(user).iter().map(|name| name.normalized().to_owned()).collect::<Vec<_>>();
        (!names.is_empty()).then(|| (user.to_owned(), names))
    };
    AccountsReport {
        incoming: bound.incoming().map(str::to_owned).collect(),
        outgoing: bound.outgoing().map(str::to_owned),
        initiator_names: bound.incoming().filter_map(names).collect(),
    }
}

/// One target of `target show`.
#[must_use]
pub fn target(target: &Target, sessions: &SessionDirectory, now: Instant) -> TargetReport {
    TargetReport {
        tid: target.tid.number(),
        name: target.name.clone(),
        driver: Driver::Iscsi,
        state: target.state,
        loops: target.loops,
        parameters: parameters(target),
        sessions: sessions.of_target(target.tid).filter(|session| !session.pending).map(session).collect(),
        units: target.units.iter().map(|(lun, entry)| unit(*lun, entry, now)).collect(),
        accounts: accounts(&target.accounts),
        acl: AclReport {
            matching: target.acl.matching(),
            addresses: target.acl.addresses().map(str::to_owned).collect(),
            names: target.acl.names().map(str::to_owned).collect(),
        },
    }
}

/// `conn show`, or `session show`: newest session first.
pub fn sessions<'a>(sessions: impl DoubleEndedIterator<Item = &'a Session>) -> Vec<SessionReport> {
    sessions.rev().filter(|session| !session.pending).map(session).collect()
}

fn parameters(target: &Target) -> ParametersReport {
    ParametersReport {
        nop_interval: target.nop_interval,
        nop_count: target.nop_count,
        keys: target.parameters.shown().collect(),
        redirect: target.redirect.clone(),
    }
}

/// `lld show`.
#[must_use]
pub fn drivers(model: &Model) -> Vec<DriverReport> {
    let targets = |driver| match driver {
        Driver::Iscsi => {
            model.targets_by_age().map(|target| (target.tid.number(), target.name.clone())).collect()
        }
        Driver::Iser => Vec::new(),
    };
    Driver::ALL
        .map(|driver| DriverReport { driver, state: model.driver(driver), targets: targets(driver) })
        .to_vec()
}

fn session(session: &Session) -> SessionReport {
    SessionReport {
        sid: session.tsih.0,
        tid: session.key.tid.number(),
        initiator: session.key.initiator_name.clone(),
        alias: session.alias.as_deref().map(printable),
        user: session.user.clone(),
        isid: session.key.isid,
        loop_index: session.loop_index,
        params: session.params,
        connections: session.connections.iter().map(connection).collect(),
    }
}

fn connection(connection: &Connection) -> ConnectionReport {
    ConnectionReport { cid: connection.cid.0, address: connection.peer, params: connection.params }
}

/// A unit in `target show`.
#[must_use]
pub fn unit(lun: Lun, entry: &TargetUnit, now: Instant) -> UnitReport {
    let store = entry.unit.store();
    let geometry = store.as_ref().map(|store| store.geometry());
    let unreachable_since = entry.unit.reports().reach().unreachable_since;
    UnitReport {
        lun: lun.number(),
        config: entry.unit.config(),
        size: geometry.map_or(0, |geometry| geometry.size),
        physical_block_len: geometry.map(|geometry| geometry.physical_block_len),
        removal_prevented: entry.unit.removal_prevented(),
        lost_writes: store.is_some_and(|store| store.has_lost_writes()),
        unreachable_seconds: unreachable_since.map(|since| now.saturating_duration_since(since).as_secs()),
        store: entry.store.clone(),
    }
}

/// A peer's text without control characters, which would break lines and terminals.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}
