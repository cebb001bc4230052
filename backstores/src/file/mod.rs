//! `rdwr` and `aio`: regular files and block devices.
//!
//! | room | what is there |
//! | --- | --- |
//! | `open` | flags, creation, falling back to read-only |
//! | `geometry` | size, block lengths, alignment, what can be done |
//! | `engine` | one loop's way to all files: inline from the page cache, else submitted |
//! | `flush` | bringing writes to the medium, and what becomes of a file that cannot |
//! | `uring` | a loop's ring: reads and writes |
//! | `blocking`, `outbox` | the operations as calls that may block, for workers; the way back to the loop |
//! | `ioctl`, `error` | BLKDISCARD; error numbers |

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
mod open;
mod outbox;
mod store;
#[cfg(test)]
mod tests;
mod uring;

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustix::io::Errno;
use scsi_core::store::{BlockOp, Capabilities, IoError};

pub use self::engine::{FileEngine, ring_refused};
use self::flush::Flushes;
use self::geometry::{Medium, Mode};
pub use self::open::{AIO, RDWR};
pub use self::store::File;
use crate::workers::Unit;

/// An open file, shared by the store, the engines of all loops and the workers.
#[derive(Debug)]
pub(crate) struct OpenFile {
    fd: OwnedFd,
    path: PathBuf,
    medium: Medium,
    mode: Mode,
    /// In bytes, as last read.
    size: AtomicU64,
    physical_block_len: u32,
    /// The kernel may need a thread for each request of a ring.
    takes_threads: bool,
    /// A loop must not even try.
    ignores_nowait: bool,
    capabilities: Capabilities,
    /// Whether zeroing a range by fallocate is worth trying; cleared when the file system does not know it.
    zero_range: AtomicBool,
    /// Its queue at the workers, with its quota.
    workers: Unit,
    flushes: Flushes,
}

impl OpenFile {
    /// What the capabilities rule out is refused before the kernel sees it.
    fn refusal(&self, op: &BlockOp) -> Option<IoError> {
        let can = &self.capabilities;
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

    /// A device says ENOSPC also beyond its end, which is another thing when it shrank.
    fn error(&self, errno: Errno, offset: u64) -> IoError {
        let shrank = errno == Errno::NOSPC
            && self.medium == Medium::Device
            && geometry::size(self.fd.as_fd(), self.medium).is_ok_and(|size| offset >= size);
        if shrank { IoError::OUT_OF_RANGE } else { error::from_errno(errno, offset) }
    }
}
