//! Task management functions that cannot be answered yet: they wait for tasks to end, for other loops, or for commands
//! that have not arrived.

use std::sync::Arc;
use std::time::Instant;

use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::{Bhs, TaskManagementRequest};
use scsi_core::device::NexusName;
use scsi_core::lun::Lun;
use slab::Slab;

use crate::keys::{ConnectionIndex, SessionIndex, TaskKey};
use crate::limits::{ABORT_WAIT, TASK_FUNCTION_WAITS_MAX, TASK_FUNCTIONS_MAX};

/// Index of a [`Wait`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct WaitIndex(usize);

/// Which commands of a target a function ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// Only commands of this unit; `None`: of all units.
    pub lun: Option<Lun>,
    /// Only commands of these nexuses; `None`: of all.
    pub nexuses: Option<Arc<[NexusName]>>,
}

/// The waiting functions of a shard.
#[derive(Debug, Default)]
pub(super) struct TaskFunctions {
    waits: Slab<Wait>,
    deferred: Vec<Deferred>,
    /// Other loops that serve the same target.
    siblings: usize,
}

/// A function whose tasks have not all ended.
#[derive(Debug)]
struct Wait {
    /// Tasks and resets of siblings that have not ended.
    left: usize,
    deadline: Instant,
    then: Then,
}

/// What follows when a wait is over.
#[derive(Debug)]
pub(super) enum Then {
    /// Answer the function on its connection.
    Respond {
        /// The connection of the request.
        connection: ConnectionIndex,
        /// The task tag of the request.
        itt: Itt,
        /// TARGET COLD RESET: all sessions end after the response.
        cold: bool,
    },
    /// Nothing: the connection has ended, or the function was answered.
    Nothing,
    /// Report `ResetDone` with this number to the sibling that asked.
    Sibling(u64),
    /// Resume the command that had others aborted.
    Resume(TaskKey),
}

impl Then {
    /// Whether the wait is cut short at its deadline. That of a sibling is not: the sibling has a deadline of its own,
    /// and takes an answer for the end of the commands.
    fn expires(&self) -> bool {
        matches!(self, Self::Respond { .. } | Self::Resume(_))
    }

    fn is_response_on(&self, connection: ConnectionIndex) -> bool {
        matches!(*self, Self::Respond { connection: own, .. } if own == connection)
    }
}

/// A function that waits for commands with smaller numbers than its own (RFC 7143 4.2.3.3).
#[derive(Debug)]
pub(super) struct Deferred {
    pub(super) connection: ConnectionIndex,
    pub(super) session: SessionIndex,
    pub(super) request: TaskManagementRequest,
    pub(super) bhs: Bhs,
    pub(super) deadline: Instant,
}

impl WaitIndex {
    /// The number in `ShardEvent::ResetSiblings`.
    pub(super) fn to_number(self) -> u64 {
        self.0 as u64
    }

    /// The wait with the number of `ShardEvent::ResetSiblings`.
    pub(super) fn from_number(number: u64) -> Self {
        Self(number as usize)
    }
}

impl TaskFunctions {
    /// Other loops that serve the same target.
    pub(super) fn siblings(&self) -> usize {
        self.siblings
    }

    /// Sets how many other loops serve the same target.
    pub(super) fn set_siblings(&mut self, count: usize) {
        self.siblings = count;
    }

    /// Begins to wait for `others` and for the caller, who calls `ended` once all tasks are added.
    pub(super) fn begin(&mut self, then: Then, others: usize, now: Instant) -> WaitIndex {
        WaitIndex(self.waits.insert(Wait { left: others + 1, deadline: now + ABORT_WAIT, then }))
    }

    /// Waits for one more task.
    pub(super) fn add(&mut self, wait: WaitIndex) {
        if let Some(wait) = self.waits.get_mut(wait.0) {
            wait.left += 1;
        }
    }

    /// One of the things a function waits for has ended; returns what follows after the last.
    pub(super) fn ended(&mut self, WaitIndex(index): WaitIndex) -> Option<Then> {
        let wait = self.waits.get_mut(index)?;
        wait.left -= 1;
        (wait.left == 0).then(|| self.waits.remove(index).then)
    }

    /// Waits whose deadline has passed.
    pub(super) fn late(&self, now: Instant) -> Vec<WaitIndex> {
        let late = self.waits.iter().filter(|(_, wait)| wait.deadline <= now && wait.then.expires());
        late.map(|(index, _)| WaitIndex(index)).collect()
    }

    /// Takes what follows out of a wait. The wait itself ends with what it waits for.
    pub(super) fn take_then(&mut self, wait: WaitIndex) -> Option<Then> {
        self.waits.get_mut(wait.0).map(|wait| std::mem::replace(&mut wait.then, Then::Nothing))
    }

    /// So many tasks no longer report to a wait.
    pub(super) fn forget_tasks(&mut self, WaitIndex(index): WaitIndex, count: usize) {
        if let Some(wait) = self.waits.get_mut(index) {
            wait.left -= count;
            if wait.left == 0 {
                self.waits.remove(index);
            }
        }
    }

    /// Defers a function until the commands before it have arrived.
    pub(super) fn defer(&mut self, deferred: Deferred) {
        self.deferred.push(deferred);
    }

    /// Whether functions are deferred.
    #[inline]
    pub(super) fn has_deferred(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// Takes out the deferred functions that `is_due` picks.
    pub(super) fn take_deferred(&mut self, is_due: impl Fn(&Deferred) -> bool) -> Vec<Deferred> {
        self.deferred.extract_if(.., |deferred| is_due(deferred)).collect()
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waits.is_empty() && self.deferred.is_empty()
    }

    /// Whether a connection has [`TASK_FUNCTIONS_MAX`] functions waiting, or the shard [`TASK_FUNCTION_WAITS_MAX`].
    pub(super) fn is_full_for(&self, connection: ConnectionIndex) -> bool {
        let waiting = self.waits.iter().filter(|(_, wait)| wait.then.is_response_on(connection)).count();
        let deferred = self.deferred.iter().filter(|deferred| deferred.connection == connection).count();
        self.waits.len() >= TASK_FUNCTION_WAITS_MAX || waiting + deferred >= TASK_FUNCTIONS_MAX
    }

    /// The connection has ended: its functions are not answered.
    pub(super) fn forget_connection(&mut self, connection: ConnectionIndex) {
        self.deferred.retain(|deferred| deferred.connection != connection);
        for (_, wait) in &mut self.waits {
            if wait.then.is_response_on(connection) {
                wait.then = Then::Nothing;
            }
        }
    }
}
