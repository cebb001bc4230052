//! An open image, and the calls on it.

#![allow(unsafe_code)] // Calls of a C library.

use std::ffi::{c_char, c_int, c_void};
use std::ptr::null_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::io::Errno;
use scsi_core::store::{BlockOp, Completed, IoError, IoErrorKind};

use super::functions::{CompletionHandle, Functions, ImageHandle, THICK};
use crate::library::{Call, During, Ended, Gate, Listeners, Medium, Request, Transfer, changes, range};
use crate::workers::Unit;

/// An open image. [`Image::close`] closes it; dropping it does not.
pub(super) struct Image {
    pub(super) functions: &'static Functions,
    handle: ImageHandle,
    /// Name in messages: the path of the store.
    pub(super) name: String,
    pub(super) read_only: bool,
    /// Every write is flushed before it completes.
    pub(super) sync: bool,
    /// Size in bytes when it was last read.
    size: AtomicU64,
    gate: Gate,
    /// Whether the cluster refuses this client.
    fenced: AtomicBool,
    /// The same for the connection, which other images share.
    cluster_fenced: Arc<AtomicBool>,
    listeners: Listeners,
    workers: Unit,
}

// SAFETY: librbd permits calls on one image from several threads; `Gate` orders them before the closing call.
unsafe impl Send for Image {}
// SAFETY: see above.
unsafe impl Sync for Image {}

/// An image that was opened by `rbd_open`.
pub(super) struct Opened {
    pub(super) functions: &'static Functions,
    pub(super) handle: ImageHandle,
    pub(super) name: String,
    pub(super) read_only: bool,
    pub(super) sync: bool,
    pub(super) cluster_fenced: Arc<AtomicBool>,
    pub(super) workers: Unit,
}

impl Image {
    /// Takes an open image, whose size is not known yet.
    pub(super) fn new(opened: Opened) -> Self {
        let Opened { functions, handle, name, read_only, sync, cluster_fenced, workers } = opened;
        Self {
            functions,
            handle,
            name,
            read_only,
            sync,
            size: AtomicU64::new(0),
            gate: Gate::default(),
            fenced: AtomicBool::new(false),
            cluster_fenced,
            listeners: Listeners::default(),
            workers,
        }
    }

    /// Runs a call that blocks.
    ///
    /// # Errors
    /// The error number of the call; `ENODEV` if the image is closed.
    pub(super) fn blocking(&self, call: impl FnOnce(ImageHandle) -> c_int) -> Result<(), c_int> {
        if !self.gate.enter() {
            return Err(Errno::NODEV.raw_os_error());
        }
        let code = call(self.handle);
        self.gate.leave();
        if code < 0 { Err(-code) } else { Ok(()) }
    }

    /// Reads the size in bytes again. Blocks while the servers do not answer.
    pub(super) fn read_size(&self) -> Result<u64, c_int> {
        let mut size = 0;
        // SAFETY: the image is open, and the result is written to `size`.
        self.blocking(|image| unsafe { (self.functions.rbd_get_size)(image, &mut size) })?;
        self.size.store(size, Ordering::Release);
        Ok(size)
    }

