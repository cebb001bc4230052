//! Running commands: the slab they live in, and what each remembers between its PDUs and its I/O. It may not know
//! how a command is answered.

use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::sn::DataSn;
use scsi_core::device::task::DeviceTask;
use scsi_core::lun::Lun;
use scsi_core::store::{Block, IoError, IoTag};
use slab::Slab;

pub use super::ending::{Aborted, PendingEnd};
use crate::buffers::Pool;
pub use crate::direction::Direction;
use crate::iscsi::connection::data_out::DataOutProgress;
use crate::iscsi::transmit::Payload;

/// A task's place in its shard's slab.
pub type TaskIndex = u32;

/// All tasks of a shard. Tags carry a generation, so that what comes late finds nobody instead of somebody else.
#[derive(Debug, Default)]
pub struct Tasks {
    slab: Slab<Task>,
    generation: u16,
}

/// One SCSI command from its PDU to its response.
#[derive(Debug)]
pub struct Task {
    /// Sets it apart from others in the same place.
    pub generation: u16,
    /// The connection it came by and is answered on (RFC 7143 4.2.2).
    pub connection: usize,
    /// Its session.
    pub session: usize,
    /// The initiator's name for it.
    pub itt: Itt,
    /// The unit addressed; `None`: one that cannot be.
    pub lun: Option<Lun>,
    /// The LUN as it came, for R2Ts.
    pub lun_wire: [u8; 8],
    /// The command descriptor block's first 16 bytes.
    pub cdb: [u8; 16],
    /// All of it, where it is longer.
    pub long_cdb: Option<Box<[u8]>>,
    /// Outside the command window.
    pub immediate: bool,
    /// R and W of the PDU.
    pub direction: Direction,
    /// Bytes the initiator expects to be transferred.
    pub expected_len: u32,
    /// Data-Out: what has come and what is still to come.
    pub data_out: DataOutProgress,
    /// What has come, in order and without gaps.
    pub blocks: Blocks,
    /// Its turn in the task set has come.
    pub enabled: bool,
    /// It runs while its data is still coming.
    pub streaming: bool,
    /// Bytes of the pool's budget that are set aside for what R2Ts asked for.
    pub reserved: u32,
    /// R2Ts sent.
    pub r2ts: u32,
    /// The device server's memory.
    pub device: DeviceTask,
    /// Where it stands.
    pub state: State,
    /// The step that is being done.
    pub transfer: Transfer,
    /// Numbers its Data-In PDUs.
    pub data_sn: DataSn,
    /// Bytes of Data-In queued so far.
    pub sent: u32,
    /// The last segment of Data-In, which waits for the status it may carry.
    pub last_segment: Option<Payload>,
    /// Its store hangs: bytes that are not in the budget any more.
    pub hangs: Option<u32>,
    /// Aborted: it ends without a response; who waits for that.
    pub aborted: Option<Aborted>,
    /// It has ended, or is to end, but for the data that is still to come.
    pub pending_end: Option<Box<PendingEnd>>,
}

/// Where a task stands.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// Data-Out is still to come.
    Collecting,
    /// All is there; older tasks of its set come first.
    Held,
    /// At the device server or its store.
    Running,
    /// A read that waits for room in its connection's transmit ring.
    Paused,
    /// In the middle of a long step, others come first for a turn.
    Yielded,
    /// It has left its unit; Data-Out that its initiator was asked for is still to come.
    Ending,
}

