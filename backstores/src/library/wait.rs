//! Calls of a library that may never return, such as opening an image while its servers are away.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

/// Why [`wait_for`] has no result.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum WaitError {
    /// The call has not returned in time. Its thread waits on, and drops the result.
    Deadline,
    /// Too many earlier calls have not returned.
    TooMany,
    /// The thread cannot be started, or it panicked.
    Thread,
}

/// Runs a call on a thread of its own and waits at most for `deadline`.
///
/// # Errors
/// There is no result.
pub(crate) fn wait_for<T: Send + 'static>(
    deadline: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WaitError> {
    if CALLS.fetch_add(1, Ordering::AcqRel) >= CALLS_MAX {
        CALLS.fetch_sub(1, Ordering::AcqRel);
        return Err(WaitError::TooMany);
    }
    let running = Running;
    let (sender, receiver) = mpsc::sync_channel(1);
    let builder = std::thread::Builder::new().name("tgt-library".to_owned());
    let thread = builder.spawn(move || {
        let result = call();
        drop(running);
        // If nobody waits any more, the result is dropped here, which closes what was opened.
        let _ = sender.send(result);
    });
    if thread.is_err() {
        return Err(WaitError::Thread);
    }
    receiver.recv_timeout(deadline).map_err(|error| match error {
        RecvTimeoutError::Timeout => WaitError::Deadline,
        RecvTimeoutError::Disconnected => WaitError::Thread,
    })
}

impl std::fmt::Display for WaitError {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Deadline => "the servers did not answer in time",
            Self::TooMany => "the servers have not answered too many earlier calls",
            Self::Thread => "no thread could be started",
        })
    }
}

/// A call that has not returned; counted in [`CALLS`].
struct Running;

impl Drop for Running {
    fn drop(&mut self) {
        CALLS.fetch_sub(1, Ordering::AcqRel);
    }
}

static CALLS: AtomicUsize = AtomicUsize::new(0);

/// Calls of libraries of remote stores that wait for an answer when a store is opened, or its size is read.
///
/// Hit by: store. Scope: daemon. Over it: the store is not opened, or its size not read. Seen: reply to the request.
const CALLS_MAX: usize = 64;
