//! What reports say, as structs; [`text`] renders them as stock does.

pub mod stat;
pub mod text;

use std::net::IpAddr;

use scsi_core::device::unit::DeviceType;

use crate::model::acl::Matching;
use crate::model::portal::PortalSpec;
use crate::model::sessions::{Session, SessionDirectory};
use crate::model::store::StoreKind;
use crate::model::target::{Redirect, Target};
use crate::model::unit::TargetUnit;
use crate::model::{DriverState, Isns, Model};

use super::error::ControlError;
use super::request::{Driver, State};
use stat::{ConnectionRow, UnitRow};

/// What a daemon answers: a report, or why not.
pub type Reply = Result<Report, ControlError>;

/// What a request that was obeyed has to tell.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Report {
    /// It is done.
    Done,
    /// `sys show`.
    System(SystemReport),
    /// `target show`: all of them.
    Targets(Vec<TargetReport>),
    /// `target show --tid`.
    Parameters(ParametersReport),
    /// `lld show`.
    Drivers(Vec<DriverReport>),
    /// `portal show`, newest first.
    Portals(Vec<PortalSpec>),
    /// `account show`: names, newest first.
    Accounts(Vec<String>),
    /// `conn show`: sessions with their connections, newest first.
    Connections(Vec<SessionReport>),
    /// `stat` of system, target and logical unit.
    UnitCounts(Vec<UnitRow>),
    /// `session stat`: its units, its connections.
    SessionCounts(Vec<UnitRow>, Vec<ConnectionRow>),
    /// `conn stat`.
    ConnectionCounts(Vec<ConnectionRow>),
}

/// `sys show`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SystemReport {
    /// Whether new connections are served.
    pub state: State,
    /// Whether debug messages are logged.
    pub debug: bool,
    /// How I/O is done, where that is not the usual way; stock has no such line.
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
    /// Initiators' names.
    pub incoming: Vec<String>,
    /// The target's own.
    pub outgoing: Option<String>,
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
    /// Interval in seconds and count, where it pings.
    pub nop: Option<(u32, u32)>,
    /// Who is logged in, by session number.
    pub sessions: Vec<SessionReport>,
    /// Its units, by number.
    pub units: Vec<UnitReport>,
    /// The accounts it uses.
    pub accounts: AccountsReport,
    /// Who may log in.
    pub acl: Vec<String>,
}

/// A session, which is an I_T nexus.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SessionReport {
    /// Its number.
    pub sid: u16,
    /// The initiator's name.
    pub initiator: String,
    /// The initiator's alias, safe to print.
    pub alias: Option<String>,
    /// Number and address of each connection.
    pub connections: Vec<(u16, IpAddr)>,
}

/// A logical unit.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnitReport {
    /// Its number.
    pub lun: u16,
    /// Its device type.
    pub device_type: DeviceType,
    /// Its T10 designator.
    pub scsi_id: String,
    /// Its serial number.
    pub scsi_sn: String,
    /// Bytes of the medium.
    pub size: u64,
    /// Logical block length in bytes; 1 for what has no blocks.
    pub block_len: u32,
    /// The medium is there.
    pub online: bool,
    /// The medium can be ejected.
    pub removable: bool,
    /// An initiator prevents that.
    pub removal_prevented: bool,
    /// Writes are refused.
    pub read_only: bool,
    /// Software write protect.
    pub swp: bool,
    /// Logical block provisioning is offered.
    pub thin_provisioning: bool,
    /// The kind of store.
    pub store_kind: String,
    /// Where it is, if it is.
    pub store_path: Option<String>,
    /// How it is opened.
    pub store_flags: &'static str,
}

/// A target's parameters: `target show --tid`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ParametersReport {
    /// Seconds of silence before a ping.
    pub nop_interval: u32,
    /// Pings without an answer.
    pub nop_count: u32,
    /// The keys and their values.
    pub keys: Vec<(&'static str, String)>,
    /// How rules on addresses and on names go together.
    pub acl_match: Matching,
    /// Where initiators are sent.
    pub redirect: Redirect,
}

