//! Task management functions (RFC 7143 11.5, 11.6; SAM-5 7): abort what has not ended, wait for what cannot be
//! recalled, answer when it has.

use std::sync::Arc;
use std::time::Instant;

use iscsi_proto::pdu::{self, Bhs, RejectReason, TaskFunction, TaskManagementRequest, TaskResponse};
use scsi_core::device::NexusName;
use scsi_core::lun::Lun;
use scsi_core::store::IoError;
use slab::Slab;

use super::closing::UnitLife;
use super::deferred::Deferred;
use super::session::{HeldPdu, Session};
use super::tasks::{Aborted, State, Task, TaskIndex, Tasks, Transfer};
use super::{Env, ShardEvent, TargetShard};
use crate::iscsi::connection::receive::Data;
use crate::iscsi::session::Arrival;
use crate::limits::{ABORT_WAIT, TASK_FUNCTION_WAITS_MAX, TASK_FUNCTIONS_MAX};

/// A wait's place.
pub type WaitIndex = usize;

/// Functions whose tasks have not all ended.
#[derive(Debug, Default)]
pub struct Waits {
    slab: Slab<Wait>,
    /// Functions that wait for commands to come.
    pub(super) deferred: Vec<Deferred>,
}

#[derive(Debug)]
struct Wait {
    /// What is still to end: tasks, and siblings' resets.
    left: usize,
    deadline: Instant,
    then: Then,
}

/// Which commands of a target a function ends.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// Those at one unit, or at all.
    pub lun: Option<Lun>,
    /// Those of some nexuses, or of all.
    pub nexuses: Option<Arc<[NexusName]>>,
}

#[derive(Debug)]
enum Then {
    /// Answer the function on its connection.
    Respond { connection: usize, itt: iscsi_proto::ids::Itt, cold: bool },
    /// The initiator is gone or was told already.
    Nothing,
    /// Tell the sibling that asked.
    Sibling(u64),
    /// Go on with the command that had others aborted.
    Resume(TaskIndex, u16),
}

impl TargetShard {
    /// A Task Management Function Request whose turn it is.
    pub(super) fn task_management(&mut self, place: usize, bhs: &Bhs, env: &mut Env<'_>) {
        let Ok(request) = TaskManagementRequest::decode(bhs) else {
            return self.refuse(place, bhs, RejectReason::INVALID_PDU_FIELD, Data::Borrowed(&[]), env);
        };
        let session = self.connections[place].session;
        let lun = Lun::from_wire(request.lun)
            .filter(|&lun| self.unit(lun).is_some_and(|unit| unit.life != UnitLife::Leaving));
        let of_session = move |task: &Task| task.session == session && task.lun == lun;
        let issuer = Some(session);
        let then = Then::Respond { connection: place, itt: request.itt, cold: false };
        if self.waits.is_full_for(place) {
            return self.answer(place, &request, TaskResponse::REJECTED);
        }
        if self.is_deferred(place, &request, bhs, env) {
            return;
        }
        match request.function {
            TaskFunction::ABORT_TASK => self.abort_task(place, &request, then, env),
            TaskFunction::ABORT_TASK_SET | TaskFunction::CLEAR_TASK_SET if lun.is_some() => {
                // The task set is the nexus' own (TST 001b): clearing it is aborting it.
                self.abort_and_wait(of_session, then, (0, issuer), env);
            }
            TaskFunction::LOGICAL_UNIT_RESET => match lun {
                Some(lun) => self.reset_unit(lun, then, issuer, env),
                None => self.answer(place, &request, TaskResponse::NO_LUN),
            },
            TaskFunction::TARGET_WARM_RESET => {
                self.reset_target(then, issuer, env);
                self.execute_early(session, env);
            }
            TaskFunction::TARGET_COLD_RESET => {
                let then = Then::Respond { connection: place, itt: request.itt, cold: true };
                self.reset_target(then, issuer, env);
            }
            TaskFunction::ABORT_TASK_SET | TaskFunction::CLEAR_TASK_SET => {
                self.answer(place, &request, TaskResponse::NO_LUN);
            }
            TaskFunction::TASK_REASSIGN => {
                self.answer(place, &request, TaskResponse::REASSIGNMENT_NOT_SUPPORTED);
            }
            _ => self.answer(place, &request, TaskResponse::NOT_SUPPORTED),
        }
    }

