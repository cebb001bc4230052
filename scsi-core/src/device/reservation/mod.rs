//! What reservations of others leave a nexus to do; and RESERVE (6) and RELEASE (6) (SPC-2 5.5.1): the whole unit
//! for one nexus.

use super::Nexus;
use super::unit::{Unit, UnitState};
use crate::cdb::table::ReservationClass;

/// The unit is held by another nexus.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Conflict;

/// Which reservation stands against a nexus. Worked out once for each change of the unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Standing {
    /// None, or one that admits the nexus.
    Free,
    /// A persistent reservation of a write exclusive type.
    WriteExclusive,
    /// A persistent reservation of an exclusive access type.
    ExclusiveAccess,
    /// RESERVE (6) of another nexus.
    Reserved,
}

impl Standing {
    /// Of a nexus at a unit.
    pub(super) fn of(nexus: &Nexus, state: &UnitState) -> Self {
        match state.reserved_by {
            Some(holder) if holder == nexus.id => Self::Free,
            Some(_) => Self::Reserved,
            None => state.persist.standing(nexus),
        }
    }

    /// Whether a command of this class is a conflict (SPC-2 table 8, SPC-4 5.13.1).
    pub(super) fn forbids(self, class: ReservationClass) -> bool {
        match class {
            ReservationClass::Always => false,
            ReservationClass::Allowed => self == Self::Reserved,
            ReservationClass::Read => matches!(self, Self::Reserved | Self::ExclusiveAccess),
            ReservationClass::Write => self != Self::Free,
        }
    }
}

/// Takes the unit for a nexus; again is fine. Of one that a persistent reservation admits it has no effect
/// (SPC-4 5.13.3), of others it is a conflict while anybody is registered.
pub(super) fn reserve(unit: &Unit, nexus: &Nexus) -> Result<(), Conflict> {
    let done = unit.publish(|state| {
        compatible(state, nexus)?;
        match state.reserved_by {
            Some(holder) if holder != nexus.id => Err(Unchanged::Conflict),
            _ => {
                state.reserved_by = Some(nexus.id);
                Ok(())
            }
        }
    });
    answer(done)
}

/// Gives the unit free if this nexus holds it; nothing happens otherwise. Persistent reservations are treated as
/// by `reserve`.
pub(super) fn release(unit: &Unit, nexus: &Nexus) -> Result<(), Conflict> {
    let done = unit.publish(|state| {
        compatible(state, nexus)?;
        if state.reserved_by != Some(nexus.id) {
            return Err(Unchanged::Good);
        }
        state.reserved_by = None;
        Ok(())
    });
    answer(done)
}

/// How a command ends that changes nothing.
enum Unchanged {
    Good,
    Conflict,
}

/// Goes on where nobody is registered.
fn compatible(state: &UnitState, nexus: &Nexus) -> Result<(), Unchanged> {
    match &state.persist {
        persist if persist.is_unused() => Ok(()),
        persist if persist.admits(nexus) => Err(Unchanged::Good),
        _ => Err(Unchanged::Conflict),
    }
}

fn answer(done: Result<(), Unchanged>) -> Result<(), Conflict> {
    match done {
        Ok(()) | Err(Unchanged::Good) => Ok(()),
        Err(Unchanged::Conflict) => Err(Conflict),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::NexusId;
    use crate::device::config::UnitConfig;

    #[test]
    fn only_the_holder_releases() {
        let unit = Unit::new(UnitConfig::disk(1, 1), None);
        let nexus = |number| Nexus { id: NexusId(number), initiator_port: "a".into(), target_port: 1 };
        let (one, two) = (&nexus(1), &nexus(2));
        assert_eq!(reserve(&unit, one), Ok(()));
        assert_eq!(reserve(&unit, one), Ok(()));
        assert_eq!(reserve(&unit, two), Err(Conflict));
        assert_eq!(release(&unit, two), Ok(()));
        assert_eq!(reserve(&unit, two), Err(Conflict));
        assert_eq!(release(&unit, one), Ok(()));
        assert_eq!(reserve(&unit, two), Ok(()));
    }

    #[test]
    fn who_is_kept_from_what() {
        use ReservationClass::{Allowed, Always, Read, Write};
        #[rustfmt::skip]
        let cases = [
            (Standing::Free,            [false, false, false, false]),
            (Standing::WriteExclusive,  [false, false, false, true]),
            (Standing::ExclusiveAccess, [false, false, true,  true]),
            (Standing::Reserved,        [false, true,  true,  true]),
        ];
        for (standing, forbidden) in cases {
            let found = [Always, Allowed, Read, Write].map(|class| standing.forbids(class));
            assert_eq!(found, forbidden, "{standing:?}");
        }
    }
}
