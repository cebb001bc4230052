//! A store in memory that completes operations as configured: inline or later, reordered, failing, or never; and that
//! reports what a store behind a network does.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};
use scsi_core::store::{
    Backstore, Block, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine,
    IoError, IoTag, Notice, Now, Port, Slot,
};

use crate::random::Random;

/// A simulated store; clones share its state.
#[derive(Clone, Debug)]
pub struct SimStore(Arc<Mutex<Inner>>);

/// How the store handles operations.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Behaviour {
    /// Operations in a thousand that complete inline (`try_now`).
    pub inline: u32,
    /// Submitted operations complete in any order, some at a later turn.
    pub reorder: bool,
    /// Operations in a thousand that fail.
    pub fail: u32,
    /// Submitted operations in a thousand that wait for [`SimStore::release`].
    pub hang: u32,
    /// Operations that hang cannot be cancelled either.
    pub uncancellable: bool,
    /// The time from the submission of an operation to its completion.
    pub latency: Duration,
}

impl Behaviour {
    /// All operations complete inline.
    pub const INLINE: Self = Self {
        inline: 1000,
        reorder: false,
        fail: 0,
        hang: 0,
        uncancellable: false,
        latency: Duration::ZERO,
    };
    /// All operations are submitted and complete in order.
    pub const LATER: Self = Self { inline: 0, ..Self::INLINE };
    /// All operations hang until they are released or cancelled.
    pub const HANG: Self = Self { hang: 1000, ..Self::LATER };
    /// All operations hang until they are released; they cannot be cancelled.
    pub const DEAD: Self = Self { uncancellable: true, ..Self::HANG };
}

#[derive(Debug)]
struct Inner {
    bytes: Vec<u8>,
    behaviour: Behaviour,
    capabilities: Capabilities,
    random: Random,
    log: Vec<String>,
    /// Calls of `release`: operations submitted before the last call complete.
    releases: u64,
    error: IoError,
    /// All notices, oldest first.
    notices: Vec<Notice>,
    /// The events of the engines.
    events: Vec<Weak<OwnedFd>>,
}

impl SimStore {
    /// `size` zeroes with [`Behaviour::INLINE`].
    #[must_use]
    pub fn new(size: usize, seed: u64) -> Self {
        let capabilities = Capabilities { volatile_cache: true, ..Capabilities::ALL_OPERATIONS };
        Self(Arc::new(Mutex::new(Inner {
            bytes: vec![0; size],
            behaviour: Behaviour::INLINE,
            capabilities,
            random: Random::new(seed),
            log: Vec::new(),
            releases: 0,
            error: IoError::medium(0),
            notices: Vec::new(),
            events: Vec::new(),
        })))
    }

    /// A store that refuses writes.
    #[must_use]
    pub fn read_only(size: usize) -> Self {
        let store = Self::new(size, 0);
        store.lock().capabilities.read_only = true;
        store
    }

    /// Rejects operations that are not multiples of `alignment` bytes, and completes none inline.
    pub fn align(&self, alignment: u32) {
        self.lock().capabilities.alignment = alignment;
    }

    /// Sets the behaviour of all operations from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        self.lock().behaviour = behaviour;
    }

    /// Sets the error of failing operations.
    pub fn fail_with(&self, error: IoError) {
        self.lock().error = error;
    }

    /// Lets all operations that hang complete.
    pub fn release(&self) {
        self.lock().releases += 1;
    }

    /// Has the engines of all loops report this.
    ///
    /// # Panics
    /// An event cannot be signalled.
    pub fn notice(&self, notice: Notice) {
        let mut inner = self.lock();
        inner.notices.push(notice);
        for event in inner.events.iter().filter_map(Weak::upgrade) {
            rustix::io::write(&*event, &1u64.to_ne_bytes()).expect("an eventfd");
        }
    }

    /// `len` stored bytes from offset `from`.
    #[must_use]
    pub fn bytes(&self, from: usize, len: usize) -> Vec<u8> {
        self.lock().bytes[from..from + len].to_vec()
    }

    /// Stores `bytes` at `from` without an operation.
    pub fn put(&self, from: usize, bytes: &[u8]) {
        self.lock().bytes[from..from + bytes.len()].copy_from_slice(bytes);
    }

    /// Changes the size in bytes.
    pub fn resize(&self, size: usize) {
        self.lock().bytes.resize(size, 0);
    }

    /// Operations executed since the last call: `write 0+512`, `write 0+512 fua`, `zero`, `discard`, `flush`.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().log)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Backstore for SimStore {
    fn kind(&self) -> &'static str {
        "sim"
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: self.lock().bytes.len() as u64, physical_block_len: 4096 }
    }

    fn capabilities(&self) -> Capabilities {
        self.lock().capabilities
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, sim) = engines.of_kind(SimEngine::new)?;
        let mut inner = self.lock();
        inner.events.retain(|event| event.strong_count() > 0);
        inner.events.push(Arc::downgrade(&sim.event));
        sim.seen.push(inner.notices.len());
        drop(inner);
        sim.stores.push(self.clone());
        Ok(Port { engine, slot: Slot(sim.stores.len() as u32 - 1) })
    }
}

