//! A logical unit as the configuration has it: the unit itself, and what its store was opened by.

use std::sync::Arc;

use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::store::Backstore;

use super::error::ModelError;
use super::identity::Naming;
use super::store::{StoreId, StoreSpec};
use super::unit_parameters::UnitChange;

/// A logical unit of a target.
#[derive(Clone)]
pub struct TargetUnit {
    /// The device server's half, shared with the loops.
    pub unit: Arc<Unit>,
    /// What its store was opened by; an empty path where there is no medium.
    pub store: StoreSpec,
    /// The open store, where there is one.
    pub open: Option<StoreId>,
}

/// Block length in bytes where none is given.
pub const DEFAULT_BLOCK_LEN: u32 = 512;
/// Whether a number can be a block length.
#[must_use]
pub fn is_block_len(len: u64) -> bool {
    len.is_power_of_two() && len >= 512 && len <= u32::MAX.into()
}

/// The kind of store a disk has where none is given.
pub const DEFAULT_KIND: &str = "rdwr";
/// The controller's kind of store.
const CONTROLLER_KIND: &str = "null";

impl TargetUnit {
    /// The controller that every target has at LUN 0.
    #[must_use]
    pub fn controller(config: UnitConfig) -> Self {
        let store = StoreSpec {
            kind: CONTROLLER_KIND.to_owned(),
            path: String::new(),
            options: String::new(),
            flags: super::store::OpenFlags::default(),
            block_len: DEFAULT_BLOCK_LEN,
            read_only: false,
        };
        Self { unit: Unit::new(config, None), store, open: None }
    }

    /// A disk over an opened store; without one it is a drive without a medium.
    #[must_use]
    pub fn disk(mut config: UnitConfig, spec: StoreSpec, store: Option<Arc<dyn Backstore>>) -> Self {
        config.block_len = spec.block_len;
        config.read_only = store.as_ref().is_some_and(|store| store.capabilities().read_only);
        config.online = store.is_some();
        config.removable = store.is_none();
        Self { unit: Unit::new(config, store), store: spec, open: None }
    }

    /// Whether there is a medium.
    #[must_use]
    pub fn has_medium(&self) -> bool {
        !self.store.path.is_empty()
    }
}

impl std::fmt::Debug for TargetUnit {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("TargetUnit").field("store", &self.store).finish_non_exhaustive()
    }
}

/// Makes a change in the configuration of a unit.
///
/// # Errors
/// The unit refuses.
pub fn change(unit: &Unit, change: &UnitChange, naming: Naming) -> Result<(), ModelError> {
    Ok(unit.update(|config| change.apply(config, naming))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(path: &str) -> StoreSpec {
        StoreSpec { path: path.to_owned(), ..TargetUnit::controller(UnitConfig::controller(1)).store }
    }

    #[test]
    fn disk_without_a_store_is_an_empty_drive() {
        let disk = TargetUnit::disk(UnitConfig::disk(1, 3), spec(""), None);
        let config = disk.unit.config();
        assert!(config.removable && !config.online && !disk.has_medium());
        assert_eq!(disk.unit.capacity().blocks, 0);
    }
}
