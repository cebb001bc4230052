//! The end of a command: its response, and what is given back (RFC 7143 11.4, 11.7.3).

use iscsi_proto::pdu::Residual;
use scsi_core::device::Outcome;
use scsi_core::status::Status;

use super::TargetShard;
use super::driver::Env;
use super::session::Session;
use super::task::{State, Task};
use super::transfer::kind::TransferKind;
use crate::direction::Direction;
use crate::iscsi::connection::respond::Ending;
use crate::keys::TaskKey;

impl TargetShard {
    /// Ends a command with a response, unless it was aborted or has to wait for data that it asked for.
    #[inline]
    pub(super) fn finish(&mut self, key: TaskKey, outcome: Outcome, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        if task.is_ending() || task.data_out.is_outstanding() {
            return self.finish_later(key, outcome, env);
        }
        self.respond(key, outcome, env);
    }

    /// Sends the response of a command and removes the task.
    #[inline(always)]
    pub(super) fn respond(&mut self, key: TaskKey, mut outcome: Outcome, env: &mut Env<'_>) {
        let parameter_len = outcome.data_in.len();
        if parameter_len > 0 {
            self.send_parameter_data(key, std::mem::take(&mut outcome.data_in));
        }
        self.leave(key, env);
        let mut task = self.tasks.remove(key);
        if task.state != State::Ending {
            count(&self.sessions[task.session], &task, outcome.status);
        }
        let residual = residual(&task, outcome.status, parameter_len as u64);
        let good = outcome.status == Status::Good;
        let (connection, window) = self.sessions.sender(task.connection);
        let status = good.then_some((Status::Good, residual));
        let last = task.data_in.take_last(task.itt, status);
        let has_last = last.is_some();
        if let Some((segment, payload)) = last {
            connection.data_in(segment, payload, window);
        }
        if !(good && has_last) {
            let mut sense = Vec::new();
            if let Some(data) = &outcome.sense {
                data.encode(&mut sense);
            }
            let exp_data_sn = task.data_in.pdus() + task.r2ts;
            let ending = Ending { status: outcome.status as u8, residual, sense: &sense, exp_data_sn };
            connection.scsi_response(task.itt, &ending, window);
        }
    }

    /// Ends an aborted command without a response.
    pub(super) fn drop_task(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        let fence = task.aborted.as_mut().and_then(|aborted| aborted.fence.take());
        if let (Some(fence), Some(unit)) = (fence, task.lun.and_then(|lun| self.units.get(lun))) {
            unit.unit().remove_fence(fence);
        }
        if self.ends_aborted_later(key, env) {
            return;
        }
        self.leave(key, env);
        let mut task = self.tasks.remove(key);
        task.data_in.clear(env.pool);
        for waiter in task.aborted.take().unwrap_or_default().waiters {
            self.wait_ended(waiter);
        }
        self.reap_session(task.session);
    }

    /// Takes a task out of its task set and its session's command window, and gives back its memory.
    #[inline]
    fn leave(&mut self, key: TaskKey, env: &mut Env<'_>) {
        if self.tasks[key].state != State::Ending {
            self.give_back(key, env);
        }
        let task = &self.tasks[key];
        let session = &mut self.sessions[task.session];
        session.end_task(task.immediate, task.hung_bytes.is_none());
        if task.data_out.is_unsolicited() {
            session.end_unsolicited(key);
        }
        if task.state != State::Ending {
            self.leave_unit(key, env);
        }
    }

    /// Gives back the memory of a task.
    #[inline(always)]
    pub(super) fn give_back(&mut self, key: TaskKey, env: &mut Env<'_>) {
        self.queues.memory_freed();
        let task = &mut self.tasks[key];
        task.blocks.clear(env.pool);
        task.transfer.clear(env.pool);
        if task.reserved > 0 {
            env.pool.release(std::mem::take(&mut task.reserved) as usize);
        }
        if task.r2ts > 0 {
            self.sessions[task.session].end_reserving();
        }
    }

    /// Takes a task out of its unit's task set; others of the set may have their turn now.
    #[inline(always)]
    pub(super) fn leave_unit(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        let (lun, nexus) = (task.lun, task.session.nexus());
        if let Some(bytes) = task.hung_bytes {
            self.hung_task_ended(lun, bytes, env);
        }
        let Some(lun) = lun else { return };
        let Some(unit) = self.units.get_mut(lun) else { return };
        unit.port().finished(nexus, key.in_task_set());
        while let Some(next) = unit.port().next_ready(nexus) {
            let next = TaskKey::from_task_set(next);
            let Some(task) = self.tasks.get_mut(next) else { continue };
            task.enabled = true;
            if task.state == State::Held || task.is_put_off() {
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
    let Some(unit) = session.stats().unit(task.counted_at()) else { return };
    if !matches!(task.state, State::Collecting | State::Held) {
        unit.done(task.direction, task.expected_len);
    }
    if status != Status::Good {
        unit.failed();
    }
}

/// What the initiator expected against what was transferred (RFC 7143 11.4.5). A command that ends with GOOD has
/// transferred all that it is about, `parameter_len` bytes of parameter data included; one that fails, what it
/// transferred before the error.
#[inline]
fn residual(task: &Task, status: Status, parameter_len: u64) -> Residual {
    let transferred = match status {
        Status::Good if task.direction == Direction::Write && sends(task, parameter_len) => 0,
        Status::Good if parameter_len > 0 => parameter_len,
        Status::Good => task.device.transfer_len(),
        _ if task.direction == Direction::Read => task.data_in.len(),
        Status::CheckCondition => task.device.transfer_len().min(task.data_out.received().into()),
        _ => 0,
    };
    Residual::of(task.expected_len, transferred)
}

/// Whether a command has data for an initiator that expects to send some itself.
fn sends(task: &Task, parameter_len: u64) -> bool {
    task.expected_len > 0 && (parameter_len > 0 || task.transfer.kind() == TransferKind::Read)
}
