//! One loop's way to all files: at once from the page cache where that needs no waiting, else by the loop's ring, and
//! by the workers what the ring does not do, or all of it where there is no ring.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use scsi_core::store::{BlockOp, Completion, InlineOp, IoEngine, IoError, IoTag, Now, Slot};
use slab::Slab;

use super::geometry::Medium;
use super::outbox::{FileJob, Outbox, Returned};
use super::uring::{Ring, RingKey};
use super::{OpenFile, blocking};
use crate::layer::into_block;
use crate::workers::JobId;

/// One loop's way to all its files.
pub struct FileEngine {
    slots: Slab<SlotEntry>,
    ops: Slab<Op>,
    outbox: Arc<Outbox>,
    /// `None` where io_uring is not permitted.
    ring: Option<Ring>,
    /// Operations at the workers.
    at_workers: usize,
    /// Finished without the kernel.
    done: Vec<Completion>,
    /// Reused by every reap.
    returned: Vec<Returned>,
}

struct SlotEntry {
    file: Arc<OpenFile>,
    read_inline: Inline,
    write_inline: Inline,
    /// Submitted and not yet reaped; the file stays while there are some.
    ops: usize,
    /// Of them, those that the ring has.
    in_ring: usize,
    /// Beyond the file's share of the ring.
    waiting: VecDeque<(usize, BlockOp)>,
    detached: bool,
}

/// Whether an operation may be tried on the loop itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inline {
    /// Never: it would wait for a device.
    Never,
    /// With RWF_NOWAIT: the page cache serves it, or nobody.
    Cached,
    /// Plainly: the file system is memory.
    Plain,
}

struct Op {
    tag: IoTag,
    slot: usize,
    place: Place,
    /// What is to be done after the piece that a worker has.
    rest: Option<BlockOp>,
    cancelled: bool,
}

/// Who has an operation.
#[derive(Clone, Copy)]
enum Place {
    Waiting,
    Ring(RingKey),
    Workers(JobId),
}

/// Why files cannot have io_uring here, if so.
#[must_use]
pub fn ring_refused() -> Option<String> {
    match FileEngine::without_ring().map(|engine| Ring::new(engine.outbox.clone())) {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(format!("no io_uring: {error}")),
        Err(error) => Some(error.to_string()),
    }
}

impl FileEngine {
    /// An engine for one loop: with a ring where the kernel permits it.
    ///
    /// # Errors
    /// No descriptor is left for its event.
    pub fn new() -> Result<Self, IoError> {
        let mut engine = Self::without_ring()?;
        match Ring::new(engine.outbox.clone()) {
            Ok(ring) => engine.ring = Some(ring),
            Err(error) => log::info!("no io_uring here ({error}): worker threads do file I/O"),
        }
        Ok(engine)
    }

    /// An engine that leaves everything to the workers, as where io_uring is not permitted.
    ///
    /// # Errors
    /// No descriptor is left for its event.
    pub fn without_ring() -> Result<Self, IoError> {
        let outbox = Outbox::new().map_err(|errno| {
            log::error!("no event descriptor for file I/O: {errno}");
            IoError::NOT_READY
        })?;
        Ok(Self {
            slots: Slab::new(),
            ops: Slab::new(),
            outbox: Arc::new(outbox),
            ring: None,
            at_workers: 0,
            done: Vec::new(),
            returned: Vec::new(),
        })
    }

    /// Whether it has a ring.
    #[must_use]
    pub fn has_ring(&self) -> bool {
        self.ring.is_some()
    }

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
            waiting: VecDeque::new(),
            detached: false,
        };
        Slot(self.slots.insert(entry) as u32)
    }

    fn start(&mut self, slot: usize, tag: IoTag, mut op: BlockOp) {
        let mut rest = None;
        let entry = &mut self.slots[slot];
        entry.ops += 1;
        let file = entry.file.clone();
        let vacant = self.ops.vacant_entry();
        let key = vacant.key();
        let place = match &mut self.ring {
            Some(ring) if Ring::takes(&op) => {
                if entry.waiting.is_empty() && ring.has_room_for(&file, entry.in_ring) {
                    entry.in_ring += 1;
                    Place::Ring(ring.start(key, file, op))
                } else {
                    entry.waiting.push_back((key, op));
                    Place::Waiting
                }
            }
            _ => {
                self.at_workers += 1;
                (op, rest) = first_piece(op);
                Place::Workers(to_workers(key, &file, &self.outbox, op))
            }
        };
        vacant.insert(Op { tag, slot, place, rest, cancelled: false });
    }

    /// It was not begun.
    fn cancel_waiting(&mut self, slot: usize, key: usize) {
        let waiting = &mut self.slots[slot].waiting;
        let Some(at) = waiting.iter().position(|(other, _)| *other == key) else { return };
        if let Some((key, op)) = waiting.remove(at) {
            let completion = self.finish(Returned { key, op, result: Err(IoError::CANCELLED) });
            self.done.extend(completion);
        }
    }

    /// `None`: its next piece was begun.
    fn finish(&mut self, Returned { key, op, mut result }: Returned) -> Option<Completion> {
        let whole = &mut self.ops[key];
        if let (Ok(_), Some(rest)) = (result, whole.rest.take()) {
            if !whole.cancelled {
                let (piece, rest) = first_piece(rest);
                whole.rest = rest;
                whole.place =
                    Place::Workers(to_workers(key, &self.slots[whole.slot].file, &self.outbox, piece));
                return None;
            }
            result = Err(IoError::CANCELLED);
        }
        let Op { tag, slot, place, .. } = self.ops.remove(key);
        self.at_workers -= usize::from(matches!(place, Place::Workers(_)));
        let entry = &mut self.slots[slot];
        entry.ops -= 1;
        if let (Place::Ring(_), Some(ring)) = (place, &mut self.ring) {
            entry.in_ring -= 1;
            while !entry.waiting.is_empty() && ring.has_room_for(&entry.file, entry.in_ring) {
                let Some((key, op)) = entry.waiting.pop_front() else { break };
                entry.in_ring += 1;
                self.ops[key].place = Place::Ring(ring.start(key, entry.file.clone(), op));
            }
        }
        if entry.detached && entry.ops == 0 {
            self.slots.remove(slot);
        }
        Some(Completion { tag, block: into_block(op), result })
    }
}

/// Gives an operation to the workers of its file.
fn to_workers(key: usize, file: &Arc<OpenFile>, outbox: &Arc<Outbox>, op: BlockOp) -> JobId {
    let queue = if matches!(op, BlockOp::Flush) { &file.flushes.queue } else { &file.workers };
    let (flush, outbox) = (file.flushes.number(), outbox.clone());
    queue.push(Box::new(FileJob { key, outbox, work: Some((file.clone(), op)), flush }))
}

/// What a worker does of a long operation at once, and the rest: it is cancelled between two pieces, and others of its
/// file get their turn. Pieces end where those of other operations do, at multiples of their length.
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

/// Bytes that may have to be written.
const ZEROES_AT_ONCE: u64 = 64 << 20;
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
        let Some((key, op)) = self.ops.iter_mut().find(|(_, op)| op.tag == tag) else { return };
        op.cancelled = true;
        let slot = op.slot;
        match (op.place, &mut self.ring) {
            (Place::Waiting, _) => self.cancel_waiting(slot, key),
            (Place::Workers(job), _) => {
                let file = &self.slots[slot].file;
                file.workers.cancel(job);
                file.flushes.queue.cancel(job);
            }
            (Place::Ring(key), Some(ring)) => ring.cancel(key),
            (Place::Ring(_), None) => {}
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
