//! RESERVE, RELEASE, CLEAR, PREEMPT (SPC-4 5.13.9 to 5.13.11).

use super::{Attention, Changed, Effects, Persistent, Reservation};
use crate::cdb::persist::{ReservationType, ScopeType};
use crate::device::NexusName;
use crate::device::answer::Refusal;
use crate::page::persist::out::BasicList;
use crate::sense::{AdditionalSense, Sense};

impl Persistent {
    /// RESERVE: establishes a reservation. Has no effect if the sender holds the same reservation.
    pub(super) fn reserve(&mut self, me: &NexusName, what: ScopeType, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let kind = what.of_unit()?;
        match &self.reservation {
            None => self.reservation = Some(Reservation::of(kind, me)),
            Some(reservation) if reservation.kind == kind && reservation.is_held_by(me) => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok(Effects::default())
    }

    /// RELEASE: ends the reservation. Has no effect if the sender does not hold it.
    pub(super) fn release(&mut self, me: &NexusName, what: ScopeType, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let Some(reservation) = self.reservation.as_ref().filter(|reservation| reservation.is_held_by(me))
        else {
            return Ok(Effects::default());
        };
        if what.of_unit() != Ok(reservation.kind) {
            let code = AdditionalSense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION;
            return Err(Sense::illegal_request(code).into());
        }
        let nexuses = if reservation.kind.admits_registrants() { self.others(me) } else { Vec::new() };
        self.reservation = None;
        Ok(Effects::attention(AdditionalSense::RESERVATIONS_RELEASED, nexuses))
    }

    /// CLEAR: removes the reservation and all registrations.
    pub(super) fn clear(&mut self, me: &NexusName, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let nexuses = self.others(me);
        self.reservation = None;
        self.registrants.clear();
        self.generation = self.generation.wrapping_add(1);
        Ok(Effects::attention(AdditionalSense::RESERVATIONS_PREEMPTED, nexuses))
    }

    /// PREEMPT and PREEMPT AND ABORT: removes the registrations with a key, and replaces the reservation if its holder has
    /// that key. If all registrants hold the reservation, key 0 removes all others.
    pub(super) fn preempt(&mut self, me: &NexusName, what: ScopeType, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let preempted_key = list.service_action_key;
        let replaced = self.reservation.as_ref().filter(|reservation| match &reservation.holder {
            Some(holder) => self.key_of(holder) == Some(preempted_key),
            None => preempted_key == 0,
        });
        let effects = match replaced.map(|reservation| reservation.kind) {
            Some(before) => self.replace_reservation(me, before, what.of_unit()?, preempted_key),
            None if preempted_key == 0 => return Err(Sense::invalid_field_in_parameter_list(8, None).into()),
            None => self.remove_registrants(me, preempted_key)?,
        };
        self.generation = self.generation.wrapping_add(1);
        Ok(effects)
    }

    /// Replaces the reservation by one of the sender.
    fn replace_reservation(
        &mut self,
        me: &NexusName,
        before: ReservationType,
        kind: ReservationType,
        preempted_key: u64,
    ) -> Effects {
        let preempted = self.remove(|nexus, key| nexus != me && (preempted_key == 0 || key == preempted_key));
        self.reservation = Some(Reservation::of(kind, me));
        let released = if before == kind { Vec::new() } else { self.others(me) };
        let attentions = vec![
            Attention { code: AdditionalSense::REGISTRATIONS_PREEMPTED, nexuses: preempted.clone() },
            Attention { code: AdditionalSense::RESERVATIONS_RELEASED, nexuses: released },
        ];
        Effects { attentions, preempted }
    }

    /// Removes the registrations with a key, which may include that of the sender.
    fn remove_registrants(&mut self, me: &NexusName, preempted_key: u64) -> Changed {
        let preempted = self.remove(|_, key| key == preempted_key);
        if preempted.is_empty() {
            return Err(Refusal::Conflict);
        }
        if self.registrants.is_empty() {
            self.reservation = None;
        }
        let nexuses = preempted.iter().filter(|name| *name != me).cloned().collect();
        Ok(Effects { preempted, ..Effects::attention(AdditionalSense::REGISTRATIONS_PREEMPTED, nexuses) })
    }

    fn remove(&mut self, which: impl Fn(&NexusName, u64) -> bool) -> Vec<NexusName> {
        let gone = self.registrants.extract_if(.., |registrant| which(&registrant.nexus, registrant.key));
        gone.map(|registrant| registrant.nexus).collect()
    }
}
