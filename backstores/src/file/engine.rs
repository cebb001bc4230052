//! The engine of one loop for all files. Inline operations use the page cache. Submitted ones go to the loop's io_uring
//! if it supports them, otherwise to the workers; without io_uring all go to the workers.

use std::collections::{HashMap, VecDeque};
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use scsi_core::store::{BlockOp, Completion, InlineOp, IoEngine, IoError, IoErrorKind, IoTag, Now, Slot};
use slab::Slab;

use super::geometry::Medium;
use super::job::{FileJob, Returned};
use super::uring::{Ring, RingKey};
use super::{OpenFile, blocking};
use crate::layer::into_block;
use crate::outbox::Outbox;
use crate::workers::JobId;

/// The engine of one loop for all files.
pub struct FileEngine {
    slots: Slab<SlotEntry>,
    ops: Slab<Op>,
    /// The operations by their tags.
    tags: HashMap<IoTag, usize>,
    outbox: Arc<Outbox<Returned>>,
    /// `None` if io_uring is not permitted.
    ring: Option<Ring>,
    /// Number of operations at the workers.
    at_workers: usize,
    /// Completions of operations that reached neither ring nor workers.
    done: Vec<Completion>,
    /// Reused by every reap.
    returned: Vec<Returned>,
}

struct SlotEntry {
    file: Arc<OpenFile>,
    read_inline: Inline,
    write_inline: Inline,
    /// Number of operations that are submitted and not reaped. The file stays open while there are any.
    ops: usize,
    /// Number of these operations in the ring.
    in_ring: usize,
    /// Whether the file was written since the last check of its size.
    check_due: bool,
    /// Operations that wait because the file has used up its share of the ring. Those that were cancelled meanwhile are
    /// skipped.
    waiting: VecDeque<(usize, IoTag)>,
    detached: bool,
}

/// Whether an inline operation is possible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inline {
    /// It is not: the call would wait for a device.
    Never,
    /// With RWF_NOWAIT, which fails unless the page cache suffices.
    Cached,
    /// Without RWF_NOWAIT: the file system is in memory.
    Plain,
}

/// A submitted operation.
struct Op {
    tag: IoTag,
    slot: usize,
    location: Location,
    /// The part of the operation after the piece that a worker has, or all of it while it waits.
    rest: Option<BlockOp>,
    cancelled: bool,
}

/// Where a submitted operation is.
#[derive(Clone, Copy)]
enum Location {
    Waiting,
    Ring(RingKey),
    Workers(JobId),
}

/// Returns why io_uring cannot be used for files; `None` if it can.
#[must_use]
pub fn ring_refused() -> Option<String> {
    match FileEngine::without_ring().map(|engine| Ring::new(engine.outbox.clone())) {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("no io_uring: {error}")),
        Err(error) => Some(error.to_string()),
    }
}

impl FileEngine {
    /// Returns an engine, with a ring if the kernel permits it.
    ///
    /// # Errors
    /// [`IoError::NOT_READY`] if the event descriptor cannot be created.
    pub fn new() -> Result<Self, IoError> {
        let mut engine = Self::without_ring()?;
        match Ring::new(engine.outbox.clone()) {
            Ok(ring) => engine.ring = Some(ring),
            Err(error) => log::info!("no io_uring ({error}): worker threads do the I/O of files"),
        }
        Ok(engine)
    }

    /// Returns an engine without a ring, whose operations all go to the workers.
    ///
    /// # Errors
    /// [`IoError::NOT_READY`] if the event descriptor cannot be created.
    pub fn without_ring() -> Result<Self, IoError> {
        let outbox = Outbox::new().map_err(|error| {
            log::error!("cannot create an event descriptor for the I/O of files: {error}");
            IoError::NOT_READY
        })?;
        Ok(Self {
            slots: Slab::new(),
            ops: Slab::new(),
            tags: HashMap::new(),
            outbox: Arc::new(outbox),
            ring: None,
            at_workers: 0,
            done: Vec::new(),
            returned: Vec::new(),
        })
    }

    /// Whether the engine has a ring.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

    /// Adds a file and decides whether inline operations on it are possible.
    pub(crate) fn attach(&mut self, file: Arc<OpenFile>) -> Slot {
        let read_inline = match file.medium {
            Medium::MemoryFile => Inline::Plain,
            Medium::File | Medium::Device if file.mode.direct || file.ignores_nowait => Inline::Never,
            Medium::File | Medium::Device => Inline::Cached,
        };
        let never_writes = file.mode.read_only || (file.mode.sync && read_inline != Inline::Plain);
        let write_inline = if never_writes { Inline::Never } else { read_inline };
        let entry = SlotEntry {
            file,
            read_inline,
            write_inline,
            ops: 0,
            in_ring: 0,
            check_due: false,
            waiting: VecDeque::new(),
            detached: false,
        };
        Slot(self.slots.insert(entry) as u32)
    }

