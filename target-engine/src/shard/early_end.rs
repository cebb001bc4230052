//! Commands that end before the Data-Out that they asked for has arrived: the store failed, the unit was removed, or the
//! command takes less than it announced.
//!
//! An initiator that is still sending takes a response for a protocol error. So the response waits for the F bit of
//! every outstanding sequence (RFC 7143 7.8), and so does the end of tasks that their initiator aborts together
//! (4.2.3.3). Data that arrives meanwhile is dropped.

use std::time::Duration;

use scsi_core::device::Outcome;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;

use super::TargetShard;
use super::driver::Env;
use super::finish::count;
use super::task::Task;
use crate::keys::TaskKey;
use crate::limits::{ABORT_DATA_WAIT, DATA_OUT_WAIT};

impl TargetShard {
    /// Ends a task with an error of its data, once its store has returned all of it.
    pub(super) fn fail(&mut self, key: TaskKey, sense: Sense, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        let outcome = Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() };
        if !task.transfer().is_out() {
            return self.finish(key, outcome, env);
        }
        task.fail_later(outcome, env.now);
    }

    /// Ends a task that was aborted, that has an outcome already, or that has to wait for its data.
    #[cold]
    pub(super) fn finish_later(&mut self, key: TaskKey, outcome: Outcome, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        if task.is_aborted() {
            return self.drop_task(key, env);
        }
        let outcome = task.take_pending_outcome().unwrap_or(outcome);
        if !task.awaits_data() {
            return self.respond_late(key, outcome, env);
        }
        count(&self.sessions[task.session()], task, outcome.status);
        self.await_data_out(key, Some(outcome), DATA_OUT_WAIT, env);
    }

    /// Ends an aborted task with a response, or later, where it must not be dropped now. Returns false if it must.
    pub(super) fn ends_aborted_later(&mut self, key: TaskKey, env: &mut Env<'_>) -> bool {
        let task = &mut self.tasks[key];
        if task.revoke_abort() {
            let outcome = self.unit_gone(key);
            self.finish(key, outcome, env);
            return true;
        }
        let waits = task.awaits_data_of_issuer();
        if waits {
            self.await_data_out(key, None, ABORT_DATA_WAIT, env);
        }
        waits
    }

    fn unit_gone(&self, key: TaskKey) -> Outcome {
        let unit = self.tasks[key].lun().and_then(|lun| self.units.get(lun));
        let sense = if unit.is_some_and(|unit| !unit.is_leaving()) {
            Sense::new(SenseKey::NotReady, AdditionalSense::MEDIUM_NOT_PRESENT)
        } else {
            Sense::new(SenseKey::IllegalRequest, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
        };
        Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
    }

    /// A task leaves its unit and gives back its memory; its data is still to come.
    fn await_data_out(
        &mut self,
        key: TaskKey,
        outcome: Option<Outcome>,
        at_most: Duration,
        env: &mut Env<'_>,
    ) {
        let task = &mut self.tasks[key];
        task.await_data_out(outcome, env.now + at_most);
        if task.has_left_unit() {
            return;
        }
        self.expect_unsolicited(key);
        self.give_back(key, env);
        self.leave_unit(key, env);
        self.tasks[key].set_left_unit();
    }

    #[cold]
    fn respond_late(&mut self, key: TaskKey, outcome: Outcome, env: &mut Env<'_>) {
        self.respond(key, outcome, env);
    }

    /// Counts a Data-Out that is dropped. With the last one that was waited for its task ends.
    pub(super) fn skip_data_out(&mut self, key: TaskKey, last: bool, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        task.skip_data_out(last, env.now);
        if last && !task.awaits_unsolicited() {
            self.sessions[task.session()].end_unsolicited(key);
        }
        if task.has_left_unit() && !task.awaits_data() {
            self.end_pending(key, env);
        }
    }

    /// A task that has left its unit ends.
    fn end_pending(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        match task.take_pending_outcome() {
            Some(outcome) if !task.is_aborted() => self.respond_late(key, outcome, env),
            _ => self.drop_task(key, env),
        }
    }

    /// Stops waiting for data that does not arrive: aborted tasks end, and the connections of others are closed.
    pub(super) fn expire_data_out(&mut self, env: &mut Env<'_>) {
        let is_late = |task: &&Task| task.is_late(env.now);
        let late: Vec<TaskKey> = self.tasks.iter().filter(is_late).map(Task::key).collect();
        for key in late {
            let Some(task) = self.tasks.get_mut(key) else { continue };
            if task.is_aborted() {
                task.forget_issuer();
                self.drop_task(key, env);
                continue;
            }
            let (connection, itt) = (task.connection(), task.itt().0);
            let peer = self.sessions[connection].peer();
            let seconds = DATA_OUT_WAIT.as_secs();
            self.warnings.warn(
                env.now,
                format_args!("{peer}: task {itt:#x}: no Data-Out for {seconds} s that was asked for, closed"),
            );
            self.close_connection(connection, env);
        }
    }
}
