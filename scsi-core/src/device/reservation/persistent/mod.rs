//! Persistent reservations (SPC-4 5.13): the registrations and the reservation of a unit, and who may do what
//! under them. They belong to the names of ports, so they outlive sessions; they do not outlive the daemon, and
//! a request to make them do so (APTPL) is refused.

mod register;
mod report;
mod reserve;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(super) use report::report;

use super::request::{Answer, Refusal, Request, good};
use super::reserve::Standing;
use super::unit::UnitState;
use super::{Nexus, NexusName, Step};
use crate::cdb::persist::{PersistOut, ReservationType};
use crate::page::persist::out::{BasicList, MoveList};
use crate::sense::{AdditionalSense, Sense};

/// What a unit remembers. Nobody is registered while a nexus holds the unit by RESERVE (6).
#[derive(Clone, Debug, Default)]
pub(super) struct Persistent {
    /// PRGENERATION.
    generation: u32,
    /// In the order they came; no nexus twice, no key 0.
    registrants: Vec<Registrant>,
    reservation: Option<Reservation>,
}

#[derive(Clone, Debug)]
struct Registrant {
    nexus: NexusName,
    key: u64,
}

#[derive(Clone, Debug)]
struct Reservation {
    kind: ReservationType,
    /// A registrant; `None`: all of them hold it.
    holder: Option<NexusName>,
}

/// What is due to others after PERSISTENT RESERVE OUT.
#[derive(Debug, Default)]
struct Due {
    attentions: Vec<(AdditionalSense, Vec<NexusName>)>,
    /// Nexuses whose registrations a preemption removed.
    preempted: Vec<NexusName>,
}

type Changed = Result<Due, Refusal>;

/// PERSISTENT RESERVE OUT (SPC-4 6.16).
pub(super) fn change(request: &mut Request<'_>, action: PersistOut, parameter_len: u32) -> Answer {
    let list = request.parameter_list(parameter_len)?;
    let me = request.nexus.name();
    let due = match action {
        PersistOut::RegisterAndMove => {
            let list = MoveList::parse(list)?;
            apply(request, |persist| persist.move_reservation(&me, &list))?
        }
        action => {
            let list = BasicList::parse(list)?;
            apply(request, |persist| persist.change(&me, action, &list))?
        }
    };
    let aborts = matches!(action, PersistOut::PreemptAndAbort(_)) && !due.preempted.is_empty();
    Ok(if aborts { Step::AbortTasks(due.preempted.into()) } else { good() })
}

/// Changes the unit's state, unless the change is refused or a nexus holds the unit by RESERVE (6) (SPC-2 5.5.1).
fn apply(request: &Request<'_>, change: impl FnOnce(&mut Persistent) -> Changed) -> Changed {
    request.unit.publish(|state: &mut UnitState| {
        if state.reserved_by.is_some() {
            return Err(Refusal::Conflict);
        }
        let mut persist = Persistent::clone(&state.persist);
        let mut due = change(&mut persist)?;
        for (code, nexuses) in due.attentions.drain(..) {
            state.log.push_to(code, nexuses.into());
        }
        state.persist = Arc::new(persist);
        Ok(due)
    })
}

impl Persistent {
    /// Whether the persistent reservation stands against a nexus (SPC-4 5.13.1).
    pub(super) fn standing(&self, nexus: &Nexus) -> Standing {
        match &self.reservation {
            Some(_) if self.admits(nexus) => Standing::Free,
            Some(reservation) if reservation.kind.forbids_reads() => Standing::ExclusiveAccess,
            Some(_) => Standing::WriteExclusive,
            None => Standing::Free,
        }
    }

    /// There is a reservation, and the nexus holds it or is one of the registrants it admits.
    pub(super) fn admits(&self, nexus: &Nexus) -> bool {
        match &self.reservation {
            Some(reservation) if reservation.kind.admits_registrants() => {
                self.registrants.iter().any(|registrant| registrant.nexus.is_of(nexus))
            }
            Some(reservation) => reservation.holder.as_ref().is_some_and(|holder| holder.is_of(nexus)),
            None => false,
        }
    }

    /// Nobody is registered.
    pub(super) fn is_unused(&self) -> bool {
        self.registrants.is_empty()
    }

    fn change(&mut self, me: &NexusName, action: PersistOut, list: &BasicList) -> Changed {
        match action {
            PersistOut::Register => self.register(me, register::Existing::Checked, list),
            PersistOut::RegisterAndIgnore => self.register(me, register::Existing::Ignored, list),
            PersistOut::Reserve(what) => self.reserve(me, what, list),
            PersistOut::Release(what) => self.release(me, what, list),
            PersistOut::Clear => self.clear(me, list),
            PersistOut::Preempt(what) | PersistOut::PreemptAndAbort(what) => self.preempt(me, what, list),
            PersistOut::RegisterAndMove => Err(Sense::invalid_field_in_cdb(1, Some(4)).into()),
        }
    }

    fn key_of(&self, nexus: &NexusName) -> Option<u64> {
        self.registrants.iter().find(|registrant| registrant.nexus == *nexus).map(|registrant| registrant.key)
    }

    /// RESERVATION KEY must be the sender's own.
    fn check_key(&self, me: &NexusName, key: u64) -> Result<(), Refusal> {
        if self.key_of(me) == Some(key) { Ok(()) } else { Err(Refusal::Conflict) }
    }

    /// All registrants but one.
    fn others(&self, me: &NexusName) -> Vec<NexusName> {
        let names = self.registrants.iter().map(|registrant| &registrant.nexus);
        names.filter(|name| *name != me).cloned().collect()
    }
}

impl Reservation {
    /// A reservation that a registrant establishes.
    fn of(kind: ReservationType, me: &NexusName) -> Self {
        Self { kind, holder: (!kind.is_held_by_all()).then(|| me.clone()) }
    }

    /// Whether a registrant holds it.
    fn is_held_by(&self, registrant: &NexusName) -> bool {
        self.holder.as_ref().is_none_or(|holder| holder == registrant)
    }
}
