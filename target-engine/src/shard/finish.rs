//! The end of a command: its response, and what it leaves (RFC 7143 11.4, 11.7.3).

use iscsi_proto::pdu::Residual;
use scsi_core::device::task_set::TaskKey;
use scsi_core::device::{NexusIndex, Outcome};
use scsi_core::status::Status;

use super::ask::is_put_off;
use super::closing::UnitLife;
use super::session::Session;
use super::tasks::{Direction, Kind, State, Task, TaskIndex};
use super::{Env, TargetShard};
use crate::iscsi::connection::respond::{Ending, Segment};
use crate::iscsi::transmit::Payload;

impl TargetShard {
    /// Ends a command: answers and forgets it, unless it was aborted or has to wait for data it asked for.
    #[inline]
    pub(super) fn finish(&mut self, index: TaskIndex, outcome: Outcome, env: &mut Env<'_>) {
        let task = &self.tasks[index];
        if task.aborted.is_some() || task.pending_end.is_some() || task.data_out.is_outstanding() {
            return self.finish_later(index, outcome, env);
        }
        self.respond(index, outcome, env);
    }

    /// Answers a command and forgets it.
    #[inline(always)]
    pub(super) fn respond(&mut self, index: TaskIndex, mut outcome: Outcome, env: &mut Env<'_>) {
        let parameter_len = outcome.data_in.len();
        if parameter_len > 0 {
            self.parameter_data(index, std::mem::take(&mut outcome.data_in));
        }
        self.leave(index, env);
        let mut task = self.tasks.remove(index);
        let session = &mut self.sessions[task.session];
        if task.state != State::Ending {
            count(session, &task, outcome.status);
        }
        let window = session.window();
        let place = task.connection;
        let residual = residual(&task, outcome.status, parameter_len as u64);
        let connection = &mut self.connections[place];
        let good = outcome.status == Status::Good;
        if let Some(payload) = task.last_segment.take() {
            let status = if good { Some((Status::Good as u8, residual)) } else { None };
            let segment =
                Segment { itt: task.itt, data_sn: task.data_sn, offset: task.sent, last: true, status };
            connection.data_in(segment, payload, window);
            task.data_sn = task.data_sn.next();
            if good {
                return self.touch(place);
            }
        }
        let mut sense = Vec::new();
        if let Some(data) = &outcome.sense {
            data.encode(&mut sense);
        }
        let exp_data_sn = task.data_sn.0 + task.r2ts;
        let ending = Ending { status: outcome.status as u8, residual, sense: &sense, exp_data_sn };
        connection.scsi_response(task.itt, &ending, window);
        self.touch(place);
    }

    /// Ends a command without answering it: it was aborted.
    pub(super) fn drop_task(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        let fence = task.aborted.as_mut().and_then(|aborted| aborted.fence.take());
        if let (Some(fence), Some(unit)) = (fence, self.tasks[index].lun.and_then(|lun| self.unit(lun))) {
            unit.port.unit().remove_fence(fence);
        }
        if self.ends_aborted_later(index, env) {
            return;
        }
        self.leave(index, env);
        let mut task = self.tasks.remove(index);
        if let Some(Payload::Block(block)) = task.last_segment.take() {
            env.pool.give(block);
        }
        let aborted = task.aborted.take().unwrap_or_default();
        for waiter in aborted.waiters {
            self.wait_over(waiter);
        }
        self.reap_session(task.session);
    }

    /// Takes a task out of its task set and its session's window; what it holds goes back.
    #[inline]
    fn leave(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        if self.tasks[index].state != State::Ending {
            self.give_back(index, env);
        }
        let task = &mut self.tasks[index];
        let session = &mut self.sessions[task.session];
        session.tasks -= 1;
        if task.immediate {
            session.immediate -= 1;
        } else if task.hangs.is_none() {
            session.window.finished();
        }
        if task.data_out.is_unsolicited() {
            session.unsolicited.retain(|&other| other != index);
        }
        if task.state != State::Ending {
            self.leave_unit(index, env);
        }
    }

