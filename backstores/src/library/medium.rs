//! What an open image or file of a library provides.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use scsi_core::store::{BlockOp, Completed, IoError};

use super::call::{Call, During};
use super::listeners::Listeners;
use crate::workers::Unit;

/// An image or a file that a library has open. Loops share it.
pub(crate) trait Medium: Send + Sync + Sized + 'static {
    /// Whether [`Medium::start`] may block. It is then called by a worker thread instead of the loop.
    const START_BLOCKS: bool;

    /// Why an operation cannot be done: the capabilities exclude it, or its range exceeds the store.
    fn refusal(&self, op: &BlockOp) -> Option<IoError>;

    /// Whether every write is flushed before it completes.
    fn writes_through(&self) -> bool;

    /// Starts a call of the library.
    ///
    /// If it returns `Ok`, the library calls back once, and the callback passes `argument` to [`Request::returned`](super::Request::returned). If it
    /// returns an error number, there is no callback. The memory of `call` is valid until the callback.
    fn start(&self, call: Call, argument: *mut c_void) -> Result<(), c_int>;

    /// Does an operation that has no call with a callback, on a worker thread: [`BlockOp::Allocation`].
    fn run(&self, op: &BlockOp) -> Result<Completed, IoError>;

    /// Converts the error number of a call that began at byte `offset`.
    fn error(&self, during: During, offset: u64, errno: c_int) -> IoError;

    /// Whether the error number says that there is no connection to the servers. The call is then repeated.
    fn is_disconnected(&self, _errno: c_int) -> bool {
        false
    }

    /// How long calls are repeated; `None`: for ever. An operation that ends then has the error of [`Medium::error`].
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Number of lost connections.
    fn breaks(&self) -> u64 {
        0
    }

    /// A connection was lost.
    fn count_break(&self) {}

    /// Most bytes of one call that discards or zeroes.
    fn piece_len(&self, op: &BlockOp) -> u64;

    /// Those that are notified when the size changes.
    fn listeners(&self) -> &Listeners;

    /// The queue of calls that block.
    fn workers(&self) -> &Unit;
}
