//! Messages between the control plane and the loops, as plain data. Sockets and mailboxes are added by whoever carries
//! them (see [`Outside`](super::dispatch::Outside)). Units, settings and counters in a message are shared; all else
//! belongs to the receiver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::ids::{Cid, Tsih};
use scsi_core::device::NexusId;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;

use crate::iscsi::login::LoggedIn;
use crate::model::Tid;
pub use crate::shard::settings::TargetSettings;
use crate::stats::{ConnectionStats, SessionStats};

/// Identifies an operation of the control plane until its last answer has come; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// Identifies a loop; never used twice in a daemon.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LoopId(pub u32);

/// Identifies a connection that is logging in; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LoginId(pub u64);

/// Identifies the service of a target by a set of loops. A target's number may be used again, this never is.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServiceId(pub u64);

/// The addresses of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// The initiator's.
    pub peer: SocketAddr,
    /// The one that the initiator connected to.
    pub local: SocketAddr,
}

/// A message of the control plane to a loop.
#[derive(Debug)]
pub enum ToLoop {
    /// Serve this target. Not answered.
    AddTarget(Box<NewTarget>),
    /// The target's parameters have changed; negotiated ones apply from the next login on. Not answered.
    UpdateTarget(Tid, Arc<TargetSettings>),
    /// The other loops that serve the same target. Not answered.
    Siblings(Tid, Vec<LoopId>),
    /// Remove the target: accept no new commands, close its sessions when their commands are done and at the latest at
    /// this time, then drop its units. Answered when the last operation has completed.
    RemoveTarget(Tid, Instant, Ticket),
    /// Serve this unit. Answered at once.
    AddUnit(Tid, Lun, Arc<Unit>, Ticket),
    /// Drop this unit. Answered when its last operation has completed.
    RemoveUnit {
        /// The target.
        tid: Tid,
        /// The unit.
        lun: Lun,
        /// Commands may finish until then; `None`: [`LoopError::Busy`] while commands run.
        by: Option<Instant>,
        /// For the answer.
        ticket: Ticket,
    },
    /// Answered when no command runs on this unit, which is offline; commands that run at this time are aborted.
    StopUnit(Tid, Lun, Instant, Ticket),
    /// The unit has another medium, or none: drop the previous one. Not answered.
    ChangeMedium(Tid, Lun),
    /// Close a connection and abort its commands. Answered when it is closed.
    CloseConnection {
        /// The target.
        tid: Tid,
        /// The session.
        tsih: Tsih,
        /// The connection.
        cid: Cid,
        /// For the answer.
        ticket: Ticket,
    },
    /// Request logout from every initiator, let commands finish, then end the loop, at the latest after this time.
    End(Duration),
}

/// A message of a loop to the control plane.
#[derive(Debug)]
pub enum ToControl {
    /// The answer to a message with a ticket.
    Answer(LoopId, Ticket, Result<(), LoopError>),
    /// The first connection of a session is attached: the login is over.
    SessionStarted(LoopId, Tid, Tsih, NexusId),
    /// A further connection has joined its session.
    ConnectionJoined(LoopId, Tid, Tsih, Cid),
    /// A connection could not be attached: its target or session has ended on this loop.
    AttachFailed(LoopId, Tid, Tsih, NexusId, Cid),
    /// A connection has ended, its session goes on.
    ConnectionEnded(LoopId, Tid, Tsih, Cid),
    /// A session has ended with all its commands.
    SessionEnded(LoopId, Tid, Tsih, NexusId),
    /// The size of the unit's store may have changed. Read it, then call
    /// [`resize_handled`](scsi_core::device::reports::StoreReports::resize_handled).
    StoreResized(Tid, Lun, Arc<Unit>),
    /// The loop was asked to end and has ended.
    LoopEnded(LoopId),
    /// The loop has ended unasked.
    LoopFailed(LoopId),
}

/// Why a loop did not do what a message asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoopError {
    /// The loop does not serve the target.
    #[error("no such target")]
    NoTarget,
    /// The target has no such unit.
    #[error("no such logical unit")]
    NoUnit,
    /// The target has a unit of this number.
    #[error("the logical unit number is taken")]
    UnitExists,
    /// Commands are running.
    #[error("commands are running")]
    Busy,
    /// The session has no such connection, or there is no such session.
    #[error("no such connection")]
    NoConnection,
    /// The loop cannot attach the store.
    #[error("the store cannot be attached: {0}")]
    Store(scsi_core::store::IoError),
}

/// A target as a loop serves it.
#[derive(Debug)]
pub struct NewTarget {
    /// Its number.
    pub tid: Tid,
    /// The service that begins.
    pub service: ServiceId,
    /// Its parameters.
    pub settings: Arc<TargetSettings>,
    /// Its units, among them LUN 0, the controller.
    pub units: Vec<(Lun, Arc<Unit>)>,
}

/// A connection that has logged in, on its way to its loop; its socket travels beside it.
#[derive(Debug)]
pub struct Attach {
    /// The target.
    pub tid: Tid,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address that the initiator connected to, for SendTargets in the session.
    pub local: SocketAddr,
    /// What the login negotiated. Its final response has not been sent.
    pub login: Box<LoggedIn>,
    /// The session's handle, unique in the daemon.
    pub tsih: Tsih,
    /// The session's nexus, never used before; for [`AttachMode::Join`] the session's own.
    pub nexus: NexusId,
    /// How the connection comes to its session.
    pub mode: AttachMode,
    /// The session's counters; the control plane reads them.
    pub session_stats: Arc<SessionStats>,
    /// The connection's counters; the bytes of the login are counted already.
    pub connection_stats: Arc<ConnectionStats>,
}

/// How a connection comes to its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttachMode {
    /// It opens a new session.
    New,
    /// It opens a new session in place of this one, which is closed first (RFC 7143 6.3.5).
    Reinstate(Tsih),
    /// It joins the session [`Attach::tsih`].
    Join,
}
