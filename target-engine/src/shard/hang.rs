//! Detects a store that hangs: data is out, and nothing has completed for [`HANG_AFTER`].

use std::time::Instant;

use scsi_core::device::Outcome;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;

use crate::limits::{HANG_AFTER, HANG_BUSY};

/// Watches the completions of one unit's store on one loop.
#[derive(Debug, Default)]
pub(super) struct HangDetector {
    /// Completed operations, modulo 2^32.
    completed: u32,
    /// `completed` at the last check.
    checked: u32,
    /// Data has been out since then without a completion.
    idle_since: Option<Instant>,
    hung_since: Option<Instant>,
    /// Tasks that were at the store when it was found to hang, and have not ended.
    hung_tasks: usize,
}

impl HangDetector {
    /// An operation has completed.
    #[inline]
    pub(super) fn completed(&mut self) {
        self.completed = self.completed.wrapping_add(1);
    }

    /// Whether the store hangs.
    #[inline]
    pub(super) fn is_hung(&self) -> bool {
        self.hung_since.is_some()
    }

    /// Another store is in use, or this one has answered everything.
    pub(super) fn reset(&mut self) {
        (self.idle_since, self.hung_since, self.hung_tasks) = (None, None, 0);
    }

    /// Checks the completions since the last check; `out` says whether data is out. Returns true when the store is
    /// found to hang.
    pub(super) fn check(&mut self, out: bool, now: Instant) -> bool {
        let has_completed = std::mem::replace(&mut self.checked, self.completed) != self.completed;
        if !out || has_completed {
            self.idle_since = out.then_some(now);
            return false;
        }
        let since = *self.idle_since.get_or_insert(now);
        !self.is_hung() && now.saturating_duration_since(since) >= HANG_AFTER
    }

    /// The store hangs with so many tasks at it.
    pub(super) fn set_hung(&mut self, tasks: usize, now: Instant) {
        (self.hung_since, self.hung_tasks) = (Some(now), tasks);
    }

    /// One of the hung tasks has ended. Returns true after the last one: the store works again.
    pub(super) fn task_ended(&mut self) -> bool {
        self.hung_tasks = self.hung_tasks.saturating_sub(1);
        let recovered = self.hung_tasks == 0 && self.is_hung();
        if recovered {
            self.reset();
        }
        recovered
    }

    /// The outcome of a command that must not go to the store: BUSY, and an error after [`HANG_BUSY`].
    pub(super) fn refusal(&self, now: Instant) -> Outcome {
        let for_long = self.hung_since.is_some_and(|since| now.saturating_duration_since(since) >= HANG_BUSY);
        if !for_long {
            return Outcome { status: Status::Busy, sense: None, data_in: Vec::new() };
        }
        let sense = Sense::new(SenseKey::HardwareError, AdditionalSense::LOGICAL_UNIT_COMMUNICATION_FAILURE);
        Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
    }
}