    pub(super) fn answer(&mut self, place: usize, request: &TaskManagementRequest, response: TaskResponse) {
        let window = self.window(self.connections[place].session);
        self.connections[place].task_response(request.itt, response, window);
        self.touch(place);
    }

    fn abort_task(&mut self, place: usize, request: &TaskManagementRequest, then: Then, env: &mut Env<'_>) {
        let session = self.connections[place].session;
        let Some(referenced) = request.referenced_task else {
            return self.answer(place, request, TaskResponse::NO_TASK);
        };
        let found = self.tasks.iter().find(|(_, task)| task.session == session && task.itt == referenced);
        match found.map(|(index, _)| index) {
            Some(found) => {
                let generation = self.tasks[found].generation;
                let this = move |task: &Task| {
                    task.generation == generation && task.session == session && task.itt == referenced
                };
                self.abort_and_wait(this, then, (0, None), env);
            }
            None => {
                let unseen = self.forget_unseen(session, request, env);
                let response = if unseen { TaskResponse::COMPLETE } else { TaskResponse::NO_TASK };
                self.answer(place, request, response);
                self.execute_early(session, env);
            }
        }
    }

    /// A command that did not come, or not to its turn, counts as received (RFC 7143 11.5.5 b): its number is used
    /// up, and should it come after all, it is ignored. False: it has ended, or never was.
    fn forget_unseen(&mut self, session: usize, request: &TaskManagementRequest, env: &mut Env<'_>) -> bool {
        let cmd_sn = request.ref_cmd_sn;
        if !cmd_sn.is_before(request.cmd_sn) {
            return false;
        }
        let session = &mut self.sessions[session];
        if let Some(held) = session.window.held(cmd_sn) {
            if pdu::itt(&held.bhs) != request.referenced_task {
                return false;
            }
            let aborted = std::mem::replace(held, HeldPdu::nothing(held.connection));
            aborted.block.into_iter().for_each(|block| env.pool.give(block));
            return true;
        }
        match session.window.arrive(cmd_sn) {
            Arrival::InOrder => session.window.finished(),
            Arrival::Early => {
                let connection = session.connections.first().copied().unwrap_or_default();
                session.window.hold(cmd_sn, HeldPdu::nothing(connection));
            }
            Arrival::Ignored => return false,
        }
        true
    }

    fn reset_unit(&mut self, lun: Lun, then: Then, issuer: Option<usize>, env: &mut Env<'_>) {
        if let Some(unit) = self.unit_mut(lun) {
            unit.port.reset();
        }
        let siblings = self.siblings;
        let wait = self.abort_and_wait(move |task| task.lun == Some(lun), then, (siblings, issuer), env);
        self.tell_siblings(Reach { lun: Some(lun), nexuses: None }, wait);
    }

    fn reset_target(&mut self, then: Then, issuer: Option<usize>, env: &mut Env<'_>) {
        for unit in self.units.iter_mut().flatten() {
            unit.port.reset();
        }
        let siblings = self.siblings;
        let wait = self.abort_and_wait(|_| true, then, (siblings, issuer), env);
        self.tell_siblings(Reach::default(), wait);
    }

    /// A command has others aborted before it ends: all that these nexuses have at its unit, on every loop.
    pub(super) fn abort_for(&mut self, index: TaskIndex, nexuses: Arc<[NexusName]>, env: &mut Env<'_>) {
        let task = &mut self.tasks[index];
        task.transfer = Transfer::default();
        let (lun, own, session, itt) = (task.lun, task.generation, task.session, task.itt);
        let reach = Reach { lun, nexuses: Some(nexuses) };
        let reached = self.reached(&reach);
        let is_own = move |task: &Task| task.generation == own && task.session == session && task.itt == itt;
        let which = move |task: &Task| !is_own(task) && reached(task);
        let siblings = self.siblings;
        let wait = self.abort_and_wait(which, Then::Resume(index, own), (siblings, None), env);
        self.tell_siblings(reach, wait);
    }

