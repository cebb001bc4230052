//! The engine of one loop for all stores of a library. It starts the calls, and the library's callbacks put the requests
//! into its outbox. It makes no system call except to read the event, and allocates nothing once its tables are large
//! enough.
//!
//! A call that fails because the library has no connection to its servers is repeated every [`RETRY`] until it succeeds, its
//! operation is cancelled, or its time is over.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::store::{
    Block, BlockOp, Completed, Completion, EngineIndex, Engines, InlineOp, IoEngine, IoError, IoTag, Notice,
    Now, Port, Slot,
};
use slab::Slab;

use super::medium::Medium;
use super::request::{Callbacks, Item, Next, Request};
use crate::layer::into_block;
use crate::outbox::Outbox;

/// The engine of one loop.
pub(crate) struct LibraryEngine<M: Medium> {
    slots: Slab<SlotEntry<M>>,
    ops: Slab<Op>,
    callbacks: Arc<Callbacks<M>>,
    /// Operations that have ended without a call, or whose call failed at once.
    done: Vec<Completion>,
    notices: Vec<(Slot, Notice)>,
    /// Reused by every reap.
    items: Vec<Item<M>>,
    /// Requests to reuse.
    #[expect(clippy::vec_box, reason = "a library gets their addresses")]
    spare: Vec<Box<Request<M>>>,
    /// Requests whose call had no connection.
    #[expect(clippy::vec_box, reason = "a library gets their addresses")]
    parked: Vec<Box<Request<M>>>,
    /// When they are called again; `None` until the time is known.
    retry_at: Option<Instant>,
    /// The time that was told last.
    told: Option<Instant>,
}

struct SlotEntry<M: Medium> {
    medium: Arc<M>,
    /// Number of operations that are submitted and not reaped. The slot is not reused while there are any.
    ops: usize,
    detached: bool,
    flushes: Flushes,
    /// Whether [`Notice::Unreachable`] was the last report.
    unreachable: bool,
}

/// Which writes of one loop are flushed. A server that goes away may lose those that are not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flushes {
    /// Number of writes that were acknowledged without a flush.
    written: u64,
    /// The same when the last successful flush began.
    flushed: u64,
    /// Number of lost connections at the first write after that.
    breaks: u64,
}

/// A submitted operation.
struct Op {
    tag: IoTag,
    slot: usize,
    cancelled: bool,
}

/// Attaches a store to one loop.
///
/// # Errors
/// [`IoError::NOT_READY`] if the event descriptor of the engine cannot be created.
pub(crate) fn attach<M: Medium>(medium: &Arc<M>, engines: &mut Engines) -> Result<Port, IoError> {
    let (engine, loops): (EngineIndex, &mut LibraryEngine<M>) = engines.of_kind(LibraryEngine::new)?;
    let entry = SlotEntry {
        medium: medium.clone(),
        ops: 0,
        detached: false,
        flushes: Flushes::default(),
        unreachable: false,
    };
    let slot = Slot(loops.slots.insert(entry) as u32);
    medium.listeners().add(slot, loops.callbacks.clone());
    Ok(Port { engine, slot })
}

impl<M: Medium> LibraryEngine<M> {
    fn new() -> Result<Self, IoError> {
        let outbox = Outbox::new().map_err(|error| {
            log::error!("cannot create an event descriptor for the callbacks of a library: {error}");
            IoError::NOT_READY
        })?;
        Ok(Self {
            slots: Slab::new(),
            ops: Slab::new(),
            callbacks: Arc::new(Callbacks(outbox)),
            done: Vec::new(),
            notices: Vec::new(),
            items: Vec::new(),
            spare: Vec::new(),
            parked: Vec::new(),
            retry_at: None,
            told: None,
        })
    }

    /// Starts the next call of a request.
    fn advance(&mut self, mut request: Box<Request<M>>) {
        let Some(op) = self.ops.get(request.key) else { return };
        let Some(entry) = self.slots.get(op.slot) else { return };
        request.flushes_from = entry.flushes.written;
        if let Some(failed) = request.start(&entry.medium, &self.callbacks) {
            self.take_back(failed);
        }
    }

    /// Handles a request whose call has ended.
    fn take_back(&mut self, mut request: Box<Request<M>>) {
        let Some(op) = self.ops.get(request.key) else { return };
        let (slot, cancelled) = (op.slot, op.cancelled);
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let next = request.next(&entry.medium, cancelled);
        if entry.unreachable != matches!(next, Next::Retry) {
            entry.unreachable = !entry.unreachable;
            let notice = if entry.unreachable { Notice::Unreachable } else { Notice::Back };
            if entry.unreachable {
                entry.medium.count_break();
            }
            self.notices.push((Slot(slot as u32), notice));
        }
        match next {
            Next::Call => self.advance(request),
            Next::Retry if cancelled => self.end(request, Err(IoError::CANCELLED)),
            Next::Retry => self.parked.push(request),
            Next::Complete { result, flushed } => {
                let flushes = &mut entry.flushes;
                let result = match result {
                    Ok(_) if flushed => {
                        flushes.flushed_from(request.flushes_from, entry.medium.breaks()).and(result)
                    }
                    Ok(_) => {
                        if request.changes() {
                            flushes.wrote(entry.medium.breaks());
                        }
                        result
                    }
                    Err(_) => result,
                };
                self.end(request, result);
            }
        }
    }

