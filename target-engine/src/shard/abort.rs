//! Aborts: tasks are taken from their units at once, and end when their store has returned all of their data. Resets
//! reach the other loops of a target.

use std::sync::Arc;

use iscsi_proto::pdu::TaskResponse;
use scsi_core::device::NexusName;
use scsi_core::lun::Lun;
use scsi_core::store::IoError;

use super::TargetShard;
use super::driver::{Env, ShardEvent};
use super::functions::{Reach, Then, WaitIndex};
use super::task::{Aborted, Task};
use super::units::UnitEntry;
use crate::keys::{SessionIndex, TaskKey};

/// Whose tasks are looked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Whose {
    /// Those of all sessions.
    All,
    /// Those of one session.
    Session(SessionIndex),
}

impl TargetShard {
    /// LOGICAL UNIT RESET.
    pub(super) fn reset_unit(
        &mut self,
        lun: Lun,
        then: Then,
        issuer: Option<SessionIndex>,
        env: &mut Env<'_>,
    ) {
        if let Some(unit) = self.units.get_mut(lun) {
            unit.port().reset();
        }
        let siblings = self.functions.siblings();
        let which = move |task: &Task| task.is_of(lun);
        let wait = self.abort_and_wait(Whose::All, which, then, (siblings, issuer), env);
        self.reset_siblings(Reach { lun: Some(lun), nexuses: None }, wait);
    }

    /// TARGET WARM RESET and TARGET COLD RESET.
    pub(super) fn reset_target(&mut self, then: Then, issuer: Option<SessionIndex>, env: &mut Env<'_>) {
        self.units.reset();
        let siblings = self.functions.siblings();
        let wait = self.abort_and_wait(Whose::All, |_| true, then, (siblings, issuer), env);
        self.reset_siblings(Reach::default(), wait);
    }

    /// A command has others aborted before it ends: all commands of these nexuses at its unit, on every loop.
    pub(super) fn abort_for(&mut self, key: TaskKey, nexuses: Arc<[NexusName]>, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        task.drop_step();
        let reach = Reach { lun: task.lun(), nexuses: Some(nexuses) };
        let reached = self.reached(&reach);
        let which = move |task: &Task| task.key() != key && reached(task);
        let siblings = self.functions.siblings();
        let wait = self.abort_and_wait(Whose::All, which, Then::Resume(key), (siblings, None), env);
        self.reset_siblings(reach, wait);
    }

    fn reached(&self, reach: &Reach) -> impl Fn(&Task) -> bool + use<> {
        let lun = reach.lun;
        let sessions: Option<Vec<SessionIndex>> = reach.nexuses.as_ref().map(|names| {
            let of_reach = self
                .sessions
                .iter()
                .filter(|(_, session)| names.iter().any(|name| name.is_of(session.nexus())));
            of_reach.map(|(index, _)| index).collect()
        });
        move |task| {
            let of_unit = lun.is_none_or(|lun| task.is_of(lun));
            of_unit && sessions.as_ref().is_none_or(|sessions| sessions.contains(&task.session()))
        }
    }

    fn reset_siblings(&mut self, reach: Reach, wait: WaitIndex) {
        if self.functions.siblings() > 0 {
            self.events.push(ShardEvent::ResetSiblings(reach, wait.to_number()));
        }
    }

    /// Another loop of the target resets: aborts the commands here, too. `ResetDone` with `id` follows.
    pub fn sibling_reset(&mut self, reach: &Reach, id: u64, env: &mut Env<'_>) {
        let reached = self.reached(reach);
        self.abort_and_wait(Whose::All, reached, Then::Sibling(id), (0, None), env);
    }

    /// The commands of one sibling have ended; `wait` is the number of its `ResetSiblings`.
    pub fn sibling_reset_done(&mut self, wait: u64) {
        self.wait_ended(WaitIndex::from_number(wait));
    }

