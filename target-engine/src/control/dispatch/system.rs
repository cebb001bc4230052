//! Modes system and lld: settings of the daemon, and the drivers.

use super::error::{DriverError, PortalError};
use super::state::{Control, Env};
use crate::control::error::ControlError;
use crate::control::report::{Reply, Report};
use crate::control::request::SystemChange;
use crate::control::wire::{Form, Mode, RequestHeader};
use crate::model::DriverState;
use crate::model::portal::PortalSpec;
use crate::model::state::Driver;

impl Control {
    /// Makes all valid changes; the reply is the last error, as in tgt.
    pub(super) fn system_update(
        &mut self,
        changes: Vec<Result<SystemChange, ControlError>>,
        env: &mut Env<'_>,
    ) -> Reply {
        let mut reply = Ok(Report::Done);
        for change in changes {
            match change {
                Ok(change) => self.change_system(change, env),
                Err(error) => reply = Err(error),
            }
        }
        reply
    }

    fn change_system(&mut self, change: SystemChange, env: &mut Env<'_>) {
        let isns = &mut self.model.isns;
        match change {
            SystemChange::Debug(on) => {
                self.model.debug = on;
                env.out.set_debug(on);
            }
            SystemChange::State(state) => self.model.state = state,
            SystemChange::Isns(on) => {
                // The iSNS client of tgt does not start without a server either.
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

    /// Refuses a request that names a driver which is not ready, except in mode lld. A request without a driver is not
    /// checked, as in tgt.
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

    /// Ends the daemon; only without targets.
    pub(super) fn system_delete(&mut self, env: &mut Env<'_>) -> Reply {
        if !self.model.is_empty() {
            return Err(DriverError::TargetsExist(self.model.targets().len()).into());
        }
        env.out.end();
        Ok(Report::Done)
    }

    pub(super) fn driver_start(&mut self, driver: Driver, env: &mut Env<'_>) -> Reply {
        match self.model.driver(driver) {
            DriverState::Ready => return Ok(Report::Done),
            DriverState::Stopped => {}
            DriverState::Error => return Err(DriverError::Unsupported(driver).into()),
        }
        let listened_on = |spec: &PortalSpec| self.model.portals.iter().any(|portal| portal.spec == *spec);
        let missing: Vec<_> =
            self.portals.at_start.iter().filter(|spec| !listened_on(spec)).cloned().collect();
        for spec in missing {
            let Some(address) = spec.address() else { continue };
            if let Err(error) = self.listen(address, env.out) {
                log::error!("portal {spec}: {error}");
                self.close_portals(env);
                return Err(PortalError::ListenAtStart { portal: spec, error }.into());
            }
        }
        self.model.iscsi = DriverState::Ready;
        Ok(Report::Done)
    }

    pub(super) fn driver_stop(&mut self, driver: Driver, env: &mut Env<'_>) -> Reply {
        if self.model.driver(driver) != DriverState::Ready {
            return Ok(Report::Done);
        }
        if !self.model.is_empty() {
            return Err(DriverError::InUse(self.model.targets().len()).into());
        }
        self.close_portals(env);
        env.out.close_logins();
        self.model.iscsi = DriverState::Stopped;
        Ok(Report::Done)
    }
}
