//! What workers have finished, on its way back to the loop that asked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::event::EventfdFlags;
use scsi_core::store::{BlockOp, Completed, IoError};

use super::flush::FlushNumber;
use super::{OpenFile, blocking};
use crate::workers::Job;

/// An operation at the workers. Whatever happens to it, it comes back to the outbox exactly once.
pub(crate) struct FileJob {
    /// The engine's number of the operation.
    pub(crate) key: usize,
    pub(crate) file: Arc<OpenFile>,
    pub(crate) outbox: Arc<Outbox>,
    /// `None` once it is in the outbox.
    pub(crate) op: Option<BlockOp>,
    /// If it is a flush.
    pub(crate) flush: FlushNumber,
}

/// A worker's answer.
pub(crate) struct Returned {
    pub(crate) key: usize,
    pub(crate) op: BlockOp,
    pub(crate) result: Result<Completed, IoError>,
}

/// One engine's queue of answers, with an eventfd that is readable while there are some.
pub(crate) struct Outbox {
    returned: Mutex<Vec<Returned>>,
    /// Spares the lock when there is nothing.
    filled: AtomicBool,
    event: OwnedFd,
}

impl Outbox {
    pub(crate) fn new() -> rustix::io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { returned: Mutex::default(), filled: AtomicBool::new(false), event })
    }

    /// Readable while there is something to take.
    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Appends all there is.
    pub(crate) fn take(&self, into: &mut Vec<Returned>) {
        if !self.filled.load(Ordering::Acquire) {
            return;
        }
        let mut returned = self.returned.lock();
        into.append(&mut returned);
        self.filled.store(false, Ordering::Release);
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// The event is raised and cleared under the lock, so that it is never readable with nothing to take; it does
    /// not block.
    fn put(&self, answer: Returned) {
        let mut returned = self.returned.lock();
        returned.push(answer);
        if !self.filled.swap(true, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl FileJob {
    fn finish(&mut self, result: Result<Completed, IoError>) {
        if let Some(op) = self.op.take() {
            self.outbox.put(Returned { key: self.key, op, result });
        }
    }
}

impl Job for FileJob {
    fn run(mut self: Box<Self>) {
        if let Some(op) = &mut self.op {
            let result = blocking::perform(&self.file, op, self.flush);
            self.finish(result);
        }
    }

    fn cancelled(mut self: Box<Self>) {
        self.finish(Err(IoError::CANCELLED));
    }
}

/// Neither run nor cancelled, or the run panicked.
impl Drop for FileJob {
    fn drop(&mut self) {
        self.finish(Err(IoError::ABANDONED));
    }
}
