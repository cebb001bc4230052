//! Targets: made with their loops, removed with their sessions, opened and closed to initiators.

use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::ids::Cid;

use super::super::error::TgtadmError;
use super::super::request::{Binding, State};
use super::super::wire::Reply;
use super::{Control, MaybeWaiting, Outside, Waiting, Work, done};
use crate::model::Tid;
use crate::model::parameters::Key;
use crate::model::sessions::Session;
use crate::model::target::{Target, Updated, loops};
use crate::runtime::letters::{LoopId, NewTarget, TargetSettings, ToLoop};

/// Loops that end.
#[derive(Debug)]
pub struct Retire {
    /// The target that goes with them.
    target: Option<Tid>,
    loops: Vec<LoopId>,
}

impl Control {
    pub(super) fn target_new(&mut self, tid: Tid, name: &str, out: &mut dyn Outside) -> Reply {
        if self.leaving.contains(&tid) {
            return Err(TgtadmError::TargetExists);
        }
        let count = self.model.add_target(tid, name)?.loops;
        if let Err(error) = self.start_loops(tid, count, out) {
            self.model.remove_target(tid);
            return Err(error);
        }
        log::info!("target {tid}: {name} made");
        Ok(String::new())
    }

    /// Removes a target; with `force` whoever is logged in.
    pub(super) fn target_delete(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        force: bool,
        out: &mut dyn Outside,
    ) -> Result<(), TgtadmError> {
        self.model.target(tid)?;
        if !force && self.sessions.of_target(tid).next().is_some() {
            return Err(TgtadmError::TargetActive);
        }
        self.model.remove_target(tid);
        self.leaving.insert(tid);
        let loops = self.loops.remove(&tid).unwrap_or_default();
        log::info!("target {tid}: removed");
        self.retire((Some(client), due), Some(tid), loops, out);
        Ok(())
    }

