//! What arrives in the mailbox of a loop: messages of the control plane and of the other loops of a target, with the
//! sockets and mailboxes that belong to them.

use std::net::TcpStream;

use super::mailbox::Mailbox;
use crate::control::messages::{Attach, LoopId, ServiceId, ToLoop};
use crate::loop_state::effect::{CrossReset, ResetId};
use crate::model::Tid;

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
    Reset(Box<CrossReset<Mailbox<Self>>>),
    /// The answer to `Reset`.
    ResetDone(ServiceId, ResetId),
}

impl From<ToLoop> for LoopMessage {
    fn from(message: ToLoop) -> Self {
        Self::Control(message)
    }
}
