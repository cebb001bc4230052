//! RESERVE, RELEASE, CLEAR, PREEMPT (SPC-4 5.13.9 to 5.13.11).

use super::{Changed, Due, Persistent, Reservation};
use crate::cdb::persist::{ReservationType, ScopeType};
use crate::device::NexusName;
use crate::device::answer::Refusal;
use crate::page::persist::out::BasicList;
use crate::sense::{AdditionalSense, Sense};

impl Persistent {
    /// RESERVE; again is fine.
    pub(super) fn reserve(&mut self, me: &NexusName, what: ScopeType, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let kind = what.of_unit()?;
        match &self.reservation {
            None => self.reservation = Some(Reservation::of(kind, me)),
            Some(reservation) if reservation.kind == kind && reservation.is_held_by(me) => {}
            Some(_) => return Err(Refusal::Conflict),
        }
        Ok(Due::default())
    }

    /// RELEASE; of a registrant that holds nothing it has no effect.
    pub(super) fn release(&mut self, me: &NexusName, what: ScopeType, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let Some(reservation) = self.reservation.as_ref().filter(|reservation| reservation.is_held_by(me))
        else {
            return Ok(Due::default());
        };
        if what.of_unit() != Ok(reservation.kind) {
            let code = AdditionalSense::INVALID_RELEASE_OF_PERSISTENT_RESERVATION;
            return Err(Sense::illegal_request(code).into());
        }
        let told = if reservation.kind.admits_registrants() { self.others(me) } else { Vec::new() };
        self.reservation = None;
        Ok(Due { attentions: vec![(AdditionalSense::RESERVATIONS_RELEASED, told)], ..Due::default() })
    }

    /// CLEAR: nothing is left but the generation.
    pub(super) fn clear(&mut self, me: &NexusName, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let told = self.others(me);
        self.reservation = None;
        self.registrants.clear();
        self.generation = self.generation.wrapping_add(1);
        Ok(Due { attentions: vec![(AdditionalSense::RESERVATIONS_PREEMPTED, told)], ..Due::default() })
    }

    /// PREEMPT, with or without AND ABORT: removes the registrations with a key, and takes the reservation over if
    /// their nexus holds it. Key 0 stands for all others where all hold it.
    pub(super) fn preempt(&mut self, me: &NexusName, what: ScopeType, list: &BasicList) -> Changed {
        self.check_key(me, list.reservation_key)?;
        let victim = list.service_action_key;
        let taken = self.reservation.as_ref().filter(|reservation| match &reservation.holder {
            Some(holder) => self.key_of(holder) == Some(victim),
            None => victim == 0,
        });
        let due = match taken.map(|reservation| reservation.kind) {
            Some(before) => self.take_over(me, before, what.of_unit()?, victim),
            None if victim == 0 => return Err(Sense::invalid_field_in_parameter_list(8, None).into()),
            None => self.remove_registrants(me, victim)?,
        };
        self.generation = self.generation.wrapping_add(1);
        Ok(due)
    }

    fn take_over(
        &mut self,
        me: &NexusName,
        before: ReservationType,
        kind: ReservationType,
        victim: u64,
    ) -> Due {
        let preempted = self.remove(|nexus, key| nexus != me && (victim == 0 || key == victim));
        self.reservation = Some(Reservation::of(kind, me));
        let released = if before == kind { Vec::new() } else { self.others(me) };
        let attentions = vec![
            (AdditionalSense::REGISTRATIONS_PREEMPTED, preempted.clone()),
            (AdditionalSense::RESERVATIONS_RELEASED, released),
        ];
        Due { attentions, preempted }
    }

    /// The sender's own registration may be among them.
    fn remove_registrants(&mut self, me: &NexusName, victim: u64) -> Changed {
        let preempted = self.remove(|_, key| key == victim);
        if preempted.is_empty() {
            return Err(Refusal::Conflict);
        }
        if self.registrants.is_empty() {
            self.reservation = None;
        }
        let told = preempted.iter().filter(|name| *name != me).cloned().collect();
        Ok(Due { attentions: vec![(AdditionalSense::REGISTRATIONS_PREEMPTED, told)], preempted })
    }

    fn remove(&mut self, which: impl Fn(&NexusName, u64) -> bool) -> Vec<NexusName> {
        let gone = self.registrants.extract_if(.., |registrant| which(&registrant.nexus, registrant.key));
        gone.map(|registrant| registrant.nexus).collect()
    }
}