    /// Starts an operation in the ring or at the workers, or queues it.
    fn start(&mut self, slot: usize, tag: IoTag, mut op: BlockOp) {
        let mut rest = None;
        let entry = &mut self.slots[slot];
        entry.ops += 1;
        entry.check_due |= writes(&op);
        let file = entry.file.clone();
        let vacant = self.ops.vacant_entry();
        let key = vacant.key();
        let location = match &mut self.ring {
            Some(ring) if Ring::takes(&op) => {
                if entry.waiting.is_empty() && ring.has_room_for(&file, entry.in_ring) {
                    entry.in_ring += 1;
                    Location::Ring(ring.start(key, file, op))
                } else {
                    entry.waiting.push_back((key, tag));
                    rest = Some(op);
                    Location::Waiting
                }
            }
            _ => {
                self.at_workers += 1;
                (op, rest) = first_piece(op);
                Location::Workers(to_workers(key, &file, &self.outbox, op))
            }
        };
        vacant.insert(Op { tag, slot, location, rest, cancelled: false });
        self.tags.insert(tag, key);
    }

    /// Completes an operation that is in `waiting` as cancelled.
    fn cancel_waiting(&mut self, slot: usize, key: usize) {
        let Some(op) = self.ops[key].rest.take() else { return };
        let completion = self.finish(Returned { key, op, result: Err(IoError::CANCELLED) });
        self.done.extend(completion);
        if let Some(entry) = self.slots.get_mut(slot) {
            while entry.waiting.front().is_some_and(|first| !still_waits(&self.ops, *first)) {
                entry.waiting.pop_front();
            }
            while entry.waiting.back().is_some_and(|last| !still_waits(&self.ops, *last)) {
                entry.waiting.pop_back();
            }
        }
    }

    /// Returns the completion of an operation that has ended; `None` if a further piece of it was started.
    fn finish(&mut self, Returned { key, op, mut result }: Returned) -> Option<Completion> {
        let whole = &mut self.ops[key];
        if let (Ok(_), Some(rest)) = (result, whole.rest.take()) {
            if !whole.cancelled {
                let (piece, rest) = first_piece(rest);
                whole.rest = rest;
                whole.location =
                    Location::Workers(to_workers(key, &self.slots[whole.slot].file, &self.outbox, piece));
                return None;
            }
            result = Err(IoError::CANCELLED);
        }
        let Op { tag, slot, location, .. } = self.ops.remove(key);
        self.tags.remove(&tag);
        self.at_workers -= usize::from(matches!(location, Location::Workers(_)));
        let entry = &mut self.slots[slot];
        entry.ops -= 1;
        // A short read shows only that the file ends at most there.
        if result.is_err_and(|error| error.kind() == IoErrorKind::OutOfRange) && !entry.file.mode.read_only {
            entry.check_due = !entry.file.begin_check();
        }
        if let (Location::Ring(_), Some(ring)) = (location, &mut self.ring) {
            entry.in_ring -= 1;
            while !entry.waiting.is_empty() && ring.has_room_for(&entry.file, entry.in_ring) {
                let Some(first) = entry.waiting.pop_front() else { break };
                if still_waits(&self.ops, first)
                    && let Some(op) = self.ops[first.0].rest.take()
                {
                    entry.in_ring += 1;
                    self.ops[first.0].location = Location::Ring(ring.start(first.0, entry.file.clone(), op));
                }
            }
        }
        if entry.detached && entry.ops == 0 {
            self.slots.remove(slot);
        }
        Some(Completion { tag, block: into_block(op), result })
    }
}

/// Whether an operation changes a file.
fn writes(op: &BlockOp) -> bool {
    matches!(op, BlockOp::Write { .. } | BlockOp::WriteZeroes { .. } | BlockOp::Discard { .. })
}

/// Whether an entry of `waiting` stands for an operation that waits.
fn still_waits(ops: &Slab<Op>, (key, tag): (usize, IoTag)) -> bool {
    ops.get(key).is_some_and(|op| op.tag == tag && matches!(op.location, Location::Waiting))
}

/// Queues an operation at the workers.
fn to_workers(key: usize, file: &Arc<OpenFile>, outbox: &Arc<Outbox<Returned>>, op: BlockOp) -> JobId {
    let queue = if matches!(op, BlockOp::Flush) { &file.flushes.queue } else { &file.workers };
    let (flush, outbox) = (file.flushes.number(), outbox.clone());
    queue.push(Box::new(FileJob { key, outbox, work: Some((file.clone(), op)), flush }))
}

/// Splits a long operation into the piece that one job does and the rest. Between two pieces it can be cancelled, and
/// other operations on the file run. Pieces end at multiples of their maximum length.
fn first_piece(op: BlockOp) -> (BlockOp, Option<BlockOp>) {
    let cut = |offset: u64, len: u64, piece: u64| {
        let first = (piece - offset % piece).min(len);
        (first, (offset + first, len - first))
    };
    match op {
        BlockOp::WriteZeroes { offset, len, may_unmap } => {
            let (first, (next, left)) = cut(offset, len, ZEROES_AT_ONCE);
            let piece = |offset, len| BlockOp::WriteZeroes { offset, len, may_unmap };
            (piece(offset, first), (left > 0).then(|| piece(next, left)))
        }
        BlockOp::Discard { offset, len } => {
            let (first, (next, left)) = cut(offset, len, DISCARD_AT_ONCE);
            let piece = |offset, len| BlockOp::Discard { offset, len };
            (piece(offset, first), (left > 0).then(|| piece(next, left)))
        }
        op => (op, None),
    }
}