struct SimEngine {
    stores: Vec<SimStore>,
    /// Notices of each store that were reported.
    seen: Vec<usize>,
    waiting: Vec<Waiting>,
    cancelled: Vec<Completion>,
    event: Arc<OwnedFd>,
    /// The latest time that it got.
    now: Option<Instant>,
}

struct Waiting {
    slot: Slot,
    tag: IoTag,
    op: BlockOp,
    /// Hangs until the count of releases exceeds this one; `None`: does not hang.
    hangs_since: Option<u64>,
    due: Due,
}

/// When an operation completes at the earliest.
#[derive(Clone, Copy)]
enum Due {
    Now,
    /// This long after the present time, which the engine does not know yet.
    After(Duration),
    At(Instant),
}

impl SimEngine {
    fn new() -> Result<Self, IoError> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        Ok(Self {
            stores: Vec::new(),
            seen: Vec::new(),
            waiting: Vec::new(),
            cancelled: Vec::new(),
            event: Arc::new(event.map_err(|_| IoError::NOT_READY)?),
            now: None,
        })
    }
}

impl IoEngine for SimEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let mut inner = self.stores[slot.0 as usize].lock();
        let inner = &mut *inner;
        // As with direct I/O, nothing completes inline.
        let declines = inner.capabilities.alignment > 1 || !inner.behaviour.latency.is_zero();
        if declines || !inner.random.permille(inner.behaviour.inline) {
            return None;
        }
        if inner.random.permille(inner.behaviour.fail) {
            return Some(Err(inner.error));
        }
        match op {
            InlineOp::Read { offset, into } => {
                into.copy_from_slice(inner.bytes.get(offset as usize..)?.get(..into.len())?);
            }
            InlineOp::Write { offset, from } => {
                inner.bytes.get_mut(offset as usize..)?.get_mut(..from.len())?.copy_from_slice(from);
                inner.log.push(format!("write {offset}+{}", from.len()));
            }
        }
        Some(Ok(Now::Moved))
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let mut inner = self.stores[slot.0 as usize].lock();
        let Behaviour { hang, latency, .. } = inner.behaviour;
        let hangs = inner.random.permille(hang);
        let hangs_since = hangs.then_some(inner.releases);
        drop(inner);
        let due = if latency.is_zero() { Due::Now } else { Due::After(latency) };
        self.waiting.push(Waiting { slot, tag, op, hangs_since, due });
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.cancelled);
        let (stores, waiting) = (&self.stores, std::mem::take(&mut self.waiting));
        let (mut due, held): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|waiting| {
            let releases = stores[waiting.slot.0 as usize].lock().releases;
            let is_due = match waiting.due {
                Due::Now => true,
                Due::After(_) => false,
                Due::At(at) => self.now.is_some_and(|now| at <= now),
            };
            is_due && waiting.hangs_since.is_none_or(|since| releases > since)
        });
        self.waiting = held;
        let Some(first) = due.first() else { return };
        let reorder = stores[first.slot.0 as usize].lock().behaviour.reorder;
        if reorder {
            let mut inner = stores[first.slot.0 as usize].lock();
            inner.random.shuffle(&mut due);
            // At least one, because callers take a turn without completions for an idle one.
            let now = 1 + inner.random.below(due.len() as u64) as usize;
            self.waiting.extend(due.drain(now..));
        }
        for Waiting { slot, tag, op, .. } in due {
            let (block, result) = stores[slot.0 as usize].lock().run(op);
            done.push(Completion { tag, block, result });
        }
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.event.as_fd())
    }

    fn event_ready(&mut self) {
        let _ = rustix::io::read(&*self.event, &mut [0; 8]);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let due = |waiting: &Waiting| match waiting.due {
            Due::Now => None,
            Due::After(_) => self.now,
            Due::At(at) => Some(at).filter(|at| self.now.is_none_or(|now| now < *at)),
        };
        self.waiting.iter().filter_map(due).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        for waiting in &mut self.waiting {
            if let Due::After(time) = waiting.due {
                waiting.due = Due::At(now + time);
            }
        }
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        for (slot, (store, seen)) in self.stores.iter().zip(&mut self.seen).enumerate() {
            let inner = store.lock();
            into.extend(inner.notices[*seen..].iter().map(|notice| (Slot(slot as u32), *notice)));
            *seen = inner.notices.len();
        }
    }

    fn cancel(&mut self, tag: IoTag) {
        let Some(at) = self.waiting.iter().position(|waiting| waiting.tag == tag) else { return };
        let waiting = &self.waiting[at];
        let uncancellable = self.stores[waiting.slot.0 as usize].lock().behaviour.uncancellable;
        if waiting.hangs_since.is_some() && uncancellable {
            return;
        }
        let Waiting { tag, op, .. } = self.waiting.remove(at);
        let block = match op {
            BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
            _ => None,
        };
        self.cancelled.push(Completion { tag, block, result: Err(IoError::CANCELLED) });
    }

    fn detach(&mut self, _: Slot) {}
}

