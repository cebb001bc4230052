//! Checks of the size of a file, by a worker.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{OpenFile, geometry};
use crate::workers::Job;

impl OpenFile {
    /// Queues a check of the size at the workers, in the queue of flushes: the flush before the file is closed waits
    /// for it. Returns `false` if the last check has not ended.
    pub(super) fn begin_check(self: &Arc<Self>) -> bool {
        let begins = !self.short.checking.swap(true, Ordering::AcqRel);
        if begins {
            self.flushes.queue.push(Box::new(SizeCheck(self.clone())));
        }
        begins
    }
}

/// A check of the size of a file.
struct SizeCheck(Arc<OpenFile>);

impl Job for SizeCheck {
    fn run(self: Box<Self>) {
        let file = &self.0;
        if let Ok(end) = geometry::size(file.fd.as_fd(), file.medium)
            && end < file.size.load(Ordering::Relaxed)
        {
            file.ends_at(end, end);
        }
    }

    fn cancelled(self: Box<Self>) {}
}

impl Drop for SizeCheck {
    fn drop(&mut self) {
        self.0.short.checking.store(false, Ordering::Release);
    }
}
