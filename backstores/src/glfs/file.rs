//! An open file of a volume, and the calls on it.
#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::{c_int, c_void};
use std::io::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::io::Errno;
use scsi_core::store::{BlockOp, Completed, IoError, IoErrorKind};

use super::functions::{FileHandle, Functions, IoVec};
use crate::library::{Call, During, Ended, Gate, Listeners, Medium, Request, Transfer, changes, range};
use crate::workers::Unit;

/// An open file. [`File::close`] closes it; dropping it does not.
pub(super) struct File {
    pub(super) opened: Opened,
    /// Size in bytes when it was last read.
    size: AtomicU64,
    gate: Gate,
    /// Number of lost connections.
    breaks: AtomicU64,
    listeners: Listeners,
}

/// A file that was opened by `glfs_open`.
pub(super) struct Opened {
    pub(super) functions: &'static Functions,
    pub(super) handle: FileHandle,
    /// Name in messages: the path of the store.
    pub(super) name: String,
    pub(super) read_only: bool,
    /// Every write is flushed before it completes.
    pub(super) sync: bool,
    /// I/O bypasses the page cache of the servers.
    pub(super) direct: bool,
    pub(super) timeout: Option<Duration>,
    /// The first flush after a lost connection does not fail.
    pub(super) trusts_servers: bool,
    pub(super) workers: Unit,
}

// SAFETY: gfapi permits calls on one file from several threads; `Gate` orders them before the closing call.
unsafe impl Send for File {}
// SAFETY: see above.
unsafe impl Sync for File {}

impl File {
    /// Takes an open file, whose size is not known yet.
    pub(super) fn new(opened: Opened) -> Self {
        let (size, breaks) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { opened, size, gate: Gate::default(), breaks, listeners: Listeners::default() }
    }

    /// Runs a call that blocks.
    ///
    /// # Errors
    /// The error number of the call; `ENODEV` if the file is closed.
    pub(super) fn blocking(&self, call: impl FnOnce(FileHandle) -> i64) -> Result<i64, c_int> {
        if !self.gate.enter() {
            return Err(Errno::NODEV.raw_os_error());
        }
        let value = call(self.opened.handle);
        let errno = last_errno();
        self.gate.leave();
        if value < 0 { Err(errno) } else { Ok(value) }
    }

    /// Reads the size in bytes again. Blocks while the servers do not answer.
    pub(super) fn read_size(&self) -> Result<u64, c_int> {
        let size = self.seek(0, libc::SEEK_END)?;
        self.size.store(size, Ordering::Release);
        Ok(size)
    }

    /// The size in bytes when it was last read.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// `glfs_lseek`. The position of the file is not used otherwise.
    pub(super) fn seek(&self, offset: u64, whence: c_int) -> Result<u64, c_int> {
        // SAFETY: the file is open.
        let seek = |file| unsafe { (self.opened.functions.glfs_lseek)(file, offset.cast_signed(), whence) };
        self.blocking(seek).map(i64::cast_unsigned)
    }

    /// Closes the file when its calls have ended. Blocks as long as they do. To be called once.
    pub(super) fn close(&self) {
        self.gate.close();
        // SAFETY: the gate lets no call use the file any more, and it is closed once.
        if unsafe { (self.opened.functions.glfs_close)(self.opened.handle) } < 0 {
            log::warn!("{}: cannot be closed cleanly: {}", self.opened.name, Error::last_os_error());
        }
    }

    fn begin(&self, call: Call, argument: *mut c_void) -> c_int {
        let (f, file) = (self.opened.functions, self.opened.handle);
        let vector = |base: *mut u8, len| IoVec { base: base.cast(), len };
        // SAFETY: the file is open, `ended` takes such an argument, and the memory of the call is valid until then. gfapi
        // copies the vector.
        unsafe {
            match call {
                Call::Read { offset, into, len } => {
                    let vector = vector(into, len);
                    (f.glfs_preadv_async)(file, &vector, 1, offset.cast_signed(), 0, ended, argument)
                }
                Call::Write { offset, from, len } => {
                    let vector = vector(from.cast_mut(), len);
                    (f.glfs_pwritev_async)(file, &vector, 1, offset.cast_signed(), 0, ended, argument)
                }
                Call::Flush => (f.glfs_fdatasync_async)(file, ended, argument),
                // Discarded ranges read as zeroes.
                Call::Discard { offset, len } | Call::Zero { offset, len, may_unmap: true } => {
                    (f.glfs_discard_async)(file, offset.cast_signed(), len as usize, ended, argument)
                }
                Call::Zero { offset, len, may_unmap: false } => {
                    (f.glfs_zerofill_async)(file, offset.cast_signed(), len.cast_signed(), ended, argument)
                }
            }
        }
    }
}

