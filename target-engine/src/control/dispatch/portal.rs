//! Portals: addresses are listened on at once, names are looked up by an opener first.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::super::error::ControlError;
use super::super::jobs::Job;
use super::super::report::{Reply, Report};
use super::error::{OperationError, PortalError};
use super::{Control, MaybeWaiting, Outside, Waiting, Work};
use crate::limits::PORTALS_MAX;
use crate::model::portal::{PortalOptions, PortalSpec};
use crate::model::{Portal, PortalId};

/// Portals on their way.
#[derive(Debug)]
pub struct Listen {
    rest: VecDeque<PortalSpec>,
    /// Those of the same request that are listened on already.
    added: Vec<PortalId>,
}

impl Control {
    pub(super) fn portal_new(
        &mut self,
        (client, due): Waiting,
        options: PortalOptions,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        self.set_pings(&options);
        let listen = Listen { rest: options.portals.into(), added: Vec::new() };
        self.listen_on((Some(client), due), listen, out)
    }

    /// For the targets that are made from now on.
    pub fn set_pings(&mut self, options: &PortalOptions) {
        self.model.nop_interval = options.nop_interval.unwrap_or(self.model.nop_interval);
        self.model.nop_count = options.nop_count.unwrap_or(self.model.nop_count);
    }

    /// Removes the portals that are written like these.
    pub(super) fn portal_delete(&mut self, options: &PortalOptions, out: &mut dyn Outside) -> Reply {
        for spec in &options.portals {
            let wanted = spec.address().map_or_else(|| spec.clone(), PortalSpec::from);
            let found = self.model.portals.iter().position(|portal| portal.spec == wanted);
            let found = found.ok_or_else(|| {
                let known = self.model.portals.iter().map(|portal| portal.spec.clone()).collect();
                PortalError::Unknown { portal: wanted, known }
            })?;
            let portal = self.model.portals.remove(found);
            out.close_portal(portal.id);
        }
        Ok(Report::Done)
    }

    /// All or none: what was added before a failure is taken back.
    fn listen_on(
        &mut self,
        (client, due): MaybeWaiting,
        mut listen: Listen,
        out: &mut dyn Outside,
    ) -> Option<Reply> {
        while let Some(spec) = listen.rest.pop_front() {
            let Some(address) = spec.address() else {
                let ticket = self.pending.begin(client, due, Vec::new(), Work::Listen(listen));
                if out.job(Job::Resolve(ticket, spec)).is_ok() {
                    return None;
                }
                let operation = self.pending.take(ticket);
                if let Some(Work::Listen(listen)) = operation.map(|operation| operation.work) {
                    self.take_back(&listen, out);
                }
                return Some(Err(OperationError::TooBusy.into()));
            };
            if let Err(error) = self.listen_and_note(address, &mut listen, out) {
                return Some(Err(error));
            }
        }
        Some(Ok(Report::Done))
    }

    /// The opener has looked a name up; each of its addresses is a portal.
    pub(super) fn name_resolved(
        &mut self,
        waiting: MaybeWaiting,
        mut listen: Listen,
        addresses: &[SocketAddr],
        out: &mut dyn Outside,
    ) {
        let mut reply = addresses.is_empty().then(|| Err(PortalError::NoAddress.into()));
        for address in addresses {
            if let Err(error) = self.listen_and_note(*address, &mut listen, out) {
                reply = Some(Err(error));
                break;
            }
        }
        match reply {
            Some(_) => self.take_back(&listen, out),
            None => reply = self.listen_on(waiting, listen, out),
        }
        if let (Some(client), Some(reply)) = (waiting.0, reply) {
            out.reply(client, reply);
        }
    }

    fn listen_and_note(
        &mut self,
        address: SocketAddr,
        listen: &mut Listen,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        match self.listen(address, out) {
            Ok(id) => {
                listen.added.push(id);
                Ok(())
            }
            Err(error) => {
                log::error!("portal {address}: {error}");
                self.take_back(listen, out);
                Err(PortalError::Listen { portal: address.into(), error }.into())
            }
        }
    }

    /// Listens at an address and enters it as the newest portal.
    ///
    /// # Errors
    /// The address is taken or not ours, or there are too many portals.
    pub fn listen(&mut self, address: SocketAddr, out: &mut dyn Outside) -> std::io::Result<PortalId> {
        if self.model.portals.len() >= PORTALS_MAX {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        self.last_portal += 1;
        let id = PortalId(self.last_portal);
        let taken = out.listen(id, address)?;
        log::info!("portal {taken}");
        self.model.portals.insert(0, Portal { id, spec: taken.into() });
        Ok(id)
    }

    /// What is listened on now is what a driver that is started again listens on.
    pub fn remember_portals(&mut self) {
        self.startup_portals = self.model.portals.iter().rev().map(|portal| portal.spec.clone()).collect();
    }

    pub(super) fn close_portals(&mut self, out: &mut dyn Outside) {
        for portal in std::mem::take(&mut self.model.portals) {
            out.close_portal(portal.id);
        }
    }

    fn take_back(&mut self, listen: &Listen, out: &mut dyn Outside) {
        self.model.portals.retain(|portal| !listen.added.contains(&portal.id));
        for id in &listen.added {
            out.close_portal(*id);
        }
    }
}
