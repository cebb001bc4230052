//! SCSI commands and their Data-Out: from the PDU to the device server (RFC 7143 11.3, 11.7).

use bytes::Bytes;
use iscsi_proto::pdu::Bhs;
use iscsi_proto::pdu::ahs::Ahs;
use iscsi_proto::pdu::{self, DataOut, RejectReason, ScsiCommand, TaskAttribute as WireAttribute};
use iscsi_proto::sn::DataSn;
use scsi_core::device::task::DeviceTask;
use scsi_core::device::task_set::{Admit, TaskAttribute, TaskKey};
use scsi_core::device::{Command, NexusIndex, Outcome, Step, absent};
use scsi_core::lun::Lun;
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};
use scsi_core::status::Status;

use super::ask::{is_long, is_put_off};
use super::closing::UnitLife;
use super::tasks::{Blocks, State, Task, TaskIndex, Transfer};
use super::{Env, TargetShard};
use crate::direction::{self, Direction};
use crate::iscsi::connection::data_out::{DataOutError, DataOutProgress, DataOutRules};
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::limits::{
    DATA_OUT_LEN_MAX, IMMEDIATE_TASKS_MAX, INLINE_BYTES_MAX, PARAMETER_LIST_LEN_MAX, PAYLOAD_BYTES_MAX,
    SEGMENT_LEN_MAX,
};

/// Received pieces from this length on are kept as they came instead of being copied together, in bytes.
const KEEP_LEN: usize = 32 * 1024;

impl TargetShard {
    /// A SCSI Command whose turn it is.
    pub(super) fn scsi_command(&mut self, place: usize, incoming: Incoming<'_>, env: &mut Env<'_>) {
        let bhs = incoming.bhs;
        let Ok(command) = ScsiCommand::decode(&bhs) else {
            self.uncount(place, &bhs);
            return self.refuse(place, &bhs, RejectReason::INVALID_PDU_FIELD, incoming.data, env);
        };
        let connection = &self.connections[place];
        connection.stats.command();
        let index = connection.session;
        let session = &mut self.sessions[index];
        if command.immediate && session.immediate >= IMMEDIATE_TASKS_MAX {
            return self.refuse(place, &bhs, RejectReason::IMMEDIATE_COMMAND_REJECT, incoming.data, env);
        }
        let direction = Direction::of(&command);
        let impossible = direction.is_impossible(command.expected_len, &incoming.ahs);
        let expected_out = if command.write { data_out_len(&command, &session.rules) } else { 0 };
        let data_len = incoming.data.as_slice().len() as u32;
        // An initiator that expects nothing to be sent has nothing more to say, whatever its F bit.
        let last = command.last || !command.write;
        let started = DataOutProgress::start(expected_out, data_len, last, &session.rules);
        let (data_out, fault) = match started {
            Ok(progress) => (progress, None),
            Err(fault) => (DataOutProgress::broken(last), Some(fault)),
        };
        let task = Task {
            generation: 0,
            connection: place,
            session: index,
            itt: command.itt,
            lun: Lun::from_wire(command.lun),
            lun_wire: command.lun,
            cdb: command.cdb,
            long_cdb: if incoming.ahs.is_empty() { None } else { long_cdb(&command.cdb, &incoming.ahs) },
            immediate: command.immediate,
            direction,
            expected_len: command.expected_len,
            data_out,
            blocks: Blocks::default(),
            enabled: false,
            streaming: false,
            reserved: 0,
            r2ts: 0,
            device: DeviceTask::default(),
            state: State::Collecting,
            transfer: Transfer::default(),
            data_sn: DataSn(0),
            sent: 0,
            last_segment: None,
            hangs: None,
            aborted: None,
            pending_end: None,
        };
        session.tasks += 1;
        session.immediate += usize::from(command.immediate);
        let index = self.tasks.insert(task);
        let admitted = self.admit(index, command.attribute);
        if let Some(fault) = fault {
            incoming.data.discard(env.pool);
            return self.fail_data(index, fault, env);
        }
        if impossible {
            incoming.data.discard(env.pool);
            return self.finish(index, direction::refusal(), env);
        }
        if data_len > 0 && env.pool.counted_bytes() >= 2 * PAYLOAD_BYTES_MAX {
            // What came unasked by many commands has no budget; it must end somewhere.
            incoming.data.discard(env.pool);
            let full = Outcome { status: Status::TaskSetFull, sense: None, data_in: Vec::new() };
            return self.finish(index, full, env);
        }
        if self.tasks[index].data_out.is_complete() {
            return match admitted {
                Admit::Run => self.start(index, incoming.data, env),
                Admit::Held => {
                    self.keep(index, incoming.data, env);
                    self.tasks[index].state = State::Held;
                }
            };
        }
        if admitted == Admit::Run && is_long(&self.tasks[index]) {
            self.tasks[index].streaming = true;
            self.keep(index, incoming.data, env);
            self.expect_more(index);
            self.stream(index, env);
        } else {
            self.collect(index, incoming.data, admitted, env);
        }
    }

