//! Modes system and lld.

use super::super::error::TgtadmError;
use super::super::report::{Reply, Report};
use super::super::request::SystemChange;
use super::{Control, Outside, done};
use crate::model::DriverState;

impl Control {
    pub(super) fn system_update(&mut self, changes: Vec<SystemChange>, out: &mut dyn Outside) -> Reply {
        for change in changes {
            match change {
                SystemChange::Debug(on) => {
                    self.model.debug = on;
                    out.set_debug(on);
                }
                SystemChange::State(state) => self.model.state = state,
                SystemChange::Isns(on) => self.model.isns.on = on,
                SystemChange::IsnsServer(server) => self.model.isns.server = server,
                SystemChange::IsnsPort(port) => self.model.isns.port = port,
                SystemChange::IsnsAccessControl(on) => self.model.isns.access_control = on,
            }
        }
        Ok(Report::Done)
    }

    /// Only without targets: this is not the way to end sessions.
    pub(super) fn system_delete(&mut self, out: &mut dyn Outside) -> Reply {
        if !self.model.is_empty() {
            return Err(TgtadmError::InvalidRequest.because(targets_exist(self.model.targets().len())));
        }
        out.end();
        Ok(Report::Done)
    }

    pub(super) fn driver_start(&mut self, out: &mut dyn Outside) -> Reply {
        if self.model.iscsi == DriverState::Ready {
            return Ok(Report::Done);
        }
        for spec in self.startup_portals.clone() {
            let Some(address) = spec.address() else { continue };
            if let Err(error) = self.listen(address, out) {
                log::error!("portal {spec}: {error}");
                self.close_portals(out);
                return Err(TgtadmError::Unknown.because(format!("portal {spec}: {error}")));
            }
        }
        self.model.iscsi = DriverState::Ready;
        Ok(Report::Done)
    }

    pub(super) fn driver_stop(&mut self, out: &mut dyn Outside) -> Reply {
        if !self.model.is_empty() {
            return Err(TgtadmError::DriverActive.because(targets_exist(self.model.targets().len())));
        }
        self.close_portals(out);
        out.close_logins();
        self.model.iscsi = DriverState::Stopped;
        done(Ok(()))
    }
}

fn targets_exist(count: usize) -> String {
    format!("{count} targets exist; delete them first")
}
