//! The progress of one step at the store. A step is cut into operations of at most one segment; each has a number by
//! which its completion is known.
//!
//! - [`kind`]: what a step does, and which operation of the store does it
//! - `read`, `write`, `pieces`: how the shard carries out each kind

pub(super) mod kind;
mod pieces;
mod read;
mod write;

use scsi_core::device::{ByteRange, IoDone, IoResult, Step};
use scsi_core::store::{Block, BlockOp, Completed, Completion, IoError, IoTag};

use self::kind::TransferKind;
use super::blocks::Blocks;
use crate::buffers::{Account, Pool};
use crate::keys::TaskKey;

/// How far a step got.
pub(super) enum Progress {
    /// It has ended.
    Over(IoResult),
    /// Operations are at the store, or the task is in a queue.
    Waits,
}

/// The progress of one step of the device server.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    kind: TransferKind,
    /// Where in the store it begins, in bytes.
    offset: u64,
    /// Bytes in all.
    len: u64,
    /// Bytes that were begun.
    begun: u64,
    /// Bytes that are done.
    done: u64,
    /// Operations at the store.
    in_flight: u8,
    /// Bytes of the blocks that the store has.
    lent: u32,
    /// The number of the next operation.
    next_chunk: u8,
    /// The numbers of the operations at the store. A number is not used again before its operation has completed.
    out: Chunks,
    /// The number of the read whose data is sent next.
    next_send: u8,
    /// Its reads are longer than the initiator's segments, because the store has no shorter blocks.
    is_coarse: bool,
    /// Reads that completed before others that come first.
    early: Vec<(u8, Block)>,
    /// Where a compare found a difference.
    miscompare: Option<u64>,
    /// The answer to [`TransferKind::Allocation`].
    allocation: Option<IoDone>,
    /// The first failure. No further operation is begun after it.
    error: Option<IoError>,
}

impl Transfer {
    /// Sending of parameter data of `len` bytes, which needs no store.
    pub(super) fn of_parameter_data(len: u64) -> Self {
        Self { len, ..Self::default() }
    }

    /// Begins a step. `expected_in` and `received` bound what a read and a write transfer, in bytes.
    #[inline]
    pub(super) fn begin(&mut self, step: &Step, expected_in: u64, received: u64) {
        let (kind, offset, len) = TransferKind::of(step);
        let len = match kind {
            TransferKind::Read => len.min(expected_in),
            TransferKind::Write { .. } => len.min(received),
            _ => len,
        };
        self.reset();
        (self.kind, self.offset, self.len) = (kind, offset, len);
    }

    /// No step is in progress. Space for early reads is kept.
    #[inline]
    pub(super) fn reset(&mut self) {
        let mut early = std::mem::take(&mut self.early);
        early.clear();
        *self = Self { early, ..Self::default() };
    }

    /// What it does.
    #[inline]
    pub(super) fn kind(&self) -> TransferKind {
        self.kind
    }

    /// Where in the store it begins, in bytes.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Whether operations are at the store.
    #[inline]
    pub(super) fn is_out(&self) -> bool {
        self.in_flight > 0
    }

    /// Whether operations with data are at the store. Those take no time at a store that works.
    pub(super) fn has_data_out(&self) -> bool {
        self.is_out() && self.kind.moves_data()
    }

    /// Bytes that were begun and are not done.
    pub(super) fn bytes_out(&self) -> u32 {
        self.begun.saturating_sub(self.done).min(u32::MAX.into()) as u32
    }

    /// Whether the operation with this number is at the store.
    #[inline]
    pub(super) fn has_chunk_out(&self, chunk: u8) -> bool {
        self.out.contains(chunk)
    }

    /// The numbers of the operations at the store.
    pub(super) fn chunks_out(&self) -> impl Iterator<Item = u8> + use<> {
        self.out.iter()
    }

    /// What the store may change while operations are out; `None`: nothing.
    pub(super) fn changing(&self) -> Option<ByteRange> {
        let len = match self.kind {
            TransferKind::Write { .. } => self.begun,
            TransferKind::Fill { .. } | TransferKind::Zeroes { .. } | TransferKind::Discard => self.len,
            _ => 0,
        };
        (len > 0).then_some(ByteRange { offset: self.offset, len })
    }

    /// The first failure.
    #[inline]
    pub(super) fn error(&self) -> Option<IoError> {
        self.error
    }

    /// Fails, unless it has failed before. No further operation is begun.
    pub(super) fn fail(&mut self, error: IoError) {
        self.error.get_or_insert(error);
    }

    /// Its operations never complete. Returns the bytes of the blocks that are lost with them.
    pub(super) fn abandon(&mut self) -> usize {
        self.in_flight = 0;
        self.out = Chunks::default();
        self.error = Some(IoError::ABANDONED);
        std::mem::take(&mut self.lent) as usize
    }

