//! An operation at a library, from the call to its callback.

#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::store::{Block, BlockOp, Completed, IoError, Notice, Slot};

use super::call::{Call, During, Ended, Transfer, changes, range};
use super::listeners::Report;
use super::medium::Medium;
use crate::layer::into_block;
use crate::outbox::Outbox;
use crate::workers::Job;

/// What other threads send to an engine.
pub(super) enum Item<M: Medium> {
    /// The call of a request has ended.
    Returned(Box<Request<M>>),
    /// The operation with this key was lost, with its block.
    Abandoned(usize, Option<Block>),
    /// What a store has to report.
    Notice(Slot, Notice),
}

/// Where the callbacks of one loop put what they have.
pub(super) struct Callbacks<M: Medium>(pub(super) Outbox<Item<M>>);

impl<M: Medium> Report for Callbacks<M> {
    fn report(&self, slot: Slot, notice: Notice) {
        self.0.put(Item::Notice(slot, notice));
    }
}

/// An operation at a library. While a call runs, the library owns the request by the argument of its callback, so the
/// block lives until the callback even if the engine is dropped. Requests are reused.
pub(crate) struct Request<M: Medium> {
    /// Where the request goes when the call has ended. `None` while no call runs, so that a queue of requests does not keep
    /// itself alive.
    at: Option<(Arc<M>, Arc<Callbacks<M>>)>,
    /// Key of the operation in its engine.
    pub(super) key: usize,
    op: BlockOp,
    /// Number of bytes that the calls so far have covered.
    done: u64,
    /// Whether the operation ends with a flush.
    flush_after: bool,
    /// Number of bytes of the last call.
    call_len: u64,
    /// How the last call ended: with a number of bytes, or with an error number.
    returned: Result<u64, c_int>,
    /// The result of [`Medium::run`].
    ran: Option<Result<Completed, IoError>>,
    /// Number of writes of the loop when the last call began.
    pub(super) flushes_from: u64,
    /// Since when its calls have had no connection.
    pub(super) parked_since: Option<Instant>,
    /// How long that may last, and the error afterwards.
    patience: Option<(Duration, IoError)>,
}

/// What an operation needs after a call.
pub(super) enum Next {
    /// A further call.
    Call,
    /// The same call again, later: there was no connection.
    Retry,
    /// Nothing: it has this result. `flushed`: its last call was a flush.
    Complete { result: Result<Completed, IoError>, flushed: bool },
}

