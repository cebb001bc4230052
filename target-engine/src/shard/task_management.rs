//! Task Management Function Requests (RFC 7143 11.5; SAM-5 7), and the deferral of functions that arrived before some of
//! the commands that they are for (RFC 7143 4.2.3.3): the CmdSN of an immediate function says which.

use iscsi_proto::pdu::{self, Bhs, RejectReason, TaskFunction, TaskManagementRequest, TaskResponse};
use scsi_core::lun::Lun;

use super::TargetShard;
use super::abort::Whose;
use super::driver::Env;
use super::functions::{Deferred, Then};
use super::session::Held;
use super::task::Task;
use crate::iscsi::connection::receive::Data;
use crate::iscsi::session::Arrival;
use crate::keys::{ConnectionIndex, SessionIndex};
use crate::limits::ABORT_WAIT;

impl TargetShard {
    /// A Task Management Function Request whose turn it is.
    pub(super) fn task_management(&mut self, connection: ConnectionIndex, bhs: &Bhs, env: &mut Env<'_>) {
        let Ok(request) = TaskManagementRequest::decode(bhs) else {
            let reason = RejectReason::INVALID_PDU_FIELD;
            return self.reject(connection, bhs, reason, Data::Borrowed(&[]), env);
        };
        if self.functions.is_full_for(connection) {
            return self.answer_function(connection, &request, TaskResponse::REJECTED);
        }
        if self.is_deferred(connection, &request, bhs, env) {
            return;
        }
        let session = self.sessions[connection].session();
        let issuer = Some(session);
        let lun = Lun::from_wire(request.lun)
            .filter(|&lun| self.units.get(lun).is_some_and(|unit| !unit.is_leaving()));
        let then = |cold| Then::Respond { connection, itt: request.itt, cold };
        match (request.function, lun) {
            (TaskFunction::ABORT_TASK, _) => self.abort_task(connection, &request, then(false), env),
            (TaskFunction::ABORT_TASK_SET | TaskFunction::CLEAR_TASK_SET, Some(lun)) => {
                // Each nexus has its own task set (TST 001b): clearing it is aborting it.
                let which = move |task: &Task| task.is_of(lun);
                self.abort_and_wait(Whose::Session(session), which, then(false), (0, issuer), env);
            }
            (TaskFunction::LOGICAL_UNIT_RESET, Some(lun)) => {
                self.reset_unit(lun, then(false), issuer, env);
            }
            (
                TaskFunction::ABORT_TASK_SET
                | TaskFunction::CLEAR_TASK_SET
                | TaskFunction::LOGICAL_UNIT_RESET,
                None,
            ) => self.answer_function(connection, &request, TaskResponse::NO_LUN),
            (TaskFunction::TARGET_WARM_RESET, _) => {
                self.reset_target(then(false), issuer, env);
                self.execute_early(session, env);
            }
            (TaskFunction::TARGET_COLD_RESET, _) => self.reset_target(then(true), issuer, env),
            (TaskFunction::TASK_REASSIGN, _) => {
                self.answer_function(connection, &request, TaskResponse::REASSIGNMENT_NOT_SUPPORTED);
            }
            _ => self.answer_function(connection, &request, TaskResponse::NOT_SUPPORTED),
        }
    }

    fn answer_function(
        &mut self,
        connection: ConnectionIndex,
        request: &TaskManagementRequest,
        response: TaskResponse,
    ) {
        let itt = request.itt;
        self.sessions.send(connection, |to, window| to.task_response(itt, response, window));
    }

    fn abort_task(
        &mut self,
        connection: ConnectionIndex,
        request: &TaskManagementRequest,
        then: Then,
        env: &mut Env<'_>,
    ) {
        let session = self.sessions[connection].session();
        let Some(referenced) = request.referenced_task else {
            return self.answer_function(connection, request, TaskResponse::NO_TASK);
        };
        // The oldest, should there be several with the tag.
        let found = self.tasks.of_session(session).filter(|task| task.itt() == referenced).last();
        match found.map(Task::key) {
            Some(found) => {
                let which = move |task: &Task| task.key() == found;
                self.abort_and_wait(Whose::Session(session), which, then, (0, None), env);
            }
            None => {
                let unseen = self.forget_unseen(session, request, env);
                let response = if unseen { TaskResponse::COMPLETE } else { TaskResponse::NO_TASK };
                self.answer_function(connection, request, response);
                self.execute_early(session, env);
            }
        }
    }