    /// A counted command that never became a task.
    fn uncount(&mut self, place: usize, bhs: &Bhs) {
        if !pdu::is_immediate(bhs) {
            let session = self.connections[place].session;
            self.sessions[session].window.finished();
        }
    }

    #[inline]
    fn admit(&mut self, index: TaskIndex, attribute: WireAttribute) -> Admit {
        let (lun, session) = (self.tasks[index].lun, self.tasks[index].session);
        let attribute = match attribute {
            WireAttribute::Untagged | WireAttribute::Simple => TaskAttribute::Simple,
            WireAttribute::Ordered | WireAttribute::Aca => TaskAttribute::Ordered,
            WireAttribute::HeadOfQueue => TaskAttribute::HeadOfQueue,
        };
        let unit = lun.and_then(|lun| self.unit_mut(lun)).filter(|unit| unit.life != UnitLife::Leaving);
        match unit {
            Some(unit) => {
                unit.tasks += 1;
                unit.port.admit(NexusIndex(session as u32), attribute, TaskKey(index.into()))
            }
            None => {
                // Nobody is there: no unit, no task set.
                self.tasks[index].lun = None;
                Admit::Run
            }
        }
    }

    fn collect(&mut self, index: TaskIndex, data: Data<'_>, admitted: Admit, env: &mut Env<'_>) {
        self.keep(index, data, env);
        let task = &mut self.tasks[index];
        task.enabled = admitted == Admit::Run;
        self.expect_more(index);
        if self.starved.is_empty() || self.sessions[self.tasks[index].session].asking == 0 {
            self.ask(index, env);
        } else {
            // Others wait for memory; it is given in turn.
            self.starved.push_back((index, self.tasks[index].generation));
        }
    }

    /// A long write starts at once when it is its turn, and its data goes to the store as it comes.
    fn stream(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        (task.enabled, task.streaming) = (true, true);
        let generation = task.generation;
        self.start(index, Data::Borrowed(&[]), env);
        self.ask_if_alive(index, generation, env);
    }

    fn expect_more(&mut self, index: TaskIndex) {
        let task = &self.tasks[index];
        if task.data_out.is_unsolicited() {
            self.sessions[task.session].unsolicited.push(index);
        }
    }

    /// A Data-Out PDU.
    pub(super) fn data_out(&mut self, place: usize, incoming: Incoming<'_>, env: &mut Env<'_>) {
        self.connections[place].stats.data_out();
        let Ok(data) = DataOut::decode(&incoming.bhs) else {
            return self.refuse(place, &incoming.bhs, RejectReason::INVALID_PDU_FIELD, incoming.data, env);
        };
        let Some(index) = self.data_task(place, &data) else {
            // Data of a command that failed or was aborted may still be on its way.
            return incoming.data.discard(env.pool);
        };
        let session = self.tasks[index].session;
        let rules = self.sessions[session].rules;
        let len = incoming.data.as_slice().len() as u32;
        let task = &mut self.tasks[index];
        if task.pending_end.is_some() || task.aborted.is_some() {
            incoming.data.discard(env.pool);
            return self.skip_data(index, data.last, env);
        }
        let solicited = !task.data_out.is_unsolicited();
        let accepted = task.data_out.accept(data.data_sn, data.buffer_offset, len, data.last, &rules);
        if let Err(fault) = accepted {
            incoming.data.discard(env.pool);
            self.skip_data(index, data.last, env);
            return self.fail_data(index, fault, env);
        }
        if solicited {
            let released = len.min(task.reserved);
            task.reserved -= released;
            env.pool.release(released as usize);
        }
        if !solicited && !task.data_out.is_unsolicited() {
            self.sessions[session].unsolicited.retain(|&other| other != index);
        }
        let task = &mut self.tasks[index];
        if task.streaming {
            let generation = task.generation;
            self.keep(index, incoming.data, env);
            self.resume(index, env);
            return self.ask_if_alive(index, generation, env);
        }
        if !task.data_out.is_complete() {
            self.keep(index, incoming.data, env);
            self.ask(index, env);
            return;
        }
        if task.enabled && task.blocks.is_empty() {
            return self.start(index, incoming.data, env);
        }
        let enabled = task.enabled;
        self.keep(index, incoming.data, env);
        if enabled {
            self.start(index, Data::Borrowed(&[]), env);
        } else {
            self.tasks[index].state = State::Held;
        }
    }

