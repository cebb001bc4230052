//! Which loops serve a target: its own, which come and go with it, or some of those that all targets share.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::super::error::ControlError;
use super::super::messages::{LoopId, NewTarget, ServiceId, TargetSettings, ToLoop};
use super::super::report::{Reply, Report};
use super::super::request::State;
use super::error::{LoopsError, TargetError};
use super::store::Ended;
use super::{Control, MaybeWaiting, Outside, Waiting, Work};
use crate::limits::SHARED_LOOPS_MAX;
use crate::model::Tid;
use crate::model::parameters::Key;
use crate::model::sessions::Session;
use crate::model::store::StoreId;
use crate::model::target::Target;

/// The loops that serve a target.
#[derive(Debug)]
pub(super) struct Service {
    id: ServiceId,
    loops: Vec<LoopId>,
}

/// A target that leaves its loops.
#[derive(Debug)]
pub struct Retire {
    /// Gone from the configuration too: its number is free afterwards.
    pub(super) target: Option<Tid>,
    /// The loops that served it.
    loops: Vec<LoopId>,
    /// What its units were on: closed when no loop uses it any more.
    stores: Vec<StoreId>,
}

impl Retire {
    pub(super) fn stores(&self) -> &[StoreId] {
        &self.stores
    }
}

impl Control {
    /// From now on so many loops serve all targets, instead of loops of their own; 0 changes nothing. For the time
    /// before the first target.
    ///
    /// # Errors
    /// There is no memory or no descriptor for a thread.
    pub fn share_loops(&mut self, count: usize, out: &mut dyn Outside) -> io::Result<()> {
        for place in 0..count.min(SHARED_LOOPS_MAX) {
            let id = self.spawn(shared_name(place), out)?;
            self.shared.push(id);
        }
        if !self.shared.is_empty() {
            self.model.loops = self.model.loops.min(self.shared.len());
        }
        Ok(())
    }

    /// Has a target served by so many loops.
    pub(super) fn serve(
        &mut self,
        tid: Tid,
        count: usize,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        let loops = self.choose_loops(tid, count, out)?;
        self.begin_service(tid, loops, out)
    }

    /// Other loops than before; only while nobody is there.
    pub(super) fn change_loops(&mut self, tid: Tid, count: usize, out: &mut dyn Outside) -> Reply {
        if !self.shared.is_empty() && count > self.shared.len() {
            let shared = self.shared.len();
            return Err(LoopsError::Shared { count, shared }.into());
        }
        let busy = !self.model.target(tid)?.busy_units.is_empty();
        if busy || self.sessions.of_target(tid).next().is_some() {
            return Err(LoopsError::InUse.into());
        }
        let loops = self.choose_loops(tid, count, out)?;
        // A loop that goes on serving it forgets its former life first.
        let now = Instant::now();
        self.leave_loops((None, now), tid, (None, now), out);
        self.begin_service(tid, loops, out)?;
        self.model.target_mut(tid)?.loops = count;
        Ok(Report::Done)
    }

    fn choose_loops(
        &mut self,
        tid: Tid,
        count: usize,
        out: &mut dyn Outside,
    ) -> Result<Vec<LoopId>, ControlError> {
        let mut chosen = Vec::new();
        let places = self.places_by_load(tid);
        let failed = if self.shared.is_empty() {
            (0..count).find_map(|index| {
                self.spawn(thread_name(tid, index, count), out).map(|id| chosen.push(id)).err()
            })
        } else {
            chosen.extend(places.into_iter().take(count).map(|place| self.shared[place]));
            None
        };
        let Some(error) = failed else { return Ok(chosen) };
        log::error!("target {tid}: no thread for it: {error}");
        for id in chosen.iter().filter(|id| !self.shared.contains(id)) {
            let _ = out.send(*id, ToLoop::End(Duration::ZERO));
        }
        Err(LoopsError::Thread(error).into())
    }

    /// The shared loops, that with the fewest targets first, among equals that with the fewest sessions; the target
    /// in question counts not.
    fn places_by_load(&self, tid: Tid) -> Vec<usize> {
        let mut load: BTreeMap<LoopId, (usize, usize)> = BTreeMap::new();
        for (_, service) in self.loops.iter().filter(|(other, _)| **other != tid) {
            service.loops.iter().for_each(|id| load.entry(*id).or_default().0 += 1);
        }
        for (id, sessions) in self.sessions_of_loops() {
            load.entry(id).or_default().1 += sessions;
        }
        let mut places: Vec<usize> = (0..self.shared.len()).collect();
        places.sort_by_key(|place| load.get(&self.shared[*place]).copied().unwrap_or_default());
        places
    }

    /// Which of a target's loops a new session goes to: that with the fewest, whosever they are; the first among
    /// equals.
    pub(super) fn least_loaded(&self, tid: Tid) -> usize {
        let loops = self.loops_of(tid);
        if loops.len() < 2 {
            return 0;
        }
        let load = self.sessions_of_loops();
        let sessions = |index: &usize| load.get(&loops[*index]).copied().unwrap_or_default();
        (0..loops.len()).min_by_key(sessions).unwrap_or(0)
    }

    fn sessions_of_loops(&self) -> BTreeMap<LoopId, usize> {
        let mut load = BTreeMap::new();
        for id in self.sessions.all().filter_map(|session| self.loop_of(session)) {
            *load.entry(id).or_default() += 1;
        }
        load
    }

