//! No unit may pass for another one: a name that is given belongs to one store.

use super::super::error::{ControlError, TgtadmError};
use super::super::request::UnitChange;
use super::Control;
use super::update::{UpdateUnit, unit_gone};
use crate::model::identity::{self, Naming};
use crate::model::store::StoreSpec;
use crate::model::unit::cut;

impl Control {
    /// Refuses a change after which an initiator would take the unit for another one, and mix their data. Units over
    /// the same store may have the same name: they are one disk, to which there are several ways. With stock's names
    /// nothing is refused, as in stock.
    pub(super) fn own_name(&self, update: &UpdateUnit, change: &UnitChange) -> Result<(), ControlError> {
        let entry = self.entry(update).ok_or_else(|| unit_gone(update))?;
        let naming = self.model.naming;
        let (mut config, mut store) = (entry.unit.config(), entry.store.clone());
        match change {
            _ if naming == Naming::Compatible => return Ok(()),
            UnitChange::ScsiId(text) => naming.rename(&mut config, cut(text.clone())),
            UnitChange::ScsiSn(text) => config.scsi_sn = cut(text.clone()),
            UnitChange::Path(path) => store.path.clone_from(path),
            _ => return Ok(()),
        }
        let is_same_disk = |other: &StoreSpec| {
            !store.path.is_empty() && (&other.kind, &other.path) == (&store.kind, &store.path)
        };
        for target in self.model.targets() {
            for (lun, other) in &target.units {
                if std::sync::Arc::ptr_eq(&other.unit, &entry.unit) || is_same_disk(&other.store) {
                    continue;
                }
                if other.unit.with_config(|other| identity::same(&config, other)) {
                    let reason = format!(
                        "target {} lun {lun} is called like this already ({:?}, serial number {:?}), and its \
                         store is {:?}: give each store its own scsi_id and scsi_sn",
                        target.tid, config.scsi_id, config.scsi_sn, other.store.path,
                    );
                    return Err(TgtadmError::InvalidRequest.because(reason));
                }
            }
        }
        Ok(())
    }
}
