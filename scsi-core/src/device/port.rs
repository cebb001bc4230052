//! One loop's way to a unit: commands in, steps out.

use std::sync::Arc;

use super::answer::{Answer, Refusal, check_condition, good};
use super::attention::Pending;
use super::config::DeviceType;
use super::error::io_sense;
use super::request::Request;
use super::reservation::Restriction;
use super::task::DeviceTask;
use super::task_set::{Admit, TaskAttribute, TaskKey, TaskSet};
use super::unit::{Unit, UnitState};
use super::{Command, IoDone, IoResult, Nexus, NexusIndex, Outcome, Step, TargetView};
use super::{controller, disk, spc};
use crate::cdb::table;
use crate::sense::{AdditionalSense, Sense};
use crate::status::Status;

/// A unit as one loop sees it: the last snapshot, and what belongs to the loop's nexuses.
pub struct UnitPort {
    unit: Arc<Unit>,
    state: Arc<UnitState>,
    /// The generation that `state` is of.
    seen: u64,
    nexuses: Vec<Option<NexusState>>,
}

struct NexusState {
    nexus: Nexus,
    /// Which reservation, as of the port's snapshot.
    restriction: Restriction,
    pending: Pending,
    tasks: TaskSet,
}

/// Commands that are carried out in spite of a unit attention, and do not report it (SAM-5 5.14.1).
const ATTENTION_PASSES: [u8; 3] = [INQUIRY, REPORT_LUNS, REQUEST_SENSE];
const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;

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

    /// Takes the unit's present state over, and drops the one before with its store.
    pub fn refresh(&mut self) {
        self.catch_up();
    }

    /// Makes a nexus known; it begins with a power-on unit attention. An index in use is taken over.
    pub fn attach_nexus(&mut self, index: NexusIndex, nexus: Nexus) {
        self.detach_nexus(index);
        self.catch_up();
        let place = index.0 as usize;
        if self.nexuses.len() <= place {
            self.nexuses.resize_with(place + 1, || None);
        }
        let pending = Pending::power_on(&self.state.log);
        let restriction = self.state.reservations.restriction(&nexus);
        self.nexuses[place] = Some(NexusState { nexus, restriction, pending, tasks: TaskSet::default() });
    }

    /// Forgets a nexus (I_T nexus loss, SAM-5 6.3.4): what it reserved or prevented is free again.
    pub fn detach_nexus(&mut self, index: NexusIndex) {
        if let Some(state) = self.nexuses.get_mut(index.0 as usize).and_then(Option::take) {
            self.unit.forget_nexus(state.nexus.id);
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

    /// Begins a command whose data-out, if any, is all there. A nexus that was never attached gets BUSY.
    #[inline]
    pub fn start(&mut self, task: &mut DeviceTask, command: &Command<'_>, view: &dyn TargetView) -> Step {
        self.catch_up();
        *task = DeviceTask::default();
        let Some(Some(nexus)) = self.nexuses.get_mut(command.nexus.0 as usize) else {
            return Step::Done(Outcome { status: Status::Busy, sense: None, data_in: Vec::new() });
        };
        if !nexus.pending.is_empty()
            && let Some(step) = attention(&mut nexus.pending, command.cdb)
        {
            return in_format(&self.state, step);
        }
        let mut request = Request {
            unit: &self.unit,
            state: &self.state,
            nexus: &nexus.nexus,
            pending: &mut nexus.pending,
            command,
            task,
        };
        match begin(&mut request, nexus.restriction, view) {
            Ok(step) => step,
            Err(refusal) => {
                task.transfer_len = 0;
                refuse(&self.state, refusal)
            }
        }
    }

    /// Goes on with a command after its step was done.
    #[inline]
    pub fn io_done(&mut self, task: &mut DeviceTask, result: IoResult) -> Step {
        match result {
            Ok(IoDone::Done) if task.is_last_step() => good(),
            Ok(done) => self.go_on(task, done),
            Err(error) => {
                let sense = io_sense(error, task.access, self.state.medium.block_shift);
                refuse(&self.state, sense.into())
            }
        }
    }

    /// Drops a command. What its last step started must have ended or be fenced off; it gets no `io_done`.
    pub fn abort(&mut self, task: &mut DeviceTask) {
        *task = DeviceTask::default();
    }

    /// LOGICAL UNIT RESET (SAM-5 6.3.3): RESERVE (6) and preventions of all nexuses are gone, and every nexus,
    /// the one that asked as well, gets a unit attention. Tasks are the transport's to abort. For a reset of the
    /// whole target see [`Unit::reset`].
    pub fn reset(&mut self) {
        self.unit.reset(AdditionalSense::BUS_DEVICE_RESET_FUNCTION_OCCURRED);
    }

    #[cold]
    fn go_on(&self, task: &mut DeviceTask, done: IoDone) -> Step {
        task.advance(done).unwrap_or_else(|sense| refuse(&self.state, sense.into()))
    }

    /// Takes the unit's latest snapshot if there is a new one.
    #[inline]
    fn catch_up(&mut self) {
        if self.unit.generation() != self.seen {
            self.take_snapshot();
        }
    }

    #[cold]
    fn take_snapshot(&mut self) {
        self.seen = self.unit.generation();
        self.state = self.unit.snapshot();
        for nexus in self.nexuses.iter_mut().flatten() {
            nexus.pending.catch_up(&self.state.log, &nexus.nexus);
            nexus.restriction = self.state.reservations.restriction(&nexus.nexus);
        }
    }

    fn tasks(&mut self, nexus: NexusIndex) -> Option<&mut TaskSet> {
        self.nexuses.get_mut(nexus.0 as usize)?.as_mut().map(|state| &mut state.tasks)
    }
}

/// Looks the command up, then reservation, then the command itself.
#[inline]
fn begin(request: &mut Request<'_>, restriction: Restriction, view: &dyn TargetView) -> Answer {
    let command = table::lookup(request.command.cdb)?;
    if !spc::supports(request.state, command) {
        return Err(Sense::invalid_opcode().into());
    }
    let cdb = command.decode(request.command.cdb)?;
    if restriction != Restriction::None && restriction.forbids(command.reservation_of(&cdb)) {
        return Err(Refusal::Conflict);
    }
    match request.state.config.device_type {
        DeviceType::Disk => disk::start(request, cdb, view),
        DeviceType::Controller => controller::start(request, cdb, view),
    }
}

/// Reports a pending unit attention, unless the command passes it by.
#[cold]
fn attention(pending: &mut Pending, cdb: &[u8]) -> Option<Step> {
    if cdb.first().is_some_and(|opcode| ATTENTION_PASSES.contains(opcode)) {
        return None;
    }
    pending.take().map(|code| check_condition(Sense::unit_attention(code)))
}

#[cold]
fn refuse(state: &UnitState, refusal: Refusal) -> Step {
    match refusal {
        Refusal::Sense(sense) => in_format(state, check_condition(sense)),
        Refusal::Conflict => {
            Step::Done(Outcome { status: Status::ReservationConflict, sense: None, data_in: Vec::new() })
        }
    }
}

/// Sense data in the unit's format (D_SENSE).
fn in_format(state: &UnitState, mut step: Step) -> Step {
    if let Step::Done(Outcome { sense: Some(sense), .. }) = &mut step {
        sense.descriptor = state.config.sense_descriptor;
    }
    step
}