    fn spawn(&mut self, mut name: String, out: &mut dyn Outside) -> io::Result<LoopId> {
        // What the kernel takes.
        name.truncate(15);
        self.last_loop += 1;
        let id = LoopId(self.last_loop);
        out.spawn_loop(id, name)?;
        Ok(id)
    }

    fn begin_service(
        &mut self,
        tid: Tid,
        loops: Vec<LoopId>,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        self.last_service += 1;
        let service = ServiceId(self.last_service);
        let target = self.model.target(tid)?;
        let settings = Arc::new(settings(target));
        let units: Vec<_> = target.units.iter().map(|(lun, entry)| (*lun, Arc::clone(&entry.unit))).collect();
        for id in &loops {
            let target = NewTarget { tid, service, settings: Arc::clone(&settings), units: units.clone() };
            let _ = out.send(*id, ToLoop::AddTarget(Box::new(target)));
        }
        for id in loops.iter().filter(|_| loops.len() > 1) {
            let siblings = loops.iter().copied().filter(|sibling| sibling != id).collect();
            let _ = out.send(*id, ToLoop::Siblings(tid, siblings));
        }
        self.loops.insert(tid, Service { id: service, loops });
        Ok(())
    }

    pub(super) fn tell_settings(&mut self, tid: Tid, out: &mut dyn Outside) -> Result<(), ControlError> {
        let settings = Arc::new(settings(self.model.target(tid)?));
        for id in self.loops_of(tid) {
            let _ = out.send(*id, ToLoop::UpdateTarget(tid, Arc::clone(&settings)));
        }
        Ok(())
    }

    /// Has a target's loops forget it; those of its own end. What runs may finish `by` that time.
    pub(super) fn leave_loops(
        &mut self,
        (client, due): MaybeWaiting,
        tid: Tid,
        (gone, by): (Option<Target>, Instant),
        out: &mut dyn Outside,
    ) {
        let loops = self.loops.remove(&tid).map(|service| service.loops).unwrap_or_default();
        let target = gone.as_ref().map(|target| target.tid);
        let units = gone.into_iter().flat_map(|target| target.units.into_values());
        let stores = units.filter_map(|entry| entry.open).collect();
        let work = Work::Retire(Retire { target, loops: loops.clone(), stores });
        self.tell(client, due, &loops, work, |ticket| ToLoop::RemoveTarget(tid, by, ticket), out);
    }

    /// Cuts the time short that a target has which is on its way out of its loops already.
    pub(super) fn hurry(
        &mut self,
        (client, due): Waiting,
        tid: Tid,
        by: Instant,
        out: &mut dyn Outside,
    ) -> Result<(), ControlError> {
        let retire = self.pending.works().find_map(|work| match work {
            Work::Retire(retire) if retire.target == Some(tid) => Some(retire),
            _ => None,
        });
        let Retire { loops, stores, .. } = retire.ok_or(TargetError::Gone)?;
        let (loops, stores) = (loops.clone(), stores.clone());
        let work = Work::Retire(Retire { target: None, loops: Vec::new(), stores });
        self.tell(Some(client), due, &loops, work, |ticket| ToLoop::RemoveTarget(tid, by, ticket), out);
        Ok(())
    }

    /// The target is gone from its loops: those of its own end, and its number is free.
    pub(super) fn retired(&mut self, retire: Retire, out: &mut dyn Outside) -> Ended {
        if let Some(tid) = retire.target {
            self.leaving.remove(&tid);
        }
        for id in retire.loops.iter().filter(|id| !self.shared.contains(id)) {
            let _ = out.send(*id, ToLoop::End(Duration::ZERO));
        }
        Ended { reply: Ok(Report::Done), closing: retire.stores }
    }

    /// A loop that ended has reported the end of each of its sessions, unless it failed.
    pub(super) fn forget_sessions_of(&mut self, id: LoopId) {
        let sessions = self.sessions.all().filter(|session| self.loop_of(session) == Some(id));
        for (tsih, nexus) in sessions.map(|session| (session.tsih, session.nexus)).collect::<Vec<_>>() {
            self.sessions.end(tsih, nexus);
        }
    }

    /// The loops that serve a target.
    #[must_use]
    pub fn loops_of(&self, tid: Tid) -> &[LoopId] {
        self.loops.get(&tid).map_or(&[], |service| &service.loops)
    }

    /// The present service of a target. An operation that began in another one does not concern it.
    pub(super) fn service_of(&self, tid: Tid) -> Option<ServiceId> {
        self.loops.get(&tid).map(|service| service.id)
    }

    pub(super) fn loop_of(&self, session: &Session) -> Option<LoopId> {
        self.loops_of(session.key.tid).get(session.loop_index).copied()
    }
}

/// `tgt/<tid>`, or `tgt/<tid>.<k>` where there are several.
fn thread_name(tid: Tid, index: usize, count: usize) -> String {
    if count == 1 { format!("tgt/{tid}") } else { format!("tgt/{tid}.{index}") }
}

fn shared_name(place: usize) -> String {
    format!("tgt/s{place}")
}

fn settings(target: &Target) -> TargetSettings {
    TargetSettings {
        tid: target.tid.number(),
        name: target.name.clone(),
        max_queue_cmd: target.parameters.number(Key::MaxQueueCmd),
        nop_interval: Duration::from_secs(target.nop_interval.into()),
        nop_count: target.nop_count,
        online: target.state == State::Ready,
    }
}
