//! The number and the sentence of each error of the dispatcher.

use std::fmt::{Display, Formatter, Result};

use scsi_core::lun::Lun;

use super::super::super::dispatch::error::{
    DriverError, LoopsError, MediumError, OperationError, PortalError, StoreError, TargetError, UnitError,
};
use super::super::super::error::{ControlError, TgtadmError};
use super::super::super::messages::LoopError;
use super::Numbered;
use crate::limits::CONTROL_REPLY;
use crate::model::state::DriverState;

impl Numbered for OperationError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::TooBusy => TgtadmError::NoMemory,
            Self::Overdue => TgtadmError::Unknown,
        }
    }
}

impl Display for OperationError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let seconds = CONTROL_REPLY.as_secs();
        match self {
            Self::TooBusy => out.write_str("too many operations are under way; try again"),
            Self::Overdue => write!(out, "no answer within {seconds} s; what was begun goes on"),
        }
    }
}

impl Numbered for LoopsError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::Shared { .. } | Self::OneLoop(_) => TgtadmError::InvalidRequest,
            Self::InUse => TgtadmError::TargetActive,
            Self::Thread(_) => TgtadmError::NoMemory,
        }
    }
}

impl Display for LoopsError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Shared { count, shared } => write!(
                out,
                "--name loops --value {count} is not possible; accepted: 1 to {shared}, the shared loops"
            ),
            Self::InUse => out.write_str(
                "--name loops: only without sessions, and while no logical unit is being made or removed",
            ),
            Self::OneLoop(lun) => write!(
                out,
                "--name loops: accepted: 1, because the store of LUN {lun} shows one connection the writes of another only \
                 later"
            ),
            Self::Thread(error) => write!(out, "no thread for the target: {error}"),
        }
    }
}

impl Numbered for PortalError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::Unknown { .. } | Self::NoAddress | Self::Listen { .. } => TgtadmError::InvalidRequest,
            Self::ListenAtStart { .. } => TgtadmError::Unknown,
        }
    }
}

impl Display for PortalError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Unknown { portal, known } => {
                let known: Vec<_> = known.iter().map(ToString::to_string).collect();
                write!(out, "portal={portal}: it is not listened on; accepted: {}", known.join(", "))
            }
            Self::NoAddress => out.write_str("--params portal=: no address is known for this name"),
            Self::Listen { portal, error } => write!(out, "portal={portal}: {error}"),
            Self::ListenAtStart { portal, error } => write!(out, "portal {portal}: {error}"),
        }
    }
}

impl Numbered for DriverError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::NotReady(..) => TgtadmError::NoDriver,
            Self::Unsupported(_) => TgtadmError::Unknown,
            Self::InUse(_) => TgtadmError::DriverActive,
            Self::TargetsExist(_) => TgtadmError::InvalidRequest,
        }
    }
}

impl Display for DriverError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::NotReady(driver, DriverState::Ready | DriverState::Stopped) => {
                write!(out, "the driver {} is stopped; start it by --mode lld --op start", driver.name())
            }
            Self::NotReady(driver, DriverState::Error) | Self::Unsupported(driver) => {
                write!(out, "the driver {} cannot serve: there is no support of RDMA", driver.name())
            }
            Self::InUse(count) | Self::TargetsExist(count) => {
                write!(out, "{count} targets exist; delete them first")
            }
        }
    }
}

impl Numbered for TargetError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::Leaving(_) => TgtadmError::TargetExists,
            Self::InUse { .. } => TgtadmError::TargetActive,
            Self::Gone => TgtadmError::NoTarget,
            Self::SessionOf { .. } | Self::NoSession(_) => TgtadmError::NoSession,
            Self::NoConnection { .. } => TgtadmError::NoConnection,
        }
    }
}

impl Display for TargetError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Leaving(tid) => {
                write!(out, "--tid {tid}: the target that had this number is still being removed")
            }
            Self::InUse { tid, sessions } => {
                write!(out, "--tid {tid}: {sessions} sessions use it; end them, or give --drain or --force")
            }
            Self::Gone => out.write_str("the target was removed meanwhile"),
            Self::SessionOf { sid, tid } => write!(out, "--sid {sid}: that session is at target {tid}"),
            Self::NoSession(0) => out.write_str("--sid is missing: the session's number, 1 or more"),
            Self::NoSession(sid) => write!(out, "--sid {sid}: no session has this number"),
            Self::NoConnection { sid, cid } => {
                write!(out, "--cid {cid}: session {sid} has no such connection")
            }
        }
    }
}

impl Numbered for UnitError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::Taken { .. } => TgtadmError::LunExists,
            Self::Unknown { .. } => TgtadmError::NoLun,
            Self::Busy(_) => TgtadmError::LunActive,
            Self::Number(_) | Self::DeviceType(_) | Self::Controller | Self::NameTaken { .. } => {
                TgtadmError::InvalidRequest
            }
        }
    }
}

