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
    pub(crate) outbox: Arc<Outbox>,
    /// `None` once the operation is in the outbox; then the file may be closed at any time.
    pub(crate) work: Option<(Arc<OpenFile>, BlockOp)>,
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
        if let Some((file, op)) = self.work.take() {
            drop(file);
            self.outbox.put(Returned { key: self.key, op, result });
        }
    }
}

impl Job for FileJob {
    fn run(mut self: Box<Self>) {
        if let Some((file, op)) = &mut self.work {
            let result = blocking::perform(file, op, self.flush);
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

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::tests::new_file;
    use super::*;
    use crate::workers::Workers;

    /// Who has the answer may close the file: no worker may have it open by then.
    #[test]
    fn a_worker_has_dropped_the_file_when_its_answer_is_there() {
        let (_dir, options) = new_file(1 << 20);
        let store = super::super::open::open_file("rdwr", &options, false, Workers::shared()).unwrap();
        let outbox = Arc::new(Outbox::new().unwrap());
        let flush = store.file.flushes.number();
        let job = FileJob {
            key: 1,
            outbox: outbox.clone(),
            work: Some((store.file.clone(), BlockOp::Flush)),
            flush,
        };
        // Its answer cannot get in.
        let answers = outbox.returned.lock();
        let worker = std::thread::spawn(move || Box::new(job).run());
        let deadline = Instant::now() + Duration::from_secs(60);
        while Arc::strong_count(&store.file) > 1 {
            assert!(Instant::now() < deadline, "the worker keeps the file open");
            std::thread::yield_now();
        }
        drop(answers);
        worker.join().unwrap();
        let mut returned = Vec::new();
        outbox.take(&mut returned);
        assert!(returned[0].result.is_ok());
    }
}
