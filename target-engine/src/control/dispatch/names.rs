//! Names of units: two units with the same identity must be paths to one store.

use std::sync::Arc;

use scsi_core::device::unit::UnitConfig;

use super::error::UnitError;
use super::state::Control;
use super::update::unit_gone;
use super::work::UpdateUnit;
use crate::control::error::ControlError;
use crate::model::identity::{self, Naming};
use crate::model::store::StoreSpec;
use crate::model::unit::TargetUnit;
use crate::model::unit_parameters::UnitChange;

impl Control {
    /// Refuses a change after which initiators would take the unit for another one and mix their data. Units over the
    /// same store may have the same name: they are paths to one disk. With the names of tgt nothing is refused, as with
    /// tgt.
    pub(super) fn check_name(&self, update: &UpdateUnit, change: &UnitChange) -> Result<(), ControlError> {
        if !change.parameter().is_identifier() {
            return Ok(());
        }
        let entry = self.entry(update).ok_or_else(|| unit_gone(update))?;
        let mut config = entry.unit.config();
        change.apply(&mut config, self.model.naming);
        self.check_identity(entry, &config, &entry.store)
    }

    /// [`Self::check_name`] for another medium.
    pub(super) fn check_medium(&self, update: &UpdateUnit, path: &str) -> Result<(), ControlError> {
        let entry = self.entry(update).ok_or_else(|| unit_gone(update))?;
        let store = StoreSpec { path: path.to_owned(), ..entry.store.clone() };
        self.check_identity(entry, &entry.unit.config(), &store)
    }

    fn check_identity(
        &self,
        entry: &TargetUnit,
        config: &UnitConfig,
        store: &StoreSpec,
    ) -> Result<(), ControlError> {
        if self.model.naming == Naming::Compatible {
            return Ok(());
        }
        let is_same_disk = |other: &StoreSpec| {
            !store.path.is_empty() && (&other.kind, &other.path) == (&store.kind, &store.path)
        };
        for target in self.model.targets() {
            for (lun, other) in &target.units {
                if Arc::ptr_eq(&other.unit, &entry.unit) || is_same_disk(&other.store) {
                    continue;
                }
                if other.unit.with_config(|other| identity::same(config, other)) {
                    return Err(UnitError::NameTaken {
                        tid: target.tid,
                        lun: *lun,
                        scsi_id: config.scsi_id.clone(),
                        scsi_sn: config.scsi_sn.clone(),
                        path: other.store.path.clone(),
                    }
                    .into());
                }
            }
        }
        Ok(())
    }
}
