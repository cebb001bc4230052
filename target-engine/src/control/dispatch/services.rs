//! The loops, and which targets they serve.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use super::outside::Outside;
use crate::control::messages::{LoopId, ServiceId, ToLoop};
use crate::model::Tid;
use crate::model::sessions::Session;

/// All loops, and which targets they serve.
#[derive(Debug, Default)]
pub(super) struct Services {
    pub(super) services: BTreeMap<Tid, Service>,
    /// Loops that serve all targets; empty: each target has loops of its own.
    pub(super) shared: Vec<LoopId>,
    /// Targets that were removed and whose loops have not answered. Their numbers are in use.
    pub(super) ending: BTreeSet<Tid>,
    last_loop: u32,
    last_service: u64,
}

/// The loops that serve a target.
#[derive(Debug)]
pub(super) struct Service {
    id: ServiceId,
    pub(super) loops: Vec<LoopId>,
}

impl Services {
    /// Starts a loop.
    pub(super) fn spawn(&mut self, mut name: String, out: &mut dyn Outside) -> io::Result<LoopId> {
        // The kernel accepts no more.
        name.truncate(15);
        self.last_loop += 1;
        let id = LoopId(self.last_loop);
        out.spawn_loop(id, name)?;
        Ok(id)
    }

    /// The loops that serve a target, in the order of [`Session::loop_index`].
    pub(super) fn loops_of(&self, tid: Tid) -> &[LoopId] {
        self.services.get(&tid).map_or(&[], |service| &service.loops)
    }

    /// The present service of a target. An operation that began in another one does not concern it.
    pub(super) fn current(&self, tid: Tid) -> Option<ServiceId> {
        self.services.get(&tid).map(|service| service.id)
    }

    pub(super) fn loop_of(&self, session: &Session) -> Option<LoopId> {
        self.loops_of(session.key.tid).get(session.loop_index).copied()
    }

    /// Whether a target was removed and its loops have not answered.
    pub(super) fn is_ending(&self, tid: Tid) -> bool {
        self.ending.contains(&tid)
    }

    pub(super) fn begin(&mut self, tid: Tid, loops: Vec<LoopId>) -> ServiceId {
        self.last_service += 1;
        let id = ServiceId(self.last_service);
        self.services.insert(tid, Service { id, loops });
        id
    }

    /// Ends the loops that are not shared.
    pub(super) fn end_own(&self, loops: &[LoopId], out: &mut dyn Outside) {
        for id in loops.iter().filter(|id| !self.shared.contains(id)) {
            let _ = out.send(*id, ToLoop::End(Duration::ZERO));
        }
    }

    /// The shared loops, the one with the fewest targets first, among equals the one with the fewest sessions. Target
    /// `tid` is not counted.
    pub(super) fn shared_by_load(&self, tid: Tid, sessions: &BTreeMap<LoopId, usize>) -> Vec<LoopId> {
        let mut targets: BTreeMap<LoopId, usize> = BTreeMap::new();
        for (_, service) in self.services.iter().filter(|(other, _)| **other != tid) {
            service.loops.iter().for_each(|id| *targets.entry(*id).or_default() += 1);
        }
        let load = |id: &LoopId| {
            let count = |of: &BTreeMap<LoopId, usize>| of.get(id).copied().unwrap_or_default();
            (count(&targets), count(sessions))
        };
        let mut loops = self.shared.clone();
        loops.sort_by_key(load);
        loops
    }
}