/// The progress of one step of the device server.
#[derive(Debug, Default)]
pub struct Transfer {
    /// What is done.
    pub kind: Kind,
    /// Where in the store it began.
    pub offset: u64,
    /// Bytes in all.
    pub len: u64,
    /// Bytes that were begun.
    pub begun: u64,
    /// Bytes that are through.
    pub through: u64,
    /// Operations in the store's hands.
    pub in_flight: u8,
    /// Bytes of the blocks that the store has.
    pub lent: u32,
    /// Number of the next operation.
    pub next_chunk: u8,
    /// The numbers of those in the store's hands; one that is late is not given out again.
    pub out: Chunks,
    /// Number of the operation whose data is to be sent next.
    pub next_send: u8,
    /// Its pieces are longer than the initiator takes at once: the store has no shorter ones.
    pub coarse: bool,
    /// Reads that came back before their turn.
    pub early: Vec<(u8, Block)>,
    /// Where `Compare` found a difference.
    pub miscompare: Option<u64>,
    /// What `Allocation` found: bytes, and whether they are a hole.
    pub allocation: Option<(u64, bool)>,
    /// The first failure; nothing more is begun after it.
    pub error: Option<IoError>,
}

impl Transfer {
    /// From where to where the store may change while operations are out, in bytes.
    #[must_use]
    pub fn changing(&self) -> (u64, u64) {
        let len = match self.kind {
            Kind::Write { .. } => self.begun,
            Kind::Fill { .. } | Kind::Zeroes { .. } | Kind::Discard => self.len,
            _ => 0,
        };
        (self.offset, self.offset.saturating_add(len))
    }
}

/// A set of operations' numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Chunks([u64; 4]);

impl Chunks {
    /// Adds one.
    #[inline]
    pub fn insert(&mut self, chunk: u8) {
        self.0[usize::from(chunk >> 6)] |= 1 << (chunk & 63);
    }

    /// Takes one out.
    #[inline]
    pub fn remove(&mut self, chunk: u8) {
        self.0[usize::from(chunk >> 6)] &= !(1 << (chunk & 63));
    }

    /// Whether it is there.
    #[inline]
    #[must_use]
    pub fn contains(self, chunk: u8) -> bool {
        self.0[usize::from(chunk >> 6)] & 1 << (chunk & 63) != 0
    }

    /// All of them.
    pub fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |chunk| self.contains(*chunk))
    }
}

/// What a [`Transfer`] does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Kind {
    /// Nothing, or nothing at the store.
    #[default]
    Idle,
    /// Store to initiator.
    Read,
    /// Data-Out to store.
    Write {
        /// On the medium when it completes.
        fua: bool,
    },
    /// Data-Out against store; with a pattern length, its front again and again.
    Compare {
        /// Bytes, or `None`.
        repeat: Option<u32>,
    },
    /// Store to nowhere.
    Probe,
    /// The Data-Out's front, again and again.
    Fill {
        /// Bytes; 0: zeroes, no Data-Out.
        pattern_len: u32,
        /// On the medium when it completes.
        fua: bool,
    },
    /// Zeroes without a payload.
    Zeroes {
        /// Space may be freed.
        may_unmap: bool,
    },
    /// Space is freed.
    Discard,
    /// What was written is on the medium.
    Flush,
    /// Data or hole.
    Allocation,
}

/// Data-Out in the order it came: one block for nearly all commands.
#[derive(Debug, Default)]
pub struct Blocks {
    first: Option<Block>,
    rest: Vec<Option<Block>>,
    /// Blocks that came, handed out or not.
    count: usize,
    /// Blocks that were handed to the store already.
    pub handed: usize,
}

impl Kind {
    /// Whether its operations have a block.
    #[inline]
    #[must_use]
    pub fn moves_data(self) -> bool {
        match self {
            Self::Read | Self::Write { .. } | Self::Compare { .. } | Self::Probe | Self::Fill { .. } => true,
            Self::Idle | Self::Zeroes { .. } | Self::Discard | Self::Flush | Self::Allocation => false,
        }
    }
}

impl Tasks {
    /// Puts a task in; its generation is set here.
    #[inline]
    pub fn insert(&mut self, mut task: Task) -> TaskIndex {
        self.generation = self.generation.wrapping_add(1);
        task.generation = self.generation;
        self.slab.insert(task) as TaskIndex
    }

    /// Takes a task out.
    #[inline]
    pub fn remove(&mut self, index: TaskIndex) -> Task {
        self.slab.remove(index as usize)
    }

