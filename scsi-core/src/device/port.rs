//! The port of a unit on one loop, which dispatches commands.

use std::sync::Arc;

use super::answer::{Answer, Refusal, check_condition, good};
use super::attention::Pending;
use super::config::DeviceType;
use super::request::Request;
use super::reservation::Restriction;
use super::task::DeviceTask;
use super::task_set::{Admit, TaskAttribute, TaskKey, TaskSet};
use super::unflushed::{CacheUse, Unflushed};
use super::unit::{Unit, UnitState};
use super::{Command, IoDone, IoResult, Nexus, NexusIndex, Outcome, Step, TargetView};
use super::{controller, disk, spc};
use crate::cdb::table;
use crate::sense::{AdditionalSense, Sense};
use crate::status::Status;
use crate::store::IoError;

/// A unit on one loop: the latest snapshot of its state, and the state of the nexuses of that loop.
pub struct UnitPort {
    unit: Arc<Unit>,
    state: Arc<UnitState>,
    /// Generation of `state`.
    seen: u64,
    nexuses: Vec<Option<NexusState>>,
}

struct NexusState {
    nexus: Nexus,
    /// What the reservations in the snapshot forbid to the nexus.
    restriction: Restriction,
    pending: Pending,
    tasks: TaskSet,
    unflushed: Unflushed,
}

/// Operation codes that neither report nor are ended by a pending unit attention (SAM-5 5.14.1).
const EXEMPT_FROM_ATTENTION: [u8; 3] = [INQUIRY, REPORT_LUNS, REQUEST_SENSE];
const REQUEST_SENSE: u8 = 0x03;
const INQUIRY: u8 = 0x12;
const REPORT_LUNS: u8 = 0xa0;

impl UnitPort {
    /// A port of a unit; each loop has one.
    #[must_use]
    pub fn new(unit: Arc<Unit>) -> Self {
        let seen = unit.generation();
        let state = unit.snapshot();
        Self { unit, state, seen, nexuses: Vec::new() }
    }

    /// The unit of the port.
    #[must_use]
    pub fn unit(&self) -> &Arc<Unit> {
        &self.unit
    }

    /// Gets the latest snapshot of the unit, and drops the previous one with its store.
    pub fn refresh(&mut self) {
        self.catch_up();
    }

    /// Adds a nexus, with a pending power on unit attention. It replaces a nexus with the same index.
    pub fn attach_nexus(&mut self, index: NexusIndex, nexus: Nexus) {
        self.detach_nexus(index);
        self.catch_up();
        let slot = index.0 as usize;
        if self.nexuses.len() <= slot {
            self.nexuses.resize_with(slot + 1, || None);
        }
        let pending = self.state.pending_at_power_on();
        let restriction = self.state.restriction(&nexus);
        let (tasks, unflushed) = (TaskSet::default(), Unflushed::default());
        self.nexuses[slot] = Some(NexusState { nexus, restriction, pending, tasks, unflushed });
    }

    /// Removes a nexus (I_T nexus loss, SAM-5 6.3.4). Its RESERVE (6) and its prevention of medium removal end.
    pub fn detach_nexus(&mut self, index: NexusIndex) {
        if let Some(state) = self.nexuses.get_mut(index.0 as usize).and_then(Option::take) {
            self.unit.remove_nexus(state.nexus.id);
        }
    }

    /// Admits a task to the task set of its nexus. Call it before `start`.
    #[inline]
    pub fn admit(&mut self, nexus: NexusIndex, attribute: TaskAttribute, key: TaskKey) -> Admit {
        match self.tasks(nexus) {
            Some(tasks) => tasks.admit(attribute, key),
            None => Admit::Run,
        }
    }

    /// Removes an admitted task that completed or was aborted. Call `next_ready` afterwards.
    #[inline]
    pub fn finished(&mut self, nexus: NexusIndex, key: TaskKey) {
        if let Some(tasks) = self.tasks(nexus) {
            tasks.finished(key);
        }
    }

    /// Returns a held task of the nexus that must start now. Call it until it returns `None`.
    #[inline]
    pub fn next_ready(&mut self, nexus: NexusIndex) -> Option<TaskKey> {
        self.tasks(nexus)?.next_ready()
    }

