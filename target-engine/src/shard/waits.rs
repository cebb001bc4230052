//! What initiators must send in time: the rest of a PDU, the Data-Out of commands, and a command that others wait for. What
//! they have sent of it holds memory and command numbers, so their connections are closed when it does not come.

use super::TargetShard;
use super::driver::Env;
use super::session::Held;
use super::task::Task;
use crate::keys::{ConnectionIndex, SessionIndex};
use crate::limits::{COMMAND_WAIT, DATA_OUT_WAIT, PDU_WAIT};
use iscsi_proto::sn::CmdSn;

impl TargetShard {
    /// Holds a command number whose turn has not come.
    pub(super) fn hold(&mut self, session: SessionIndex, cmd_sn: CmdSn, held: Held, env: &Env<'_>) {
        let own = &mut self.sessions[session];
        own.commands().hold(cmd_sn, held);
        if own.begin_gap(env.now) {
            self.sessions.list_gap(session);
        }
    }

    /// Closes the connections of initiators that have not sent what they must send.
    pub(super) fn close_late(&mut self, env: &mut Env<'_>) {
        self.close_incomplete(env);
        self.close_without_data_out(env);
        self.close_gaps(env);
    }

    /// A PDU has begun and is not complete.
    fn close_incomplete(&mut self, env: &mut Env<'_>) {
        for connection in self.sessions.take_incomplete() {
            let Some(own) = self.sessions.connection_mut(connection) else { continue };
            match own.is_pdu_late(env.pool, env.now) {
                None => {}
                Some(false) => self.sessions.list_incomplete(connection),
                Some(true) => {
                    let seconds = PDU_WAIT.as_secs();
                    self.close_with_warning(
                        connection,
                        format_args!("a PDU is incomplete after {seconds} s"),
                        env,
                    );
                }
            }
        }
    }

    /// Commands wait for Data-Out, and none arrives on their connection.
    fn close_without_data_out(&mut self, env: &mut Env<'_>) {
        let waits = |task: &&Task| task.awaits_data() && !task.is_ending();
        let mut late = Vec::new();
        for task in self.tasks.iter().filter(waits) {
            let own = &mut self.sessions[task.connection()];
            if own.is_data_out_late(env.pool, env.now) && late.last() != Some(&task.connection()) {
                late.push(task.connection());
            }
        }
        for connection in late {
            let seconds = DATA_OUT_WAIT.as_secs();
            let why = format_args!("no Data-Out for {seconds} s that commands wait for");
            self.close_with_warning(connection, why, env);
        }
    }

    /// Commands wait for one with a smaller number.
    fn close_gaps(&mut self, env: &mut Env<'_>) {
        for session in self.sessions.take_gaps() {
            let Some(own) = self.sessions.get_mut(session) else { continue };
            match own.is_gap_late(env.now) {
                None => {}
                Some(false) => self.sessions.list_gap(session),
                Some(true) => {
                    let seconds = COMMAND_WAIT.as_secs();
                    for connection in own.connections().to_vec() {
                        let why = format_args!("a command that others wait for is missing after {seconds} s");
                        self.close_with_warning(connection, why, env);
                    }
                }
            }
        }
    }

    fn close_with_warning(
        &mut self,
        connection: ConnectionIndex,
        why: std::fmt::Arguments<'_>,
        env: &mut Env<'_>,
    ) {
        let Some(own) = self.sessions.connection(connection).filter(|own| !own.is_closed()) else { return };
        self.warnings.warn(env.now, format_args!("{}: {why}, closed", own.peer()));
        self.close_connection(connection, env);
    }
}
