//! Modes system and lld.

use super::super::error::ControlError;
use super::super::report::{Reply, Report};
use super::super::request::{Driver, SystemChange};
use super::super::wire::{Form, Mode, RequestHeader};
use super::error::{DriverError, PortalError};
use super::{Control, Outside};
use crate::model::DriverState;
use crate::model::portal::PortalSpec;

impl Control {
    /// Makes the changes that are right; an error among them is the answer, as in stock.
    pub(super) fn system_update(
        &mut self,
        changes: Vec<Result<SystemChange, ControlError>>,
        out: &mut dyn Outside,
    ) -> Reply {
        let mut reply = Ok(Report::Done);
        for change in changes {
            match change {
                Ok(change) => self.change_system(change, out),
                Err(error) => reply = Err(error),
            }
        }
        reply
    }

    fn change_system(&mut self, change: SystemChange, out: &mut dyn Outside) {
        let isns = &mut self.model.isns;
        match change {
            SystemChange::Debug(on) => {
                self.model.debug = on;
                out.set_debug(on);
            }
            SystemChange::State(state) => self.model.state = state,
            SystemChange::Isns(on) => {
                // Stock's client does not start without a server either.
                isns.on = on && !isns.server.is_empty();
                if on {
                    log::warn!(
                        "iSNS=On is kept and shown, but there is no iSNS client: no target is registered"
                    );
                }
            }
            SystemChange::IsnsServer(server) => isns.server = server,
            SystemChange::IsnsPort(port) => isns.port = port,
            SystemChange::IsnsAccessControl(on) => {
                isns.access_control = on;
                if on {
                    log::warn!(
                        "iSNSAccessControl=On is kept and shown, but there is no iSNS client: access is what \
                         targets' rules say"
                    );
                }
            }
        }
    }

    /// A driver that a client names must be ready, but to be started, stopped or looked at. One that names none is not
    /// asked, as in stock.
    ///
    /// # Errors
    /// [`DriverError::NotReady`].
    pub fn admit(&self, header: &RequestHeader) -> Result<(), ControlError> {
        let (_, name) = Form::of(&header.lld);
        let named = Driver::from_name(name).filter(|_| !name.is_empty());
        let Some(driver) = named.filter(|_| header.mode != Mode::Lld as u32) else { return Ok(()) };
        match self.model.driver(driver) {
            DriverState::Ready => Ok(()),
            state @ (DriverState::Stopped | DriverState::Error) => {
                Err(DriverError::NotReady(driver, state).into())
            }
        }
    }

    /// Only without targets: this is not the way to end sessions.
    pub(super) fn system_delete(&mut self, out: &mut dyn Outside) -> Reply {
        if !self.model.is_empty() {
            return Err(DriverError::TargetsExist(self.model.targets().len()).into());
        }
        out.end();
        Ok(Report::Done)
    }

    pub(super) fn driver_start(&mut self, driver: Driver, out: &mut dyn Outside) -> Reply {
        match self.model.driver(driver) {
            DriverState::Ready => return Ok(Report::Done),
            DriverState::Stopped => {}
            DriverState::Error => return Err(DriverError::Unsupported(driver).into()),
        }
        let listened_on = |spec: &PortalSpec| self.model.portals.iter().any(|portal| portal.spec == *spec);
        let missing: Vec<_> =
            self.startup_portals.iter().filter(|spec| !listened_on(spec)).cloned().collect();
        for spec in missing {
            let Some(address) = spec.address() else { continue };
            if let Err(error) = self.listen(address, out) {
                log::error!("portal {spec}: {error}");
                self.close_portals(out);
                return Err(PortalError::ListenAtStart { portal: spec, error }.into());
            }
        }
        self.model.iscsi = DriverState::Ready;
        Ok(Report::Done)
    }

    pub(super) fn driver_stop(&mut self, driver: Driver, out: &mut dyn Outside) -> Reply {
        if self.model.driver(driver) != DriverState::Ready {
            return Ok(Report::Done);
        }
        if !self.model.is_empty() {
            return Err(DriverError::InUse(self.model.targets().len()).into());
        }
        self.close_portals(out);
        out.close_logins();
        self.model.iscsi = DriverState::Stopped;
        Ok(Report::Done)
    }
}