impl Display for UnitError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Number(lun) => write!(out, "--lun {lun} is not possible; accepted: 0 to {}", Lun::MAX),
            Self::Taken { tid, lun } => {
                write!(out, "--lun {lun}: target {tid} has a logical unit of this number")
            }
            Self::Unknown { lun: u64::MAX, .. } => {
                out.write_str("--lun is missing: the logical unit's number")
            }
            Self::Unknown { tid, lun } => {
                write!(out, "--lun {lun}: target {tid} has no logical unit of this number")
            }
            Self::DeviceType(code) => {
                write!(out, "--device-type {code:#04x} is not served; accepted: disk (0x00)")
            }
            Self::Controller => out.write_str(
                "--lun 0: the controller goes with its target; accepted: the number of another unit",
            ),
            Self::Busy(lun) => write!(out, "--lun {lun}: it is being made or removed"),
            Self::NameTaken { tid, lun, scsi_id, scsi_sn, path } => write!(
                out,
                "target {tid} lun {lun} has this identity already ({scsi_id:?}, serial number {scsi_sn:?}), and its \
                 store is {path:?}: give each store its own scsi_id and scsi_sn"
            ),
        }
    }
}

impl Numbered for StoreError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::StillOpen(_) => TgtadmError::LunActive,
            Self::NotOpened(_)
            | Self::Kind { .. }
            | Self::Sheepdog
            | Self::OneLoop(_)
            | Self::Flags { .. }
            | Self::NoPath(_) => TgtadmError::InvalidRequest,
        }
    }
}

impl Display for StoreError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::StillOpen(paths) => write!(
                out,
                "the change is made, but the store has not closed in time; still open: {}",
                paths.join(", ")
            ),
            Self::NotOpened(why) => write!(out, "--backing-store {why}"),
            Self::Kind { kind, known } => {
                write!(out, "--bstype {kind:?} is not known; accepted: {}", known.join(", "))
            }
            Self::Sheepdog => out.write_str(
                "--bstype \"sheepdog\": sheepdog volumes are reached by NBD: serve the volume with qemu-nbd of a QEMU that \
                 has the sheepdog driver, then use --bstype nbd",
            ),
            Self::OneLoop(path) => write!(
                out,
                "--backing-store {path}: the store can serve a target on one loop only: set --name loops --value 1 first"
            ),
            Self::Flags { flags, kind } => {
                write!(out, "--bsoflags {flags:?}: stores of the kind {kind} take none")
            }
            Self::NoPath(kind) if kind == "memory" => out.write_str(
                "--backing-store is missing: --bstype memory needs a name, which is only shown, and a size, as in \
                 -b NAME --bsopts size=64M",
            ),
            Self::NoPath(kind) => {
                write!(out, "--backing-store is missing: --bstype {kind} needs the name of a volume")
            }
        }
    }
}

impl Numbered for MediumError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::Missing => TgtadmError::UnsupportedOperation,
            Self::Busy => TgtadmError::LunActive,
            Self::OfController(_)
            | Self::Present(_)
            | Self::EmptyPath
            | Self::PutOnline
            | Self::Size(_)
            | Self::Flush(_) => TgtadmError::InvalidRequest,
        }
    }
}

impl Display for MediumError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Missing => out.write_str("--params disksize: the unit has no medium"),
            Self::OfController(path) => write!(out, "--params path={path:?}: a controller has no medium"),
            Self::Present(path) => write!(
                out,
                "--params path={path:?}: the present medium is in; take it out by --params online=0 first"
            ),
            Self::EmptyPath => {
                out.write_str("--params path=\"\": it is empty; accepted: the path of a file or block device")
            }
            Self::PutOnline => {
                out.write_str("--params path: the present medium was put online in the meantime")
            }
            Self::Busy => out.write_str(
                "the commands on the present medium have not ended yet; it is exchanged when they have",
            ),
            Self::Flush(error) => write!(out, "the unit is offline, but its flush failed: {error}"),
            Self::Size(error) => write!(out, "--params disksize: the store does not report it: {error}"),
        }
    }
}

impl From<LoopError> for ControlError {
    fn from(error: LoopError) -> Self {
        match error {
            LoopError::NoTarget => TargetError::Gone.into(),
            LoopError::NoUnit => TgtadmError::NoLun.because("the logical unit is gone"),
            LoopError::UnitExists => TgtadmError::LunExists.because("the logical unit is there already"),
            LoopError::Busy => TgtadmError::LunActive.because("commands are running on the logical unit"),
            LoopError::NoConnection => TgtadmError::NoConnection.because("the connection is gone"),
            LoopError::Store(error) => {
                TgtadmError::InvalidRequest.because(format!("the backing store: {error}"))
            }
        }
    }
}
