//! `rdwr` and `aio`: regular files and block devices.
//!
//! | module | contents |
//! | --- | --- |
//! | `open` | open flags, creation, read-only files |
//! | `store` | the store over an open file |
//! | `geometry` | size, block lengths, alignment, capabilities |
//! | `engine` | the engine of one loop: inline operations on the page cache, submission to ring or workers |
//! | `flush` | flushes, and the state of a file after a failed one |
//! | `short` | the end of a file that was truncated while it is open |
//! | `size_check` | how that end is found while the file is written |
//! | `uring` | the io_uring of one loop: reads and writes |
//! | `blocking`, `job` | operations as system calls that block; the jobs of workers that make them |
//! | `ioctl`, `error` | BLKDISCARD; errors of system calls |

mod blocking;
#[cfg(test)]
mod device_tests;
#[cfg(test)]
mod durability_tests;
mod engine;
mod error;
mod flush;
mod geometry;
mod ioctl;
mod job;
mod open;
mod short;
#[cfg(test)]
mod short_tests;
mod size_check;
mod store;
#[cfg(test)]
mod tests;
mod uring;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use scsi_core::store::{BlockOp, Capabilities, IoError};

pub use self::engine::{FileEngine, ring_refused};
use self::flush::Flushes;
use self::geometry::{Medium, Mode};
pub use self::open::{aio, rdwr};
use self::short::ShortEnd;
pub use self::store::File;
use crate::workers::Unit;

/// An open file, shared by the store, the engines of all loops and the workers.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: OwnedFd,
    path: PathBuf,
    medium: Medium,
    mode: Mode,
    /// Size in bytes when it was last read.
    size: AtomicU64,
    /// See [`short`].
    short: ShortEnd,
    physical_block_len: u32,
    /// See [`geometry::takes_threads`].
    takes_threads: bool,
    /// See [`geometry::ignores_nowait`].
    ignores_nowait: bool,
    capabilities: Capabilities,
    /// Whether to zero ranges with fallocate; cleared when the file system does not support it.
    zero_range: AtomicBool,
    /// The queue of the file at the workers.
    workers: Unit,
    flushes: Flushes,
}

impl OpenFile {
    /// Returns the error for an operation that the capabilities do not allow, that is behind the end of a file that was
    /// truncated, or that follows a failed flush.
    fn refusal(&self, op: &BlockOp) -> Option<IoError> {
        let can = &self.capabilities;
        let (offset, len) = range(op);
        if let Some(error) = self.short.refusal(offset, len) {
            return Some(error);
        }
        match op {
            BlockOp::Write { .. } | BlockOp::Discard { .. } | BlockOp::WriteZeroes { .. }
                if can.read_only =>
            {
                Some(IoError::READ_ONLY)
            }
            BlockOp::Write { .. }
            | BlockOp::Discard { .. }
            | BlockOp::WriteZeroes { .. }
            | BlockOp::Flush
                if self.flushes.have_failed() =>
            {
                Some(IoError::LOST)
            }
            BlockOp::Discard { .. } if !can.discard => Some(IoError::UNSUPPORTED),
            BlockOp::Allocation { .. } if !can.allocation => Some(IoError::UNSUPPORTED),
            _ => None,
        }
    }

    /// Returns the error for an `errno` at byte `offset`. A block device returns ENOSPC also beyond its end, which a
    /// device that shrank has within the unit.
    fn error(&self, errno: Errno, offset: u64) -> IoError {
        let size = match errno {
            Errno::NOSPC if self.medium == Medium::Device => {
                geometry::size(self.fd.as_fd(), self.medium).ok()
            }
            _ => None,
        };
        match size.filter(|size| offset >= *size) {
            Some(size) => self.ends_at(size, offset),
            None => error::from_errno(errno, offset),
        }
    }

    /// The file was found to end at byte `end`. Returns the error for an operation at `offset`.
    fn ends_at(&self, end: u64, offset: u64) -> IoError {
        let size = self.size.load(Ordering::Relaxed);
        if end < size && self.short.set(end) {
            log::error!(
                "{}: has no data from byte {end} on, and its unit has {size} bytes: reads and writes behind the end fail \
                 until the operator sets the size (tgtadm --mode logicalunit --op update --params disksize=auto)",
                self.path.display()
            );
        }
        IoError::OUT_OF_RANGE.at(offset.max(end))
    }
}

/// The range of an operation in bytes: offset and length; empty for a flush.
fn range(op: &BlockOp) -> (u64, u64) {
    match op {
        BlockOp::Read { offset, into: block } | BlockOp::Write { offset, from: block, .. } => {
            (*offset, block.len() as u64)
        }
        BlockOp::Discard { offset, len }
        | BlockOp::WriteZeroes { offset, len, .. }
        | BlockOp::Allocation { offset, len } => (*offset, *len),
        BlockOp::Flush => (0, 0),
    }
}
