//! A layer over a store that reads and writes whole blocks, for units with smaller logical blocks.
//!
//! A write that does not begin and end at a block boundary reads the blocks at its ends, changes them and writes them
//! back; other writes of these blocks wait meanwhile. A read of parts of blocks reads them whole. All other operations
//! pass. Writes of two loops would not wait for each other, so such a store is for one loop.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use scsi_core::store::{
    Backstore, Block, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine,
    IoError, IoTag, Notice, Now, Port, Slot,
};
use slab::Slab;

use crate::done::DoneQueue;
use crate::layer::below::Below;
use crate::layer::into_block;

/// A layer that reads and writes whole blocks.
pub(crate) struct WholeBlocks {
    below: Arc<dyn Backstore>,
    /// A power of two.
    block_len: u32,
}

impl WholeBlocks {
    /// Returns a layer over a store with blocks of `block_len` bytes, a power of two. The size of the store has to be a
    /// multiple of it.
    pub(crate) fn new(below: Arc<dyn Backstore>, block_len: u32) -> Self {
        Self { below, block_len }
    }
}

impl Backstore for WholeBlocks {
    fn kind(&self) -> &'static str {
        self.below.kind()
    }

    fn name(&self) -> std::borrow::Cow<'_, str> {
        self.below.name()
    }

    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }

    /// Zeroes are written by the device server, as data. A discard leaves parts of blocks as they are.
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            alignment: 512,
            discard_zeroes: false,
            write_zeroes: false,
            allocation: false,
            one_loop: true,
            ..self.below.capabilities()
        }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        self.below.refresh()
    }

    fn has_lost_writes(&self) -> bool {
        self.below.has_lost_writes()
    }

    fn flush(&self) -> Result<(), IoError> {
        self.below.flush()
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, layer) = engines.of_kind(WholeBlocksEngine::new)?;
        let port = layer.below.attach(&*self.below)?;
        let read_only = self.below.capabilities().read_only;
        let mask = u64::from(self.block_len) - 1;
        let slot = layer.slots.insert(Attached { port, mask, read_only, partial_writes: 0 });
        Ok(Port { engine, slot: Slot(slot as u32) })
    }
}

/// The engine of one loop for all such layers.
struct WholeBlocksEngine {
    below: Below,
    slots: Slab<Attached>,
    /// All operations that are not completed; the key is the tag at the store below.
    running: Slab<Running>,
    /// Writes that wait for other writes of the same blocks, oldest first.
    waiting: VecDeque<(usize, BlockOp)>,
    done: DoneQueue,
}

#[derive(Clone, Copy)]
struct Attached {
    port: Port,
    /// Block length - 1.
    mask: u64,
    read_only: bool,
    /// Number of its writes of parts of blocks that are not completed.
    partial_writes: usize,
}

struct Running {
    slot: usize,
    tag: IoTag,
    /// The blocks that the operation touches, in bytes.
    start: u64,
    end: u64,
    /// It writes parts of blocks, so other writes of these blocks must wait.
    writes_parts: bool,
    stage: Stage,
}

enum Stage {
    /// In `waiting`.
    Waiting,
    /// A read or an operation that does not write, at the store below with the block of the operation.
    Reading,
    /// A write of whole blocks at the store below, with the block of the operation.
    Writing,
    /// The blocks of a read of parts are read into another block.
    PartialRead { into: Block, skip: usize },
    /// The blocks at both ends of a write are read.
    Ends { op: PartialWrite, head: Option<Block>, tail: Option<Block>, missing: u8, failed: Option<IoError> },
    /// The changed blocks are written.
    WritingBack { from: Block },
}

/// A write of parts of blocks.
struct PartialWrite {
    from: Block,
    offset: u64,
    fua: bool,
}

impl Stage {
    fn writes(&self) -> bool {
        !matches!(self, Self::Reading | Self::PartialRead { .. })
    }
}

impl WholeBlocksEngine {
    fn new() -> Result<Self, IoError> {
        Ok(Self {
            below: Below::new()?,
            slots: Slab::new(),
            running: Slab::new(),
            waiting: VecDeque::new(),
            done: DoneQueue::default(),
        })
    }

    /// Starts a write, or appends it to `waiting`.
    fn start_write(&mut self, key: usize, op: BlockOp) {
        if self.must_wait(key) {
            self.waiting.push_back((key, op));
            return;
        }
        let Running { slot, start, end, writes_parts, .. } = self.running[key];
        let port = self.slots[slot].port;
        match op {
            BlockOp::Write { offset, from, fua } if writes_parts => {
                let block_len = self.slots[slot].mask + 1;
                let has_head = offset != start;
                let single = end - start == block_len;
                let has_tail = offset + from.len() as u64 != end && !(has_head && single);
                let ends = [has_head.then_some(start), has_tail.then_some(end - block_len)];
                let op = PartialWrite { from, offset, fua };
                let missing = u8::from(has_head) + u8::from(has_tail);
                self.running[key].stage = Stage::Ends { op, head: None, tail: None, missing, failed: None };
                for (offset, part) in ends.into_iter().zip([HEAD, TAIL]) {
                    let Some(offset) = offset else { continue };
                    let into = Block::new(block_len as usize);
                    self.submit_below(port, key, part, BlockOp::Read { offset, into });
                }
            }
            op => {
                self.running[key].stage = Stage::Writing;
                self.submit_below(port, key, WHOLE, op);
            }
        }
    }

