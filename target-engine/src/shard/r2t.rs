//! R2Ts (RFC 7143 11.8): data is asked for as far as there is memory for it. Tasks without memory wait in a queue.

use super::TargetShard;
use super::driver::Env;
use super::task::{State, Task};
use crate::keys::TaskKey;
use crate::limits::BURST_LEN_MAX;

impl TargetShard {
    /// Sends the R2Ts that may be sent now, as far as there is memory for their data. A task whose data goes on to the
    /// store sets memory aside for each burst; others set it aside for all their data at once, so that they can finish
    /// what they begin. Returns false if the task waits for memory.
    pub(super) fn request_data(&mut self, key: TaskKey, env: &mut Env<'_>) -> bool {
        if self.tasks[key].is_put_off() {
            return true;
        }
        let (session, connection) = (self.tasks[key].session(), self.tasks[key].connection());
        let rules = *self.sessions[session].rules();
        while let Some(wanted) = self.tasks[key].memory_for_r2t(&rules) {
            let task = &mut self.tasks[key];
            if wanted > 0 && !env.pool.reserve(wanted as usize, task.account()) {
                let alone = self.sessions[session].others_reserving(task.has_sent_r2t()) == 0;
                let modest = alone && !task.has_memory() && wanted <= BURST_LEN_MAX;
                if !modest {
                    self.queues.push_waiting_for_memory(key);
                    return false;
                }
                // A session that has no memory at all gets enough for one burst, whatever other sessions hold.
                env.pool.reserve_anyway(wanted as usize, task.account());
            }
            if !task.has_sent_r2t() {
                self.sessions[session].begin_reserving();
            }
            let Some(r2t) = task.next_r2t(&rules, wanted) else { return true };
            let (itt, lun) = (task.itt(), task.lun_field());
            self.sessions.send(connection, |to, window| to.r2t(itt, key.ttt(), lun, r2t, window));
        }
        true
    }

    /// Resumes the steps that wait for memory, and asks for the data of tasks that wait for it, each in its turn.
    pub(super) fn serve_waiting_for_memory(&mut self, env: &mut Env<'_>) {
        let mut spent = false;
        // The whole queue goes round once: a task that must wait again goes to its end.
        for _ in 0..self.queues.begin_serving_memory() {
            let Some(key) = self.queues.pop_waiting_for_memory() else { return };
            if self.tasks.get(key).is_some_and(|task| task.state() == State::Yielded) {
                self.run_queued(key, env);
                continue;
            }
            let still_waits = |task: &&Task| !task.is_ending() && !task.has_all_data();
            let Some(task) = self.tasks.get(key).filter(still_waits) else { continue };
            if spent && self.sessions[task.session()].others_reserving(task.has_sent_r2t()) > 0 {
                self.queues.push_waiting_for_memory(key);
            } else {
                spent |= !self.request_data(key, env);
            }
        }
    }

    /// Sends R2Ts, unless the task has ended or was aborted.
    pub(super) fn request_data_if_alive(&mut self, key: TaskKey, env: &mut Env<'_>) {
        if self.tasks.get(key).is_some_and(|task| !task.is_aborted()) {
            self.request_data(key, env);
        }
    }
}