impl Inner {
    fn run(&mut self, op: BlockOp) -> (Option<Block>, Result<Completed, IoError>) {
        let failed = self.random.permille(self.behaviour.fail);
        let size = self.bytes.len() as u64;
        let alignment = u64::from(self.capabilities.alignment);
        let misaligned = |offset: u64, len: usize| !(offset | len as u64).is_multiple_of(alignment);
        let (block, result) = match op {
            BlockOp::Read { offset, into } if misaligned(offset, into.len()) => {
                (Some(into), Err(IoError::medium(offset)))
            }
            BlockOp::Write { offset, from, .. } if misaligned(offset, from.len()) => {
                (Some(from), Err(IoError::medium(offset)))
            }
            BlockOp::Read { into, .. } if failed => (Some(into), Err(self.error)),
            BlockOp::Write { from, .. } if failed => (Some(from), Err(self.error)),
            _ if failed => (None, Err(self.error)),
            BlockOp::Read { offset, into } if offset + into.len() as u64 > size => {
                (Some(into), Err(IoError::OUT_OF_RANGE))
            }
            BlockOp::Read { offset, mut into } => {
                let len = into.len();
                into.copy_from_slice(&self.bytes[offset as usize..][..len]);
                (Some(into), Ok(()))
            }
            BlockOp::Write { offset, from, .. } if offset + from.len() as u64 > size => {
                (Some(from), Err(IoError::OUT_OF_RANGE))
            }
            BlockOp::Write { offset, from, fua } => {
                self.bytes[offset as usize..][..from.len()].copy_from_slice(&from);
                self.log.push(format!("write {offset}+{}{}", from.len(), if fua { " fua" } else { "" }));
                (Some(from), Ok(()))
            }
            BlockOp::Discard { offset, len } => (None, self.zero("discard", offset, len)),
            BlockOp::WriteZeroes { offset, len, .. } => (None, self.zero("zero", offset, len)),
            BlockOp::Flush => {
                self.log.push("flush".to_owned());
                (None, Ok(()))
            }
            BlockOp::Allocation { offset, len } => return (None, Ok(self.allocation(offset, len))),
        };
        (block, result.map(|()| Completed::Done))
    }

    fn zero(&mut self, verb: &str, offset: u64, len: u64) -> Result<(), IoError> {
        let range = self.bytes.get_mut(offset as usize..).and_then(|rest| rest.get_mut(..len as usize));
        range.ok_or(IoError::OUT_OF_RANGE)?.fill(0);
        self.log.push(format!("{verb} {offset}+{len}"));
        Ok(())
    }

    /// Reports blocks of zeroes as holes.
    fn allocation(&self, offset: u64, len: u64) -> Completed {
        const GRAIN: usize = 4096;
        let range = &self.bytes[offset as usize..][..len as usize];
        let is_hole = |grain: &[u8]| grain.iter().all(|byte| *byte == 0);
        let hole = is_hole(&range[..range.len().min(GRAIN)]);
        let same: usize =
            range.chunks(GRAIN).take_while(|grain| is_hole(grain) == hole).map(<[u8]>::len).sum();
        Completed::Allocation { len: same as u64, hole }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(offset: u64) -> BlockOp {
        BlockOp::Read { offset, into: Block::new(512) }
    }

    #[test]
    fn hung_operations_wait_for_release_or_cancel() {
        let store = SimStore::new(4096, 1);
        store.behave(Behaviour::HANG);
        let mut engines = Engines::default();
        let port = store.attach(&mut engines).unwrap();
        let engine = engines.engine(port.engine);
        engine.submit(port.slot, IoTag(1), read(0));
        engine.submit(port.slot, IoTag(2), read(0));
        let mut done = Vec::new();
        engine.reap(&mut done);
        assert!(done.is_empty());
        engine.cancel(IoTag(2));
        engine.reap(&mut done);
        store.release();
        engine.reap(&mut done);
        let ends: Vec<_> = done.iter().map(|done| (done.tag.0, done.result)).collect();
        assert_eq!(ends, [(2, Err(IoError::CANCELLED)), (1, Ok(Completed::Done))]);
    }

    #[test]
    fn reordering_store_completes_every_operation() {
        let store = SimStore::new(4096, 5);
        store.behave(Behaviour { reorder: true, ..Behaviour::LATER });
        let mut engines = Engines::default();
        let port = store.attach(&mut engines).unwrap();
        let engine = engines.engine(port.engine);
        (0..40).for_each(|tag| engine.submit(port.slot, IoTag(tag), read(0)));
        let mut done = Vec::new();
        let mut turns = 0;
        while done.len() < 40 {
            engine.reap(&mut done);
            turns += 1;
        }
        let mut tags: Vec<_> = done.iter().map(|done| done.tag.0).collect();
        assert!(turns > 1 && !tags.is_sorted(), "late and out of order");
        tags.sort_unstable();
        assert_eq!(tags, (0..40).collect::<Vec<_>>());
    }
}
