//! REGISTER, REGISTER AND IGNORE EXISTING KEY, REGISTER AND MOVE (SPC-4 5.13.7, 5.13.8).

use std::sync::Arc;

use super::{
    Changed, Effects, Existing, Persistent, REGISTRANTS_MAX, REGISTRANTS_PER_INITIATOR_MAX, Registrant,
    Reservation,
};
use crate::device::NexusName;
use crate::device::answer::Refusal;
use crate::page::persist::out::{BasicList, MoveList};
use crate::page::persist::transport_id::TransportId;
use crate::sense::{AdditionalSense, Sense};

impl Persistent {
    /// REGISTER and REGISTER AND IGNORE EXISTING KEY: adds, changes or removes a registration.
    pub(super) fn register(&mut self, me: &NexusName, existing: Existing, list: &BasicList) -> Changed {
        refuse_power_loss(list.persist_through_power_loss, 20)?;
        if list.all_target_ports {
            return Err(Sense::invalid_field_in_parameter_list(20, Some(2)).into());
        }
        let own = self.key_of(me);
        if existing == Existing::Checked && list.reservation_key != own.unwrap_or(0) {
            return Err(Refusal::Conflict);
        }
        if list.initiators.is_some() && (own.is_some() || list.service_action_key == 0) {
            return Err(Sense::invalid_field_in_cdb(1, Some(4)).into());
        }
        let effects = match (own, list.service_action_key) {
            (None, 0) => return Ok(Effects::default()),
            (Some(_), 0) => self.unregister(me),
            (_, key) => {
                self.set_keys(list.initiators.as_deref().unwrap_or_default(), me, key, existing)?;
                Effects::default()
            }
        };
        self.generation = self.generation.wrapping_add(1);
        Ok(effects)
    }

    /// Registers the sender and the initiators of SPEC_I_PT at the target port of the sender: all or none.
    fn set_keys(
        &mut self,
        initiators: &[TransportId],
        me: &NexusName,
        key: u64,
        existing: Existing,
    ) -> Result<(), Refusal> {
        let mut names = vec![me.clone()];
        for initiator in initiators {
            let name = named(initiator, me.target_port, 28)?;
            if names.contains(&name) {
                continue;
            }
            if existing == Existing::Checked && self.key_of(&name).is_some() {
                return Err(Refusal::Conflict);
            }
            names.push(name);
            if names.len() > REGISTRANTS_PER_INITIATOR_MAX {
                return Err(no_resources());
            }
        }
        self.check_capacity(me, &names)?;
        names.into_iter().for_each(|name| self.set_key(me, name, key));
        Ok(())
    }

    /// Removes a registration, and the reservation if no other registrant holds it.
    fn unregister(&mut self, me: &NexusName) -> Effects {
        self.registrants.retain(|registrant| registrant.nexus != *me);
        let Some(Reservation { kind, holder }) = &self.reservation else { return Effects::default() };
        let ends = match holder {
            Some(holder) => holder == me,
            None => self.registrants.is_empty(),
        };
        if !ends {
            return Effects::default();
        }
        let released = if kind.admits_registrants() { self.others(me) } else { Vec::new() };
        self.reservation = None;
        Effects::attention(AdditionalSense::RESERVATIONS_RELEASED, released)
    }

    /// REGISTER AND MOVE: moves the reservation of the sender to another nexus, which is registered.
    pub(in crate::device) fn move_reservation(&mut self, me: &NexusName, list: &MoveList) -> Changed {
        refuse_power_loss(list.persist_through_power_loss, 17)?;
        self.check_key(me, list.reservation_key)?;
        match &self.reservation {
            Some(reservation) if reservation.kind.is_held_by_all() => return Err(Refusal::Conflict),
            Some(reservation) if reservation.is_held_by(me) => {}
            Some(_) | None => return Err(Sense::invalid_field_in_cdb(1, Some(4)).into()),
        }
        if list.service_action_key == 0 {
            return Err(Sense::invalid_field_in_parameter_list(8, None).into());
        }
        // Only the target port that received the command is known.
        if list.target_port != me.target_port {
            return Err(Sense::invalid_field_in_parameter_list(18, None).into());
        }
        let new_holder = named(&list.initiator, list.target_port, 24)?;
        if new_holder == *me {
            return Err(Sense::invalid_field_in_parameter_list(24, None).into());
        }
        self.check_capacity(me, std::slice::from_ref(&new_holder))?;
        self.set_key(me, new_holder.clone(), list.service_action_key);
        if let Some(reservation) = &mut self.reservation {
            reservation.holder = Some(new_holder);
        }
        if list.unregister {
            self.registrants.retain(|registrant| registrant.nexus != *me);
        }
        self.generation = self.generation.wrapping_add(1);
        Ok(Effects::default())
    }

    /// Whether `me` may register these names.
    fn check_capacity(&self, me: &NexusName, names: &[NexusName]) -> Result<(), Refusal> {
        let new = names.iter().filter(|name| self.key_of(name).is_none()).count();
        let initiator = initiator_name(&me.initiator_port);
        let others = self.registrants.iter().filter(|registrant| !names.contains(&registrant.nexus));
        let made = others.filter(|registrant| initiator_name(&registrant.registrar) == initiator).count();
        let is_over = self.registrants.len() + new > REGISTRANTS_MAX
            || made + names.len() > REGISTRANTS_PER_INITIATOR_MAX;
        if is_over { Err(no_resources()) } else { Ok(()) }
    }

    fn set_key(&mut self, me: &NexusName, nexus: NexusName, key: u64) {
        let registrar = Arc::clone(&me.initiator_port);
        match self.registrants.iter_mut().find(|registrant| registrant.nexus == nexus) {
            Some(registrant) => (registrant.key, registrant.registrar) = (key, registrar),
            None => self.registrants.push(Registrant { nexus, key, registrar }),
        }
    }
}

fn no_resources() -> Refusal {
    Sense::illegal_request(AdditionalSense::INSUFFICIENT_REGISTRATION_RESOURCES).into()
}

/// The initiator's name in the name of its port (SPC-4 7.6.4.6): what precedes the ISID.
fn initiator_name(port: &str) -> &str {
    port.rsplit_once(",i,").map_or(port, |(name, _)| name)
}

/// The nexus of the initiator port in a TransportID at offset `at` of a parameter list. A TransportID of a device is
/// refused, because the ports of the device are unknown.
fn named(initiator: &TransportId, target_port: u16, at: u16) -> Result<NexusName, Refusal> {
    match initiator {
        TransportId::Port(name) => Ok(NexusName { initiator_port: name.as_str().into(), target_port }),
        TransportId::Device(_) => Err(Sense::invalid_field_in_parameter_list(at, Some(7)).into()),
    }
}

/// Refuses APTPL: persistence through power loss is not supported (PTPL_C is 0).
fn refuse_power_loss(asked: bool, byte: u16) -> Result<(), Refusal> {
    if asked { Err(Sense::invalid_field_in_parameter_list(byte, Some(0)).into()) } else { Ok(()) }
}
