//! Bringing what was written to the medium, and what becomes of a file that cannot: the kernel tells of a failed
//! write-back once, and drops the pages. A later `fdatasync` succeeds though the data is gone, so after the first
//! failure nothing is ever said to be durable again, and nothing new is taken.
//!
//! The kernel tells each open file description for itself, and a failed write to the medium (`RWF_DSYNC`) counts as
//! told. So flushes have a description of their own, and run one at a time: nobody succeeds beside one that fails.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use scsi_core::store::{IoError, IoErrorKind};

use super::error::{from_errno, retry};
use crate::workers::Unit;

/// The flushes of one file, by all loops.
#[derive(Debug)]
pub(super) struct Flushes {
    /// An open file description that nothing is written by.
    pub(super) witness: OwnedFd,
    /// One after the other.
    pub(super) queue: Unit,
    failed: AtomicBool,
    asked: AtomicU64,
    /// The last number that a flush which succeeded was begun after.
    covered: AtomicU64,
}

/// A flush's place in the order in which they were asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushNumber(u64);

impl Flushes {
    pub(super) fn new(witness: OwnedFd, queue: Unit) -> Self {
        let (asked, covered) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { witness, queue, failed: AtomicBool::new(false), asked, covered }
    }

    /// Whether one has failed.
    #[inline]
    pub(super) fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// The next number.
    pub(super) fn number(&self) -> FlushNumber {
        FlushNumber(self.asked.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Waits until all that was written before this number was given out is on the medium. By `queue` only.
    pub(super) fn flush(&self, FlushNumber(number): FlushNumber, path: &Path) -> Result<(), IoError> {
        if self.have_failed() {
            return Err(IoError::LOST);
        }
        if self.covered.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        let covers = self.asked.load(Ordering::Acquire);
        retry(|| rustix::fs::fdatasync(&self.witness)).map_err(|errno| {
            self.failed.store(true, Ordering::Release);
            log::error!(
                "{}: a flush failed ({errno}): acknowledged writes may be lost; writes are refused until the unit \
                 is taken offline and online again",
                path.display()
            );
            let reason = from_errno(errno, 0);
            match reason.kind() {
                IoErrorKind::NoSpace | IoErrorKind::NotReady => reason,
                _ => IoError::LOST.with_errno(errno.raw_os_error()),
            }
        })?;
        self.covered.store(covers, Ordering::Release);
        Ok(())
    }
}
