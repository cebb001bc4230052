//! What a running command keeps between its PDUs and its I/O.
//!
//! - `receiving`: Data-Out and R2Ts
//! - `data_in`, `sending`: Data-In and the residual
//! - `ending`: ends that have to wait, and aborts

mod data_in;
mod ending;
mod receiving;
mod sending;

use std::time::Instant;

use bytes::Bytes;
use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::ScsiCommand;
use iscsi_proto::pdu::ahs::{self, Ahs};
use scsi_core::device::fence::FenceId;
use scsi_core::device::port::UnitPort;
use scsi_core::device::task::DeviceTask;
use scsi_core::device::{Command, IoResult, Outcome, Step};
use scsi_core::lun::Lun;
use scsi_core::status::Status;

use self::data_in::DataIn;
use super::blocks::Blocks;
use super::functions::WaitIndex;
use super::transfer::Transfer;
use super::units::LunList;
use crate::buffers::Account;
use crate::direction::{self, Direction};
use crate::iscsi::connection::data_out::DataOutProgress;
use crate::keys::{ConnectionIndex, SessionIndex, TaskKey};
use crate::limits::SEGMENT_LEN_MAX;
use crate::stats::UnitStats;

/// One SCSI command from its PDU to its response.
#[derive(Debug)]
pub(super) struct Task {
    key: TaskKey,
    /// The connection of the command and of its response (RFC 7143 4.2.2).
    connection: ConnectionIndex,
    session: SessionIndex,
    /// The account of its session.
    account: Account,
    /// The initiator's tag.
    itt: Itt,
    /// The unit; `None`: there is no such unit.
    lun: Option<Lun>,
    /// The LUN field of the PDU, which R2Ts repeat.
    lun_wire: [u8; 8],
    /// The first 16 bytes of the command descriptor block.
    cdb: [u8; 16],
    /// The whole command descriptor block if it is longer.
    long_cdb: Option<Box<[u8]>>,
    /// The command is outside the command window.
    immediate: bool,
    /// R and W of the PDU.
    direction: Direction,
    /// Expected Data Transfer Length, in bytes.
    expected_len: u32,
    /// Which Data-Out has arrived and which is still to come.
    data_out: DataOutProgress,
    /// The Data-Out that has arrived.
    blocks: Blocks,
    /// Its turn in the task set has come.
    enabled: bool,
    /// It runs while its Data-Out is still arriving.
    streaming: bool,
    /// Bytes of the pool's budget that are set aside for the data of its R2Ts.
    reserved: u32,
    /// R2Ts sent.
    r2ts: u32,
    /// The device server's state of the command.
    device: DeviceTask,
    state: State,
    /// The present step of the device server.
    transfer: Transfer,
    data_in: DataIn,
    /// It was at its store when that was found to hang: bytes that do not count against the budget any more.
    hung_bytes: Option<u32>,
    /// It was aborted and ends without a response.
    aborted: Option<Box<Aborted>>,
    /// It ends with this when its store or its initiator has no data of it any more.
    pending_end: Option<Box<PendingEnd>>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Data-Out is still to come.
    Collecting,
    /// All Data-Out is there; older tasks of the task set come first.
    Held,
    /// At the device server or its store.
    Running,
    /// A read that waits for space in its connection's transmit ring.
    Paused,
    /// In the middle of a long step; it goes on in another turn.
    Yielded,
    /// It has left its unit; Data-Out that was asked for is still to come.
    Ending,
}

/// An aborted task whose I/O or Data-Out is still out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Aborted {
    /// The functions that wait for its end.
    pub(super) waiters: Vec<WaitIndex>,
    /// It was aborted only because its unit or medium was removed. Its initiator gets a response.
    pub(super) unit_gone: bool,
    /// Covers what its store may still write.
    pub(super) fence: Option<FenceId>,
    /// The session that asked to abort many tasks. Its own tasks end after their Data-Out has arrived.
    pub(super) issuer: Option<SessionIndex>,
}

/// The end of a task that waits for its Data-Out.
#[derive(Debug)]
struct PendingEnd {
    /// The outcome of the command; `None`: it was aborted.
    outcome: Option<Outcome>,
    /// When waiting for the data ends.
    deadline: Instant,
}