    /// The task, if it is there.
    #[inline]
    pub fn get_mut(&mut self, index: TaskIndex) -> Option<&mut Task> {
        self.slab.get_mut(index as usize)
    }

    /// All tasks.
    pub fn iter(&self) -> impl Iterator<Item = (TaskIndex, &Task)> {
        self.slab.iter().map(|(index, task)| (index as TaskIndex, task))
    }

    /// All tasks, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (TaskIndex, &mut Task)> {
        self.slab.iter_mut().map(|(index, task)| (index as TaskIndex, task))
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slab.len()
    }

    /// Whether nothing runs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }

    /// The store's name for one operation of a task.
    #[inline]
    #[must_use]
    pub fn io_tag(shard: u16, index: TaskIndex, generation: u16, chunk: u8) -> IoTag {
        IoTag(
            u64::from(shard) << 48 | u64::from(chunk) << 40 | u64::from(generation) << 24 | u64::from(index),
        )
    }

    /// The shard an operation belongs to.
    #[inline]
    #[must_use]
    pub fn shard_of(tag: IoTag) -> u16 {
        (tag.0 >> 48) as u16
    }

    /// The task and chunk an operation belongs to, if the task is still there.
    #[inline]
    #[must_use]
    pub fn find_io(&self, tag: IoTag) -> Option<(TaskIndex, u8)> {
        let (index, generation) = ((tag.0 & 0xff_ffff) as TaskIndex, (tag.0 >> 24) as u16);
        let task = self.slab.get(index as usize)?;
        (task.generation == generation).then_some((index, (tag.0 >> 40) as u8))
    }

    /// The target transfer tag of a task: 23 bits of place, 8 of generation, so never the reserved value.
    #[must_use]
    pub fn ttt(&self, index: TaskIndex) -> Ttt {
        let generation = self.slab.get(index as usize).map_or(0, |task| task.generation);
        Ttt(index & 0x7f_ffff | u32::from(generation as u8) << 23)
    }

    /// The task an initiator's target transfer tag names, if it is still there.
    #[inline]
    #[must_use]
    pub fn find_ttt(&self, ttt: Ttt) -> Option<TaskIndex> {
        let index = ttt.0 & 0x7f_ffff;
        let task = self.slab.get(index as usize)?;
        (u32::from(task.generation as u8) == ttt.0 >> 23).then_some(index)
    }
}

impl std::ops::Index<TaskIndex> for Tasks {
    type Output = Task;

    #[inline]
    fn index(&self, index: TaskIndex) -> &Task {
        &self.slab[index as usize]
    }
}

impl std::ops::IndexMut<TaskIndex> for Tasks {
    #[inline]
    fn index_mut(&mut self, index: TaskIndex) -> &mut Task {
        &mut self.slab[index as usize]
    }
}

impl Task {
    /// Bytes of Data-Out the device server may count on.
    #[must_use]
    #[inline]
    pub fn data_out_len(&self) -> u32 {
        self.data_out.received() + if self.streaming { self.data_out.left() } else { 0 }
    }

    /// The unit whose counters it is in: as in stock, the controller's where there is none.
    #[must_use]
    #[inline]
    pub fn counted_at(&self) -> Lun {
        self.lun.unwrap_or(Lun::ZERO)
    }

    /// The command descriptor block, all of it.
    #[must_use]
    pub fn cdb(&self) -> &[u8] {
        self.long_cdb.as_deref().unwrap_or(&self.cdb)
    }
}

impl Blocks {
    /// Adds what was received into a block of its own.
    pub fn push(&mut self, block: Block) {
        match self.count {
            0 => self.first = Some(block),
            _ => self.rest.push(Some(block)),
        }
        self.count += 1;
    }

