//! Modes system and lld, and the statistics.

use super::super::error::TgtadmError;
use super::super::request::{Request, SystemChange};
use super::super::wire::Reply;
use super::{Control, Outside, done};
use crate::control::report::stat;
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
        Ok(String::new())
    }

    /// Only without targets: this is not the way to end sessions.
    pub(super) fn system_delete(&mut self, out: &mut dyn Outside) -> Reply {
        if !self.model.is_empty() {
            return Err(TgtadmError::InvalidRequest);
        }
        out.end();
        Ok(String::new())
    }

    pub(super) fn driver_start(&mut self, out: &mut dyn Outside) -> Reply {
        if self.model.iscsi == DriverState::Ready {
            return Ok(String::new());
        }
        for spec in self.startup_portals.clone() {
            let Some(address) = spec.address() else { continue };
            if let Err(error) = self.listen(address, out) {
                log::error!("portal {spec}: {error}");
                self.close_portals(out);
                return Err(TgtadmError::Unknown);
            }
        }
        self.model.iscsi = DriverState::Ready;
        Ok(String::new())
    }

    pub(super) fn driver_stop(&mut self, out: &mut dyn Outside) -> Reply {
        if !self.model.is_empty() {
            return Err(TgtadmError::DriverActive);
        }
        self.close_portals(out);
        out.close_logins();
        self.model.iscsi = DriverState::Stopped;
        done(Ok(()))
    }

    pub(super) fn statistics(&self, request: &Request) -> Reply {
        match *request {
            Request::TargetStat(Some(tid)) => {
                self.model.target(tid)?;
            }
            Request::UnitStat { tid, lun, sid } => {
                let target = self.model.target(tid)?;
                let lun = super::unit::lun(lun).ok_or(TgtadmError::NoLun)?;
                if !target.units.contains_key(&lun) {
                    return Err(TgtadmError::NoLun);
                }
                if sid != 0 {
                    self.session(sid)?;
                }
            }
            Request::SessionStat { sid } => {
                self.session(sid)?;
            }
            Request::ConnectionStat { sid, cid } => {
                let session = self.session(sid)?;
                let known = session.connections.iter().any(|connection| u32::from(connection.cid.0) == cid);
                return if known {
                    Err(TgtadmError::UnsupportedOperation)
                } else {
                    Err(TgtadmError::NoConnection)
                };
            }
            _ => {}
        }
        Ok(stat::units(&[]))
    }
}
