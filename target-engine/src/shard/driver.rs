//! What a driver lends to a shard, and what it gets back.

use std::time::Instant;

use iscsi_proto::ids::{Cid, Tsih};
use scsi_core::device::NexusId;
use scsi_core::lun::Lun;
use scsi_core::store::Engines;

use super::functions::Reach;
use crate::buffers::Pool;
use crate::keys::ConnectionIndex;

/// What the driver lends to a shard for one call.
pub struct Env<'a> {
    /// The loop's engines.
    pub engines: &'a mut Engines,
    /// The loop's buffers.
    pub pool: &'a mut Pool,
    /// The time, read once a turn.
    pub now: Instant,
}

/// What happened in a shard. The driver acts on it.
#[derive(Debug, Eq, PartialEq)]
pub enum ShardEvent {
    /// The connection is closed: close its socket, then call `release`.
    ConnectionClosed(ConnectionIndex),
    /// A connection has ended while its session goes on, or while commands of the session are still at a store.
    ConnectionEnded(Tsih, Cid),
    /// The session has ended, and so have all its commands.
    SessionEnded(Tsih, NexusId),
    /// `remove_unit` or `end` is done for this unit: its last operation has completed and it was removed.
    UnitGone(Lun),
    /// `stop_unit` is done: no command runs on the unit.
    UnitIdle(Lun),
    /// The size of the unit's store may have changed; see
    /// [`StoreReports::resized`](scsi_core::device::reports::StoreReports::resized).
    StoreResized(Lun),
    /// Call `sibling_reset` with this reach on each of the target's other loops, and `sibling_reset_done` with this
    /// number once for each of them when it is done.
    ResetSiblings(Reach, u64),
    /// The `sibling_reset` with this number is done.
    ResetDone(u64),
}
