//! What a loop asks of its driver, and the messages between the loops of a target.

use super::stream::{StreamIndex, Watch};
use crate::control::messages::{ServiceId, ToControl};
use crate::shard::functions::Reach;

/// What the driver must do for a loop.
#[derive(Debug)]
pub enum Effect<S, A> {
    /// Send a message to the control plane.
    ToControl(ToControl),
    /// Send a reset to another loop, whose driver calls [`reset`](super::LoopState::reset). If that loop has ended, call
    /// [`reset_done`](super::LoopState::reset_done) here: its commands have ended with it.
    Reset(A, Box<CrossReset<A>>),
    /// Send the end of a reset to another loop, whose driver calls [`reset_done`](super::LoopState::reset_done).
    ResetDone(A, ServiceId, ResetId),
    /// Watch the socket of a connection for these events from now on. It may be closed already.
    Watch(StreamIndex, Watch),
    /// Close a socket; no other effect names it any more.
    Close(S),
    /// Much memory went back to the allocator: have it give the memory back to the system.
    FreeHeap,
    /// Engines have failed ([`Engines::failure`](scsi_core::store::Engines::failure)): do not wait for their events.
    EnginesFailed,
}

/// Identifies a reset until its answers have come; unique in its loop and service.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct ResetId(pub u64);

/// A reset by another loop.
#[derive(Debug)]
pub struct CrossReset<A> {
    /// The service of the target.
    pub service: ServiceId,
    /// The commands to abort.
    pub reach: Reach,
    /// For the answer.
    pub id: ResetId,
    /// The address of the loop that gets the answer.
    pub back: A,
}
