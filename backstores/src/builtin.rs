//! The registry of this crate's kinds of stores.

use crate::registry::Registry;

impl Registry {
    /// Returns a registry with all kinds of this crate, in the order in which reports list them.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self::new();
        let remote = [
            crate::rbd::kind(),
            crate::glfs::kind(),
            crate::nebd::kind(),
            crate::longhorn::kind(),
            crate::nbd::kind(),
        ];
        let local = [crate::null::kind(), crate::memory::kind(), crate::file::rdwr(), crate::file::aio()];
        for kind in remote.into_iter().chain(local) {
            registry.add(kind);
        }
        registry
    }
}
