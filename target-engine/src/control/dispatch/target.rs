//! Targets: made with their loops, removed with their sessions, changed, and bound to initiators.

use std::time::Duration;

use iscsi_proto::ids::Cid;

use super::error::TargetError;
use super::state::{Control, Env, done};
use super::work::{Waiting, Work};
use crate::control::error::ControlError;
use crate::control::messages::ToLoop;
use crate::control::report::{Reply, Report};
use crate::control::request::Binding;
use crate::model::Tid;
use crate::model::acl::Acl;
use crate::model::sessions::Session;
use crate::model::target::{Updated, loops};

impl Control {
    pub(super) fn target_new(&mut self, tid: Tid, name: &str, env: &mut Env<'_>) -> Reply {
        if self.services.is_ending(tid) {
            return Err(TargetError::Leaving(tid).into());
        }
        let count = self.model.add_target(tid, name)?.loops;
        if let Err(error) = self.serve(tid, count, env) {
            self.model.remove_target(tid);
            return Err(error);
        }
        log::info!("target {tid}: {name} made");
        Ok(Report::Done)
    }

    /// Removes a target. Without `within` only if it has no sessions; with it commands may finish for this long, and the
    /// target is removed at once.
    pub(super) fn target_delete(
        &mut self,
        mut waiting: Waiting,
        tid: Tid,
        within: Option<Duration>,
        env: &mut Env<'_>,
    ) -> Result<(), ControlError> {
        waiting.due += within.unwrap_or_default();
        let by = env.now + within.unwrap_or_default();
        if within.is_some() && self.services.is_ending(tid) {
            return self.hasten_end(waiting, tid, by, env);
        }
        self.model.target(tid)?;
        let sessions = self.sessions.of_target(tid).count();
        if within.is_none() && sessions > 0 {
            return Err(TargetError::InUse { tid, sessions }.into());
        }
        let target = self.model.remove_target(tid);
        log::info!("target {tid}: removed");
        self.end_service(waiting, tid, target, by, env);
        Ok(())
    }

    pub(super) fn target_bind(&mut self, tid: Tid, rule: Binding) -> Reply {
        match rule {
            Binding::Host(host) => done(self.model.bind_host(host, tid)),
            Binding::Initiators { address, name } => {
                let acl = &mut self.model.target_mut(tid)?.acl;
                let before = acl.shadowed_rule_warning();
                let address = address.map_or(Ok(()), |address| acl.add_address(&address));
                let bound = address.and(name.map_or(Ok(()), |name| acl.add_name(&name)));
                warn_of_shadowed_rule(tid, before.as_deref(), acl);
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

    pub(super) fn target_update(&mut self, tid: Tid, name: &str, value: &str, env: &mut Env<'_>) -> Reply {
        self.model.target(tid)?;
        if name == "loops" {
            return self.change_loops(tid, loops(value)?, env);
        }
        let target = self.model.target_mut(tid)?;
        let before = target.acl.shadowed_rule_warning();
        let updated = target.update(name, value)?;
        warn_of_shadowed_rule(tid, before.as_deref(), &target.acl);
        if updated == Updated::Settings {
            self.send_settings(tid, env)?;
        }
        Ok(Report::Done)
    }

    pub(super) fn connection_delete(
        &mut self,
        waiting: Waiting,
        tid: Tid,
        sid: u64,
        cid: u32,
        env: &mut Env<'_>,
    ) -> Result<(), ControlError> {
        self.model.target(tid)?;
        let session = self.session(sid)?;
        if session.key.tid != tid {
            return Err(TargetError::SessionOf { sid, tid: session.key.tid }.into());
        }
        let connection = session.connections.iter().find(|connection| u32::from(connection.cid.0) == cid);
        let Cid(cid) = connection.ok_or_else(|| no_connection(sid, cid))?.cid;
        let (tsih, id) = (session.tsih, self.services.loop_of(session).ok_or_else(|| no_session(sid))?);
        let message = |ticket| ToLoop::CloseConnection { tid, tsih, cid: Cid(cid), ticket };
        self.ask_loops(waiting, &[id], Work::CloseConnection, message, env);
        Ok(())
    }

    /// Finds a session by the number that a client gave.
    pub(super) fn session(&self, sid: u64) -> Result<&Session, ControlError> {
        let tsih = u16::try_from(sid).map_err(|_| no_session(sid))?;
        let session = self.sessions.get(iscsi_proto::ids::Tsih(tsih));
        session.filter(|session| !session.pending).ok_or_else(|| no_session(sid))
    }
}

/// Warns of rules that have no effect because of others, when a change makes it so.
fn warn_of_shadowed_rule(tid: Tid, before: Option<&str>, acl: &Acl) {
    match acl.shadowed_rule_warning() {
        Some(warning) if before != Some(&warning) => log::warn!("target {tid}: {warning}"),
        _ => {}
    }
}

fn no_session(sid: u64) -> ControlError {
    TargetError::NoSession(sid).into()
}

pub(super) fn no_connection(sid: u64, cid: u32) -> ControlError {
    TargetError::NoConnection { sid, cid }.into()
}
