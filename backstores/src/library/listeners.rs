//! The loops that learn of a changed size.

use std::sync::Arc;

use parking_lot::Mutex;
use scsi_core::store::{Notice, Slot};

/// Takes what a store has to report, on any thread, without blocking.
pub(super) trait Report: Send + Sync {
    fn report(&self, slot: Slot, notice: Notice);
}

/// The loops that a store is attached to.
#[derive(Default)]
pub(crate) struct Listeners(Mutex<Vec<(Slot, Arc<dyn Report>)>>);

impl Listeners {
    /// Notifies the first loop that the size may have changed. Any thread may call it; it does not block.
    pub(crate) fn resized(&self) {
        if let Some((slot, first)) = self.0.lock().first() {
            first.report(*slot, Notice::Resized);
        }
    }

    pub(super) fn add(&self, slot: Slot, to: Arc<dyn Report>) {
        self.0.lock().push((slot, to));
    }

    /// Removes what was added with this slot and this address.
    pub(super) fn remove(&self, slot: Slot, to: *const ()) {
        self.0.lock().retain(|(known, report)| (*known, Arc::as_ptr(report).cast()) != (slot, to));
    }
}