    /// Copies `data` behind what is there; new blocks are made for up to `remaining` bytes (`data` included).
    pub fn append(&mut self, mut data: &[u8], mut remaining: usize, pool: &mut Pool) {
        while !data.is_empty() {
            let has_room = self.last_mut().is_some_and(|last| last.len() < last.capacity());
            if !has_room {
                let mut block = pool.take(remaining.clamp(data.len().min(LEN_MAX), LEN_MAX));
                block.set_len(0);
                self.push(block);
            }
            let Some(last) = self.last_mut() else { return };
            let at = last.len();
            let count = data.len().min(last.capacity() - at);
            last.set_len(at + count);
            last[at..].copy_from_slice(&data[..count]);
            data = &data[count..];
            remaining = remaining.saturating_sub(count);
        }
    }

    /// Whether what comes next may be a block of its own: everything before it ends at a multiple of 4 KiB, as direct
    /// I/O wants it.
    #[must_use]
    pub fn ends_aligned(&self) -> bool {
        let last = self.rest.last().map_or(self.first.as_ref(), Option::as_ref);
        last.is_none_or(|last| last.len().is_multiple_of(4096))
    }

    /// Whether nothing was kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The front, contiguous.
    #[must_use]
    pub fn front(&self) -> &[u8] {
        self.first.as_deref().unwrap_or(&[])
    }

    /// The block at `position`; `None` where it was handed out or never came.
    #[must_use]
    pub fn get(&self, position: usize) -> Option<&Block> {
        if position == 0 { self.first.as_ref() } else { self.rest.get(position - 1)?.as_ref() }
    }

    /// The next block, for good.
    pub fn hand_out(&mut self) -> Option<Block> {
        let position = self.handed;
        self.handed += 1;
        if position == 0 {
            return self.first.take();
        }
        self.rest.get_mut(position - 1)?.take()
    }

    /// The longest contiguous piece from byte `at` of all the data, up to `len` bytes.
    #[must_use]
    pub fn piece(&self, at: u64, len: usize) -> &[u8] {
        let mut at = at;
        for block in self.first.iter().chain(self.rest.iter().flatten()) {
            if at < block.len() as u64 {
                let from = at as usize;
                return &block[from..block.len().min(from.saturating_add(len))];
            }
            at -= block.len() as u64;
        }
        &[]
    }

    /// Gives every block back.
    #[inline]
    pub fn clear(&mut self, pool: &mut Pool) {
        if self.is_empty() {
            return;
        }
        for block in self.first.take().into_iter().chain(self.rest.drain(..).flatten()) {
            pool.give(block);
        }
        (self.handed, self.count) = (0, 0);
    }

    fn last_mut(&mut self) -> Option<&mut Block> {
        match self.rest.last_mut() {
            Some(last) => last.as_mut(),
            None => self.first.as_mut(),
        }
    }
}

const LEN_MAX: usize = crate::limits::SEGMENT_LEN_MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_data_is_contiguous_and_comes_back_in_order() {
        let mut pool = Pool::default();
        let mut blocks = Blocks::default();
        let data: Vec<u8> = (0..LEN_MAX + 5000).map(|n| (n % 251) as u8).collect();
        for chunk in data.chunks(1000) {
            blocks.append(chunk, data.len(), &mut pool);
        }
        assert_eq!(blocks.front().len(), LEN_MAX);
        let mut at = 0;
        while at < data.len() {
            let piece = blocks.piece(at as u64, 777);
            assert_eq!(piece, &data[at..at + piece.len()]);
            assert!(!piece.is_empty());
            at += piece.len();
        }
        assert_eq!(blocks.hand_out().unwrap().len(), LEN_MAX);
        assert_eq!(blocks.hand_out().unwrap()[..], data[LEN_MAX..]);
        assert!(blocks.hand_out().is_none());
    }

    #[test]
    fn a_block_made_for_little_is_little() {
        let mut pool = Pool::default();
        let mut blocks = Blocks::default();
        blocks.append(&[1; 24], 24, &mut pool);
        assert_eq!(blocks.get(0).unwrap().capacity(), 4096);
        blocks.clear(&mut pool);
        assert_eq!(pool.used_bytes(), 0);
    }
}
