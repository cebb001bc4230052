//! One loop's way to a unit: commands in, steps out.

use std::sync::Arc;

use super::task::DeviceTask;
use super::task_set::{Admit, TaskAttribute, TaskKey, TaskSet};
use super::unit::{Unit, UnitState};
use super::{Command, IoResult, Nexus, NexusIndex, Step, TargetView};

/// A unit as one loop sees it: the last snapshot, and what belongs to the loop's nexuses.
pub struct UnitPort {
    unit: Arc<Unit>,
    state: Arc<UnitState>,
    /// The generation that `state` is of.
    seen: u64,
    nexuses: Vec<Option<NexusState>>,
}

struct NexusState {
    #[expect(dead_code)]
    nexus: Nexus,
    tasks: TaskSet,
}

impl UnitPort {
    /// A port on a unit; one per loop.
    #[must_use]
    pub fn new(unit: Arc<Unit>) -> Self {
        let seen = unit.generation();
        let state = unit.snapshot();
        Self { unit, state, seen, nexuses: Vec::new() }
    }

    /// The unit behind the port.
    #[must_use]
    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// Makes a nexus known; it begins with a power-on unit attention. An index in use is taken over.
    pub fn attach_nexus(&mut self, index: NexusIndex, nexus: Nexus) {
        self.detach_nexus(index);
        let place = index.0 as usize;
        if self.nexuses.len() <= place {
            self.nexuses.resize_with(place + 1, || None);
        }
        self.nexuses[place] = Some(NexusState { nexus, tasks: TaskSet::default() });
    }

    /// Forgets a nexus (I_T nexus loss, SAM-5 6.3.4): what it reserved or prevented is free again.
    pub fn detach_nexus(&mut self, index: NexusIndex) {
        if let Some(place) = self.nexuses.get_mut(index.0 as usize) {
            *place = None;
        }
    }

    /// Takes a task into its nexus' task set, before `start`.
    #[inline]
    pub fn admit(&mut self, nexus: NexusIndex, attribute: TaskAttribute, key: TaskKey) -> Admit {
        match self.tasks(nexus) {
            Some(tasks) => tasks.admit(attribute, key),
            None => Admit::Run,
        }
    }

    /// A task that was admitted is over or aborted. Ask `next_ready` afterwards.
    #[inline]
    pub fn finished(&mut self, nexus: NexusIndex, key: TaskKey) {
        if let Some(tasks) = self.tasks(nexus) {
            tasks.finished(key);
        }
    }

    /// A held task of the nexus that is to be started now; ask until `None`.
    #[inline]
    pub fn next_ready(&mut self, nexus: NexusIndex) -> Option<TaskKey> {
        self.tasks(nexus)?.next_ready()
    }

    /// Begins a command whose data-out, if any, is all there.
    pub fn start(&mut self, task: &mut DeviceTask, command: &Command<'_>, view: &dyn TargetView) -> Step {
        let _ = (view, &self.state, self.seen, command.cdb);
        task.nexus = command.nexus;
        task.transfer_len = 0;
        Step::Done(super::refusal(0x20, 0x00))
    }

    /// Goes on with a command after its step was done.
    pub fn io_done(&mut self, task: &mut DeviceTask, result: IoResult) -> Step {
        let _ = (task, result);
        Step::Done(super::refusal(0x20, 0x00))
    }

    /// Drops a command. What its last step started must have ended or be fenced off; it gets no `io_done`.
    pub fn abort(&mut self, task: &mut DeviceTask) {
        *task = DeviceTask::default();
    }

    /// LOGICAL UNIT RESET (SAM-5 6.3.3) by a nexus, or by the target itself: reservations and preventions of all
    /// nexuses are gone, all nexuses but the resetting one get a unit attention. Tasks are the transport's to abort.
    pub fn reset(&mut self, by: Option<NexusIndex>) {
        let _ = by;
    }

    fn tasks(&mut self, nexus: NexusIndex) -> Option<&mut TaskSet> {
        self.nexuses.get_mut(nexus.0 as usize)?.as_mut().map(|state| &mut state.tasks)
    }
}
