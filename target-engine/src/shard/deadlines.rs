//! The deadlines of units that stop or leave, and of a target that ends. Commands that still run then are aborted.

use std::time::Instant;

use scsi_core::lun::Lun;

/// Deadlines of what ends.
#[derive(Debug, Default)]
pub(super) struct Deadlines {
    units: Vec<UnitDeadline>,
    target: Option<Instant>,
}

#[derive(Debug)]
struct UnitDeadline {
    lun: Lun,
    at: Instant,
}

impl Deadlines {
    /// Whether nothing ends.
    pub(super) fn is_empty(&self) -> bool {
        self.units.is_empty() && self.target.is_none()
    }

    /// Sets a unit's deadline, in place of one it had.
    pub(super) fn set_unit(&mut self, lun: Lun, at: Instant) {
        self.remove_unit(lun);
        self.units.push(UnitDeadline { lun, at });
    }

    /// Removes a unit's deadline.
    pub(super) fn remove_unit(&mut self, lun: Lun) {
        self.units.retain(|unit| unit.lun != lun);
    }

    /// Removes a deadline that has passed and returns its unit.
    pub(super) fn take_late_unit(&mut self, now: Instant) -> Option<Lun> {
        let index = self.units.iter().position(|unit| unit.at <= now)?;
        Some(self.units.swap_remove(index).lun)
    }

    /// Sets the target's deadline.
    pub(super) fn set_target(&mut self, at: Instant) {
        self.target = Some(at);
    }

    /// The target's deadline, if it ends.
    pub(super) fn target(&self) -> Option<Instant> {
        self.target
    }

    /// The target's deadline has passed.
    pub(super) fn remove_target(&mut self) {
        self.target = None;
    }
}