    /// Counts an operation that goes to the store, and lends its block. Returns its tag.
    #[inline]
    pub(super) fn submit(&mut self, shard: u16, key: TaskKey, op: &mut BlockOp) -> IoTag {
        let chunk = self.next_chunk;
        self.next_chunk = chunk.wrapping_add(1);
        self.in_flight += 1;
        self.out.insert(chunk);
        let tag = key.io_tag(shard, chunk);
        if let Some(block) = op.block_mut() {
            block.lend(tag);
            self.lent += block.capacity() as u32;
        }
        tag
    }

    /// Takes in the completion of the operation with this number, which is at the store. Returns its block if it is the
    /// one that was lent; blocks that do not come back are lost to the pool and to `account`.
    #[inline]
    pub(super) fn complete(
        &mut self,
        chunk: u8,
        completion: Completion,
        account: Account,
        pool: &mut Pool,
    ) -> Option<Block> {
        self.in_flight -= 1;
        self.out.remove(chunk);
        let (block, result) = self.check(completion);
        if self.in_flight == 0 && self.lent > 0 {
            pool.lose(std::mem::take(&mut self.lent) as usize, account);
        }
        match result {
            Ok(Completed::Done) => {}
            Ok(Completed::Allocation { len, hole }) => {
                self.allocation = Some(IoDone::Allocation { len, hole });
            }
            Err(error) => self.fail(error),
        }
        block
    }

    /// The block of a completion if it is the one that was lent, and its result if it is one of this operation; else an
    /// error.
    #[inline]
    fn check(&mut self, completion: Completion) -> (Option<Block>, Result<Completed, IoError>) {
        let Completion { tag, block, result } = completion;
        let lent = self.kind.moves_data();
        let came_back = block.is_some();
        let block = block.filter(|block| lent && block.is_lent_for(tag));
        if let Some(block) = &block {
            self.lent -= block.capacity() as u32;
        }
        let fits = match result {
            Ok(Completed::Allocation { len, .. }) => {
                self.kind == TransferKind::Allocation && (1..=self.len).contains(&len)
            }
            Ok(Completed::Done) => self.kind != TransferKind::Allocation,
            Err(_) => true,
        };
        let kept = fits && block.is_some() == lent && came_back == lent;
        (block, if kept || result.is_err() { result } else { Err(IoError::MISBEHAVED) })
    }

    /// Counts `len` bytes of Data-In as done. Returns true with the last of the step.
    #[inline]
    pub(super) fn sends(&mut self, len: usize) -> bool {
        self.done += len as u64;
        self.done == self.len
    }

    /// Whether its reads have to be cut into segments.
    #[inline]
    pub(super) fn is_coarse(&self) -> bool {
        self.is_coarse
    }

    /// Counts a piece that was written or read as done; one that was read is compared with `data`.
    pub(super) fn piece_done(&mut self, piece: &[u8], data: &Blocks) {
        let at = self.done;
        self.done += piece.len() as u64;
        let TransferKind::Compare { repeat } = self.kind else { return };
        let mut compared = 0;
        while compared < piece.len() {
            let position = at + compared as u64;
            let data = match repeat {
                Some(len) => {
                    let phase = position % u64::from(len.max(1));
                    data.piece(phase, (u64::from(len) - phase) as usize)
                }
                None => data.piece(position, piece.len() - compared),
            };
            let count = data.len().min(piece.len() - compared);
            let pairs = piece[compared..compared + count].iter().zip(data);
            // Less data than the step compares is a difference, too.
            let differs = pairs.clone().position(|(stored, sent)| stored != sent);
            if let Some(differs) = differs.or((count == 0).then_some(0)) {
                self.miscompare = Some(position + differs as u64);
                return;
            }
            compared += count;
        }
    }

    /// Gives the reads that were not sent back to the pool.
    #[inline]
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        while let Some((_, block)) = self.early.pop() {
            pool.give(block);
        }
    }

    /// Ends with this result once no operation is at the store.
    #[inline]
    fn over(&self, result: IoResult) -> Progress {
        if self.in_flight == 0 { Progress::Over(result) } else { Progress::Waits }
    }
}

/// A set of operations' numbers.
#[derive(Clone, Copy, Debug, Default)]
struct Chunks([u64; 4]);

impl Chunks {
    #[inline]
    fn insert(&mut self, chunk: u8) {
        self.0[usize::from(chunk >> 6)] |= 1 << (chunk & 63);
    }

    #[inline]
    fn remove(&mut self, chunk: u8) {
        self.0[usize::from(chunk >> 6)] &= !(1 << (chunk & 63));
    }

    #[inline]
    fn contains(self, chunk: u8) -> bool {
        self.0[usize::from(chunk >> 6)] & 1 << (chunk & 63) != 0
    }

    fn iter(self) -> impl Iterator<Item = u8> {
        (0..=u8::MAX).filter(move |chunk| self.contains(*chunk))
    }
}
