//! The reservations of a unit: RESERVE (6) (SPC-2 5.5.1), which one nexus holds for the whole unit, and persistent
//! reservations (SPC-4 5.13).

mod persistent;
mod restriction;

use std::sync::Arc;

pub(super) use persistent::{Effects, Persistent};
#[cfg(test)]
pub(super) use persistent::{REGISTRANTS_MAX, REGISTRANTS_PER_INITIATOR_MAX};
pub(super) use restriction::Restriction;

use super::answer::Refusal;
use super::{Nexus, NexusId};

/// All reservations of a unit. No nexus is registered while one holds the unit by RESERVE (6).
#[derive(Clone, Debug, Default)]
pub(super) struct Reservations {
    /// The nexus that holds RESERVE (6).
    reserved_by: Option<NexusId>,
    persistent: Arc<Persistent>,
}

/// How RESERVE (6) or RELEASE (6) ends if it changes nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Unchanged {
    /// GOOD.
    Good,
    /// RESERVATION CONFLICT.
    Conflict,
}

impl Reservations {
    /// What the reservations of others forbid to a nexus.
    pub(super) fn restriction(&self, nexus: &Nexus) -> Restriction {
        match self.reserved_by {
            Some(holder) if holder == nexus.id => Restriction::None,
            Some(_) => Restriction::Reserved,
            None => self.persistent.restriction(nexus),
        }
    }

    /// RESERVE (6): reserves the unit for a nexus, which may hold it already. A persistent reservation that admits
    /// the nexus makes it GOOD without effect (SPC-4 5.13.3); it is a conflict if other nexuses are registered.
    pub(super) fn reserve(&mut self, nexus: &Nexus) -> Result<(), Unchanged> {
        self.check_compatible(nexus)?;
        match self.reserved_by {
            Some(holder) if holder != nexus.id => Err(Unchanged::Conflict),
            _ => {
                self.reserved_by = Some(nexus.id);
                Ok(())
            }
        }
    }

    /// RELEASE (6): releases the unit if this nexus holds it, else has no effect. Persistent reservations count as
    /// in [`Self::reserve`].
    pub(super) fn release(&mut self, nexus: &Nexus) -> Result<(), Unchanged> {
        self.check_compatible(nexus)?;
        if self.reserved_by != Some(nexus.id) {
            return Err(Unchanged::Good);
        }
        self.reserved_by = None;
        Ok(())
    }

    /// The persistent reservations.
    ///
    /// # Errors
    /// [`Refusal::Conflict`] while any nexus, also the sender, holds the unit by RESERVE (6) (SPC-2 5.5.1).
    pub(super) fn persistent(&self) -> Result<&Persistent, Refusal> {
        if self.reserved_by.is_some() { Err(Refusal::Conflict) } else { Ok(&self.persistent) }
    }

    /// Changes the persistent reservations, unless the change is refused.
    ///
    /// # Errors
    /// The error of `change`, and that of [`Self::persistent`].
    pub(super) fn change_persistent(
        &mut self,
        change: impl FnOnce(&mut Persistent) -> Result<Effects, Refusal>,
    ) -> Result<Effects, Refusal> {
        let mut persistent = self.persistent()?.clone();
        let effects = change(&mut persistent)?;
        self.persistent = Arc::new(persistent);
        Ok(effects)
    }

    /// Whether this nexus holds RESERVE (6).
    pub(super) fn is_held_by(&self, nexus: NexusId) -> bool {
        self.reserved_by == Some(nexus)
    }

    /// Ends RESERVE (6), of any nexus. Persistent reservations stay.
    pub(super) fn clear_reserved(&mut self) {
        self.reserved_by = None;
    }

    fn check_compatible(&self, nexus: &Nexus) -> Result<(), Unchanged> {
        if self.persistent.is_unused() {
            Ok(())
        } else if self.persistent.admits(nexus) {
            Err(Unchanged::Good)
        } else {
            Err(Unchanged::Conflict)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_holder_releases() {
        let mut reservations = Reservations::default();
        let nexus = |number| Nexus { id: NexusId(number), initiator_port: "a".into(), target_port: 1 };
        let (one, two) = (&nexus(1), &nexus(2));
        assert_eq!(reservations.reserve(one), Ok(()));
        assert_eq!(reservations.reserve(one), Ok(()));
        assert_eq!(reservations.reserve(two), Err(Unchanged::Conflict));
        assert_eq!(reservations.release(two), Err(Unchanged::Good));
        assert_eq!(reservations.reserve(two), Err(Unchanged::Conflict));
        assert_eq!(reservations.release(one), Ok(()));
        assert_eq!(reservations.reserve(two), Ok(()));
    }
}
