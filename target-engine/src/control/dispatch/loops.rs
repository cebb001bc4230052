//! The loops that serve each target: loops of its own, which are started and ended with it, or some of those that all
//! targets share.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::store::Backstore;

use super::error::{LoopsError, StoreError, TargetError};
use super::outside::Outside;
use super::state::{Control, Env};
use super::work::{EndService, Ended, Waiting, Work};
use crate::control::error::ControlError;
use crate::control::messages::{LoopId, NewTarget, TargetSettings, ToLoop};
use crate::control::report::{Reply, Report};
use crate::limits::SHARED_LOOPS_MAX;
use crate::model::Tid;
use crate::model::parameters::Key;
use crate::model::state::State;
use crate::model::target::Target;
use crate::model::unit::TargetUnit;

impl Control {
    /// Starts this many loops that serve all targets, which then have no loops of their own; 0 changes nothing. To be
    /// called before the first target is made.
    ///
    /// # Errors
    /// There is no memory or no descriptor for a thread.
    pub fn share_loops(&mut self, count: usize, out: &mut dyn Outside) -> io::Result<()> {
        for index in 0..count.min(SHARED_LOOPS_MAX) {
            let id = self.services.spawn(format!("tgt/s{index}"), out)?;
            self.services.shared.push(id);
        }
        let shared = self.services.shared.len();
        if shared > 0 {
            self.model.loops = self.model.loops.min(shared);
        }
        Ok(())
    }

    /// Lets this many loops serve a target.
    pub(super) fn serve(&mut self, tid: Tid, count: usize, env: &mut Env<'_>) -> Result<(), ControlError> {
        let loops = self.choose_loops(tid, count, env)?;
        self.begin_service(tid, loops, env)
    }

    /// Changes the number of loops of a target; only without sessions.
    pub(super) fn change_loops(&mut self, tid: Tid, count: usize, env: &mut Env<'_>) -> Reply {
        let shared = self.services.shared.len();
        if shared > 0 && count > shared {
            return Err(LoopsError::Shared { count, shared }.into());
        }
        let busy = !self.model.target(tid)?.busy_units.is_empty();
        if busy || self.sessions.of_target(tid).next().is_some() {
            return Err(LoopsError::InUse.into());
        }
        let one_loop = |entry: &&TargetUnit| entry.unit.store().is_some_and(|store| is_one_loop(&*store));
        let units = &self.model.target(tid)?.units;
        if count > 1
            && let Some((lun, _)) = units.iter().find(|(_, entry)| one_loop(entry))
        {
            return Err(LoopsError::OneLoop(*lun).into());
        }
        let loops = self.choose_loops(tid, count, env)?;
        // A loop of both services removes the target first.
        self.end_service(Waiting::none(env.now), tid, None, env.now, env);
        self.begin_service(tid, loops, env)?;
        self.model.target_mut(tid)?.loops = count;
        Ok(Report::Done)
    }

    fn choose_loops(
        &mut self,
        tid: Tid,
        count: usize,
        env: &mut Env<'_>,
    ) -> Result<Vec<LoopId>, ControlError> {
        if !self.services.shared.is_empty() {
            let mut loops = self.services.shared_by_load(tid, &self.sessions_by_loop());
            loops.truncate(count);
            return Ok(loops);
        }
        let mut loops = Vec::new();
        for index in 0..count {
            match self.services.spawn(thread_name(tid, index, count), env.out) {
                Ok(id) => loops.push(id),
                Err(error) => {
                    log::error!("target {tid}: no thread for it: {error}");
                    self.services.end_own(&loops, env.out);
                    return Err(LoopsError::Thread(error).into());
                }
            }
        }
        Ok(loops)
    }

    /// The index of the target's loop that gets the next session: the one with the fewest sessions of all targets; the
    /// first among equals.
    pub(super) fn least_loaded(&self, tid: Tid) -> usize {
        let loops = self.services.loops_of(tid);
        if loops.len() < 2 {
            return 0;
        }
        let sessions = self.sessions_by_loop();
        let load = |index: &usize| sessions.get(&loops[*index]).copied().unwrap_or_default();
        (0..loops.len()).min_by_key(load).unwrap_or(0)
    }

    fn sessions_by_loop(&self) -> BTreeMap<LoopId, usize> {
        let mut sessions = BTreeMap::new();
        for id in self.sessions.all().filter_map(|session| self.services.loop_of(session)) {
            *sessions.entry(id).or_default() += 1;
        }
        sessions
    }