    /// Whether a write overlaps one that runs or that is in `waiting`, and one of both writes parts of blocks.
    fn must_wait(&self, key: usize) -> bool {
        let this = &self.running[key];
        if self.slots[this.slot].partial_writes == 0 {
            return false;
        }
        let conflicts = |other: &Running| {
            other.slot == this.slot
                && other.start < this.end
                && this.start < other.end
                && other.stage.writes()
                && (this.writes_parts || other.writes_parts)
        };
        self.waiting.iter().any(|(earlier, _)| conflicts(&self.running[*earlier]))
            || self.running.iter().any(|(other, running)| {
                other != key && !matches!(running.stage, Stage::Waiting) && conflicts(running)
            })
    }

    fn submit_below(&mut self, port: Port, key: usize, part: u64, op: BlockOp) {
        let (engine, slot) = self.below.engine(port);
        engine.submit(slot, IoTag((key as u64) << 2 | part), op);
    }

    /// Starts the waiting writes that need wait no longer.
    fn start_waiting(&mut self) {
        if self.waiting.is_empty() {
            return;
        }
        for (key, op) in std::mem::take(&mut self.waiting) {
            self.start_write(key, op);
        }
    }

    /// Takes a completion of the store below.
    fn completed(&mut self, Completion { tag, block, result }: Completion) {
        let (key, part) = ((tag.0 >> 2) as usize, tag.0 & 3);
        let Some(running) = self.running.get_mut(key) else {
            log::error!("a store below a layer completes an operation that it does not have");
            return;
        };
        let (block, result) = match &mut running.stage {
            Stage::Reading | Stage::Writing | Stage::Waiting => (block, result),
            Stage::PartialRead { .. } => {
                let Stage::PartialRead { mut into, skip } =
                    std::mem::replace(&mut running.stage, Stage::Reading)
                else {
                    return;
                };
                let result = result.and_then(|completed| {
                    let read = block.as_deref().and_then(|read| read.get(skip..skip + into.len()));
                    into.copy_from_slice(read.ok_or(IoError::MISBEHAVED)?);
                    Ok(completed)
                });
                (Some(into), result)
            }
            Stage::Ends { head, tail, missing, failed, .. } => {
                let end = if part == HEAD { head } else { tail };
                *end = block;
                *missing -= 1;
                if let Err(error) = result {
                    *failed = failed.or(Some(error));
                }
                if *missing > 0 {
                    return;
                }
                match self.write_back(key) {
                    Ok(()) => return,
                    Err((from, error)) => (Some(from), Err(error)),
                }
            }
            Stage::WritingBack { .. } => {
                let Stage::WritingBack { from } = std::mem::replace(&mut running.stage, Stage::Writing)
                else {
                    return;
                };
                (Some(from), result)
            }
        };
        self.end(key, block, result);
    }

    fn end(&mut self, key: usize, block: Option<Block>, result: Result<Completed, IoError>) {
        let Running { slot, tag, writes_parts, .. } = self.running.remove(key);
        self.slots[slot].partial_writes -= usize::from(writes_parts);
        self.done.push(tag, block, result);
    }

    /// Writes the data of a write with what was read at its ends.
    fn write_back(&mut self, key: usize) -> Result<(), (Block, IoError)> {
        let running = &mut self.running[key];
        let (start, len) = (running.start, (running.end - running.start) as usize);
        let port = self.slots[running.slot].port;
        match std::mem::replace(&mut running.stage, Stage::Writing) {
            Stage::Ends { op, failed: Some(error), .. } => Err((op.from, error)),
            Stage::Ends { op: PartialWrite { from, offset, fua }, head, tail, .. } => {
                let mut whole = Block::new(len);
                if let Some(head) = head {
                    whole[..head.len()].copy_from_slice(&head);
                }
                if let Some(tail) = tail {
                    whole[len - tail.len()..].copy_from_slice(&tail);
                }
                let skip = (offset - start) as usize;
                whole[skip..skip + from.len()].copy_from_slice(&from);
                running.stage = Stage::WritingBack { from };
                self.submit_below(port, key, WHOLE, BlockOp::Write { offset: start, from: whole, fua });
                Ok(())
            }
            stage => {
                running.stage = stage;
                Ok(())
            }
        }
    }