impl Task {
    /// A task that no command has begun.
    pub(super) fn unused() -> Self {
        Self {
            key: TaskKey::NONE,
            connection: ConnectionIndex::new(0),
            session: SessionIndex::new(0),
            account: Account::NONE,
            itt: Itt(0),
            lun: None,
            lun_wire: [0; 8],
            cdb: [0; 16],
            long_cdb: None,
            immediate: false,
            direction: Direction::None,
            expected_len: 0,
            data_out: DataOutProgress::NONE,
            blocks: Blocks::default(),
            enabled: false,
            streaming: false,
            reserved: 0,
            r2ts: 0,
            device: DeviceTask::default(),
            state: State::Collecting,
            transfer: Transfer::default(),
            data_in: DataIn::default(),
            hung_bytes: None,
            aborted: None,
            pending_end: None,
        }
    }

    /// A command has arrived with its PDU: begins it in a task that is unused or has ended. `ids` are its connection, its
    /// session and the account of that, `ahs` its additional header segments.
    #[inline(always)]
    pub(super) fn begin_command(
        &mut self,
        key: TaskKey,
        ids: (ConnectionIndex, SessionIndex, Account),
        command: &ScsiCommand,
        ahs: &Bytes,
        (direction, data_out): (Direction, DataOutProgress),
    ) {
        self.key = key;
        (self.connection, self.session, self.account) = ids;
        self.itt = command.itt;
        (self.lun, self.lun_wire) = (Lun::from_wire(command.lun), command.lun);
        self.cdb = command.cdb;
        if !ahs.is_empty() {
            self.long_cdb = long_cdb(&command.cdb, ahs);
        }
        self.immediate = command.immediate;
        (self.direction, self.expected_len, self.data_out) = (direction, command.expected_len, data_out);
        (self.enabled, self.streaming, self.state) = (false, false, State::Collecting);
    }

    /// It has ended: all but what [`Self::begin_command`] sets is as in an unused task.
    #[inline]
    pub(super) fn end(&mut self) {
        self.key = TaskKey::NONE;
        self.long_cdb = None;
        self.blocks.reset();
        (self.reserved, self.r2ts, self.hung_bytes) = (0, 0, None);
        self.device = DeviceTask::default();
        self.transfer.reset();
        self.data_in = DataIn::default();
        (self.aborted, self.pending_end) = (None, None);
    }

    /// Its key in the shard.
    #[inline]
    pub(super) fn key(&self) -> TaskKey {
        self.key
    }

    /// The connection of the command and of its response (RFC 7143 4.2.2).
    #[inline]
    pub(super) fn connection(&self) -> ConnectionIndex {
        self.connection
    }

    /// Its session.
    #[inline]
    pub(super) fn session(&self) -> SessionIndex {
        self.session
    }

    /// The account of its session.
    #[inline]
    pub(super) fn account(&self) -> Account {
        self.account
    }

    /// The initiator's tag.
    #[inline]
    pub(super) fn itt(&self) -> Itt {
        self.itt
    }

    /// The unit; `None`: there is no such unit.
    #[inline]
    pub(super) fn lun(&self) -> Option<Lun> {
        self.lun
    }

    /// Whether it is a command of this unit.
    #[inline]
    pub(super) fn is_of(&self, lun: Lun) -> bool {
        self.lun == Some(lun)
    }

    /// There is no such unit, or it takes no new commands.
    pub(super) fn has_no_unit(&mut self) {
        self.lun = None;
    }

    /// The unit in whose counters it is counted. A command without a unit counts at LUN 0, as with tgt.
    #[inline]
    pub(super) fn counted_at(&self) -> Lun {
        self.lun.unwrap_or(Lun::ZERO)
    }

    /// The operation code.
    #[inline]
    pub(super) fn opcode(&self) -> u8 {
        self.cdb[0]
    }

    /// The whole command descriptor block.
    #[inline]
    pub(super) fn cdb(&self) -> &[u8] {
        self.long_cdb.as_deref().unwrap_or(&self.cdb)
    }

    /// Whether the command is outside the command window.
    #[inline]
    pub(super) fn is_immediate(&self) -> bool {
        self.immediate
    }

    /// Where it is.
    #[inline]
    pub(super) fn state(&self) -> State {
        self.state
    }

    /// Whether it has begun at its unit.
    #[inline]
    pub(super) fn has_begun(&self) -> bool {
        !matches!(self.state, State::Collecting | State::Held)
    }

    /// It begins at its unit, and is counted there.
    #[inline]
    pub(super) fn begin(&mut self, stats: Option<&UnitStats>) {
        self.state = State::Running;
        if let Some(stats) = stats {
            stats.submitted(self.direction, self.expected_len);
        }
    }

