//! Targets: made with their loops, removed with their sessions, opened and closed to initiators.

use std::time::Instant;

use iscsi_proto::ids::Cid;

use super::super::error::ControlError;
use super::super::messages::ToLoop;
use super::super::report::{Reply, Report};
use super::super::request::Binding;
use super::error::TargetError;
use super::{Control, Outside, Waiting, Work, done};
use crate::limits::CONTROL_REPLY;
use crate::model::Tid;
use crate::model::acl::Acl;
use crate::model::sessions::Session;
use crate::model::target::{Updated, loops};

impl Control {
    pub(super) fn target_new(&mut self, tid: Tid, name: &str, out: &mut dyn Outside) -> Reply {
        if self.leaving.contains(&tid) {
            return Err(TargetError::Leaving(tid).into());
        }
        let count = self.model.add_target(tid, name)?.loops;
        if let Err(error) = self.serve(tid, count, out) {
            self.model.remove_target(tid);
            return Err(error);
        }
        log::info!("target {tid}: {name} made");
        Ok(Report::Done)
    }

    /// Removes a target. Without `by` it stays if anybody is logged in; with it what runs may finish until then, and
    /// it goes whatever happens.
    pub(super) fn target_delete(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        by: Option<Instant>,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        if let Some(by) = by.filter(|_| self.leaving.contains(&tid)) {
            return self.hurry((client, due), tid, by, out);
        }
        self.model.target(tid)?;
        let sessions = self.sessions.of_target(tid).count();
        if by.is_none() && sessions > 0 {
            return Err(TargetError::InUse { tid, sessions }.into());
        }
        let target = self.model.remove_target(tid);
        self.leaving.insert(tid);
        log::info!("target {tid}: removed");
        self.leave_loops((Some(client), due), tid, (target, by.unwrap_or(due - CONTROL_REPLY)), out);
        Ok(())
    }

    pub(super) fn target_bind(&mut self, tid: Tid, rule: Binding) -> Reply {
        match rule {
            Binding::Host(host) => done(self.model.bind_host(host, tid)),
            Binding::Initiators { address, name } => {
                let acl = &mut self.model.target_mut(tid)?.acl;
                let before = acl.surprise();
                let address = address.map_or(Ok(()), |address| acl.add_address(&address));
                let bound = address.and(name.map_or(Ok(()), |name| acl.add_name(&name)));
                warn_of_surprise(tid, before.as_deref(), acl);
                done(bound)
            }
        }
    }

    pub(super) fn target_unbind(&mut self, tid: Tid, rule: Binding) -> Reply {
        match rule {
            Binding::Host(host) => done(self.model.unbind_host(host)),
            Binding::Initiators { address, name } => {
                let acl = &mut self.model.target_mut(tid)?.acl;
                let address = address.map_or(Ok(()), |address| acl.remove_address(&address));
                done(address.and(name.map_or(Ok(()), |name| acl.remove_name(&name))))
            }
        }
    }

    pub(super) fn target_update(
        &mut self,
        tid: Tid,
        name: &str,
        value: &str,
        out: &mut dyn Outside,
    ) -> Reply {
        self.model.target(tid)?;
        if name == "loops" {
            return self.change_loops(tid, loops(value)?, out);
        }
        let target = self.model.target_mut(tid)?;
        let before = target.acl.surprise();
        let updated = target.update(name, value)?;
        warn_of_surprise(tid, before.as_deref(), &target.acl);
        if updated == Updated::Settings {
            self.tell_settings(tid, out)?;
        }
        Ok(Report::Done)
    }

    pub(super) fn connection_delete(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        sid: u64,
        cid: u32,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        self.model.target(tid)?;
        let session = self.session(sid)?;
        if session.key.tid != tid {
            return Err(TargetError::SessionOf { sid, tid: session.key.tid }.into());
        }
        let connection = session.connections.iter().find(|connection| u32::from(connection.cid.0) == cid);
        let Cid(cid) = connection.ok_or_else(|| no_connection(sid, cid))?.cid;
        let (tsih, id) = (session.tsih, self.loop_of(session).ok_or_else(|| no_session(sid))?);
        let letter = |ticket| ToLoop::CloseConnection { tid, tsih, cid: Cid(cid), ticket };
        self.tell(Some(client), due, &[id], Work::CloseConnection, letter, out);
        Ok(())
    }

    /// A session by the number a client gave.
    pub(super) fn session(&self, sid: u64) -> Result<&Session, ControlError> {
        let tsih = u16::try_from(sid).map_err(|_| no_session(sid))?;
        let session = self.sessions.get(iscsi_proto::ids::Tsih(tsih));
        session.filter(|session| !session.pending).ok_or_else(|| no_session(sid))
    }
}

/// Tells the operator what rules do not say although they seem to, once it begins to be so.
fn warn_of_surprise(tid: Tid, before: Option<&str>, acl: &Acl) {
    match acl.surprise() {
        Some(surprise) if before != Some(&surprise) => log::warn!("target {tid}: {surprise}"),
        _ => {}
    }
}

fn no_session(sid: u64) -> ControlError {
    TargetError::NoSession(sid).into()
}

pub(super) fn no_connection(sid: u64, cid: u32) -> ControlError {
    TargetError::NoConnection { sid, cid }.into()
}
