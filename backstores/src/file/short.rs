//! The end of a file that another process truncated while it is open, or of a device that shrank.
//!
//! A write behind the end would make the file grow again, with zeroes where acknowledged data was. So once the end is
//! known, operations behind it fail, also if the file grows again, until its size is set by `refresh`. A read that the
//! file ends in shows the end at once. For files that are written the size is read twice a second by a worker, because
//! it may block; what is written behind the end before that is not noticed.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use scsi_core::store::IoError;

/// Where operations on a file must end.
#[derive(Debug)]
pub(super) struct ShortEnd {
    /// In bytes; `u64::MAX` unless the file is shorter than its unit.
    end: AtomicU64,
    /// Whether a check is queued or running.
    pub(super) checking: AtomicBool,
}

impl ShortEnd {
    pub(super) fn new() -> Self {
        Self { end: AtomicU64::new(u64::MAX), checking: AtomicBool::new(false) }
    }

    /// Returns the error for an operation on this range if it is behind the end.
    #[inline]
    pub(super) fn refusal(&self, offset: u64, len: u64) -> Option<IoError> {
        let end = self.end.load(Ordering::Relaxed);
        (offset.saturating_add(len) > end).then(|| IoError::OUT_OF_RANGE.at(offset.max(end)))
    }

    /// Sets the end, unless it is known to be earlier. Returns true if none was known.
    pub(super) fn set(&self, end: u64) -> bool {
        self.end.fetch_min(end, Ordering::Relaxed) == u64::MAX
    }

    /// The unit has the size of the file again.
    pub(super) fn clear(&self) {
        self.end.store(u64::MAX, Ordering::Relaxed);
    }
}
