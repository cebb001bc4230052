//! The end of a command: its response, and what is given back (RFC 7143 11.4, 11.7.3).

use scsi_core::device::Outcome;
use scsi_core::status::Status;

use super::TargetShard;
use super::driver::Env;
use super::session::Session;
use super::task::Task;
use crate::iscsi::connection::respond::Ending;
use crate::keys::TaskKey;

impl TargetShard {
    /// Ends a command with a response, unless it was aborted or has to wait for data that it asked for.
    #[inline]
    pub(super) fn finish(&mut self, key: TaskKey, outcome: Outcome, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        if task.is_ending() || task.awaits_data() {
            return self.finish_later(key, outcome, env);
        }
        self.respond(key, outcome, env);
    }

    /// Sends the response of a command and removes the task.
    #[inline(always)]
    pub(super) fn respond(&mut self, key: TaskKey, mut outcome: Outcome, env: &mut Env<'_>) {
        let parameter_len = outcome.data_in.len();
        if parameter_len > 0 {
            self.extra_cost += parameter_len;
            self.send_parameter_data(key, std::mem::take(&mut outcome.data_in));
        }
        self.leave(key, env);
        let task = &mut self.tasks[key];
        if !task.has_left_unit() {
            count(&self.sessions[task.session()], task, outcome.status);
        }
        let residual = task.residual(outcome.status, parameter_len as u64);
        let good = outcome.status == Status::Good;
        let (connection, window) = self.sessions.sender(task.connection());
        let status = good.then_some((Status::Good, residual));
        let last = task.take_last_segment(status);
        let has_last = last.is_some();
        if let Some((segment, payload)) = last {
            connection.data_in(segment, payload, window);
        }
        if !(good && has_last) {
            let mut sense = Vec::new();
            if let Some(data) = &outcome.sense {
                data.encode(&mut sense);
            }
            let exp_data_sn = task.exp_data_sn();
            let ending = Ending { status: outcome.status as u8, residual, sense: &sense, exp_data_sn };
            connection.scsi_response(task.itt(), &ending, window);
        }
        self.tasks.remove(key);
    }

    /// Ends an aborted command without a response.
    pub(super) fn drop_task(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        let fence = task.take_fence();
        if let (Some(fence), Some(unit)) = (fence, task.lun().and_then(|lun| self.units.get(lun))) {
            unit.unit().remove_fence(fence);
        }
        if self.ends_aborted_later(key, env) {
            return;
        }
        self.leave(key, env);
        let task = &mut self.tasks[key];
        task.clear_data_in(env.pool);
        let (session, waiters) = (task.session(), task.take_waiters());
        self.tasks.remove(key);
        for waiter in waiters {
            self.wait_ended(waiter);
        }
        self.reap_session(session, env);
    }

    /// Takes a task out of its task set and its session's command window, and gives back its memory.
    #[inline]
    fn leave(&mut self, key: TaskKey, env: &mut Env<'_>) {
        if !self.tasks[key].has_left_unit() {
            self.give_back(key, env);
        }
        let task = &self.tasks[key];
        let session = &mut self.sessions[task.session()];
        session.end_task(task.is_immediate(), !task.is_hung());
        if task.awaits_unsolicited() {
            session.end_unsolicited(key);
        }
        if !task.has_left_unit() {
            self.leave_unit(key, env);
        }
    }

    /// Gives back the memory of a task.
    #[inline(always)]
    pub(super) fn give_back(&mut self, key: TaskKey, env: &mut Env<'_>) {
        self.queues.memory_freed();
        let task = &mut self.tasks[key];
        task.give_back(env.pool);
        if task.has_sent_r2t() {
            self.sessions[task.session()].end_reserving();
        }
    }

    /// Takes a task out of its unit's task set; others of the set may have their turn now.
    #[inline(always)]
    pub(super) fn leave_unit(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        let (lun, nexus) = (task.lun(), task.session().nexus());
        if let Some(bytes) = task.hung_bytes() {
            self.hung_task_ended(key, bytes, env);
        }
        let Some(lun) = lun else { return };
        let Some(unit) = self.units.get_mut(lun) else { return };
        unit.port().finished(nexus, key.in_task_set());
        while let Some(next) = unit.port().next_ready(nexus) {
            let next = TaskKey::from_task_set(next);
            let Some(task) = self.tasks.get_mut(next) else { continue };
            if task.enable() {
                self.queues.push_ready(next);
            }
        }
        if unit.end_task() {
            self.reap_unit(lun, env);
        }
    }
}

/// Counts the end of a command. One that did not go to its unit was not counted as begun.
#[inline]
pub(super) fn count(session: &Session, task: &Task, status: Status) {
    if let Some(unit) = session.stats().unit(task.counted_at()) {
        task.count_end(unit, status);
    }
}