    /// Counts its end. If it has not begun at its unit, it was not counted there as begun.
    #[inline]
    pub(super) fn count_end(&self, stats: &UnitStats, status: Status) {
        if self.has_begun() {
            stats.done(self.direction, self.expected_len);
        }
        if status != Status::Good {
            stats.failed();
        }
    }

    /// Starts the command at its device server. `borrowed` is its Data-Out if that is not in its blocks.
    #[inline(always)]
    pub(super) fn start(&mut self, port: &mut UnitPort, borrowed: &[u8], luns: &LunList) -> Step {
        let front = if borrowed.is_empty() { self.blocks.front() } else { borrowed };
        let command = Command {
            nexus: self.session.nexus(),
            cdb: self.long_cdb.as_deref().unwrap_or(&self.cdb),
            data_out_len: self.data_out.expected().into(),
            data_out: &front[..front.len().min(SEGMENT_LEN_MAX)],
        };
        let step = port.start(&mut self.device, &command, luns);
        if self.direction.denies_a_write(self.expected_len, &step, self.device.transfer_len()) {
            port.abort(&mut self.device);
            return Step::Done(direction::refusal());
        }
        step
    }

    /// It is started again, with its data.
    pub(super) fn unstart(&mut self, port: &mut UnitPort) {
        port.abort(&mut self.device);
    }

    /// Begins a step.
    #[inline]
    pub(super) fn begin_step(&mut self, step: &Step) {
        let expected_in = if self.direction == Direction::Read { self.expected_len.into() } else { 0 };
        self.transfer.begin(step, expected_in, self.data_out.expected().into());
    }

    /// Reports the end of a step to the device server; returns the next one.
    #[inline]
    pub(super) fn end_step(&mut self, port: &mut UnitPort, result: IoResult) -> Step {
        port.io_done(&mut self.device, result)
    }

    /// The present step is done without the store.
    pub(super) fn drop_step(&mut self) {
        self.transfer = Transfer::default();
    }

    /// The present step.
    #[inline]
    pub(super) fn transfer(&self) -> &Transfer {
        &self.transfer
    }

    /// The present step.
    #[inline]
    pub(super) fn transfer_mut(&mut self) -> &mut Transfer {
        &mut self.transfer
    }

    /// The present step and the Data-Out for it.
    #[inline]
    pub(super) fn transfer_with_data(&mut self) -> (&mut Transfer, &mut Blocks) {
        (&mut self.transfer, &mut self.blocks)
    }

    /// The first block of the Data-Out that has arrived.
    pub(super) fn first_data(&self) -> &[u8] {
        self.blocks.front()
    }

    /// Counts a piece of a compare or a probe as done.
    pub(super) fn piece_done(&mut self, piece: &[u8]) {
        self.transfer.piece_done(piece, &self.blocks);
    }

    /// A read waits for space in its connection's transmit ring.
    #[inline]
    pub(super) fn pause(&mut self) {
        self.state = State::Paused;
    }

    /// A long step goes on in another turn.
    #[inline]
    pub(super) fn yield_turn(&mut self) {
        self.state = State::Yielded;
    }

    /// It goes on after a pause, or in its next turn.
    #[inline]
    pub(super) fn go_on(&mut self) {
        self.state = State::Running;
    }
}

fn long_cdb(cdb: &[u8; 16], segments: &Bytes) -> Option<Box<[u8]>> {
    let extension = ahs::segments(segments).find_map(|segment| match segment {
        Ok(Ahs::ExtendedCdb(extension)) => Some(extension),
        _ => None,
    })?;
    let mut long = cdb.to_vec();
    long.extend_from_slice(extension);
    Some(long.into_boxed_slice())
}

/// WRITE (6), (10), (12), (16): their Data-Out goes to the store and nowhere else.
#[inline]
pub(super) fn is_plain_write(opcode: u8) -> bool {
    matches!(opcode, 0x0a | 0x2a | 0x8a | 0xaa)
}

/// WRITE AND VERIFY (10), (12), (16): their Data-Out is needed after it was written.
#[inline]
pub(super) fn is_write_and_verify(opcode: u8) -> bool {
    matches!(opcode, 0x2e | 0x8e | 0xae)
}

/// Writes and VERIFY: their Data-Out may be long, and no step needs all of it at once.
pub(super) fn has_medium_data(opcode: u8) -> bool {
    is_plain_write(opcode) || is_write_and_verify(opcode) || matches!(opcode, 0x2f | 0x8f | 0xaf)
}
