//! Flushes of a file, and the state of a file after a failed one.
//!
//! The kernel reports a failed write-back once and drops the pages. A later `fdatasync` succeeds although the data is
//! lost, so after the first failure all flushes and writes fail until the file is opened again.
//!
//! The kernel reports it once for each open file description, and a failed write to the medium (`RWF_DSYNC`) uses up
//! the report. So flushes have a description of their own, and run one at a time: otherwise one flush could succeed
//! while another one receives the report.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use scsi_core::store::{IoError, IoErrorKind};

use super::error::{from_errno, retry};
use crate::workers::Unit;

/// The flushes of one file by all loops.
#[derive(Debug)]
pub(super) struct Flushes {
    /// An open file description for flushes only.
    pub(super) witness: OwnedFd,
    /// The queue of flushes, which run one after the other.
    pub(super) queue: Unit,
    failed: AtomicBool,
    /// The last number that was assigned.
    requested: AtomicU64,
    /// The last number that had been assigned when the last successful flush started.
    covered: AtomicU64,
}

/// The position of a flush in the order of submission, from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlushNumber(u64);

impl Flushes {
    pub(super) fn new(witness: OwnedFd, queue: Unit) -> Self {
        let (requested, covered) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { witness, queue, failed: AtomicBool::new(false), requested, covered }
    }

    /// Whether a flush has failed.
    #[inline]
    pub(super) fn have_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Assigns the next number.
    pub(super) fn number(&self) -> FlushNumber {
        FlushNumber(self.requested.fetch_add(1, Ordering::AcqRel) + 1)
    }

    /// Waits until all writes that completed before the number was assigned are on the medium. To be called by jobs in
    /// `queue` only.
    ///
    /// # Errors
    /// [`IoError::LOST`] if this or an earlier flush failed and writes may be lost; the error of this one if it is
    /// temporary.
    pub(super) fn flush(&self, FlushNumber(number): FlushNumber, path: &Path) -> Result<(), IoError> {
        if self.have_failed() {
            return Err(IoError::LOST);
        }
        if self.covered.load(Ordering::Acquire) >= number {
            return Ok(());
        }
        let covers = self.requested.load(Ordering::Acquire);
        retry(|| rustix::fs::fdatasync(&self.witness)).map_err(|errno| self.fail(errno, path))?;
        self.covered.store(covers, Ordering::Release);
        Ok(())
    }

    /// A sync of the file has failed with `errno`: later flushes and writes fail, too. Returns its error.
    pub(super) fn fail(&self, errno: Errno, path: &Path) -> IoError {
        self.failed.store(true, Ordering::Release);
        log::error!(
            "{}: a flush failed ({errno}): completed writes may be lost; writes are refused until the unit is taken \
             offline and online again",
            path.display()
        );
        let reason = from_errno(errno, 0);
        match reason.kind() {
            IoErrorKind::NoSpace | IoErrorKind::NotReady => reason,
            _ => IoError::LOST.with_errno(errno.raw_os_error()),
        }
    }
}