    /// Completes the operation of a request.
    fn end(&mut self, mut request: Box<Request<M>>, result: Result<Completed, IoError>) {
        let block = request.take_block();
        self.complete(request.key, block, result);
        self.spare.push(request);
    }

    fn complete(&mut self, key: usize, block: Option<Block>, result: Result<Completed, IoError>) {
        let Some(Op { tag, slot, .. }) = self.ops.try_remove(key) else { return };
        self.done.push(Completion { tag, block, result });
        let Some(entry) = self.slots.get_mut(slot) else { return };
        entry.ops -= 1;
        if entry.detached && entry.ops == 0 {
            self.slots.remove(slot);
        }
    }

    /// Takes what the callbacks have put.
    fn collect(&mut self) {
        let mut items = std::mem::take(&mut self.items);
        self.callbacks.0.take(&mut items);
        for item in items.drain(..) {
            match item {
                Item::Returned(request) => self.take_back(request),
                Item::Abandoned(key, block) => self.complete(key, block, Err(IoError::ABANDONED)),
                Item::Notice(slot, notice) => self.notices.push((slot, notice)),
            }
        }
        self.items = items;
    }
}

impl<M: Medium> IoEngine for LibraryEngine<M> {
    fn try_now(&mut self, _: Slot, _: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let slot = slot.0 as usize;
        let entry = self.slots.get_mut(slot).filter(|entry| !entry.detached);
        let refusal = entry.as_ref().map_or(Some(IoError::NOT_READY), |entry| entry.medium.refusal(&op));
        let Some(entry) = entry.filter(|_| refusal.is_none()) else {
            let result = Err(refusal.unwrap_or(IoError::NOT_READY));
            self.done.push(Completion { tag, block: into_block(op), result });
            return;
        };
        entry.ops += 1;
        let mut request = self.spare.pop().unwrap_or_else(Request::new);
        let key = self.ops.insert(Op { tag, slot, cancelled: false });
        request.set(key, op, entry.medium.writes_through());
        self.advance(request);
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.collect();
        done.append(&mut self.done);
        // They are taken after `event_ready` only, which follows when the event is readable.
        for (slot, notice) in self.notices.drain(..) {
            self.callbacks.0.put(Item::Notice(slot, notice));
        }
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.callbacks.0.event_fd())
    }

    fn event_ready(&mut self) {
        self.collect();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        if self.parked.is_empty() { None } else { self.retry_at.or(self.told) }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.told = Some(now);
        match self.retry_at {
            _ if self.parked.is_empty() => return self.retry_at = None,
            None => {}
            Some(due) if now < due => {}
            Some(_) => {
                for request in std::mem::take(&mut self.parked) {
                    match request.timed_out(now) {
                        Some(error) => self.end(request, Err(error)),
                        None => self.advance(request),
                    }
                }
                self.retry_at = None;
            }
        }
        for request in &mut self.parked {
            request.parked_since.get_or_insert(now);
        }
        self.retry_at.get_or_insert(now + RETRY);
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        into.append(&mut self.notices);
    }

    /// Calls of a library cannot be cancelled; a long operation ends after its present call.
    fn cancel(&mut self, tag: IoTag) {
        let Some((key, op)) = self.ops.iter_mut().find(|(_, op)| op.tag == tag) else { return };
        op.cancelled = true;
        if let Some(at) = self.parked.iter().position(|request| request.key == key) {
            let request = self.parked.swap_remove(at);
            self.end(request, Err(IoError::CANCELLED));
        }
    }

    fn detach(&mut self, slot: Slot) {
        let Some(entry) = self.slots.get_mut(slot.0 as usize) else { return };
        entry.medium.listeners().remove(slot, Arc::as_ptr(&self.callbacks).cast());
        entry.detached = true;
        if entry.ops == 0 {
            self.slots.remove(slot.0 as usize);
        }
    }
}

impl Flushes {
    /// A write was acknowledged.
    fn wrote(&mut self, breaks: u64) {
        if self.written == self.flushed {
            self.breaks = breaks;
        }
        self.written += 1;
    }

    /// A flush has succeeded that began after `from` writes.
    ///
    /// # Errors
    /// [`IoError::FORGOTTEN`], once, if a connection was lost between one of them and the flush.
    fn flushed_from(&mut self, from: u64, breaks: u64) -> Result<(), IoError> {
        let covers = from > self.flushed;
        let lost = covers && breaks != self.breaks;
        self.flushed = self.flushed.max(from);
        if covers {
            self.breaks = breaks;
        }
        if lost { Err(IoError::FORGOTTEN) } else { Ok(()) }
    }
}

/// Time between two calls of an operation while there is no connection.
const RETRY: Duration = Duration::from_secs(1);