    fn begin_service(&mut self, tid: Tid, loops: Vec<LoopId>, env: &mut Env<'_>) -> Result<(), ControlError> {
        let target = self.model.target(tid)?;
        let service = self.services.begin(tid, loops);
        let loops = self.services.loops_of(tid);
        let settings = Arc::new(settings(target));
        let units: Vec<_> = target.units.iter().map(|(lun, entry)| (*lun, Arc::clone(&entry.unit))).collect();
        for id in loops {
            let target = NewTarget { tid, service, settings: Arc::clone(&settings), units: units.clone() };
            let _ = env.out.send(*id, ToLoop::AddTarget(Box::new(target)));
        }
        for id in loops.iter().filter(|_| loops.len() > 1) {
            let siblings = loops.iter().copied().filter(|sibling| sibling != id).collect();
            let _ = env.out.send(*id, ToLoop::Siblings(tid, siblings));
        }
        Ok(())
    }

    /// Sends the target's parameters to its loops.
    pub(super) fn send_settings(&mut self, tid: Tid, env: &mut Env<'_>) -> Result<(), ControlError> {
        let settings = Arc::new(settings(self.model.target(tid)?));
        for id in self.services.loops_of(tid) {
            let _ = env.out.send(*id, ToLoop::UpdateTarget(tid, Arc::clone(&settings)));
        }
        Ok(())
    }

    /// Asks the loops of a target to remove it; those of its own end afterwards. Commands may finish `by` that time.
    /// With `removed` the target is removed from the configuration as well.
    pub(super) fn end_service(
        &mut self,
        waiting: Waiting,
        tid: Tid,
        removed: Option<Target>,
        by: Instant,
        env: &mut Env<'_>,
    ) {
        let loops = self.services.services.remove(&tid).map(|service| service.loops).unwrap_or_default();
        let target = removed.as_ref().map(|target| target.tid);
        self.services.ending.extend(target);
        drop(removed);
        let stores = target.map_or_else(Vec::new, |tid| self.stores.take_of(tid));
        let work = Work::EndService(EndService { target, loops: loops.clone(), stores });
        self.ask_loops(waiting, &loops, work, |ticket| ToLoop::RemoveTarget(tid, by, ticket), env);
    }

    /// Shortens the time that the commands of a target have which is being removed.
    pub(super) fn hasten_end(
        &mut self,
        waiting: Waiting,
        tid: Tid,
        by: Instant,
        env: &mut Env<'_>,
    ) -> Result<(), ControlError> {
        let end = self.pending.works().find_map(|work| match work {
            Work::EndService(end) if end.target == Some(tid) => Some(end),
            _ => None,
        });
        let EndService { loops, stores, .. } = end.ok_or(TargetError::Gone)?;
        let (loops, stores) = (loops.clone(), stores.clone());
        let work = Work::EndService(EndService { target: None, loops: Vec::new(), stores });
        self.ask_loops(waiting, &loops, work, |ticket| ToLoop::RemoveTarget(tid, by, ticket), env);
        Ok(())
    }

    /// All loops have removed the target: those of its own end, and its number is free.
    pub(super) fn service_ended(&mut self, end: EndService, env: &mut Env<'_>) -> Ended {
        if let Some(tid) = end.target {
            self.services.ending.remove(&tid);
        }
        self.services.end_own(&end.loops, env.out);
        Ended { reply: Ok(Report::Done), closing: end.stores }
    }

    /// Ends the sessions of a loop that has ended. It has reported each of them, unless it failed.
    pub(super) fn forget_sessions_of(&mut self, id: LoopId) {
        let sessions = self.sessions.all().filter(|session| self.services.loop_of(session) == Some(id));
        for (tsih, nexus) in sessions.map(|session| (session.tsih, session.nexus)).collect::<Vec<_>>() {
            self.sessions.end(tsih, nexus);
        }
    }

    /// Checks that the loops of a target can serve this store.
    ///
    /// # Errors
    /// It may be attached by one loop only, and the target has several.
    pub(super) fn check_loops(&self, tid: Tid, store: &dyn Backstore) -> Result<(), ControlError> {
        if self.services.loops_of(tid).len() > 1 && is_one_loop(store) {
            return Err(StoreError::OneLoop(store.name().into_owned()).into());
        }
        Ok(())
    }

    /// Returns the loops that serve a target.
    #[must_use]
    pub fn loops_of(&self, tid: Tid) -> &[LoopId] {
        self.services.loops_of(tid)
    }
}

/// Whether a store may be attached by one loop only.
pub(super) fn is_one_loop(store: &dyn Backstore) -> bool {
    store.capabilities().one_loop
}

/// `tgt/<tid>`, or `tgt/<tid>.<index>` if there are several.
fn thread_name(tid: Tid, index: usize, count: usize) -> String {
    if count == 1 { format!("tgt/{tid}") } else { format!("tgt/{tid}.{index}") }
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