    /// A Data-Out that was lost to a digest error fails its command.
    pub(super) fn data_out_lost(&mut self, place: usize, bhs: &Bhs, env: &mut Env<'_>) {
        let Ok(data) = DataOut::decode(bhs) else { return };
        let Some(index) = self.data_task(place, &data) else { return };
        let task = &self.tasks[index];
        let ends = task.pending_end.is_some() || task.aborted.is_some();
        self.skip_data(index, data.last, env);
        if !ends {
            let code = AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR;
            self.fail(index, Sense::new(SenseKey::AbortedCommand, code), env);
        }
    }

    /// The task a Data-Out belongs to: by our tag, or, unsolicited, by the initiator's.
    fn data_task(&self, place: usize, data: &DataOut) -> Option<TaskIndex> {
        let index = match data.ttt {
            Some(ttt) => self.tasks.find_ttt(ttt)?,
            None => {
                let session = &self.sessions[self.connections[place].session];
                session.unsolicited.iter().copied().find(|&index| self.tasks[index].itt == data.itt)?
            }
        };
        let task = &self.tasks[index];
        let receives = task.state == State::Collecting || task.streaming && !task.data_out.is_complete();
        let receives = receives && task.aborted.is_none() || task.data_out.is_outstanding();
        (task.itt == data.itt && task.connection == place && receives).then_some(index)
    }

    fn fail_data(&mut self, index: TaskIndex, fault: DataOutError, env: &mut Env<'_>) {
        let task = &self.tasks[index];
        let (peer, itt) = (self.connections[task.connection].peer, task.itt.0);
        self.warnings.warn(env.now, format_args!("{peer}: task {itt:#x}: {fault}"));
        let code = match fault {
            DataOutError::Unexpected => AdditionalSense::UNEXPECTED_UNSOLICITED_DATA,
            DataOutError::TooMuch | DataOutError::TooLittle => AdditionalSense::NOT_ENOUGH_UNSOLICITED_DATA,
            DataOutError::Offset | DataOutError::DataSn => AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR,
        };
        self.fail(index, Sense::new(SenseKey::AbortedCommand, code), env);
    }

    /// Keeps what came for a task that cannot start yet.
    fn keep(&mut self, index: TaskIndex, data: Data<'_>, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        let len = data.as_slice().len();
        if len == 0 {
            return data.discard(env.pool);
        }
        let aligned = len.is_multiple_of(4096) || task.data_out.left() == 0;
        match data {
            Data::Owned(block)
                if len >= KEEP_LEN && aligned && task.blocks.ends_aligned() && writes_medium(task.cdb[0]) =>
            {
                task.blocks.push(block);
            }
            data => {
                let to_come = if is_put_off(task) { 0 } else { task.data_out.left() };
                let remaining = len + to_come as usize;
                task.blocks.append(data.as_slice(), remaining, env.pool);
                data.discard(env.pool);
            }
        }
    }

