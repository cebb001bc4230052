//! Closing a handle of a library when its last call has ended.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Counts the calls that use a handle.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    calls: AtomicUsize,
    closed: AtomicBool,
}

impl Gate {
    /// Begins a call; `false` if the handle is closed.
    pub(crate) fn enter(&self) -> bool {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let open = !self.closed.load(Ordering::SeqCst);
        if !open {
            self.leave();
        }
        open
    }

    /// Ends a call: the caller no longer uses the handle.
    pub(crate) fn leave(&self) {
        self.calls.fetch_sub(1, Ordering::SeqCst);
    }

    /// Refuses further calls and waits for the end of those that run. Blocks as long as the library has one.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        while self.calls.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