    fn reached(&self, reach: &Reach) -> impl Fn(&Task) -> bool + use<> {
        let lun = reach.lun;
        let sessions: Option<Vec<usize>> = reach.nexuses.as_ref().map(|names| {
            let named = |session: &Session| names.iter().any(|name| name.is_of(&session.nexus));
            self.sessions.iter().filter(|(_, session)| named(session)).map(|(index, _)| index).collect()
        });
        move |task| {
            let of_unit = lun.is_none() || task.lun == lun;
            of_unit && sessions.as_ref().is_none_or(|sessions| sessions.contains(&task.session))
        }
    }

    fn tell_siblings(&mut self, reach: Reach, wait: WaitIndex) {
        if self.siblings > 0 {
            self.events.push(ShardEvent::ResetSiblings(reach, wait as u64));
        }
    }

    /// A loop that serves the same target ends commands: ours end too. `ResetDone` follows.
    pub fn sibling_reset(&mut self, reach: &Reach, id: u64, env: &mut Env<'_>) {
        let reached = self.reached(reach);
        self.abort_and_wait(reached, Then::Sibling(id), (0, None), env);
    }

    /// A sibling's commands have ended.
    pub fn sibling_reset_done(&mut self, wait: u64) {
        self.wait_over(wait as WaitIndex);
    }

    /// Aborts tasks; `then` follows when they have ended, and so many `others`. Those of the session that asked for it
    /// (RFC 7143 4.2.3.3) end when the data has come that they asked for.
    fn abort_and_wait(
        &mut self,
        which: impl Fn(&Task) -> bool,
        then: Then,
        (others, issuer): (usize, Option<usize>),
        env: &mut Env<'_>,
    ) -> WaitIndex {
        // One more than there is, so that it cannot be over before all is counted.
        let wait = self.waits.slab.insert(Wait { left: others + 1, deadline: env.now + ABORT_WAIT, then });
        self.abort_where(which, Aborted { waiters: vec![wait], issuer, ..Aborted::default() }, env);
        self.wait_over(wait);
        wait
    }

    /// Aborts tasks; those whose I/O cannot be recalled end when it does.
    pub(super) fn abort_where(&mut self, which: impl Fn(&Task) -> bool, cause: Aborted, env: &mut Env<'_>) {
        let chosen: Vec<TaskIndex> =
            self.tasks.iter().filter(|(_, task)| which(task)).map(|(index, _)| index).collect();
        for index in chosen {
            self.abort(index, cause.clone(), env);
        }
    }

    fn abort(&mut self, index: TaskIndex, cause: Aborted, env: &mut Env<'_>) {
        for &waiter in &cause.waiters {
            if let Some(wait) = self.waits.slab.get_mut(waiter) {
                wait.left += 1;
            }
        }
        let task = &mut self.tasks[index];
        if task.state == State::Ending && cause.unit_gone {
            // It has left the unit before.
            return;
        }
        if let Some(aborted) = &mut task.aborted {
            // Twice aborted, it still ends once, and both functions wait for that; an abort by its initiator wins
            // over the unit's end.
            aborted.unit_gone &= cause.unit_gone;
            aborted.waiters.extend(cause.waiters);
            if cause.issuer != Some(task.session) {
                aborted.issuer = None;
            }
            if task.state == State::Ending {
                self.drop_task(index, env);
            }
            return;
        }
        task.aborted = Some(cause);
        if let Some(unit) = task.lun.and_then(|lun| self.units[usize::from(lun.number())].as_mut()) {
            unit.port.abort(&mut task.device);
        }
        if task.transfer.in_flight == 0 {
            return self.drop_task(index, env);
        }
        self.fence_off(index);
        let task = &self.tasks[index];
        let (generation, out) = (task.generation, task.transfer.out);
        let store = self.tasks[index].lun.and_then(|lun| self.unit(lun)).and_then(|unit| unit.store);
        if let Some(store) = store {
            for chunk in out.iter() {
                env.engines.cancel(store.engine, Tasks::io_tag(self.id, index, generation, chunk));
            }
            self.submitted = true;
        }
    }

