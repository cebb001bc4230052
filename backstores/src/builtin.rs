//! The registry of this crate's kinds of stores.

use crate::registry::Registry;

impl Registry {
    /// Returns a registry with all kinds of this crate, in the order in which reports list them.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self::new();
        for kind in [crate::null::KIND, crate::memory::KIND, crate::file::RDWR, crate::file::AIO] {
            registry.add(kind);
        }
        registry
    }
}