    /// Gives back the memory that a task holds.
    #[inline(always)]
    pub(super) fn give_back(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        self.freed = true;
        let task = &mut self.tasks[index];
        task.blocks.clear(env.pool);
        while let Some((_, block)) = task.transfer.early.pop() {
            env.pool.give(block);
        }
        if task.reserved > 0 {
            env.pool.release(std::mem::take(&mut task.reserved) as usize);
        }
        self.sessions[task.session].asking -= usize::from(task.r2ts > 0);
    }

    /// Takes a task out of its unit's task set.
    #[inline(always)]
    pub(super) fn leave_unit(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        let task = &self.tasks[index];
        let (session, lun) = (task.session, task.lun);
        if let Some(bytes) = task.hangs {
            self.came_back(lun, bytes, env);
        }
        let Some(lun) = lun else { return };
        let Some(unit) = self.units.get_mut(usize::from(lun.number())).and_then(Option::as_mut) else {
            return;
        };
        let nexus = NexusIndex(session as u32);
        unit.tasks -= 1;
        unit.port.finished(nexus, TaskKey(index.into()));
        while let Some(TaskKey(next)) = unit.port.next_ready(nexus) {
            let Some(task) = self.tasks.get_mut(next as TaskIndex) else { continue };
            task.enabled = true;
            if task.state == State::Held || is_put_off(task) {
                self.ready.push_back((next as TaskIndex, task.generation));
            }
        }
        if unit.life != UnitLife::Serving && unit.tasks == 0 {
            self.reap_unit(lun, env);
        }
    }

    /// Goes on with reads that waited for room in the ring of `place`; whether there is more than fits now.
    pub fn pump(&mut self, place: usize, env: &mut Env<'_>) -> bool {
        loop {
            let Some(connection) = self.connections.get_mut(place) else { return false };
            let Some(&index) = connection.reads.front() else { return false };
            if connection.transmit.len() >= connection.ring_len {
                return true;
            }
            connection.reads.pop_front();
            match self.tasks.get_mut(index) {
                // The place in the slab may have another owner by now, which waits elsewhere.
                Some(task) if task.state == State::Paused && task.connection == place => {
                    task.state = State::Running;
                    self.resume_first(index, place, env);
                }
                _ => {}
            }
        }
    }

    /// Resumes the read that was first in the list; if it has to wait again it stays first.
    fn resume_first(&mut self, index: TaskIndex, place: usize, env: &mut Env<'_>) {
        let generation = self.tasks[index].generation;
        self.connections[place].reads.push_front(index);
        self.resume(index, env);
        let waits = self
            .tasks
            .get_mut(index)
            .is_some_and(|task| task.generation == generation && task.state == State::Paused);
        if !waits && let Some(connection) = self.connections.get_mut(place) {
            connection.reads.retain(|&other| other != index);
        }
    }
}

/// Counts the end of a command; one that never went to its unit was not counted before.
#[inline]
pub(super) fn count(session: &Session, task: &Task, status: Status) {
    let Some(unit) = session.stats.unit(task.counted_at()) else { return };
    if !matches!(task.state, State::Collecting | State::Held) {
        unit.done(task.direction, task.expected_len);
    }
    if status != Status::Good {
        unit.failed();
    }
}

/// What the initiator expected against what was transferred (RFC 7143 11.4.5): all that the command is about where it
/// ends well, `parameter_len` bytes of parameter data among it; what came through before an error, nothing where the
/// command was not carried out.
#[inline]
fn residual(task: &Task, status: Status, parameter_len: u64) -> Residual {
    let expects_to_read = task.direction == Direction::Read;
    let wanted = match status {
        Status::Good if task.direction == Direction::Write && sends(task, parameter_len) => 0,
        Status::Good if parameter_len > 0 => parameter_len,
        Status::Good => task.device.transfer_len(),
        _ if expects_to_read => u64::from(task.sent) + task.last_segment.as_ref().map_or(0, Payload::len),
        Status::CheckCondition => task.device.transfer_len().min(task.data_out.received().into()),
        _ => 0,
    };
    Residual::of(task.expected_len, wanted)
}

/// Whether a command has data for an initiator that expects to send some itself.
fn sends(task: &Task, parameter_len: u64) -> bool {
    task.expected_len > 0 && (parameter_len > 0 || task.transfer.kind == Kind::Read)
}
