//! How a task ends other than at once: aborted, hung at its store, or with Data-Out still to come.

use std::time::Instant;

use scsi_core::device::Outcome;
use scsi_core::device::fence::FenceId;
use scsi_core::device::port::UnitPort;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::IoError;

use super::{Aborted, PendingEnd, State, Task};
use crate::limits::DATA_OUT_WAIT;
use crate::shard::functions::WaitIndex;

impl Task {
    /// Whether it ends as soon as its store and its initiator have no data of it any more.
    #[inline]
    pub(in crate::shard) fn is_ending(&self) -> bool {
        self.aborted.is_some() || self.pending_end.is_some()
    }

    /// Whether it was aborted and ends without a response.
    #[inline]
    pub(in crate::shard) fn is_aborted(&self) -> bool {
        self.aborted.is_some()
    }

    /// Aborts it: its device server forgets it.
    pub(in crate::shard) fn abort(&mut self, cause: Aborted, port: Option<&mut UnitPort>) {
        self.aborted = Some(Box::new(cause));
        if let Some(port) = port {
            port.abort(&mut self.device);
        }
    }

    /// Aborts it again. It ends once, and both functions wait for that. An abort by its initiator wins over the removal
    /// of its unit.
    pub(in crate::shard) fn abort_again(&mut self, cause: Aborted) {
        let Some(aborted) = &mut self.aborted else { return };
        aborted.unit_gone &= cause.unit_gone;
        aborted.waiters.extend(cause.waiters);
        if cause.issuer != Some(self.session) {
            aborted.issuer = None;
        }
    }

    /// Fences what its store may still write for it, if it was aborted.
    pub(in crate::shard) fn fence_off(&mut self, unit: &Unit) {
        if let Some(aborted) = &mut self.aborted {
            aborted.fence = self.transfer.changing().map(|range| unit.fence(range));
        }
    }

    /// Takes out the fence of an aborted task.
    pub(in crate::shard) fn take_fence(&mut self) -> Option<FenceId> {
        self.aborted.as_mut()?.fence.take()
    }

    /// Revokes the abort of a task whose unit or medium was removed: it gets a response. Returns false for other tasks.
    pub(in crate::shard) fn revoke_abort(&mut self) -> bool {
        let unit_gone = self.aborted.as_ref().is_some_and(|aborted| aborted.unit_gone);
        if unit_gone {
            self.aborted = None;
        }
        unit_gone
    }

    /// Whether its own session aborted it together with others, and its Data-Out is still to come.
    pub(in crate::shard) fn awaits_data_of_issuer(&self) -> bool {
        let issuer = self.aborted.as_ref().and_then(|aborted| aborted.issuer);
        issuer == Some(self.session) && self.data_out.is_outstanding()
    }

    /// It no longer waits for the data of its initiator.
    pub(in crate::shard) fn forget_issuer(&mut self) {
        if let Some(aborted) = &mut self.aborted {
            aborted.issuer = None;
        }
    }

    /// It no longer reports its end to this wait. Returns how often it would have.
    pub(in crate::shard) fn forget_waiter(&mut self, wait: WaitIndex) -> usize {
        let Some(aborted) = &mut self.aborted else { return 0 };
        let before = aborted.waiters.len();
        aborted.waiters.retain(|&waiter| waiter != wait);
        before - aborted.waiters.len()
    }

    /// Takes out the functions that wait for its end.
    pub(in crate::shard) fn take_waiters(&mut self) -> Vec<WaitIndex> {
        self.aborted.take().unwrap_or_default().waiters
    }

    /// Ends it with this outcome once its store has returned all of its data, unless it already has one.
    pub(in crate::shard) fn fail_later(&mut self, outcome: Outcome, now: Instant) {
        self.data_out.stop();
        self.transfer.fail(IoError::ABANDONED);
        let end = || Box::new(PendingEnd { outcome: Some(outcome), deadline: now + DATA_OUT_WAIT });
        self.pending_end.get_or_insert_with(end);
    }

    /// Takes out the outcome of [`Self::fail_later`] or [`Self::await_data_out`].
    pub(in crate::shard) fn take_pending_outcome(&mut self) -> Option<Outcome> {
        self.pending_end.take().and_then(|end| end.outcome)
    }

    /// Waits for outstanding Data-Out until `deadline` and asks for no more. It ends then with the outcome; `None`: it
    /// was aborted.
    pub(in crate::shard) fn await_data_out(&mut self, outcome: Option<Outcome>, deadline: Instant) {
        self.pending_end = Some(Box::new(PendingEnd { outcome, deadline }));
        self.data_out.stop();
    }

    /// Counts a Data-Out that is dropped. A command with an outcome waits longer for the next.
    pub(in crate::shard) fn skip_data_out(&mut self, last: bool, now: Instant) {
        self.data_out.skip(last);
        if let Some(end) = self.pending_end.as_mut().filter(|end| end.outcome.is_some()) {
            end.deadline = now + DATA_OUT_WAIT;
        }
    }

    /// Whether the Data-Out that it waits for has not arrived in time.
    pub(in crate::shard) fn is_late(&self, now: Instant) -> bool {
        let end = self.pending_end.as_deref();
        self.has_left_unit() && end.is_some_and(|end| end.deadline <= now)
    }

    /// It has left its unit and given back its memory.
    pub(in crate::shard) fn set_left_unit(&mut self) {
        self.state = State::Ending;
    }

    /// Whether it has left its unit; Data-Out that was asked for is still to come.
    #[inline]
    pub(in crate::shard) fn has_left_unit(&self) -> bool {
        self.state == State::Ending
    }

    /// The unit's store hangs: what the task has there no longer counts against the budget. Returns these bytes; `None`
    /// if the task does not wait for the unit, or was found to hang before.
    pub(in crate::shard) fn hang_at(&mut self, lun: Lun) -> Option<u32> {
        let is_stuck = self.transfer.is_out() || self.state == State::Held;
        if !self.is_of(lun) || self.is_hung() || !is_stuck {
            return None;
        }
        let bytes = self.transfer.bytes_out();
        self.hung_bytes = Some(bytes);
        Some(bytes)
    }

    /// Whether it was at its store when that was found to hang.
    #[inline]
    pub(in crate::shard) fn is_hung(&self) -> bool {
        self.hung_bytes.is_some()
    }

    /// Bytes that do not count against the budget because its store hangs.
    #[inline]
    pub(in crate::shard) fn hung_bytes(&self) -> Option<u32> {
        self.hung_bytes
    }
}