/// Maximum number of bytes that one job zeroes; it may have to write them.
const ZEROES_AT_ONCE: u64 = 64 << 20;
/// Maximum number of bytes that one job discards.
const DISCARD_AT_ONCE: u64 = 1 << 30;

impl IoEngine for FileEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let entry = self.slots.get_mut(slot.0 as usize)?;
        match op {
            InlineOp::Read { offset, into } => entry.read_now(offset, into),
            InlineOp::Write { offset, from } => entry.write_now(offset, from),
        }
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let refusal = match self.slots.get(slot.0 as usize) {
            Some(entry) => entry.file.refusal(&op),
            None => Some(IoError::NOT_READY),
        };
        if let Some(error) = refusal {
            self.done.push(Completion { tag, block: into_block(op), result: Err(error) });
            return;
        }
        self.start(slot.0 as usize, tag, op);
    }

    fn kick(&mut self) {
        let Some(ring) = &mut self.ring else { return };
        if self.at_workers > 0 {
            ring.watch_outbox();
        }
        ring.kick();
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
        if self.ops.is_empty() && self.ring.as_ref().is_none_or(Ring::is_idle) {
            return;
        }
        let mut returned = std::mem::take(&mut self.returned);
        if let Some(ring) = &mut self.ring {
            ring.reap(&mut returned);
        }
        self.outbox.take(&mut returned);
        done.extend(returned.drain(..).filter_map(|returned| self.finish(returned)));
        self.returned = returned;
        self.kick();
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.ring.as_ref().map_or(self.outbox.event_fd(), Ring::event_fd))
    }

    fn cancel(&mut self, tag: IoTag) {
        let Some(&key) = self.tags.get(&tag) else { return };
        let op = &mut self.ops[key];
        op.cancelled = true;
        let slot = op.slot;
        match (op.location, &mut self.ring) {
            (Location::Waiting, _) => self.cancel_waiting(slot, key),
            (Location::Workers(job), _) => {
                let file = &self.slots[slot].file;
                file.workers.cancel(job);
                file.flushes.queue.cancel(job);
            }
            (Location::Ring(key), Some(ring)) => ring.cancel(key),
            (Location::Ring(_), None) => {}
        }
    }

    fn check_size(&mut self, slot: Slot) {
        let Some(entry) = self.slots.get_mut(slot.0 as usize) else { return };
        if entry.check_due && !entry.detached && !entry.file.mode.read_only {
            entry.check_due = !entry.file.begin_check();
        }
    }

    fn detach(&mut self, slot: Slot) {
        let Some(entry) = self.slots.get_mut(slot.0 as usize) else { return };
        entry.detached = true;
        if entry.ops == 0 {
            self.slots.remove(slot.0 as usize);
        }
    }
}

impl std::fmt::Debug for FileEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileEngine").field("files", &self.slots.len()).finish_non_exhaustive()
    }
}

impl SlotEntry {
    fn read_now(&mut self, offset: u64, into: &mut [u8]) -> Option<Result<Now, IoError>> {
        if let Some(error) = self.file.short.refusal(offset, into.len() as u64) {
            return Some(Err(error));
        }
        match self.read_inline {
            Inline::Never => None,
            Inline::Plain => Some(blocking::read(&self.file, offset, into).map(|()| Now::Moved)),
            Inline::Cached => match blocking::read_cached(&self.file, offset, into) {
                Ok(n) if n == into.len() => Some(Ok(Now::Moved)),
                Err(Errno::OPNOTSUPP) => {
                    self.read_inline = Inline::Never;
                    None
                }
                Ok(_) | Err(_) => None,
            },
        }
    }

    fn write_now(&mut self, offset: u64, from: &[u8]) -> Option<Result<Now, IoError>> {
        if self.file.flushes.have_failed() {
            return Some(Err(IoError::LOST));
        }
        if let Some(error) = self.file.short.refusal(offset, from.len() as u64) {
            return Some(Err(error));
        }
        self.check_due = true;
        match self.write_inline {
            Inline::Never => None,
            Inline::Plain => Some(blocking::write(&self.file, offset, from, false).map(|()| Now::Moved)),
            Inline::Cached => match blocking::write_cached(&self.file, offset, from) {
                Ok(n) if n == from.len() => Some(Ok(Now::Moved)),
                Err(Errno::OPNOTSUPP) => {
                    self.write_inline = Inline::Never;
                    None
                }
                Ok(_) | Err(_) => None,
            },
        }
    }
}
