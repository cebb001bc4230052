//! A target on a loop: its shard, and what the loop keeps for it.

use scsi_core::lun::Lun;

use super::mailbox::Mailbox;
use super::message::{LoopMessage, ResetId};
use crate::control::messages::{LoopId, ServiceId, Ticket};
use crate::model::Tid;
use crate::shard::TargetShard;

/// An answer that waits for the operations of a unit.
#[derive(Debug)]
pub(super) enum Pending {
    /// Answered when the last operation has completed and the unit is dropped.
    Unit(Lun, Ticket),
    /// Answered when the last operation has completed; the unit may then get another medium.
    Stop(Lun, Ticket),
}

/// A target on the loop: its shard, and what the loop keeps for it.
pub(super) struct Served {
    pub(super) tid: Tid,
    pub(super) service: ServiceId,
    pub(super) shard: TargetShard,
    /// The streams of its connections, by connection index.
    pub(super) streams: Vec<Option<usize>>,
    pub(super) pending: Vec<Pending>,
    pub(super) siblings: Vec<(LoopId, Mailbox<LoopMessage>)>,
    /// Resets by siblings that run here: the shard's number, the sibling's, and where to answer.
    pub(super) resets: Vec<(u64, ResetId, Mailbox<LoopMessage>)>,
    pub(super) reset_count: u64,
    /// The target is being removed: these are answered when it is.
    pub(super) leaving: Vec<Ticket>,
    /// Whether it is in `ready_shards`.
    pub(super) is_ready: bool,
    /// Whether it is in `completed`.
    pub(super) completed: bool,
}

impl Served {
    /// Whether the target is being removed.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }
}
