//! A target on a loop: its shard, and what the loop keeps for it.

use std::sync::Arc;

use scsi_core::lun::Lun;

use super::effect::ResetId;
use super::stream::StreamIndex;
use crate::control::messages::{NewTarget, ServiceId, Ticket};
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
pub(super) struct Served<A> {
    pub(super) tid: Tid,
    pub(super) service: ServiceId,
    pub(super) shard: TargetShard,
    /// The streams of its connections, by connection index.
    pub(super) streams: Vec<Option<StreamIndex>>,
    pub(super) pending: Vec<Pending>,
    /// The other loops that serve the target.
    pub(super) siblings: Vec<A>,
    /// Resets by siblings that run here: the shard's number, the sibling's, and where to answer.
    pub(super) resets: Vec<(u64, ResetId, A)>,
    pub(super) reset_count: u64,
    /// The target is being removed: these are answered when it is.
    pub(super) leaving: Vec<Ticket>,
    /// Whether it is in `ready_targets`.
    pub(super) is_ready: bool,
    /// Whether it is in `completed`.
    pub(super) completed: bool,
}

impl<A> Served<A> {
    /// A target without units on this loop.
    pub(super) fn new(index: usize, new: &NewTarget) -> Self {
        Self {
            tid: new.tid,
            service: new.service,
            shard: TargetShard::new(index as u16, Arc::clone(&new.settings)),
            streams: Vec::new(),
            pending: Vec::new(),
            siblings: Vec::new(),
            resets: Vec::new(),
            reset_count: 0,
            leaving: Vec::new(),
            is_ready: false,
            completed: false,
        }
    }

    /// Whether the target is being removed.
    pub(super) fn is_leaving(&self) -> bool {
        !self.leaving.is_empty()
    }
}