    /// The size in bytes when it was last read.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Whether the cluster refuses this client.
    pub(super) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Acquire)
    }

    /// Closes the image when its calls have ended. Blocks as long as they do. To be called once.
    pub(super) fn close(&self) {
        self.gate.close();
        // SAFETY: the gate lets no call use the image any more, and it is closed once.
        let code = unsafe { (self.functions.rbd_close)(self.handle) };
        if code < 0 {
            log::warn!("{}: cannot be closed cleanly: {}", self.name, crate::library::errno_text(-code));
        }
    }

    /// Notes that the cluster refuses this client.
    #[cold]
    fn fence(&self, errno: c_int) {
        self.cluster_fenced.store(true, Ordering::Release);
        if !self.fenced.swap(true, Ordering::AcqRel) {
            log::error!(
                "{}: the cluster refuses this client ({}): completed writes may be lost; commands fail until the unit is \
                 taken offline and online again",
                self.name,
                crate::library::errno_text(errno)
            );
        }
    }

    fn begin(&self, call: Call, completion: CompletionHandle) -> c_int {
        let (f, image) = (self.functions, self.handle);
        // SAFETY: image and completion are open, and the memory of the call is valid until the callback.
        unsafe {
            match call {
                Call::Read { offset, into, len } => {
                    (f.rbd_aio_read)(image, offset, len, into.cast::<c_char>(), completion)
                }
                Call::Write { offset, from, len } => {
                    (f.rbd_aio_write)(image, offset, len, from.cast::<c_char>(), completion)
                }
                Call::Flush => (f.rbd_aio_flush)(image, completion),
                Call::Discard { offset, len } => (f.rbd_aio_discard)(image, offset, len, completion),
                Call::Zero { offset, len, may_unmap } => {
                    let flags = if may_unmap { 0 } else { THICK };
                    (f.rbd_aio_write_zeroes)(image, offset, len as usize, completion, flags, 0)
                }
            }
        }
    }
}

/// The callback of every call, on a thread of librbd.
unsafe extern "C" fn ended(completion: CompletionHandle, argument: *mut c_void) {
    let convert = |image: &Image, call: Ended| {
        // SAFETY: librbd passes a completion that has ended; it is released once.
        let value = unsafe {
            let value = (image.functions.rbd_aio_get_return_value)(completion);
            (image.functions.rbd_aio_release)(completion);
            value
        };
        image.gate.leave();
        match value {
            ..0 => Err(c_int::try_from(-value).unwrap_or(Errno::IO.raw_os_error())),
            // A read returns the number of bytes, the other calls 0.
            _ if call.kind == Transfer::Read => Ok(value as u64),
            _ => Ok(call.len),
        }
    };
    // SAFETY: the argument is that of `Medium::start`, and librbd calls back once.
    unsafe { Request::<Image>::returned(argument, convert) }
}

impl Medium for Image {
    /// With `rbd_non_blocking_aio` a thread of librbd does everything that may block.
    const START_BLOCKS: bool = false;

    fn refusal(&self, op: &BlockOp) -> Option<IoError> {
        if self.is_fenced() {
            return Some(IoError::FENCED);
        }
        if changes(op) && self.read_only {
            return Some(IoError::READ_ONLY);
        }
        // librbd cuts off a write behind the end and reports success.
        let ((offset, len), size) = (range(op), self.size());
        let fits = offset.checked_add(len).is_some_and(|end| end <= size);
        (!fits).then(|| IoError::OUT_OF_RANGE.at(offset.max(size)))
    }

    fn writes_through(&self) -> bool {
        self.sync
    }

    fn start(&self, call: Call, argument: *mut c_void) -> Result<(), c_int> {
        if !self.gate.enter() {
            return Err(Errno::NODEV.raw_os_error());
        }
        let mut completion = null_mut();
        // SAFETY: `ended` takes such an argument, and the result is written to `completion`.
        let code = unsafe { (self.functions.rbd_aio_create_completion)(argument, ended, &mut completion) };
        if code < 0 {
            self.gate.leave();
            return Err(-code);
        }
        let code = self.begin(call, completion);
        if code < 0 {
            // SAFETY: the call was refused, so librbd does not use the completion.
            unsafe { (self.functions.rbd_aio_release)(completion) };
            self.gate.leave();
            return Err(-code);
        }
        Ok(())
    }

    /// [`BlockOp::Allocation`]: what librbd knows of the objects in the range.
    fn run(&self, op: &BlockOp) -> Result<Completed, IoError> {
        let (offset, len) = range(op);
        let len = len.min(EXTENTS_AT_ONCE);
        let mut extents: Vec<(u64, u64)> = Vec::new();
        let argument: *mut c_void = (&raw mut extents).cast();
        self.blocking(|image| {
            // SAFETY: the image is open, and `extent` takes such an argument.
            unsafe {
                let from = std::ptr::null();
                (self.functions.rbd_diff_iterate2)(image, from, offset, len, 1, 0, extent, argument)
            }
        })
        .map_err(|errno| self.error(During::Read, offset, errno))?;
        Ok(first_allocation(&mut extents, offset, len))
    }