    /// Takes all completions of the stores below, and starts what waited for them.
    fn pump(&mut self) {
        loop {
            let mut reaped = self.below.reap();
            if reaped.is_empty() {
                self.below.recycle(reaped);
                return;
            }
            for completion in reaped.drain(..) {
                self.completed(completion);
            }
            self.below.recycle(reaped);
            self.start_waiting();
            self.below.kick();
        }
    }
}

impl IoEngine for WholeBlocksEngine {
    fn try_now(&mut self, _slot: Slot, _op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let slot = slot.0 as usize;
        let Some(Attached { port, mask, read_only, .. }) = self.slots.get(slot).copied() else {
            return self.done.push(tag, into_block(op), Err(IoError::NOT_READY));
        };
        let reads = matches!(op, BlockOp::Read { .. } | BlockOp::Flush | BlockOp::Allocation { .. });
        if read_only && !reads {
            return self.done.push(tag, into_block(op), Err(IoError::READ_ONLY));
        }
        let (offset, len) = match &op {
            BlockOp::Read { offset, into: block } | BlockOp::Write { offset, from: block, .. } => {
                (*offset, block.len() as u64)
            }
            BlockOp::Discard { offset, len } => (*offset, *len),
            BlockOp::Flush => (0, 0),
            BlockOp::WriteZeroes { .. } | BlockOp::Allocation { .. } => {
                return self.done.push(tag, None, Err(IoError::UNSUPPORTED));
            }
        };
        let Some(end) = offset.checked_add(len).and_then(|end| end.checked_next_multiple_of(mask + 1)) else {
            return self.done.push(tag, into_block(op), Err(IoError::OUT_OF_RANGE));
        };
        let start = offset & !mask;
        let whole = start == offset && end == offset + len;
        let running = Running { slot, tag, start, end, writes_parts: false, stage: Stage::Reading };
        match op {
            BlockOp::Read { into, .. } if !whole => {
                let skip = (offset - start) as usize;
                let read = Block::new((end - start) as usize);
                let key =
                    self.running.insert(Running { stage: Stage::PartialRead { into, skip }, ..running });
                self.submit_below(port, key, WHOLE, BlockOp::Read { offset: start, into: read });
            }
            BlockOp::Write { .. } => {
                self.slots[slot].partial_writes += usize::from(!whole);
                let key =
                    self.running.insert(Running { writes_parts: !whole, stage: Stage::Waiting, ..running });
                self.start_write(key, op);
            }
            // A discard promises nothing, so the parts of blocks at its ends are left out.
            BlockOp::Discard { .. } => {
                let (start, end) = ((offset + mask) & !mask, (offset + len) & !mask);
                if start >= end {
                    return self.done.push(tag, None, Ok(Completed::Done));
                }
                let key = self.running.insert(Running { start, end, stage: Stage::Waiting, ..running });
                self.start_write(key, BlockOp::Discard { offset: start, len: end - start });
            }
            op => {
                let key = self.running.insert(running);
                self.submit_below(port, key, WHOLE, op);
            }
        }
    }

    fn kick(&mut self) {
        self.below.kick();
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.pump();
        self.done.drain_into(done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.below.event_fd())
    }

    fn event_ready(&mut self) {
        self.below.event_ready();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.below.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.below.handle_timeout(now);
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        let slots = self.slots.iter().map(|(slot, attached)| (slot, attached.port));
        self.below.notices(slots, into);
    }

    fn cancel(&mut self, tag: IoTag) {
        let Some((key, _)) = self.running.iter().find(|(_, running)| running.tag == tag) else { return };
        if let Some(at) = self.waiting.iter().position(|(waiting, _)| *waiting == key)
            && let Some((_, op)) = self.waiting.remove(at)
        {
            self.end(key, into_block(op), Err(IoError::CANCELLED));
            self.start_waiting();
            return self.below.kick();
        }
        for part in [WHOLE, HEAD, TAIL] {
            self.below.cancel(IoTag((key as u64) << 2 | part));
        }
    }

    fn detach(&mut self, slot: Slot) {
        if let Some(Attached { port, .. }) = self.slots.try_remove(slot.0 as usize) {
            let (engine, slot) = self.below.engine(port);
            engine.detach(slot);
        }
    }
}

/// Which part of an operation a request to the store below is, in the lowest two bits of its tag.
const WHOLE: u64 = 0;
const HEAD: u64 = 1;
const TAIL: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};
    use crate::layer::log::{Entry, Journal, Log};
    use crate::memory::Memory;

    #[test]
    fn contract_is_kept_and_the_store_below_gets_whole_blocks() {
        let journal = Journal::shared();
        let all = journal.clone();
        contract::check(&Subject::new(move || {
            let below = Log::new(Arc::new(Memory::new(1 << 21)), journal.clone());
            Arc::new(WholeBlocks::new(Arc::new(below), 4096))
        }));
        for entry in all.entries() {
            if let Entry::Submitted { what, .. } | Entry::Now { what, .. } = entry {
                assert!((what.offset | what.len).is_multiple_of(4096), "{what:?}");
            }
        }
    }
}