    pub(super) fn target_bind(&mut self, tid: Tid, rule: Binding) -> Reply {
        match rule {
            Binding::Host(host) => done(self.model.bind_host(host, tid)),
            Binding::Initiators { address, name } => {
                let acl = &mut self.model.target_mut(tid)?.acl;
                let address = address.map_or(Ok(()), |address| acl.add_address(&address));
                done(address.and(name.map_or(Ok(()), |name| acl.add_name(&name))))
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
        if self.model.target_mut(tid)?.update(name, value)? == Updated::Settings {
            self.tell_settings(tid, out)?;
        }
        Ok(String::new())
    }

    pub(super) fn connection_delete(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        sid: u64,
        cid: u32,
        out: &mut dyn Outside,
    ) -> Result<(), TgtadmError> {
        self.model.target(tid)?;
        let session = self.session(sid)?;
        if session.key.tid != tid {
            return Err(TgtadmError::NoSession);
        }
        let connection = session.connections.iter().find(|connection| u32::from(connection.cid.0) == cid);
        let Cid(cid) = connection.ok_or(TgtadmError::NoConnection)?.cid;
        let (tsih, id) = (session.tsih, self.loop_of(session).ok_or(TgtadmError::NoSession)?);
        let letter = |ticket| ToLoop::CloseConnection { tid, tsih, cid: Cid(cid), ticket };
        self.tell(Some(client), due, &[id], Work::CloseConnection, letter, out);
        Ok(())
    }

    /// A session by the number a client gave.
    pub(super) fn session(&self, sid: u64) -> Result<&Session, TgtadmError> {
        let tsih = u16::try_from(sid).map_err(|_| TgtadmError::NoSession)?;
        let session = self.sessions.get(iscsi_proto::ids::Tsih(tsih));
        session.filter(|session| !session.pending).ok_or(TgtadmError::NoSession)
    }

    pub(super) fn loop_of(&self, session: &Session) -> Option<LoopId> {
        self.loops.get(&session.key.tid)?.get(session.loop_index).copied()
    }

    /// Other loops than before, in their place; only while nobody is there.
    fn change_loops(&mut self, tid: Tid, count: usize, out: &mut dyn Outside) -> Reply {
        let busy = !self.model.target(tid)?.busy_units.is_empty();
        if busy || self.sessions.of_target(tid).next().is_some() {
            return Err(TgtadmError::TargetActive);
        }
        let old = self.loops.remove(&tid).unwrap_or_default();
        if let Err(error) = self.start_loops(tid, count, out) {
            self.loops.insert(tid, old);
            return Err(error);
        }
        self.model.target_mut(tid)?.loops = count;
        self.retire((None, Instant::now()), None, old, out);
        Ok(String::new())
    }

    fn start_loops(&mut self, tid: Tid, count: usize, out: &mut dyn Outside) -> Result<(), TgtadmError> {
        let target = self.model.target(tid)?;
        let settings = Arc::new(settings(target));
        let units: Vec<_> = target.units.iter().map(|(lun, entry)| (*lun, Arc::clone(&entry.unit))).collect();
        let mut started = Vec::new();
        for index in 0..count {
            self.last_loop += 1;
            let id = LoopId(self.last_loop);
            if let Err(error) = out.spawn_loop(id, thread_name(tid, index, count)) {
                log::error!("target {tid}: no thread for it: {error}");
                self.retire((None, Instant::now()), None, started, out);
                return Err(TgtadmError::NoMemory);
            }
            started.push(id);
            let target = NewTarget { tid, settings: Arc::clone(&settings), units: units.clone() };
            send(out, id, ToLoop::AddTarget(Box::new(target)));
        }
        for id in started.iter().filter(|_| count > 1) {
            let siblings = started.iter().filter(|sibling| *sibling != id);
            let siblings = siblings.filter_map(|sibling| Some((*sibling, out.mailbox(*sibling)?))).collect();
            send(out, *id, ToLoop::Siblings(tid, siblings));
        }
        self.loops.insert(tid, started);
        Ok(())
    }

    fn tell_settings(&mut self, tid: Tid, out: &mut dyn Outside) -> Result<(), TgtadmError> {
        let settings = Arc::new(settings(self.model.target(tid)?));
        for id in self.loops.get(&tid).into_iter().flatten() {
            send(out, *id, ToLoop::UpdateTarget(tid, Arc::clone(&settings)));
        }
        Ok(())
    }

    /// Has loops end what they do, then themselves.
    fn retire(
        &mut self,
        (client, due): MaybeWaiting,
        target: Option<Tid>,
        loops: Vec<LoopId>,
        out: &mut dyn Outside,
    ) {
        let work = Work::Retire(Retire { target, loops: loops.clone() });
        let letter = |ticket| match target {
            Some(tid) => ToLoop::RemoveTarget(tid, ticket),
            // Nobody is there: whichever target it serves, none is left afterwards.
            None => ToLoop::End(Duration::ZERO),
        };
        self.tell(client, due, &loops, work, letter, out);
    }

    /// The target's loops are empty: they end, and its number is free.
    pub(super) fn retired(&mut self, retire: &Retire, out: &mut dyn Outside) -> Reply {
        if let Some(tid) = retire.target {
            self.leaving.remove(&tid);
            for id in &retire.loops {
                send(out, *id, ToLoop::End(Duration::ZERO));
            }
        }
        Ok(String::new())
    }

    /// A loop that ended has told of the end of each of its sessions, unless it came to grief.
    pub(super) fn forget_sessions_of(&mut self, id: LoopId) {
        let place = self
            .loops
            .iter()
            .find_map(|(tid, loops)| Some((*tid, loops.iter().position(|known| *known == id)?)));
        let Some((tid, index)) = place else { return };
        log::error!("target {tid}: its loop {} has ended by itself", id.0);
        let of_loop = self.sessions.of_target(tid).filter(|session| session.loop_index == index);
        for (tsih, nexus) in of_loop.map(|session| (session.tsih, session.nexus)).collect::<Vec<_>>() {
            self.sessions.end(tsih, nexus);
        }
    }

    /// The loops that serve a target.
    #[must_use]
    pub fn loops_of(&self, tid: Tid) -> &[LoopId] {
        self.loops.get(&tid).map_or(&[], Vec::as_slice)
    }
}

/// Sends a letter that asks for no answer and must not be lost; a loop that is gone needs none.
fn send(out: &mut dyn Outside, id: LoopId, letter: ToLoop) {
    if let Some(mailbox) = out.mailbox(id) {
        let _ = mailbox.send_reserved(letter);
    }
}

/// `tgt/<tid>`, or `tgt/<tid>.<k>` where there are several; a thread's name has 15 bytes.
fn thread_name(tid: Tid, index: usize, count: usize) -> String {
    let mut name = if count == 1 { format!("tgt/{tid}") } else { format!("tgt/{tid}.{index}") };
    name.truncate(15);
    name
}

fn settings(target: &Target) -> TargetSettings {
    TargetSettings {
        name: target.name.clone(),
        max_queue_cmd: target.parameters.number(Key::MaxQueueCmd),
        nop_interval: Duration::from_secs(target.nop_interval.into()),
        nop_count: target.nop_count,
        online: target.state == State::Ready,
    }
}
