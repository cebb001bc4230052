//! The kinds of stores of this crate.

use crate::registry::Registry;

impl Registry {
    /// All kinds of this crate, in the order in which they are listed.
    #[must_use]
    pub fn builtin() -> Self {
        let mut registry = Self::new();
        for kind in [crate::null::KIND, crate::memory::KIND, crate::file::RDWR, crate::file::AIO] {
            registry.add(kind);
        }
        registry
    }
}
