//! What arrives in the mailbox of a loop: messages of the control plane and of the other loops of a target, with the
//! sockets and mailboxes that belong to them.

use std::net::TcpStream;

use super::mailbox::Mailbox;
use crate::control::messages::{Attach, LoopId, ServiceId, ToLoop};
use crate::model::Tid;
use crate::shard::functions::Reach;

/// A message to a loop.
#[derive(Debug)]
pub enum LoopMessage {
    /// From the control plane.
    Control(ToLoop),
    /// The other loops that serve the same target, and their mailboxes.
    Siblings(Tid, Vec<(LoopId, Mailbox<Self>)>),
    /// A connection that has logged in, and its socket, which is non-blocking and registered with no poller. Answered by
    /// `SessionStarted`, `ConnectionJoined` or `AttachFailed`.
    Attach(Box<Attach>, TcpStream),
    /// From another loop of the same target: task management that reaches commands of this one.
    Reset(Box<CrossReset>),
    /// The answer to `Reset`.
    ResetDone(ServiceId, ResetId),
}

impl From<ToLoop> for LoopMessage {
    fn from(message: ToLoop) -> Self {
        Self::Control(message)
    }
}

/// Identifies a reset until its answers have come; unique in its loop and service.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ResetId(pub u64);

/// A reset by another loop.
#[derive(Debug)]
pub struct CrossReset {
    /// The service of the target.
    pub service: ServiceId,
    /// The commands to abort.
    pub reach: Reach,
    /// For the answer.
    pub id: ResetId,
    /// The mailbox of the loop that gets the answer.
    pub back: Mailbox<LoopMessage>,
}
