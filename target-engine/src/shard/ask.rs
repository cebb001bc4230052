//! Asking for Data-Out: R2Ts, as far as there is memory for what they ask for (RFC 7143 11.8).

use super::command::plain_write;
use super::tasks::{State, Task, TaskIndex};
use super::{Env, TargetShard};
use crate::limits::{BURST_LEN_MAX, STREAM_LEN_MIN};

/// A long write that older commands hold back: it is asked for nothing before its turn, and then for as much as goes on
/// to the store. So it needs no memory while it waits, however long it is and however many there are.
pub(super) fn is_put_off(task: &Task) -> bool {
    task.state == State::Collecting && !task.streaming && is_long(task)
}

/// Its data goes to the store while it comes.
pub(super) fn is_long(task: &Task) -> bool {
    plain_write(task.cdb[0]) && task.data_out.received() + task.data_out.left() >= STREAM_LEN_MIN
}

impl TargetShard {
    /// Sends the R2Ts that may be sent now, as far as there is memory for what they ask for: piece by piece for a
    /// command whose data goes on to the store, else for all of it, so that what began to come can be finished.
    pub(super) fn ask(&mut self, index: TaskIndex, env: &mut Env<'_>) -> bool {
        if is_put_off(&self.tasks[index]) {
            return true;
        }
        let (session, place) = (self.tasks[index].session, self.tasks[index].connection);
        let rules = self.sessions[session].rules;
        while let Some(next) = self.tasks[index].data_out.peek_r2t(&rules) {
            let task = &mut self.tasks[index];
            let wanted = match (task.streaming, task.r2ts) {
                (true, _) => next.len,
                (false, 0) => task.data_out.left(),
                (false, _) => 0,
            };
            let others = self.sessions[session].asking - usize::from(task.r2ts > 0);
            let modest =
                others == 0 && task.reserved == 0 && task.transfer.in_flight == 0 && wanted <= BURST_LEN_MAX;
            if wanted > 0 && !env.pool.reserve(wanted as usize) {
                if !modest {
                    self.starved.push_back((index, task.generation));
                    return false;
                }
                // Whoever holds the memory, a session that has none of it gets what one burst needs.
                env.pool.reserve_anyway(wanted as usize);
            }
            self.sessions[session].asking += usize::from(task.r2ts == 0);
            task.reserved += wanted;
            let window = self.window(session);
            let ttt = self.tasks.ttt(index);
            let task = &mut self.tasks[index];
            let Some(ask) = task.data_out.next_r2t(&rules) else { return true };
            task.r2ts += 1;
            self.connections[place].r2t(task.itt, ttt, task.lun_wire, ask, window);
            self.touch(place);
        }
        true
    }

    /// Asks again for the tasks that found no memory, in turn.
    pub(super) fn ask_starved(&mut self, env: &mut Env<'_>) {
        self.freed = false;
        let mut spent = false;
        // All of the line goes round once: who has to wait goes to its end.
        for _ in 0..self.starved.len() {
            let Some((index, generation)) = self.starved.pop_front() else { return };
            let waits = self.tasks.get_mut(index).filter(|task| {
                let ends = task.aborted.is_some() || task.pending_end.is_some();
                task.generation == generation && !ends && !task.data_out.is_complete()
            });
            let Some(task) = waits else { continue };
            let others = self.sessions[task.session].asking - usize::from(task.r2ts > 0);
            if spent && others > 0 {
                self.starved.push_back((index, generation));
            } else {
                spent |= !self.ask(index, env);
            }
        }
    }

    /// The same where a command may have ended meanwhile.
    pub(super) fn ask_if_alive(&mut self, index: TaskIndex, generation: u16, env: &mut Env<'_>) {
        if self
            .tasks
            .get_mut(index)
            .is_some_and(|task| task.generation == generation && task.aborted.is_none())
        {
            self.ask(index, env);
        }
    }
}