    /// Nobody may touch what the store may still change for an aborted task, on any loop.
    fn fence_off(&mut self, index: TaskIndex) {
        let (from, to) = self.tasks[index].transfer.changing();
        let Some(unit) = self.tasks[index].lun.and_then(|lun| self.unit(lun)) else { return };
        let fence = (from < to).then(|| unit.port.unit().fence(from, to));
        if let Some(aborted) = &mut self.tasks[index].aborted {
            aborted.fence = fence;
        }
    }

    /// One of the things a function waits for has ended.
    pub(super) fn wait_over(&mut self, index: WaitIndex) {
        let Some(wait) = self.waits.slab.get_mut(index) else { return };
        wait.left -= 1;
        if wait.left == 0 {
            let wait = self.waits.slab.remove(index);
            self.settle(&wait.then, TaskResponse::COMPLETE);
        }
    }

    fn settle(&mut self, then: &Then, response: TaskResponse) {
        match *then {
            Then::Nothing => {}
            Then::Sibling(id) => self.events.push(ShardEvent::ResetDone(id)),
            Then::Resume(index, generation) => {
                let task = self.tasks.get_mut(index).filter(|task| task.generation == generation);
                if let Some(task) = task {
                    // The others may still write: that must not be reported as good.
                    task.transfer.error = (response != TaskResponse::COMPLETE).then_some(IoError::ABANDONED);
                    task.state = State::Yielded;
                    self.ready.push_back((index, generation));
                }
            }
            Then::Respond { connection, itt, cold } => {
                let window = self.window(self.connections[connection].session);
                self.connections[connection].task_response(itt, response, window);
                self.touch(connection);
                if cold && response == TaskResponse::COMPLETE {
                    // TARGET COLD RESET ends all sessions once its answer is out (RFC 7143 11.5.1).
                    for place in self.connections.iter().map(|(place, _)| place).collect::<Vec<_>>() {
                        self.drain(place);
                    }
                }
            }
        }
    }

    /// Functions that waited too long are answered with a rejection; their tasks stay aborted.
    pub(super) fn expire_waits(&mut self, env: &mut Env<'_>) {
        self.expire_deferred(env.now);
        let late: Vec<WaitIndex> = self
            .waits
            .slab
            .iter()
            .filter(|(_, wait)| wait.deadline <= env.now && wait.then.expires())
            .map(|(index, _)| index)
            .collect();
        for index in late {
            let then = std::mem::replace(&mut self.waits.slab[index].then, Then::Nothing);
            self.settle(&then, TaskResponse::REJECTED);
            self.forget_wait(index);
        }
    }

    /// Nobody is to be told any more: tasks need not remember. What siblings still answer keeps its place.
    fn forget_wait(&mut self, index: WaitIndex) {
        let mut forgotten = 0;
        for (_, task) in self.tasks.iter_mut() {
            if let Some(aborted) = &mut task.aborted {
                let before = aborted.waiters.len();
                aborted.waiters.retain(|&waiter| waiter != index);
                forgotten += before - aborted.waiters.len();
            }
        }
        if let Some(wait) = self.waits.slab.get_mut(index) {
            wait.left -= forgotten;
            if wait.left == 0 {
                self.waits.slab.remove(index);
            }
        }
    }
}

impl Then {
    /// Whether somebody is to be told when it takes too long. A sibling is not: it has a deadline of its own, and
    /// takes an answer for the end of the commands.
    fn expires(&self) -> bool {
        matches!(self, Self::Respond { .. } | Self::Resume(..))
    }
}

impl Waits {
    /// Whether nothing is waited for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty() && self.deferred.is_empty()
    }

    /// Whether a connection has enough functions waiting, or all together have.
    fn is_full_for(&self, place: usize) -> bool {
        let of_it = |(_, wait): &(usize, &Wait)| matches!(wait.then, Then::Respond { connection, .. } if connection == place);
        self.slab.len() >= TASK_FUNCTION_WAITS_MAX
            || self.slab.iter().filter(of_it).count() + self.deferred_of(place) >= TASK_FUNCTIONS_MAX
    }

    /// Nobody is left to be answered on this connection.
    pub(super) fn forget_connection(&mut self, place: usize) {
        self.deferred.retain(|deferred| !deferred.is_of(place));
        for (_, wait) in &mut self.slab {
            if matches!(wait.then, Then::Respond { connection, .. } if connection == place) {
                wait.then = Then::Nothing;
            }
        }
    }
}
