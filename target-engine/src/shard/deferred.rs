//! Functions for many tasks that came before some of the commands they are for (RFC 7143 4.2.3.3): an immediate
//! function is told of by its CmdSN which ones it is behind.

use std::time::Instant;

use iscsi_proto::pdu::{Bhs, TaskFunction, TaskManagementRequest, TaskResponse};

use super::task_management::Waits;
use super::{Env, TargetShard};
use crate::iscsi::connection::ConnectionState;
use crate::limits::ABORT_WAIT;

/// A function that waits for commands with smaller numbers.
#[derive(Debug)]
pub(super) struct Deferred {
    connection: usize,
    session: usize,
    request: TaskManagementRequest,
    bhs: Bhs,
    deadline: Instant,
}

impl Deferred {
    /// Whether it is to be answered on this connection.
    pub(super) fn is_of(&self, connection: usize) -> bool {
        self.connection == connection
    }
}

impl TargetShard {
    /// Whether the function has to wait until all commands before it have come; it is kept if so. What resets the
    /// whole target takes them as come.
    pub(super) fn is_deferred(
        &mut self,
        connection: usize,
        request: &TaskManagementRequest,
        bhs: &Bhs,
        env: &mut Env<'_>,
    ) -> bool {
        let session = self.connections[connection].session;
        let window = &mut self.sessions[session].window;
        match request.function {
            TaskFunction::TARGET_WARM_RESET | TaskFunction::TARGET_COLD_RESET => {
                for held in window.plug(request.cmd_sn) {
                    held.block.into_iter().for_each(|block| env.pool.give(block));
                }
                false
            }
            TaskFunction::ABORT_TASK_SET
            | TaskFunction::CLEAR_TASK_SET
            | TaskFunction::LOGICAL_UNIT_RESET
                if window.misses_before(request.cmd_sn) =>
            {
                let deadline = env.now + ABORT_WAIT;
                let deferred = Deferred { connection, session, request: *request, bhs: *bhs, deadline };
                self.waits.deferred.push(deferred);
                true
            }
            _ => false,
        }
    }

    /// Commands have come: functions whose last one that was missing is among them are carried out.
    #[cold]
    pub(super) fn run_deferred(&mut self, session: usize, env: &mut Env<'_>) {
        let Some(window) = self.sessions.get(session).map(|session| &session.window) else { return };
        let is_due = |deferred: &mut Deferred| {
            deferred.session == session && !window.misses_before(deferred.request.cmd_sn)
        };
        let due: Vec<Deferred> = self.waits.deferred.extract_if(.., is_due).collect();
        for Deferred { connection, bhs, .. } in due {
            let open = |connection: &crate::iscsi::connection::Connection| {
                connection.state == ConnectionState::Open && connection.session == session
            };
            if self.connections.get(connection).is_some_and(open) {
                self.task_management(connection, &bhs, env);
            }
        }
    }

    /// Commands that do not come are not waited for for ever.
    pub(super) fn expire_deferred(&mut self, now: Instant) {
        let is_late = |deferred: &mut Deferred| deferred.deadline <= now;
        let late: Vec<Deferred> = self.waits.deferred.extract_if(.., is_late).collect();
        for Deferred { connection, request, .. } in late {
            self.answer(connection, &request, TaskResponse::REJECTED);
        }
    }
}

impl Waits {
    /// How many functions of a connection wait for commands.
    pub(super) fn deferred_of(&self, connection: usize) -> usize {
        self.deferred.iter().filter(|deferred| deferred.is_of(connection)).count()
    }
}
