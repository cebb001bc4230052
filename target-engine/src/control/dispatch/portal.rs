//! Portals: an address is listened on at once, a name is resolved by a job first.

use std::net::SocketAddr;

use super::error::{OperationError, PortalError};
use super::outside::Outside;
use super::state::{Control, Env};
use super::work::{Listen, Waiting, Work};
use crate::control::error::ControlError;
use crate::control::jobs::Job;
use crate::control::report::{Reply, Report};
use crate::limits::PORTALS_MAX;
use crate::model::portal::{PortalOptions, PortalSpec};
use crate::model::{Portal, PortalId};

impl Control {
    pub(super) fn portal_new(
        &mut self,
        waiting: Waiting,
        options: PortalOptions,
        env: &mut Env<'_>,
    ) -> Option<Reply> {
        self.set_pings(&options);
        let listen = Listen { rest: options.portals.into(), added: Vec::new() };
        self.listen_on(waiting, listen, env)
    }

    /// Sets how targets that are made from now on ping their initiators.
    pub fn set_pings(&mut self, options: &PortalOptions) {
        self.model.nop_interval = options.nop_interval.unwrap_or(self.model.nop_interval);
        self.model.nop_count = options.nop_count.unwrap_or(self.model.nop_count);
    }

    /// Removes the portals with these addresses.
    pub(super) fn portal_delete(&mut self, options: &PortalOptions, env: &mut Env<'_>) -> Reply {
        for spec in &options.portals {
            let wanted = spec.address().map_or_else(|| spec.clone(), PortalSpec::from);
            let found = self.model.portals.iter().position(|portal| portal.spec == wanted);
            let found = found.ok_or_else(|| {
                let known = self.model.portals.iter().map(|portal| portal.spec.clone()).collect();
                PortalError::Unknown { portal: wanted, known }
            })?;
            let portal = self.model.portals.remove(found);
            env.out.close_portal(portal.id);
        }
        Ok(Report::Done)
    }

    /// Adds all or none: after a failure those that were added are removed again.
    fn listen_on(&mut self, waiting: Waiting, mut listen: Listen, env: &mut Env<'_>) -> Option<Reply> {
        while let Some(spec) = listen.rest.pop_front() {
            let Some(address) = spec.address() else {
                let ticket =
                    self.pending.begin(waiting.client, waiting.due, Vec::new(), Work::Listen(listen));
                if env.out.job(Job::Resolve(ticket, spec)).is_ok() {
                    return None;
                }
                let operation = self.pending.take(ticket);
                if let Some(Work::Listen(listen)) = operation.map(|operation| operation.work) {
                    self.undo(&listen, env);
                }
                return Some(Err(OperationError::TooBusy.into()));
            };
            if let Err(error) = self.listen_and_note(address, &mut listen, env) {
                return Some(Err(error));
            }
        }
        Some(Ok(Report::Done))
    }

    /// A name was resolved: each of its addresses becomes a portal.
    pub(super) fn name_resolved(
        &mut self,
        waiting: Waiting,
        mut listen: Listen,
        addresses: &[SocketAddr],
        env: &mut Env<'_>,
    ) {
        let mut reply = addresses.is_empty().then(|| Err(PortalError::NoAddress.into()));
        for address in addresses {
            if let Err(error) = self.listen_and_note(*address, &mut listen, env) {
                reply = Some(Err(error));
                break;
            }
        }
        match reply {
            Some(_) => self.undo(&listen, env),
            None => reply = self.listen_on(waiting, listen, env),
        }
        if let (Some(client), Some(reply)) = (waiting.client, reply) {
            env.out.reply(client, reply);
        }
    }

    fn listen_and_note(
        &mut self,
        address: SocketAddr,
        listen: &mut Listen,
        env: &mut Env<'_>,
    ) -> Result<(), ControlError> {
        match self.listen(address, env.out) {
            Ok(id) => {
                listen.added.push(id);
                Ok(())
            }
            Err(error) => {
                log::error!("portal {address}: {error}");
                self.undo(listen, env);
                Err(PortalError::Listen { portal: address.into(), error }.into())
            }
        }
    }

    /// Listens on an address and adds it as the newest portal.
    ///
    /// # Errors
    /// The address is in use or not local, or there are too many portals.
    pub fn listen(&mut self, address: SocketAddr, out: &mut dyn Outside) -> std::io::Result<PortalId> {
        if self.model.portals.len() >= PORTALS_MAX {
            return Err(std::io::ErrorKind::QuotaExceeded.into());
        }
        self.portals.last += 1;
        let id = PortalId(self.portals.last);
        let local = out.listen(id, address)?;
        log::info!("portal {local}");
        self.model.portals.insert(0, Portal { id, spec: local.into() });
        Ok(id)
    }

    /// Records the present portals: a driver that is started again listens on them.
    pub fn remember_portals(&mut self) {
        self.portals.at_start = self.model.portals.iter().rev().map(|portal| portal.spec.clone()).collect();
    }

    pub(super) fn close_portals(&mut self, env: &mut Env<'_>) {
        for portal in std::mem::take(&mut self.model.portals) {
            env.out.close_portal(portal.id);
        }
    }

    /// Forgets all portals, which the driver has closed: the daemon ends.
    pub fn forget_portals(&mut self) {
        self.model.portals.clear();
    }

    fn undo(&mut self, listen: &Listen, env: &mut Env<'_>) {
        self.model.portals.retain(|portal| !listen.added.contains(&portal.id));
        for id in &listen.added {
            env.out.close_portal(*id);
        }
    }
}
