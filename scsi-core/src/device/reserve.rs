//! RESERVE (6) and RELEASE (6) (SPC-2 5.5.1): the whole unit for one nexus.

use super::NexusId;
use super::unit::Unit;
use crate::cdb::table::ReservationClass;

/// The unit is held by another nexus.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Conflict;

/// Whether the reservation of another nexus stands against a command (SPC-2 table 8). Persistent reservations
/// look at the same classes in their own way.
pub(super) fn forbids(class: ReservationClass) -> bool {
    match class {
        ReservationClass::Always => false,
        ReservationClass::Allowed | ReservationClass::Read | ReservationClass::Write => true,
    }
}

/// Takes the unit for a nexus; again is fine.
pub(super) fn reserve(unit: &Unit, nexus: NexusId) -> Result<(), Conflict> {
    unit.publish(|state| match state.reserved_by {
        Some(holder) if holder != nexus => Err(Conflict),
        _ => {
            state.reserved_by = Some(nexus);
            Ok(())
        }
    })
}

/// Gives the unit free if this nexus holds it; nothing happens otherwise.
pub(super) fn release(unit: &Unit, nexus: NexusId) {
    let _: Result<(), Conflict> = unit.publish(|state| {
        if state.reserved_by != Some(nexus) {
            return Err(Conflict);
        }
        state.reserved_by = None;
        Ok(())
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::config::UnitConfig;

    #[test]
    fn only_the_holder_releases() {
        let unit = Unit::new(UnitConfig::disk(1, 1), None);
        let (one, two) = (NexusId(1), NexusId(2));
        assert_eq!(reserve(&unit, one), Ok(()));
        assert_eq!(reserve(&unit, one), Ok(()));
        assert_eq!(reserve(&unit, two), Err(Conflict));
        release(&unit, two);
        assert_eq!(reserve(&unit, two), Err(Conflict));
        release(&unit, one);
        assert_eq!(reserve(&unit, two), Ok(()));
    }
}
