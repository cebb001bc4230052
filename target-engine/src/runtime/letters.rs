//! What the control thread and the loops write to one another. A letter is owned by whoever holds it; nothing in
//! it is shared but units and stores, which are made for that.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::ids::{Cid, Tsih};
use scsi_core::device::NexusId;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;

use crate::iscsi::login::LoggedIn;
use crate::model::Tid;
use crate::runtime::mailbox::Mailbox;
pub use crate::shard::settings::TargetSettings;
use crate::shard::task_management::Reach;
use crate::stats::{ConnectionStats, SessionStats};

/// Names a question of the control thread until its last answer is in; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ticket(pub u64);

/// A loop's number in the daemon; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LoopId(pub u32);

/// A target's time on its loops: its number may come again, its life does not. Never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Life(pub u64);

/// To a loop, from the control thread or from another loop of the same target.
#[derive(Debug)]
pub enum ToLoop {
    /// Serve this target from now on; not answered.
    AddTarget(Box<NewTarget>),
    /// The target's parameters changed; those that are negotiated hold from the next login on. Not answered.
    UpdateTarget(Tid, Arc<TargetSettings>),
    /// The loops that serve the same target, this one left out; not answered.
    Siblings(Tid, Vec<(LoopId, Mailbox<Self>)>),
    /// End the target: take no new commands, close its sessions when what runs is done or by this time, forget its
    /// units. Answered when the last operation is in.
    RemoveTarget(Tid, Instant, Ticket),
    /// Serve this unit. Answered at once.
    AddUnit(Tid, Lun, Arc<Unit>, Ticket),
    /// Forget this unit. Answered when its last operation is in.
    RemoveUnit {
        /// Of which target.
        tid: Tid,
        /// Which unit.
        lun: Lun,
        /// What runs may finish until then; `None`: `LoopError::Busy` while commands run.
        by: Option<Instant>,
        /// For the answer.
        ticket: Ticket,
    },
    /// Answered when nothing runs at this unit, which is offline; what does so after this time ends early.
    StopUnit(Tid, Lun, Instant, Ticket),
    /// The unit has another medium, or none: detach the one before. Not answered.
    ChangeMedium(Tid, Lun),
    /// A connection that has logged in. Answered by `SessionStarted` or `AttachFailed`.
    Attach(Box<Attach>),
    /// End one connection with its commands. Answered when it is closed.
    CloseConnection {
        /// Of which target.
        tid: Tid,
        /// Of which session.
        tsih: Tsih,
        /// Which connection.
        cid: Cid,
        /// For the answer.
        ticket: Ticket,
    },
    /// Task management that reaches other loops' commands: abort them.
    Reset(Box<CrossReset>),
    /// A sibling's answer to `Reset`.
    ResetDone(Life, ResetId),
    /// Ask every initiator to log out, finish what runs, then end the loop, at the latest after this time.
    End(Duration),
}

/// To the control thread, from a loop.
#[derive(Debug)]
pub enum ToControl {
    /// The answer to a ticket.
    Answer(LoopId, Ticket, Result<(), LoopError>),
    /// A connection became a session's first; its login is over.
    SessionStarted(LoopId, Tid, Tsih, NexusId),
    /// A further connection joined its session.
    ConnectionJoined(LoopId, Tid, Tsih, Cid),
    /// The letter came too late: no such target or session here any more.
    AttachFailed(LoopId, Tid, Tsih, NexusId, Cid),
    /// A connection of a session that goes on has ended.
    ConnectionEnded(LoopId, Tid, Tsih, Cid),
    /// A session and its nexus are gone, with all that ran in it.
    SessionEnded(LoopId, Tid, Tsih, NexusId),
    /// The loop's thread is about to end.
    LoopEnded(LoopId),
    /// The loop is no more, and nobody asked it to end.
    LoopFailed(LoopId),
}

/// Why a loop did not do what a letter asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LoopError {
    /// No such target on this loop.
    #[error("no such target")]
    NoTarget,
    /// No such unit in the target.
    #[error("no such logical unit")]
    NoUnit,
    /// The number is taken.
    #[error("the logical unit number is taken")]
    UnitExists,
    /// Commands are running.
    #[error("commands are running")]
    Busy,
    /// No such session or connection.
    #[error("no such connection")]
    NoConnection,
    /// The loop cannot reach the store.
    #[error("the store cannot be attached: {0}")]
    Store(scsi_core::store::IoError),
}

/// A target as a loop serves it.
#[derive(Debug)]
pub struct NewTarget {
    /// Its number.
    pub tid: Tid,
    /// Its life.
    pub life: Life,
    /// Its parameters.
    pub settings: Arc<TargetSettings>,
    /// The units it has already (LUN 0, the controller, among them).
    pub units: Vec<(Lun, Arc<Unit>)>,
}

/// A connection on its way to its loop: all of it, owned.
#[derive(Debug)]
pub struct Attach {
    /// To which target.
    pub tid: Tid,
    /// The socket, non-blocking, registered nowhere.
    pub socket: TcpStream,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address it came in on, for SendTargets in the session.
    pub local: SocketAddr,
    /// What the login settled; its last response is still to be sent.
    pub login: Box<LoggedIn>,
    /// The session's handle, unique in the daemon.
    pub tsih: Tsih,
    /// The session's nexus, never used before (for `Join`: the session's own).
    pub nexus: NexusId,
    /// What becomes of it.
    pub mode: AttachMode,
    /// Where the session counts; the control thread reads it.
    pub session_stats: Arc<SessionStats>,
    /// Where the connection counts, what the login took included.
    pub connection_stats: Arc<ConnectionStats>,
}

/// How a connection comes to its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AttachMode {
    /// It opens a new session.
    New,
    /// It opens a new session in place of this one, which is ended first (RFC 7143 6.3.5).
    Reinstate(Tsih),
    /// It joins this session (`Attach::tsih`).
    Join,
}

/// Names a `Reset` until its answers are in: its loop's own count.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ResetId(pub u64);

/// Which commands a reset of another loop ends.
#[derive(Debug)]
pub struct CrossReset {
    /// Of which target.
    pub life: Life,
    /// Which of its commands.
    pub reach: Reach,
    /// For the answer.
    pub id: ResetId,
    /// Where the answer goes.
    pub back: Mailbox<ToLoop>,
}