    /// Aborts tasks. `then` follows when they have ended, and so have `others` things elsewhere. Tasks of the session
    /// that asked for it, the issuer, end when the data that they asked for has arrived (RFC 7143 4.2.3.3).
    pub(super) fn abort_and_wait(
        &mut self,
        whose: Whose,
        which: impl Fn(&Task) -> bool,
        then: Then,
        (others, issuer): (usize, Option<SessionIndex>),
        env: &mut Env<'_>,
    ) -> WaitIndex {
        let wait = self.functions.begin(then, others, env.now);
        let cause = Aborted { waiters: vec![wait], issuer, ..Aborted::default() };
        self.abort_where(whose, which, &cause, env);
        self.wait_ended(wait);
        wait
    }

    /// Aborts tasks; those with operations at their store end when these have completed.
    pub(super) fn abort_where(
        &mut self,
        whose: Whose,
        which: impl Fn(&Task) -> bool,
        cause: &Aborted,
        env: &mut Env<'_>,
    ) {
        let key_of = |task: &Task| which(task).then_some(task.key());
        let mut chosen: Vec<TaskKey> = match whose {
            Whose::All => self.tasks.iter().filter_map(key_of).collect(),
            Whose::Session(session) => self.tasks.of_session(session).filter_map(key_of).collect(),
        };
        // In the order in which a walk of all tasks finds them.
        chosen.sort_unstable_by_key(|key| key.index());
        for key in chosen {
            self.abort(key, cause.clone(), env);
        }
    }

    fn abort(&mut self, key: TaskKey, cause: Aborted, env: &mut Env<'_>) {
        for &waiter in &cause.waiters {
            self.functions.add(waiter);
        }
        let task = &mut self.tasks[key];
        if task.has_left_unit() && cause.unit_gone {
            // It has left the unit before.
            return;
        }
        if task.is_aborted() {
            task.abort_again(cause);
            if task.has_left_unit() {
                self.drop_task(key, env);
            }
            return;
        }
        let unit = task.lun().and_then(|lun| self.units.get_mut(lun));
        task.abort(cause, unit.map(UnitEntry::port));
        if !task.transfer().is_out() {
            return self.drop_task(key, env);
        }
        self.fence_off(key);
        self.cancel(key, env);
    }

    /// No command on any loop may touch what the store may still write for an aborted task.
    fn fence_off(&mut self, key: TaskKey) {
        let task = &mut self.tasks[key];
        if let Some(unit) = task.lun().and_then(|lun| self.units.get(lun)) {
            task.fence_off(unit.unit());
        }
    }

    /// Asks the engine to cancel what a task has at its store.
    fn cancel(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        let unit = task.lun().and_then(|lun| self.units.get(lun));
        let Some(store) = unit.and_then(|unit| unit.store()) else { return };
        for chunk in task.transfer().chunks_out() {
            env.engines.cancel(store.engine, key.io_tag(self.id, chunk));
        }
        self.submitted = true;
    }

    /// One of the things that a function waits for has ended.
    pub(super) fn wait_ended(&mut self, wait: WaitIndex) {
        if let Some(then) = self.functions.ended(wait) {
            self.settle(&then, TaskResponse::COMPLETE);
        }
    }

    /// Does what follows when a wait is over, or is given up.
    pub(super) fn settle(&mut self, then: &Then, response: TaskResponse) {
        match *then {
            Then::Nothing => {}
            Then::Sibling(id) => self.events.push(ShardEvent::ResetDone(id)),
            Then::Resume(key) => {
                let Some(task) = self.tasks.get_mut(key) else { return };
                if response != TaskResponse::COMPLETE {
                    // The others may still write: the command must not end with GOOD.
                    task.transfer_mut().fail(IoError::ABANDONED);
                }
                task.yield_turn();
                self.queues.push_ready(key);
            }
            Then::Respond { connection, itt, cold } => {
                self.sessions.send(connection, |to, window| to.task_response(itt, response, window));
                if cold && response == TaskResponse::COMPLETE {
                    // TARGET COLD RESET ends all sessions once it is answered (RFC 7143 11.5.1).
                    for connection in self.sessions.connection_indices() {
                        self.sessions.drain(connection);
                    }
                }
            }
        }
    }

    /// Tasks no longer report to a wait that was given up. Siblings still do.
    pub(super) fn forget_wait(&mut self, wait: WaitIndex) {
        let forgotten = self.tasks.iter_mut().map(|task| task.forget_waiter(wait)).sum();
        self.functions.forget_tasks(wait, forgotten);
    }
}
