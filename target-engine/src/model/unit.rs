//! A logical unit as the configuration has it: the unit itself, and what its store was opened by.

use std::sync::Arc;

use scsi_core::device::unit::{self, Unit, UnitConfig};
use scsi_core::store::Backstore;

use super::identity::Naming;
use super::store::{StoreId, StoreSpec};
use crate::control::error::{ControlError, TgtadmError};

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

/// One `key=value` of `logicalunit update`.
#[derive(Clone, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the keys of `--params`, by their own names")]
pub enum UnitChange {
    VendorId(String),
    ProductId(String),
    ProductRev(String),
    ScsiId(String),
    ScsiSn(String),
    SenseFormat(bool),
    Removable(bool),
    Readonly(bool),
    Online(bool),
    Lbppbe(u8),
    LaLba(u16),
    OptimalXferGran(u16),
    OptimalXferLen(u32),
    ThinProvisioning(bool),
    RotationRate(u16),
    ModePage(ModePage),
    Path(String),
    /// `disksize=auto`: ask the store for its size again.
    DiskSize,
}

/// A mode page's content as `mode_page=page:subpage:len:b0:b1:…` has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModePage {
    /// The page code.
    pub page: u8,
    /// The subpage code; 0 for none.
    pub subpage: u8,
    /// The parameters after the page's header.
    pub parameters: Vec<u8>,
}

/// Makes a change that needs neither the store nor a loop.
///
/// # Errors
/// The unit refuses.
pub fn change(unit: &Unit, change: UnitChange, naming: Naming) -> Result<(), ControlError> {
    let edit = |config: &mut UnitConfig| match change {
        UnitChange::VendorId(text) => config.vendor_id = text,
        UnitChange::ProductId(text) => config.product_id = text,
        UnitChange::ProductRev(text) => config.product_rev = text,
        UnitChange::ScsiId(text) => naming.rename(config, cut(text)),
        UnitChange::ScsiSn(text) => config.scsi_sn = cut(text),
        UnitChange::SenseFormat(on) => config.sense_descriptor = on,
        UnitChange::Removable(on) => config.removable = on,
        UnitChange::Readonly(on) => config.read_only = on,
        UnitChange::Online(on) => config.online = on,
        UnitChange::Lbppbe(exponent) => config.lbppbe = Some(exponent),
        UnitChange::LaLba(lba) => config.la_lba = lba,
        UnitChange::OptimalXferGran(blocks) => config.optimal_xfer_gran = blocks,
        UnitChange::OptimalXferLen(blocks) => config.optimal_xfer_len = blocks,
        UnitChange::ThinProvisioning(on) => config.thin_provisioning = on,
        UnitChange::RotationRate(rate) => config.rotation_rate = rate,
        UnitChange::ModePage(page) => config.set_mode_page(unit::ModePage {
            page: page.page,
            subpage: page.subpage,
            bytes: page.parameters,
        }),
        // Theirs is more than a word in the configuration: the dispatcher does them.
        UnitChange::Path(_) | UnitChange::DiskSize => {}
    };
    unit.update(edit).map_err(refused)
}

/// What a unit's refusal is on the wire.
pub(crate) fn refused(error: unit::UpdateError) -> ControlError {
    let kind = match error {
        unit::UpdateError::RemovalPrevented => TgtadmError::PreventRemoval,
        _ => TgtadmError::InvalidRequest,
    };
    kind.because(error.to_string())
}

/// Cuts an identifier to the length it has on the wire.
pub(crate) fn cut(mut text: String) -> String {
    let mut end = UnitConfig::IDENTIFIER_LEN.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(path: &str) -> StoreSpec {
        StoreSpec { path: path.to_owned(), ..TargetUnit::controller(UnitConfig::controller(1)).store }
    }

    #[test]
    fn a_disk_without_a_store_is_an_empty_drive() {
        let disk = TargetUnit::disk(UnitConfig::disk(1, 3), spec(""), None);
        let config = disk.unit.config();
        assert!(config.removable && !config.online && !disk.has_medium());
        assert_eq!(disk.unit.capacity().0, 0);
    }

    #[test]
    fn changes_reach_the_unit() {
        let disk = TargetUnit::disk(UnitConfig::disk(1, 3), spec(""), None);
        let changes = [
            UnitChange::VendorId("ACME".to_owned()),
            UnitChange::ProductId("WHEEL".to_owned()),
            UnitChange::ProductRev("9".to_owned()),
            UnitChange::ScsiId("x".repeat(50)),
            UnitChange::ScsiSn(format!("{}é", "y".repeat(35))),
            UnitChange::SenseFormat(true),
            UnitChange::Removable(false),
            UnitChange::Readonly(true),
            UnitChange::Online(true),
            UnitChange::Lbppbe(3),
            UnitChange::LaLba(1),
            UnitChange::OptimalXferGran(8),
            UnitChange::OptimalXferLen(64),
            UnitChange::ThinProvisioning(true),
            UnitChange::RotationRate(7200),
            UnitChange::ModePage(ModePage { page: 8, subpage: 0, parameters: vec![0x10; 18] }),
        ];
        for change in changes {
            assert_eq!(super::change(&disk.unit, change, Naming::Compatible), Ok(()));
        }
        let config = disk.unit.config();
        assert_eq!((config.vendor_id.as_str(), config.product_id.as_str()), ("ACME", "WHEEL"));
        assert_eq!((config.product_rev.as_str(), config.scsi_id.len()), ("9", 36));
        assert_eq!(config.scsi_sn, "y".repeat(35), "a letter is not cut in two");
        assert!(config.sense_descriptor && config.read_only && config.online && config.thin_provisioning);
        assert!(!config.removable && !config.write_cache);
        assert_eq!((config.lbppbe, config.la_lba), (Some(3), 1));
        assert_eq!((config.optimal_xfer_gran, config.optimal_xfer_len, config.rotation_rate), (8, 64, 7200));
    }
}
