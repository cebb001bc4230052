//! Commands that end before the data has come that their initiators were asked for: a store that failed, a unit that is
//! gone, a command that wants less than it announced. An initiator takes a response while it still sends for a violation
//! of the protocol, so the response waits for the F bit of every sequence that is outstanding (RFC 7143 7.8); so does
//! the end of tasks that their initiator aborts together (4.2.3.3). What comes meanwhile is thrown away.

use std::time::Instant;

use scsi_core::device::Outcome;
use scsi_core::device::fence::FenceId;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;
use scsi_core::store::IoError;

use super::closing::UnitLife;
use super::finish::count;
use super::task_management::WaitIndex;
use super::tasks::{State, TaskIndex};
use super::{Env, TargetShard};
use crate::limits::{ABORT_DATA_WAIT, DATA_OUT_WAIT};

/// An aborted task, while its I/O or its data is still out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Aborted {
    /// The task management functions that wait for its end.
    pub waiters: Vec<WaitIndex>,
    /// The unit or its medium went away under it, which its initiator is told; nobody else aborted it.
    pub unit_gone: bool,
    /// What it may still change.
    pub fence: Option<FenceId>,
    /// The session that asked for the abort of many tasks; its own tasks end after their data has come.
    pub issuer: Option<usize>,
}

/// The end of a task that waits for its data.
#[derive(Debug)]
pub struct PendingEnd {
    /// What it is answered; `None`: it was aborted.
    outcome: Option<Outcome>,
    /// The data is waited for until then.
    by: Instant,
}

impl TargetShard {
    /// Ends a task with an error of its data. What its store has of it comes back first.
    pub(super) fn fail(&mut self, index: TaskIndex, sense: Sense, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        let outcome = Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() };
        if task.transfer.in_flight == 0 {
            return self.finish(index, outcome, env);
        }
        task.data_out.stop();
        task.transfer.error.get_or_insert(IoError::ABANDONED);
        let by = env.now + DATA_OUT_WAIT;
        task.pending_end.get_or_insert_with(|| Box::new(PendingEnd { outcome: Some(outcome), by }));
    }

    /// Ends a task that was aborted, that has an end already, or that has to wait for its data.
    #[cold]
    pub(super) fn finish_later(&mut self, index: TaskIndex, outcome: Outcome, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        if task.aborted.is_some() {
            return self.drop_task(index, env);
        }
        let outcome = task.pending_end.take().and_then(|end| end.outcome).unwrap_or(outcome);
        if !task.data_out.is_outstanding() {
            return self.respond_late(index, outcome, env);
        }
        count(&self.sessions[task.session], task, outcome.status);
        self.await_data(index, PendingEnd { outcome: Some(outcome), by: env.now + DATA_OUT_WAIT }, env);
    }

    /// Whether an aborted task ends otherwise than by being forgotten now.
    pub(super) fn ends_aborted_later(&mut self, index: TaskIndex, env: &mut Env<'_>) -> bool {
        let task = &mut self.tasks[index];
        let Some(aborted) = &task.aborted else { return false };
        if aborted.unit_gone {
            task.aborted = None;
            let outcome = self.unit_gone(index);
            self.finish(index, outcome, env);
            return true;
        }
        let waits = aborted.issuer == Some(task.session) && task.data_out.is_outstanding();
        if waits {
            self.await_data(index, PendingEnd { outcome: None, by: env.now + ABORT_DATA_WAIT }, env);
        }
        waits
    }

    fn unit_gone(&self, index: TaskIndex) -> Outcome {
        let unit = self.tasks[index].lun.and_then(|lun| self.unit(lun));
        let sense = if unit.is_some_and(|unit| unit.life != UnitLife::Leaving) {
            Sense::new(SenseKey::NotReady, AdditionalSense::MEDIUM_NOT_PRESENT)
        } else {
            Sense::new(SenseKey::IllegalRequest, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
        };
        Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
    }

    /// A task leaves its unit and gives back its memory; its data is still to come.
    fn await_data(&mut self, index: TaskIndex, end: PendingEnd, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        task.pending_end = Some(Box::new(end));
        task.data_out.stop();
        if task.state == State::Ending {
            return;
        }
        if task.data_out.is_unsolicited() {
            let unsolicited = &mut self.sessions[task.session].unsolicited;
            if !unsolicited.contains(&index) {
                unsolicited.push(index);
            }
        }
        self.give_back(index, env);
        self.leave_unit(index, env);
        self.tasks[index].state = State::Ending;
    }

    #[cold]
    fn respond_late(&mut self, index: TaskIndex, outcome: Outcome, env: &mut Env<'_>) {
        self.respond(index, outcome, env);
    }

    /// Counts a Data-Out that is not taken; with the last one that was waited for its task ends.
    pub(super) fn skip_data(&mut self, index: TaskIndex, last: bool, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        task.data_out.skip(last);
        if last && !task.data_out.is_unsolicited() {
            self.sessions[task.session].unsolicited.retain(|&other| other != index);
        }
        if let Some(end) = task.pending_end.as_mut().filter(|end| end.outcome.is_some()) {
            end.by = env.now + DATA_OUT_WAIT;
        }
        if task.state == State::Ending && !task.data_out.is_outstanding() {
            self.end_pending(index, env);
        }
    }

    /// A task that has left its unit ends.
    fn end_pending(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        match task.pending_end.take().and_then(|end| end.outcome) {
            Some(outcome) if task.aborted.is_none() => self.respond_late(index, outcome, env),
            _ => self.drop_task(index, env),
        }
    }

    /// Data that does not come is not waited for for ever: aborted tasks end without it; the connection of others ends.
    pub(super) fn expire_data(&mut self, env: &mut Env<'_>) {
        let is_late = |end: &PendingEnd| end.by <= env.now;
        let late: Vec<(TaskIndex, u16)> = self
            .tasks
            .iter()
            .filter(|(_, task)| {
                task.state == State::Ending && task.pending_end.as_deref().is_some_and(is_late)
            })
            .map(|(index, task)| (index, task.generation))
            .collect();
        for (index, generation) in late {
            let Some(task) = self.tasks.get_mut(index).filter(|task| task.generation == generation) else {
                continue;
            };
            if let Some(aborted) = &mut task.aborted {
                aborted.issuer = None;
                self.drop_task(index, env);
                continue;
            }
            let (place, itt) = (task.connection, task.itt.0);
            let peer = self.connections[place].peer;
            let seconds = DATA_OUT_WAIT.as_secs();
            self.warnings.warn(
                env.now,
                format_args!("{peer}: task {itt:#x}: no Data-Out for {seconds} s that was asked for, closed"),
            );
            self.close_connection(place, env);
        }
    }
}