    fn error(&self, during: During, offset: u64, errno: c_int) -> IoError {
        let kind = match Errno::from_raw_os_error(errno) {
            Errno::SHUTDOWN | Errno::STALE | Errno::REMOTEIO => {
                self.fence(errno);
                IoErrorKind::Fenced
            }
            // Of writes that were acknowledged before, whatever its cause.
            Errno::NOSPC | Errno::DQUOT => IoErrorKind::NoSpace,
            _ if during == During::Flush => IoErrorKind::Forgotten,
            Errno::TIMEDOUT if during == During::Read => IoErrorKind::Unreachable,
            Errno::TIMEDOUT => IoErrorKind::InDoubt,
            Errno::PERM | Errno::ACCESS | Errno::ROFS if during == During::Change => IoErrorKind::ReadOnly,
            Errno::PERM | Errno::ACCESS | Errno::NODEV | Errno::NOTCONN => IoErrorKind::NotReady,
            Errno::NOMEM | Errno::AGAIN => IoErrorKind::Busy,
            Errno::OPNOTSUPP => IoErrorKind::Unsupported,
            _ => IoErrorKind::Medium,
        };
        IoError::new(kind).at(offset).with_errno(errno)
    }

    fn piece_len(&self, op: &BlockOp) -> u64 {
        match op {
            BlockOp::WriteZeroes { may_unmap: false, .. } => THICK_AT_ONCE,
            _ => THIN_AT_ONCE,
        }
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn workers(&self) -> &Unit {
        &self.workers
    }
}

/// The callback of `rbd_diff_iterate2`.
unsafe extern "C" fn extent(offset: u64, len: usize, exists: c_int, argument: *mut c_void) -> c_int {
    // SAFETY: `Image::run` passes its vector, which nothing else uses during the call.
    let extents = unsafe { &mut *argument.cast::<Vec<(u64, u64)>>() };
    if exists != 0 {
        extents.push((offset, len as u64));
    }
    0
}

/// Returns how long the range begins with data or with a hole. `extents` are those with data, in any order.
fn first_allocation(extents: &mut [(u64, u64)], offset: u64, len: u64) -> Completed {
    extents.sort_unstable();
    let end = offset.saturating_add(len);
    let mut data_end = offset;
    for &(start, extent_len) in &*extents {
        if start > data_end {
            if data_end == offset {
                return Completed::Allocation { len: start.min(end) - offset, hole: true };
            }
            break;
        }
        data_end = data_end.max(start.saturating_add(extent_len));
    }
    match data_end.min(end) - offset {
        0 => Completed::Allocation { len, hole: true },
        data => Completed::Allocation { len: data, hole: false },
    }
}

/// Most bytes of a call that may write zeroes.
const THICK_AT_ONCE: u64 = 64 << 20;
/// Most bytes of a call that removes objects.
const THIN_AT_ONCE: u64 = 1 << 30;
/// Most bytes of a query of the allocation: the answer lists every extent.
const EXTENTS_AT_ONCE: u64 = 256 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn allocation_is_that_of_the_first_bytes() {
        let first = |extents: &[(u64, u64)]| first_allocation(&mut extents.to_vec(), 100, 50);
        let hole = |len| Completed::Allocation { len, hole: true };
        let data = |len| Completed::Allocation { len, hole: false };
        assert_eq!(first(&[]), hole(50));
        assert_eq!(first(&[(120, 10)]), hole(20));
        assert_eq!(first(&[(120, 10), (90, 15)]), data(5));
        assert_eq!(first(&[(110, 10), (100, 10), (130, 1)]), data(20));
        assert_eq!(first(&[(0, 1000)]), data(50));
        assert_eq!(first(&[(200, 10)]), hole(50));
    }
}
