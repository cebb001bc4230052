//! Parameter data of PERSISTENT RESERVE IN (SPC-4 6.15).

use super::Persistent;
use crate::cdb::persist::{PersistIn, ScopeType};
use crate::page::persist::transport_id::TransportId;
use crate::page::persist::{self, Capabilities, FullStatus};

/// Data of REPORT CAPABILITIES.
const CAPABILITIES: Capabilities = Capabilities {
    compatible_reservations: true,
    specify_initiator_ports: true,
    all_target_ports: false,
    persist_through_power_loss: false,
    power_loss_activated: false,
};

impl Persistent {
    /// The parameter data of a service action, before truncation to the allocation length.
    pub(in crate::device) fn report(&self, action: PersistIn) -> Vec<u8> {
        match action {
            PersistIn::ReadKeys => self.keys(),
            PersistIn::ReadReservation => self.reservation(),
            PersistIn::ReportCapabilities => CAPABILITIES.encode(),
            PersistIn::ReadFullStatus => self.full_status(),
        }
    }

    fn keys(&self) -> Vec<u8> {
        persist::read_keys(self.generation, self.registrants.iter().map(|registrant| registrant.key))
    }

    fn reservation(&self) -> Vec<u8> {
        let reservation = self.reservation.as_ref().map(|reservation| {
            let key = reservation.holder.as_ref().and_then(|holder| self.key_of(holder));
            (key.unwrap_or(0), reservation.kind)
        });
        persist::read_reservation(self.generation, reservation)
    }

    /// With many registrations it takes longer to encode than to send, so it is encoded once after a change.
    fn full_status(&self) -> Vec<u8> {
        self.full_status.0.get_or_init(|| self.encode_full_status()).clone()
    }

    fn encode_full_status(&self) -> Vec<u8> {
        let registrations = self.registrants.iter().map(|registrant| {
            let held = self.reservation.as_ref().filter(|held| held.is_held_by(&registrant.nexus));
            FullStatus {
                key: registrant.key,
                holds: held.map(|reservation| ScopeType(reservation.kind as u8)),
                target_port: registrant.nexus.target_port,
                initiator: TransportId::named(&registrant.nexus.initiator_port),
            }
        });
        persist::read_full_status(self.generation, registrations)
    }
}