/// The error number of the last call on this thread.
fn last_errno() -> c_int {
    Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
}

/// The callback of every call, on a thread of gfapi.
unsafe extern "C" fn ended(
    _: FileHandle,
    value: isize,
    _: *const c_void,
    _: *const c_void,
    argument: *mut c_void,
) {
    let errno = last_errno();
    let convert = |file: &File, call: Ended| {
        file.gate.leave();
        match value {
            ..0 => Err(errno),
            _ if call.kind != Transfer::None => Ok(value as u64),
            _ => Ok(call.len),
        }
    };
    // SAFETY: the argument is that of `Medium::start`, and gfapi calls back once.
    unsafe { Request::<File>::returned(argument, convert) }
}

impl Medium for File {
    /// gfapi waits while it switches to another configuration of the volume.
    const START_BLOCKS: bool = true;

    fn refusal(&self, op: &BlockOp) -> Option<IoError> {
        if changes(op) && self.opened.read_only {
            return Some(IoError::READ_ONLY);
        }
        // A write behind the end would make the file longer.
        let ((offset, len), size) = (range(op), self.size());
        let fits = offset.checked_add(len).is_some_and(|end| end <= size);
        (!fits).then(|| IoError::OUT_OF_RANGE.at(offset.max(size)))
    }

    fn writes_through(&self) -> bool {
        self.opened.sync
    }

    fn start(&self, call: Call, argument: *mut c_void) -> Result<(), c_int> {
        if !self.gate.enter() {
            return Err(libc::ENODEV);
        }
        if self.begin(call, argument) < 0 {
            let errno = last_errno();
            self.gate.leave();
            return Err(errno);
        }
        Ok(())
    }

    /// [`BlockOp::Allocation`]: the next data and the next hole.
    fn run(&self, op: &BlockOp) -> Result<Completed, IoError> {
        let (offset, len) = range(op);
        let failed = |errno| self.error(During::Read, offset, errno);
        let found = match self.seek(offset, libc::SEEK_DATA) {
            Err(libc::ENXIO) => return Ok(Completed::Allocation { len, hole: true }),
            Err(errno) => return Err(failed(errno)),
            Ok(data) if data > offset => (data, true),
            Ok(_) => (self.seek(offset, libc::SEEK_HOLE).map_err(failed)?, false),
        };
        let (end, hole) = found;
        match end.saturating_sub(offset).min(len) {
            0 => Err(IoError::medium(offset)),
            len => Ok(Completed::Allocation { len, hole }),
        }
    }

    fn error(&self, during: During, offset: u64, errno: c_int) -> IoError {
        let kind = match errno {
            libc::ENOSPC | libc::EDQUOT | libc::EFBIG => IoErrorKind::NoSpace,
            libc::ENOTCONN | libc::ETIMEDOUT if during == During::Read => IoErrorKind::Unreachable,
            libc::ENOTCONN | libc::ETIMEDOUT => IoErrorKind::InDoubt,
            // Of writes that were acknowledged before, whatever its cause.
            _ if during == During::Flush => IoErrorKind::Forgotten,
            libc::EPERM | libc::EACCES | libc::EROFS if during == During::Change => IoErrorKind::ReadOnly,
            libc::EPERM | libc::EACCES | libc::ESTALE | libc::ENOENT | libc::ENODEV => IoErrorKind::NotReady,
            libc::ENOMEM | libc::EAGAIN => IoErrorKind::Busy,
            libc::EOPNOTSUPP | libc::ENOSYS => IoErrorKind::Unsupported,
            _ => IoErrorKind::Medium,
        };
        IoError::new(kind).at(offset).with_errno(errno)
    }

    fn is_disconnected(&self, errno: c_int) -> bool {
        errno == libc::ENOTCONN
    }

    fn timeout(&self) -> Option<Duration> {
        self.opened.timeout
    }

    fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Acquire)
    }

    fn count_break(&self) {
        if !self.opened.trusts_servers {
            self.breaks.fetch_add(1, Ordering::AcqRel);
        }
    }

    fn piece_len(&self, op: &BlockOp) -> u64 {
        match op {
            BlockOp::WriteZeroes { may_unmap: false, .. } => ZEROES_AT_ONCE,
            _ => DISCARD_AT_ONCE,
        }
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn workers(&self) -> &Unit {
        &self.opened.workers
    }
}

/// Most bytes of a call that writes zeroes.
const ZEROES_AT_ONCE: u64 = 16 << 20;
/// Most bytes of a call that frees space.
const DISCARD_AT_ONCE: u64 = 1 << 30;
