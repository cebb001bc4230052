//! The end of a command: its response, and what it leaves (RFC 7143 11.4, 11.7.3).

use iscsi_proto::pdu::Residual;
use scsi_core::device::task_set::TaskKey;
use scsi_core::device::{NexusIndex, Outcome};
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;

use super::ask::is_put_off;
use super::closing::UnitLife;
use super::session::Session;
use super::shard::{Env, TargetShard};
use super::tasks::{Direction, State, Task, TaskIndex};
use crate::iscsi::connection::ConnectionState;
use crate::iscsi::connection::respond::{Ending, Segment};
use crate::iscsi::transmit::Payload;

impl TargetShard {
    /// Answers a command and forgets it.
    #[inline]
    pub(super) fn finish(&mut self, index: TaskIndex, outcome: Outcome, env: &mut Env<'_>) {
        if self.tasks[index].aborted.is_some() {
            return self.drop_task(index, env);
        }
        self.leave(index, env);
        let mut task = self.tasks.remove(index);
        let session = &mut self.sessions[task.session];
        count(session, &task, outcome.status);
        let window = session.window();
        let place = task.connection;
        if !outcome.data_in.is_empty() {
            self.parameter_data(&mut task, &outcome);
        }
        let residual = residual(&task, &outcome);
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

    /// Parameter data goes out in segments like any other; the last one is kept back for the status.
    fn parameter_data(&mut self, task: &mut Task, outcome: &Outcome) {
        if task.direction != Direction::Read {
            return;
        }
        let window = self.window(task.session);
        let connection = &mut self.connections[task.connection];
        let len = outcome.data_in.len().min(task.expected_len as usize);
        let mut rest = bytes::Bytes::copy_from_slice(&outcome.data_in[..len]);
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(connection.max_xmit_len()));
            if rest.is_empty() {
                task.last_segment = Some(Payload::Bytes(piece));
                return;
            }
            let segment = Segment {
                itt: task.itt,
                data_sn: task.data_sn,
                offset: task.sent,
                last: false,
                status: None,
            };
            task.sent += piece.len() as u32;
            task.data_sn = task.data_sn.next();
            connection.data_in(segment, Payload::Bytes(piece), window);
        }
    }

    /// Forgets a command without answering it: it was aborted.
    pub(super) fn drop_task(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        let task = &self.tasks[index];
        let fence = task.aborted.as_ref().and_then(|aborted| aborted.fence);
        if let (Some(fence), Some(unit)) = (fence, task.lun.and_then(|lun| self.unit(lun))) {
            unit.port.unit().lift(fence);
        }
        self.leave(index, env);
        let mut task = self.tasks.remove(index);
        if let Some(Payload::Block(block)) = task.last_segment.take() {
            env.pool.give(block);
        }
        let aborted = task.aborted.take().unwrap_or_default();
        if aborted.unit_gone {
            self.tell_unit_gone(&task);
        }
        for waiter in aborted.waiters {
            self.wait_over(waiter);
        }
        self.reap_session(task.session);
    }

    fn tell_unit_gone(&mut self, task: &Task) {
        let open = self.connections.get(task.connection).is_some_and(|connection| {
            connection.session == task.session && connection.state == ConnectionState::Open
        });
        if !open {
            return;
        }
        let window = self.window(task.session);
        let stays =
            task.lun.and_then(|lun| self.unit(lun)).is_some_and(|unit| unit.life != UnitLife::Leaving);
        let sense = if stays {
            Sense::new(SenseKey::NotReady, AdditionalSense::MEDIUM_NOT_PRESENT)
        } else {
            Sense::new(SenseKey::IllegalRequest, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)
        };
        let ending = Ending {
            status: Status::CheckCondition as u8,
            residual: Residual::of(task.expected_len, task.sent.into()),
            sense: &sense.to_bytes(),
            exp_data_sn: task.data_sn.0 + task.r2ts,
        };
        self.connections[task.connection].scsi_response(task.itt, &ending, window);
        self.touch(task.connection);
    }

    /// Takes a task out of its task set and its session's window; what it holds goes back.
    #[inline]
    fn leave(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        self.freed = true;
        let task = &mut self.tasks[index];
        task.blocks.clear(env.pool);
        while let Some((_, block)) = task.transfer.early.pop() {
            env.pool.give(block);
        }
        if task.reserved > 0 {
            env.pool.release(task.reserved as usize);
        }
        let session = &mut self.sessions[task.session];
        session.tasks -= 1;
        session.asking -= usize::from(task.r2ts > 0);
        if task.immediate {
            session.immediate -= 1;
        } else if task.hangs.is_none() {
            session.window.finished();
        }
        if task.data_out.is_unsolicited() {
            session.unsolicited.retain(|&other| other != index);
        }
        let (session, lun) = (task.session, task.lun);
        if let Some(bytes) = task.hangs {
            self.came_back(lun, bytes, env);
        }
        if let Some(lun) = lun {
            self.leave_unit(index, session, lun, env);
        }
    }

    #[inline]
    fn leave_unit(&mut self, index: TaskIndex, session: usize, lun: scsi_core::lun::Lun, env: &mut Env<'_>) {
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
fn count(session: &Session, task: &Task, status: Status) {
    let Some(unit) = session.stats.unit(task.counted_at()) else { return };
    if !matches!(task.state, State::Collecting | State::Held) {
        unit.done(task.direction, task.expected_len);
    }
    if status != Status::Good {
        unit.failed();
    }
}

/// What the initiator expected against what the command was about (RFC 7143 11.4.5).
#[inline]
fn residual(task: &Task, outcome: &Outcome) -> Residual {
    let sent = u64::from(task.sent) + task.last_segment.as_ref().map_or(0, Payload::len);
    let wanted = match (outcome.status, task.direction) {
        (Status::Good, _) if !outcome.data_in.is_empty() => outcome.data_in.len() as u64,
        (Status::Good, _) => task.device.transfer_len(),
        (_, Direction::Read) => sent,
        _ => task.device.transfer_len(),
    };
    Residual::of(task.expected_len, wanted)
}