    /// A command that has not arrived, or not in its turn, counts as received (RFC 7143 11.5.5 b): its number is used
    /// up, and the command is ignored should it still arrive. Returns false if it has ended or never existed.
    fn forget_unseen(
        &mut self,
        index: SessionIndex,
        request: &TaskManagementRequest,
        env: &mut Env<'_>,
    ) -> bool {
        let cmd_sn = request.ref_cmd_sn;
        if !cmd_sn.is_before(request.cmd_sn) {
            return false;
        }
        let session = &mut self.sessions[index];
        let commands = session.commands();
        if let Some(held) = commands.held(cmd_sn) {
            if !matches!(held, Held::Pdu(held) if pdu::itt(&held.bhs) == request.referenced_task) {
                return false;
            }
            std::mem::replace(held, Held::Aborted).discard(env.pool);
            return true;
        }
        match commands.arrive(cmd_sn) {
            Arrival::InOrder => commands.finished(),
            Arrival::Early => self.hold(index, cmd_sn, Held::Aborted, env),
            Arrival::Ignored => return false,
        }
        true
    }

    /// Whether a function has to wait until all commands before it have arrived; it is kept then. A reset of the whole
    /// target takes them as arrived.
    fn is_deferred(
        &mut self,
        connection: ConnectionIndex,
        request: &TaskManagementRequest,
        bhs: &Bhs,
        env: &mut Env<'_>,
    ) -> bool {
        let session = self.sessions[connection].session();
        let own = &mut self.sessions[session];
        match request.function {
            TaskFunction::TARGET_WARM_RESET | TaskFunction::TARGET_COLD_RESET => {
                for held in own.commands().plug(request.cmd_sn) {
                    held.discard(env.pool);
                }
                false
            }
            TaskFunction::ABORT_TASK_SET
            | TaskFunction::CLEAR_TASK_SET
            | TaskFunction::LOGICAL_UNIT_RESET
                if own.misses_before(request.cmd_sn) =>
            {
                let deadline = env.now + ABORT_WAIT;
                let deferred = Deferred { connection, session, request: *request, bhs: *bhs, deadline };
                self.functions.defer(deferred);
                true
            }
            _ => false,
        }
    }

    /// Commands have arrived: carries out the functions that wait for none any more.
    #[cold]
    pub(super) fn run_deferred(&mut self, session: SessionIndex, env: &mut Env<'_>) {
        let Some(own) = self.sessions.get(session) else { return };
        let due = self.functions.take_deferred(|deferred| {
            deferred.session == session && !own.misses_before(deferred.request.cmd_sn)
        });
        for Deferred { connection, bhs, .. } in due {
            let of_session = self.sessions.connection(connection).is_some_and(|own| own.session() == session);
            if of_session && self.sessions.is_open(connection) {
                self.task_management(connection, &bhs, env);
            }
        }
    }

    /// Rejects functions whose tasks did not end, or whose commands did not arrive, within [`ABORT_WAIT`]. Aborted
    /// tasks stay aborted.
    pub(super) fn expire_functions(&mut self, env: &mut Env<'_>) {
        for Deferred { connection, request, .. } in
            self.functions.take_deferred(|deferred| deferred.deadline <= env.now)
        {
            self.answer_function(connection, &request, TaskResponse::REJECTED);
        }
        for wait in self.functions.late(env.now) {
            if let Some(then) = self.functions.take_then(wait) {
                self.settle(&then, TaskResponse::REJECTED);
            }
            self.forget_wait(wait);
        }
    }
}