    /// Hands a command whose data is all there to its unit. `data` is the data, unless it was kept before.
    pub(super) fn start(&mut self, index: TaskIndex, data: Data<'_>, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        task.state = State::Running;
        if let Some(unit) = self.sessions[task.session].stats.unit(task.counted_at()) {
            unit.submitted(task.direction, task.expected_len);
        }
        let borrowed = match data {
            Data::Borrowed(bytes) if plain_write(task.cdb[0]) || bytes.is_empty() => bytes,
            Data::Owned(block) if !block.is_empty() => {
                task.blocks.push(block);
                &[]
            }
            data => {
                task.blocks.append(data.as_slice(), data.as_slice().len(), env.pool);
                data.discard(env.pool);
                &[]
            }
        };
        let Some(lun) = task.lun else {
            let step = absent::start(task.cdb(), &self.luns);
            return self.advance(index, step, borrowed, env);
        };
        if !self.settings.online {
            let outcome = Outcome { status: Status::Busy, sense: None, data_in: Vec::new() };
            return self.finish(index, outcome, env);
        }
        self.refresh_store(lun, env);
        let Some(unit) = self.units.get_mut(usize::from(lun.number())).and_then(Option::as_mut) else {
            return;
        };
        let task = &mut self.tasks[index];
        let front = if borrowed.is_empty() { task.blocks.front() } else { borrowed };
        let command = Command {
            nexus: NexusIndex(task.session as u32),
            cdb: task.long_cdb.as_deref().unwrap_or(&task.cdb),
            data_out_len: task.data_out_len().into(),
            data_out: &front[..front.len().min(SEGMENT_LEN_MAX)],
        };
        let mut step = unit.port.start(&mut task.device, &command, &self.luns);
        if task.direction.denies_a_write(task.expected_len, &step, task.device.transfer_len()) {
            unit.port.abort(&mut task.device);
            step = Step::Done(direction::refusal());
        }
        self.advance(index, step, borrowed, env);
    }

    /// Whether tasks wait for `run_ready`.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty() || !self.long.yielded.is_empty() || self.freed && !self.starved.is_empty()
    }

    /// What is to be done once a turn: long steps go on, as far as they may in one, and what `run_held` does.
    pub fn run_ready(&mut self, env: &mut Env<'_>) {
        self.long.left = INLINE_BYTES_MAX;
        while self.long.left > 0
            && let Some((index, generation)) = self.long.yielded.pop_front()
        {
            self.run_waiting(index, generation, env);
        }
        self.run_held(env);
    }

    /// Tasks whose turn in the task set has come, and those that found no memory.
    pub(super) fn run_held(&mut self, env: &mut Env<'_>) {
        for _ in 0..self.ready.len() {
            let Some((index, generation)) = self.ready.pop_front() else { return };
            self.run_waiting(index, generation, env);
        }
        if !self.starved.is_empty() {
            self.ask_starved(env);
        }
    }

    fn run_waiting(&mut self, index: TaskIndex, generation: u16, env: &mut Env<'_>) {
        let Some(task) = self.tasks.get_mut(index).filter(|task| task.generation == generation) else {
            return;
        };
        match task.state {
            State::Held => self.start(index, Data::Borrowed(&[]), env),
            State::Yielded => {
                task.state = State::Running;
                self.resume(index, env);
            }
            State::Collecting if is_put_off(task) => self.stream(index, env),
            State::Collecting | State::Running | State::Paused | State::Ending => {}
        }
    }

    /// The unit may have got another medium since the last command.
    #[inline]
    fn refresh_store(&mut self, lun: Lun, env: &mut Env<'_>) {
        let Some(unit) = self.units.get_mut(usize::from(lun.number())).and_then(Option::as_mut) else {
            return;
        };
        let generation = unit.port.unit().generation();
        if generation != unit.seen {
            unit.seen = generation;
            unit.change_store(env.engines);
        }
    }
}

/// What is asked of an initiator: no more than its command can want, whatever it announces. A longer first burst
/// comes unasked.
fn data_out_len(command: &ScsiCommand, rules: &DataOutRules) -> u32 {
    let most = if writes_medium(command.cdb[0]) { DATA_OUT_LEN_MAX } else { PARAMETER_LIST_LEN_MAX };
    command.expected_len.min(most.max(rules.first_burst_len))
}

/// WRITE (6), (10), (12), (16): their data goes to the store and nowhere else.
#[inline]
pub(super) fn plain_write(opcode: u8) -> bool {
    matches!(opcode, 0x0a | 0x2a | 0x8a | 0xaa)
}

/// Commands whose data may be long, and is not looked at as a whole.
fn writes_medium(opcode: u8) -> bool {
    plain_write(opcode) || matches!(opcode, 0x2e | 0x8e | 0xae | 0x2f | 0x8f | 0xaf)
}

fn long_cdb(cdb: &[u8; 16], ahs: &Bytes) -> Option<Box<[u8]>> {
    let extension = pdu::ahs::segments(ahs).find_map(|segment| match segment {
        Ok(Ahs::ExtendedCdb(extension)) => Some(extension),
        _ => None,
    })?;
    let mut long = cdb.to_vec();
    long.extend_from_slice(extension);
    Some(long.into_boxed_slice())
}
