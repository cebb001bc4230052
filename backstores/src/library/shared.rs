//! Handles that stores with equal settings share, because each costs dozens of threads.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The open handles by their settings.
pub(crate) struct Shared<S, H> {
    known: Mutex<HashMap<S, Arc<Mutex<Weak<H>>>>>,
}

impl<S: Clone + Eq + Hash, H> Shared<S, H> {
    /// Returns the handle with these settings, made if there is none that is `usable`. Blocks as long as `make` does.
    ///
    /// # Errors
    /// Returns the error of `make`.
    pub(crate) fn get(
        &self,
        settings: &S,
        usable: impl Fn(&H) -> bool,
        make: impl FnOnce() -> Result<H, String>,
    ) -> Result<Arc<H>, String> {
        let entry = {
            let mut known = self.known.lock();
            known.retain(|_, entry| {
                Arc::strong_count(entry) > 1
                    || entry.try_lock().is_none_or(|handle| handle.strong_count() > 0)
            });
            known.entry(settings.clone()).or_default().clone()
        };
        // Others that want the same handle wait for it here, each within its own deadline.
        let mut entry = entry.lock();
        if let Some(handle) = entry.upgrade().filter(|handle| usable(handle)) {
            return Ok(handle);
        }
        let handle = Arc::new(make()?);
        *entry = Arc::downgrade(&handle);
        Ok(handle)
    }
}

impl<S, H> Default for Shared<S, H> {
    fn default() -> Self {
        Self { known: Mutex::default() }
    }
}
