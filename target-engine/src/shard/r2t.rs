//! R2Ts (RFC 7143 11.8): data is asked for as far as there is memory for it. Tasks without memory wait in a queue.

use super::TargetShard;
use super::driver::Env;
use super::task::Task;
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
        let (session, connection) = (self.tasks[key].session, self.tasks[key].connection);
        let rules = *self.sessions[session].rules();
        while let Some(next) = self.tasks[key].data_out.peek_r2t(&rules) {
            let task = &mut self.tasks[key];
            let wanted = match (task.streaming, task.r2ts) {
                (true, _) => next.len,
                (false, 0) => task.data_out.left(),
                (false, _) => 0,
            };
            if wanted > 0 && !env.pool.reserve(wanted as usize) {
                let alone = self.sessions[session].others_reserving(task.r2ts > 0) == 0;
                let modest =
                    alone && task.reserved == 0 && !task.transfer.is_out() && wanted <= BURST_LEN_MAX;
                if !modest {
                    self.queues.push_waiting_for_memory(key);
                    return false;
                }
                // A session that has no memory at all gets enough for one burst, whatever other sessions hold.
                env.pool.reserve_anyway(wanted as usize);
            }
            if task.r2ts == 0 {
                self.sessions[session].begin_reserving();
            }
            task.reserved += wanted;
            let Some(r2t) = task.data_out.next_r2t(&rules) else { return true };
            task.r2ts += 1;
            let (itt, lun) = (task.itt, task.lun_wire);
            self.sessions.send(connection, |to, window| to.r2t(itt, key.ttt(), lun, r2t, window));
        }
        true
    }

    /// Asks for the data of tasks that wait for memory, each in its turn.
    pub(super) fn serve_waiting_for_memory(&mut self, env: &mut Env<'_>) {
        let mut spent = false;
        // The whole queue goes round once: a task that must wait again goes to its end.
        for _ in 0..self.queues.begin_serving_memory() {
            let Some(key) = self.queues.pop_waiting_for_memory() else { return };
            let still_waits = |task: &&Task| !task.is_ending() && !task.data_out.is_complete();
            let Some(task) = self.tasks.get(key).filter(still_waits) else { continue };
            if spent && self.sessions[task.session].others_reserving(task.r2ts > 0) > 0 {
                self.queues.push_waiting_for_memory(key);
            } else {
                spent |= !self.request_data(key, env);
            }
        }
    }

    /// Sends R2Ts, unless the task has ended or was aborted.
    pub(super) fn request_data_if_alive(&mut self, key: TaskKey, env: &mut Env<'_>) {
        if self.tasks.get(key).is_some_and(|task| task.aborted.is_none()) {
            self.request_data(key, env);
        }
    }
}
