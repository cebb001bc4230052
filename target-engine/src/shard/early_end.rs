//! Commands that end before the Data-Out that they asked for has arrived: the store failed, the unit was removed, or the
//! command takes less than it announced.
//!
//! An initiator that is still sending takes a response for a protocol error. So the response waits for the F bit of
//! every outstanding sequence (RFC 7143 7.8), and so does the end of tasks that their initiator aborts together
//! (4.2.3.3). Data that arrives meanwhile is dropped.

use scsi_core::device::Outcome;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;
use scsi_core::store::IoError;

use super::TargetShard;
use super::driver::Env;
use super::finish::count;
use super::task::{PendingEnd, State, Task};
use crate::keys::TaskKey;
use crate::limits::{ABORT_DATA_WAIT, DATA_OUT_WAIT};

impl TargetShard {
    /// Ends a task with an error of its data, once its store has returned all of it.
    pub(super) fn fail(&mut self, key: TaskKey, sense: Sense, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        let outcome = Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() };
        if !task.transfer.is_out() {
            return self.finish(key, outcome, env);
        }
        task.data_out.stop();
        task.transfer.fail(IoError::ABANDONED);
        let deadline = env.now + DATA_OUT_WAIT;
        let end = || Box::new(PendingEnd { outcome: Some(outcome), deadline });
        task.pending_end.get_or_insert_with(end);
    }

    /// Ends a task that was aborted, that has an outcome already, or that has to wait for its data.
    #[cold]
    pub(super) fn finish_later(&mut self, key: TaskKey, outcome: Outcome, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        if task.aborted.is_some() {
            return self.drop_task(key, env);
        }
        let outcome = task.pending_end.take().and_then(|end| end.outcome).unwrap_or(outcome);
        if !task.data_out.is_outstanding() {
            return self.respond_late(key, outcome, env);
        }
        count(&self.sessions[task.session], task, outcome.status);
        let deadline = env.now + DATA_OUT_WAIT;
        self.await_data_out(key, PendingEnd { outcome: Some(outcome), deadline }, env);
    }

    /// Ends an aborted task with a response, or later, where it must not be dropped now. Returns false if it must.
    pub(super) fn ends_aborted_later(&mut self, key: TaskKey, env: &mut Env<'_>) -> bool {
        let task = &mut self.tasks[key];
        let Some(aborted) = &task.aborted else { return false };
        if aborted.unit_gone {
            task.aborted = None;
            let outcome = self.unit_gone(key);
            self.finish(key, outcome, env);
            return true;
        }
        let waits = aborted.issuer == Some(task.session) && task.data_out.is_outstanding();
        if waits {
            let deadline = env.now + ABORT_DATA_WAIT;
            self.await_data_out(key, PendingEnd { outcome: None, deadline }, env);
        }
        waits
    }

    fn unit_gone(&self, key: TaskKey) -> Outcome {
        let unit = self.tasks[key].lun.and_then(|lun| self.units.get(lun));
        let sense = if unit.is_some_and(|unit| !unit.is_leaving()) {
            Sense::new(SenseKey::NotReady, AdditionalSense::MEDIUM_NOT_PRESENT)
        } else {
            Sense::new(SenseKey::IllegalRequest, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
        };
        Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
    }

    /// A task leaves its unit and gives back its memory; its data is still to come.
    fn await_data_out(&mut self, key: TaskKey, end: PendingEnd, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        task.pending_end = Some(Box::new(end));
        task.data_out.stop();
        if task.state == State::Ending {
            return;
        }
        self.expect_unsolicited(key);
        self.give_back(key, env);
        self.leave_unit(key, env);
        self.tasks[key].state = State::Ending;
    }

    #[cold]
    fn respond_late(&mut self, key: TaskKey, outcome: Outcome, env: &mut Env<'_>) {
        self.respond(key, outcome, env);
    }

    /// Counts a Data-Out that is dropped. With the last one that was waited for its task ends.
    pub(super) fn skip_data_out(&mut self, key: TaskKey, last: bool, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        task.data_out.skip(last);
        if last && !task.data_out.is_unsolicited() {
            self.sessions[task.session].end_unsolicited(key);
        }
        if let Some(end) = task.pending_end.as_mut().filter(|end| end.outcome.is_some()) {
            end.deadline = env.now + DATA_OUT_WAIT;
        }
        if task.state == State::Ending && !task.data_out.is_outstanding() {
            self.end_pending(key, env);
        }
    }

    /// A task that has left its unit ends.
    fn end_pending(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        match task.pending_end.take().and_then(|end| end.outcome) {
            Some(outcome) if task.aborted.is_none() => self.respond_late(key, outcome, env),
            _ => self.drop_task(key, env),
        }
    }

    /// Stops waiting for data that does not arrive: aborted tasks end, and the connections of others are closed.
    pub(super) fn expire_data_out(&mut self, env: &mut Env<'_>) {
        let is_late = |task: &&Task| {
            let end = task.pending_end.as_deref();
            task.state == State::Ending && end.is_some_and(|end| end.deadline <= env.now)
        };
        let late: Vec<TaskKey> = self.tasks.iter().filter(is_late).map(|task| task.key).collect();
        for key in late {
            let Some(task) = self.tasks.get_mut(key) else { continue };
            if let Some(aborted) = &mut task.aborted {
                aborted.issuer = None;
                self.drop_task(key, env);
                continue;
            }
            let (connection, itt) = (task.connection, task.itt.0);
            let peer = self.sessions[connection].peer;
            let seconds = DATA_OUT_WAIT.as_secs();
            self.warnings.warn(
                env.now,
                format_args!("{peer}: task {itt:#x}: no Data-Out for {seconds} s that was asked for, closed"),
            );
            self.close_connection(connection, env);
        }
    }
}