impl<M: Medium> Request<M> {
    /// Returns a request without an operation.
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            at: None,
            key: 0,
            op: BlockOp::Flush,
            done: 0,
            flush_after: false,
            call_len: 0,
            returned: Ok(0),
            ran: None,
            flushes_from: 0,
            parked_since: None,
            patience: None,
        })
    }

    /// Sets the operation.
    pub(super) fn set(&mut self, key: usize, op: BlockOp, writes_through: bool) {
        let fua = matches!(op, BlockOp::Write { fua: true, .. });
        (self.key, self.op, self.done, self.ran) = (key, op, 0, None);
        self.flush_after = fua || (writes_through && self.changes());
        self.parked_since = None;
    }

    /// Whether the operation changes the store.
    pub(super) fn changes(&self) -> bool {
        changes(&self.op)
    }

    /// The error of a request that has had no connection for too long.
    pub(super) fn timed_out(&self, now: Instant) -> Option<IoError> {
        let (patience, error) = self.patience?;
        let since = self.parked_since?;
        (now.saturating_duration_since(since) >= patience).then_some(error)
    }

    /// Takes the block of the operation, after which the request can be reused.
    pub(super) fn take_block(&mut self) -> Option<Block> {
        into_block(std::mem::replace(&mut self.op, BlockOp::Flush))
    }

    /// Starts the next call. Returns the request if the call has failed at once.
    pub(super) fn start(
        mut self: Box<Self>,
        medium: &Arc<M>,
        callbacks: &Arc<Callbacks<M>>,
    ) -> Option<Box<Self>> {
        self.at = Some((medium.clone(), callbacks.clone()));
        if M::START_BLOCKS || matches!(self.op, BlockOp::Allocation { .. }) {
            medium.workers().push(self);
            return None;
        }
        let mut failed = self.call(medium)?;
        failed.at = None;
        Some(failed)
    }

    /// Makes the next call.
    fn call(mut self: Box<Self>, medium: &M) -> Option<Box<Self>> {
        let call = self.next_call(medium);
        self.call_len = call.len();
        let argument = Box::into_raw(self);
        match medium.start(call, argument.cast()) {
            Ok(()) => None,
            Err(errno) => {
                // SAFETY: the pointer is of `into_raw` above, and the library has not taken it.
                let mut request = unsafe { Box::from_raw(argument) };
                request.returned = Err(errno);
                Some(request)
            }
        }
    }

    /// To be called by the callback of the library with the argument of [`Medium::start`]. `convert` gets the medium and
    /// the call, and returns the number of bytes that the call has covered, or its error number. Afterwards the library must not use the memory of
    /// the call.
    ///
    /// # Safety
    /// `argument` is that of a call that [`Medium::start`] has started, and this is its only callback.
    pub(crate) unsafe fn returned(
        argument: *mut c_void,
        convert: impl FnOnce(&M, Ended) -> Result<u64, c_int>,
    ) {
        // SAFETY: `Box::into_raw` made the pointer, and the library, which owned it, gives it up.
        let mut request = unsafe { Box::from_raw(argument.cast::<Self>()) };
        if let Some((medium, _)) = &request.at {
            let kind = match request.op {
                _ if request.call_len == 0 => Transfer::None,
                BlockOp::Read { .. } => Transfer::Read,
                BlockOp::Write { .. } => Transfer::Write,
                _ => Transfer::None,
            };
            let ended = Ended { len: request.call_len, kind };
            request.returned = convert(medium, ended);
        }
        request.deliver();
    }

    /// Passes the request to its engine.
    fn deliver(mut self: Box<Self>) {
        if let Some((_medium, callbacks)) = self.at.take() {
            callbacks.0.put(Item::Returned(self));
        }
    }

    /// The part of the operation that the next call does.
    fn next_call(&mut self, medium: &M) -> Call {
        let done = self.done;
        if self.is_covered() {
            return Call::Flush;
        }
        let piece = medium.piece_len(&self.op).max(1);
        let piece = |offset: u64, len: u64| (piece - (offset + done) % piece).min(len - done);
        match &mut self.op {
            BlockOp::Read { offset, into } => {
                let rest = &mut into[done as usize..];
                Call::Read { offset: *offset + done, into: rest.as_mut_ptr(), len: rest.len() }
            }
            BlockOp::Write { offset, from, .. } => {
                let rest = &from[done as usize..];
                Call::Write { offset: *offset + done, from: rest.as_ptr(), len: rest.len() }
            }
            BlockOp::Discard { offset, len } => {
                Call::Discard { offset: *offset + done, len: piece(*offset, *len) }
            }
            BlockOp::WriteZeroes { offset, len, may_unmap } => {
                let len = piece(*offset, *len);
                Call::Zero { offset: *offset + done, len, may_unmap: *may_unmap }
            }
            BlockOp::Flush | BlockOp::Allocation { .. } => Call::Flush,
        }
    }

    /// Whether the calls so far have covered the range of the operation.
    fn is_covered(&self) -> bool {
        self.done >= range(&self.op).1
    }

    /// Returns what the operation needs after a call.
    pub(super) fn next(&mut self, medium: &M, cancelled: bool) -> Next {
        if let Some(result) = self.ran.take() {
            return Next::Complete { result, flushed: false };
        }
        let (offset, len) = range(&self.op);
        let flushed = self.is_covered();
        let complete = |result| Next::Complete { result, flushed };
        match self.returned {
            Err(errno) => {
                let during = match self.op {
                    _ if flushed => During::Flush,
                    BlockOp::Read { .. } => During::Read,
                    _ => During::Change,
                };
                let error = medium.error(during, offset + self.done, errno);
                if medium.is_disconnected(errno) {
                    self.patience = medium.timeout().map(|timeout| (timeout, error));
                    return Next::Retry;
                }
                return complete(Err(error));
            }
            // The store ends within the range.
            Ok(0) if !flushed => return complete(Err(IoError::OUT_OF_RANGE.at(offset + self.done))),
            Ok(_) if flushed => return complete(Ok(Completed::Done)),
            Ok(moved) => self.done = self.done.saturating_add(moved).min(len),
        }
        self.parked_since = None;
        match (self.is_covered() && !self.flush_after, cancelled) {
            (true, _) => complete(Ok(Completed::Done)),
            (false, true) => complete(Err(IoError::CANCELLED)),
            (false, false) => Next::Call,
        }
    }
}

/// A request whose calls block, on a worker thread.
impl<M: Medium> Job for Request<M> {
    fn run(mut self: Box<Self>) {
        let Some((medium, _)) = &self.at else { return };
        let medium = medium.clone();
        if matches!(self.op, BlockOp::Allocation { .. }) {
            self.ran = Some(medium.run(&self.op));
            return self.deliver();
        }
        if let Some(failed) = self.call(&medium) {
            failed.deliver();
        }
    }

    fn cancelled(mut self: Box<Self>) {
        self.ran = Some(Err(IoError::CANCELLED));
        self.deliver();
    }
}

/// A request that was dropped while its call was queued, or whose call panicked.
impl<M: Medium> Drop for Request<M> {
    fn drop(&mut self) {
        if let Some((_medium, callbacks)) = self.at.take() {
            let block = self.take_block();
            callbacks.0.put(Item::Abandoned(self.key, block));
        }
    }
}
