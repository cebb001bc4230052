//! Operations at the workers, whose results come back by the outbox of the engine that submitted them.

use std::sync::Arc;

use scsi_core::store::{BlockOp, Completed, IoError};

use super::error::retry_busy;
use super::flush::FlushNumber;
use super::{OpenFile, blocking};
use crate::outbox::Outbox;
use crate::workers::Job;

/// An operation at the workers. It is put into the outbox exactly once, also if it is cancelled or abandoned.
pub(crate) struct FileJob {
    /// The key of the operation in the engine.
    pub(crate) key: usize,
    pub(crate) outbox: Arc<Outbox<Returned>>,
    /// The file and the operation; `None` when the operation is in the outbox, after which the file may be closed.
    pub(crate) work: Option<(Arc<OpenFile>, BlockOp)>,
    /// Its number if it is a flush.
    pub(crate) flush: FlushNumber,
}

/// An operation that has ended, with its result.
pub(crate) struct Returned {
    pub(crate) key: usize,
    pub(crate) op: BlockOp,
    pub(crate) result: Result<Completed, IoError>,
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
            let result = retry_busy(|| blocking::perform(file, op, self.flush), std::thread::sleep);
            self.finish(result);
        }
    }

    fn cancelled(mut self: Box<Self>) {
        self.finish(Err(IoError::CANCELLED));
    }
}

/// A job that was neither run nor cancelled, or that panicked.
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

    /// After the result the loop may close the file, so the worker must have dropped it before.
    #[test]
    fn worker_drops_the_file_before_it_returns_the_result() {
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
        let mut worker = None;
        outbox.while_locked(|| {
            worker = Some(std::thread::spawn(move || Box::new(job).run()));
            let deadline = Instant::now() + Duration::from_secs(60);
            while Arc::strong_count(&store.file) > 1 {
                assert!(Instant::now() < deadline, "the worker keeps the file open");
                std::thread::yield_now();
            }
        });
        worker.unwrap().join().unwrap();
        let mut returned = Vec::new();
        outbox.take(&mut returned);
        assert!(returned[0].result.is_ok());
    }
}
