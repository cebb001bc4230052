//! Why requests are refused that the model would accept. The numbers and sentences for these errors are in
//! `control::report::errors`.

use std::io;

use scsi_core::lun::Lun;
use scsi_core::store::IoError;

use crate::model::Tid;
use crate::model::portal::PortalSpec;
use crate::model::state::{Driver, DriverState};

/// Why an operation does not begin, or is not answered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OperationError {
    /// Too many operations are under way.
    TooBusy,
    /// It did not end within [`crate::limits::CONTROL_REPLY`].
    Overdue,
}

/// Why a target is not served by other loops.
#[derive(Debug)]
pub enum LoopsError {
    /// There are fewer shared loops.
    Shared {
        /// The loops that the target asks for.
        count: usize,
        /// The shared loops.
        shared: usize,
    },
    /// The target has sessions, or units that are being created or removed.
    InUse,
    /// The store of a unit may be attached by one loop only.
    OneLoop(Lun),
    /// A thread was not started.
    Thread(io::Error),
}

/// Why a portal is not opened or closed.
#[derive(Debug)]
pub enum PortalError {
    /// There is no such portal.
    Unknown {
        /// The portal.
        portal: PortalSpec,
        /// The portals that there are.
        known: Vec<PortalSpec>,
    },
    /// The portal's name has no address.
    NoAddress,
    /// A new portal does not listen.
    Listen {
        /// The portal.
        portal: PortalSpec,
        /// Why.
        error: io::Error,
    },
    /// A portal of a driver that is started does not listen.
    ListenAtStart {
        /// The portal.
        portal: PortalSpec,
        /// Why.
        error: io::Error,
    },
}

/// Why a driver is not used, started or stopped, or the daemon not ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DriverError {
    /// The driver that a request names is not ready.
    NotReady(Driver, DriverState),
    /// The driver cannot be started: it is not supported.
    Unsupported(Driver),
    /// The driver has this many targets.
    InUse(usize),
    /// The daemon does not end while there are this many targets.
    TargetsExist(usize),
}

/// Why a request about a target, its sessions or their connections is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TargetError {
    /// The target that had this number is still being removed.
    Leaving(Tid),
    /// The target has sessions.
    InUse {
        /// The target.
        tid: Tid,
        /// Its sessions.
        sessions: usize,
    },
    /// The target was removed meanwhile.
    Gone,
    /// The session is one of another target.
    SessionOf {
        /// The session.
        sid: u64,
        /// Its target.
        tid: Tid,
    },
    /// There is no such session; 0 where none was given.
    NoSession(u64),
    /// There is no such connection.
    NoConnection {
        /// The session.
        sid: u64,
        /// The connection.
        cid: u32,
    },
}

/// Why a request about a logical unit is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum UnitError {
    /// A unit cannot have this number.
    Number(u64),
    /// The target has a unit of this number.
    Taken {
        /// The target.
        tid: Tid,
        /// The number.
        lun: Lun,
    },
    /// There is no such unit.
    Unknown {
        /// The target.
        tid: Tid,
        /// The number; all ones where none was given.
        lun: u64,
    },
    /// Units of this peripheral device type are not supported.
    DeviceType(u32),
    /// The controller is removed with its target only.
    Controller,
    /// The unit is being created or removed.
    Busy(u64),
    /// Another unit over another store has the same identity.
    NameTaken {
        /// Its target.
        tid: Tid,
        /// Its number.
        lun: Lun,
        /// The SCSI ID.
        scsi_id: String,
        /// The serial number.
        scsi_sn: String,
        /// The path of its store.
        path: String,
    },
}

/// Why a store is not opened, or not reported as closed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum StoreError {
    /// The change is made, but the stores of these paths are not closed in time.
    StillOpen(Vec<String>),
    /// It was not opened; the opener's reason has the path.
    NotOpened(String),
    /// There is no such kind of store.
    Kind {
        /// The kind.
        kind: String,
        /// The kinds that there are.
        known: Vec<&'static str>,
    },
    /// tgt's kind for Sheepdog, which this daemon reaches by NBD.
    Sheepdog,
    /// The store may be attached by one loop only, and the target has several. Its path.
    OneLoop(String),
    /// The kind of store takes no flags.
    Flags {
        /// The flags.
        flags: &'static str,
        /// The kind.
        kind: String,
    },
    /// The kind of store needs a path.
    NoPath(String),
}

/// Why a medium is not exchanged or measured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MediumError {
    /// The unit has no medium.
    Missing,
    /// The unit is a controller, which has no medium.
    OfController(String),
    /// The present medium is online.
    Present(String),
    /// The path is empty.
    EmptyPath,
    /// The present medium was put online while the other one was opened.
    PutOnline,
    /// Commands run on the present medium; it is exchanged when they have ended.
    Busy,
    /// The store does not know its size.
    Size(IoError),
    /// The unit is offline, but its store could not be flushed.
    Flush(IoError),
}