    /// Starts a command whose data-out is complete. A nexus that is not attached gets BUSY.
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
            Ok(step) => {
                task.set_nexus(command.nexus);
                task.cache_use = begin_use(&mut nexus.unflushed, &step);
                step
            }
            Err(refusal) => {
                task.refused();
                refuse(&self.state, refusal)
            }
        }
    }

    /// Continues a command after its step.
    #[inline]
    pub fn io_done(&mut self, task: &mut DeviceTask, mut result: IoResult) -> Step {
        if task.cache_use != CacheUse::None {
            result = self.end_use(task, result);
        }
        match result {
            Ok(IoDone::Done) if task.is_last_step() => good(),
            Ok(done) => self.go_on(task, done),
            Err(error) => refuse(&self.state, task.refusal_of(error, self.state.medium().block_shift)),
        }
    }

    /// Ends a command without a result. The I/O of its last step must have completed or be fenced. Do not call `io_done`
    /// for it.
    pub fn abort(&mut self, task: &mut DeviceTask) {
        let _ = self.end_use(task, Err(IoError::CANCELLED));
        *task = DeviceTask::default();
    }

    /// LOGICAL UNIT RESET (SAM-5 6.3.3): ends RESERVE (6) and all preventions of medium removal, and raises a unit attention
    /// for every nexus, also for the one that requested it. The transport aborts the tasks. For a reset of the whole target
    /// see [`Unit::reset`].
    pub fn reset(&mut self) {
        self.unit.reset(AdditionalSense::BUS_DEVICE_RESET_FUNCTION_OCCURRED);
    }

    /// Writes that were acknowledged on this loop and not flushed may be lost ([`Notice::Forgotten`]). Returns the number of
    /// nexuses whose next flush fails because of it.
    ///
    /// [`Notice::Forgotten`]: crate::store::Notice::Forgotten
    #[cold]
    pub fn forget_writes(&mut self) -> usize {
        self.nexuses.iter_mut().flatten().map(|nexus| usize::from(nexus.unflushed.forget())).sum()
    }

    #[cold]
    fn go_on(&mut self, task: &mut DeviceTask, done: IoDone) -> Step {
        match task.advance(done) {
            Ok(step) => {
                if let Some(Some(nexus)) = self.nexuses.get_mut(task.nexus().0 as usize) {
                    task.cache_use = begin_use(&mut nexus.unflushed, &step);
                }
                step
            }
            Err(sense) => refuse(&self.state, sense.into()),
        }
    }

    /// The running step of a command has ended.
    #[inline]
    fn end_use(&mut self, task: &mut DeviceTask, result: IoResult) -> IoResult {
        let Some(Some(nexus)) = self.nexuses.get_mut(task.nexus().0 as usize) else { return result };
        match std::mem::take(&mut task.cache_use) {
            CacheUse::Write { durable } => nexus.unflushed.write_ends(durable && result.is_ok()),
            CacheUse::Flush(number) if result.is_ok() => nexus.unflushed.flush_ends(number)?,
            CacheUse::Flush(_) | CacheUse::None => {}
        }
        result
    }

    /// Gets the latest snapshot of the unit if there is a new one.
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
            self.state.raise_new(&mut nexus.pending, &nexus.nexus);
            nexus.restriction = self.state.restriction(&nexus.nexus);
        }
    }

    fn tasks(&mut self, nexus: NexusIndex) -> Option<&mut TaskSet> {
        self.nexuses.get_mut(nexus.0 as usize)?.as_mut().map(|state| &mut state.tasks)
    }
}

/// A step begins. Returns what it does to the cache of the store.
#[inline]
fn begin_use(unflushed: &mut Unflushed, step: &Step) -> CacheUse {
    let durable = match step {
        Step::Write { fua, .. } | Step::Fill { fua, .. } => *fua,
        Step::WriteZeroes { .. } | Step::Discard { .. } => false,
        Step::Flush => return CacheUse::Flush(unflushed.flush_begins()),
        Step::Read { .. }
        | Step::Compare { .. }
        | Step::Probe { .. }
        | Step::Allocation { .. }
        | Step::AbortTasks(_)
        | Step::Done(_) => return CacheUse::None,
    };
    unflushed.write_begins();
    CacheUse::Write { durable }
}

/// Looks the command up, checks reservations, and dispatches it to the commands of the device type.
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
    match request.state.config().device_type {
        DeviceType::Disk => disk::start(request, cdb, view),
        DeviceType::Controller => controller::start(request, cdb, view),
    }
}

/// Reports a pending unit attention, unless the command is exempt.
#[cold]
fn attention(pending: &mut Pending, cdb: &[u8]) -> Option<Step> {
    if cdb.first().is_some_and(|opcode| EXEMPT_FROM_ATTENTION.contains(opcode)) {
        return None;
    }
    pending.take().map(|code| check_condition(Sense::unit_attention(code)))
}

#[cold]
fn refuse(state: &UnitState, refusal: Refusal) -> Step {
    let without_sense = |status| Step::Done(Outcome { status, sense: None, data_in: Vec::new() });
    match refusal {
        Refusal::Sense(sense) => in_format(state, check_condition(sense)),
        Refusal::Conflict => without_sense(Status::ReservationConflict),
        Refusal::Busy => without_sense(Status::Busy),
    }
}

/// Selects the sense data format of the unit (D_SENSE).
fn in_format(state: &UnitState, mut step: Step) -> Step {
    if let Step::Done(Outcome { sense: Some(sense), .. }) = &mut step {
        sense.descriptor = state.config().sense_descriptor;
    }
    step
}
