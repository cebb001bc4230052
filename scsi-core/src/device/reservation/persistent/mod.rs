//! Persistent reservations (SPC-4 5.13): the registrations and the reservation of a unit, and the access that they permit.
//! They belong to the names of ports, so they persist across sessions. They do not persist across restarts of the process,
//! and APTPL, which requests that, is refused.

mod register;
mod report;
mod reserve;

use std::sync::{Arc, OnceLock};

use super::restriction::Restriction;
use crate::cdb::persist::{PersistOut, ReservationType};
use crate::device::answer::Refusal;
use crate::device::{Nexus, NexusName};
use crate::page::persist::out::BasicList;
use crate::sense::{AdditionalSense, Sense};

/// Registrations of a unit; one more is refused with INSUFFICIENT REGISTRATION RESOURCES.
///
/// Hit by: initiator. Scope: unit. Over it: a registration is refused with INSUFFICIENT REGISTRATION
/// RESOURCES. Seen: PERSISTENT RESERVE IN.
pub(in crate::device) const REGISTRANTS_MAX: usize = 256;

/// Registrations of a unit that the ports of one initiator name have made, their own and those by SPEC_I_PT and REGISTER AND
/// MOVE; one more is refused with INSUFFICIENT REGISTRATION RESOURCES. One initiator cannot take all of
/// [`REGISTRANTS_MAX`].
pub(in crate::device) const REGISTRANTS_PER_INITIATOR_MAX: usize = 32;

/// The registrations and the persistent reservation of a unit.
#[derive(Clone, Debug, Default)]
pub(in crate::device) struct Persistent {
    /// PRGENERATION.
    generation: u32,
    /// In the order of registration. Each nexus is registered once, with a key other than 0.
    registrants: Vec<Registrant>,
    reservation: Option<Reservation>,
    full_status: KeptStatus,
}

/// READ FULL STATUS data, if a nexus has asked for it. A copy is made to be changed, so it begins without.
#[derive(Debug, Default)]
struct KeptStatus(OnceLock<Vec<u8>>);

impl Clone for KeptStatus {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[derive(Clone, Debug)]
struct Registrant {
    nexus: NexusName,
    key: u64,
    /// The initiator port that made or last changed the registration.
    registrar: Arc<str>,
}

#[derive(Clone, Debug)]
struct Reservation {
    kind: ReservationType,
    /// The registrant that holds the reservation; `None` if all registrants hold it.
    holder: Option<NexusName>,
}

/// Effects of PERSISTENT RESERVE OUT on other nexuses.
#[derive(Debug, Default)]
pub(in crate::device) struct Effects {
    /// Unit attentions to raise.
    pub(in crate::device) attentions: Vec<Attention>,
    /// Nexuses whose registrations a preemption removed.
    pub(in crate::device) preempted: Vec<NexusName>,
}

/// A unit attention for some nexuses.
#[derive(Debug)]
pub(in crate::device) struct Attention {
    pub(in crate::device) code: AdditionalSense,
    pub(in crate::device) nexuses: Vec<NexusName>,
}

type Changed = Result<Effects, Refusal>;

/// Whether the sender must name the key it is registered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Existing {
    /// REGISTER.
    Checked,
    /// REGISTER AND IGNORE EXISTING KEY.
    Ignored,
}

impl Persistent {
    /// What the persistent reservation forbids to a nexus (SPC-4 5.13.1).
    pub(in crate::device) fn restriction(&self, nexus: &Nexus) -> Restriction {
        match &self.reservation {
            Some(_) if self.admits(nexus) => Restriction::None,
            Some(reservation) if reservation.kind.forbids_reads() => Restriction::ExclusiveAccess,
            Some(_) => Restriction::WriteExclusive,
            None => Restriction::None,
        }
    }

    /// Whether there is a reservation that the nexus holds, or that admits it as a registrant.
    pub(in crate::device) fn admits(&self, nexus: &Nexus) -> bool {
        match &self.reservation {
            Some(reservation) if reservation.kind.admits_registrants() => {
                self.registrants.iter().any(|registrant| registrant.nexus.is_of(nexus))
            }
            Some(reservation) => reservation.holder.as_ref().is_some_and(|holder| holder.is_of(nexus)),
            None => false,
        }
    }

    /// Whether no nexus is registered.
    pub(in crate::device) fn is_unused(&self) -> bool {
        self.registrants.is_empty()
    }

    /// PERSISTENT RESERVE OUT but for REGISTER AND MOVE, which has a parameter list of its own.
    pub(in crate::device) fn change(
        &mut self,
        me: &NexusName,
        action: PersistOut,
        list: &BasicList,
    ) -> Changed {
        match action {
            PersistOut::Register => self.register(me, Existing::Checked, list),
            PersistOut::RegisterAndIgnore => self.register(me, Existing::Ignored, list),
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

    /// Refuses a RESERVATION KEY that is not the registered key of the sender.
    fn check_key(&self, me: &NexusName, key: u64) -> Result<(), Refusal> {
        if self.key_of(me) == Some(key) { Ok(()) } else { Err(Refusal::Conflict) }
    }

    /// All registrants except for one.
    fn others(&self, me: &NexusName) -> Vec<NexusName> {
        let names = self.registrants.iter().map(|registrant| &registrant.nexus);
        names.filter(|name| *name != me).cloned().collect()
    }
}

impl Effects {
    fn attention(code: AdditionalSense, nexuses: Vec<NexusName>) -> Self {
        Self { attentions: vec![Attention { code, nexuses }], preempted: Vec::new() }
    }
}

impl Reservation {
    /// A reservation that this registrant establishes.
    fn of(kind: ReservationType, me: &NexusName) -> Self {
        Self { kind, holder: (!kind.is_held_by_all()).then(|| me.clone()) }
    }

    /// Whether a registrant holds the reservation.
    fn is_held_by(&self, registrant: &NexusName) -> bool {
        self.holder.as_ref().is_none_or(|holder| holder == registrant)
    }
}