/// A driver in `lld show`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DriverReport {
    /// Which.
    pub driver: Driver,
    /// Its state.
    pub state: DriverState,
    /// Number and name of its targets, the eldest first.
    pub targets: Vec<(u32, String)>,
}

/// The device types that a unit can have, in stock's order.
pub const DEVICE_TYPES: [DeviceType; 2] = [DeviceType::Disk, DeviceType::Controller];

/// `sys show`.
#[must_use]
pub fn system(model: &Model, stores: Vec<StoreKind>) -> SystemReport {
    SystemReport {
        state: model.state,
        debug: model.debug,
        remark: model.remark.clone(),
        drivers: Driver::ALL.map(|driver| (driver, model.driver(driver))).to_vec(),
        stores,
        device_types: DEVICE_TYPES.to_vec(),
        accounts: AccountsReport {
            incoming: model.discovery_accounts.incoming().to_vec(),
            outgoing: model.discovery_accounts.outgoing().map(str::to_owned),
        },
        isns: model.isns.clone(),
    }
}

/// One target of `target show`.
#[must_use]
pub fn target(target: &Target, sessions: &SessionDirectory) -> TargetReport {
    TargetReport {
        tid: target.tid.number(),
        name: target.name.clone(),
        driver: Driver::Iscsi,
        state: target.state,
        nop: (target.nop_interval != 0).then_some((target.nop_interval, target.nop_count)),
        sessions: sessions.of_target(target.tid).filter(|session| !session.pending).map(session).collect(),
        units: target.units.iter().map(|(lun, entry)| unit(lun.number(), entry)).collect(),
        accounts: AccountsReport {
            incoming: target.accounts.incoming().to_vec(),
            outgoing: target.accounts.outgoing().map(str::to_owned),
        },
        acl: target.acl.rules().map(str::to_owned).collect(),
    }
}

/// The connections of `conn show`: newest session first.
#[must_use]
pub fn sessions(target: &Target, sessions: &SessionDirectory) -> Vec<SessionReport> {
    sessions.of_target(target.tid).rev().filter(|session| !session.pending).map(session).collect()
}

/// `target show --tid`.
#[must_use]
pub fn parameters(target: &Target) -> ParametersReport {
    ParametersReport {
        nop_interval: target.nop_interval,
        nop_count: target.nop_count,
        keys: target.parameters.shown().collect(),
        acl_match: target.acl.matching(),
        redirect: target.redirect.clone(),
    }
}

/// `lld show`.
#[must_use]
pub fn drivers(model: &Model) -> Vec<DriverReport> {
    let targets =
        || model.targets_by_age().map(|target| (target.tid.number(), target.name.clone())).collect();
    Driver::ALL
        .map(|driver| DriverReport { driver, state: model.driver(driver), targets: targets() })
        .to_vec()
}

fn session(session: &Session) -> SessionReport {
    SessionReport {
        sid: session.tsih.0,
        initiator: session.key.initiator_name.clone(),
        alias: session.alias.as_deref().map(printable),
        connections: session
            .connections
            .iter()
            .map(|connection| (connection.cid.0, connection.peer))
            .collect(),
    }
}

fn unit(lun: u16, entry: &TargetUnit) -> UnitReport {
    let config = entry.unit.config();
    let size = entry.unit.store().map_or(0, |store| store.geometry().size);
    let block_len = if config.device_type == DeviceType::Disk { config.block_len } else { 1 };
    UnitReport {
        lun,
        device_type: config.device_type,
        scsi_id: config.scsi_id,
        scsi_sn: config.scsi_sn,
        size,
        block_len,
        online: config.online,
        removable: config.removable,
        removal_prevented: entry.unit.removal_prevented(),
        read_only: config.read_only,
        swp: config.swp,
        thin_provisioning: config.thin_provisioning,
        store_kind: entry.store.kind.clone(),
        store_path: entry.has_medium().then(|| entry.store.path.clone()),
        store_flags: entry.store.flags.word(),
    }
}

/// A peer's text without what would break a report's lines or a terminal.
fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}
