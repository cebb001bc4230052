//! Received PDUs: numbered ones in their order, others at once, each to its handler.

use iscsi_proto::pdu::{
    self, Bhs, DataOut, LoginRequest, LogoutRequest, NopOut, RejectReason, ScsiCommand, SnackRequest,
    TaskManagementRequest, TextRequest,
};
use scsi_core::store::Block;

use super::TargetShard;
use super::driver::Env;
use super::session::{Held, HeldPdu};
use crate::buffers::{Account, Pool};
use crate::iscsi::connection::Connection;
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::iscsi::session::Arrival;
use crate::keys::{ConnectionIndex, SessionIndex};
use crate::limits::PDU_COST;

/// What one call of [`TargetShard::receive`] has done.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Work {
    /// Complete PDUs.
    pub pdus: usize,
    /// Their bytes, those of the parameter data and of the reads that they asked for, and [`PDU_COST`] for each PDU.
    pub cost: usize,
    /// Bytes of the input that were taken.
    pub bytes: usize,
}

/// How much a call of [`TargetShard::receive`] may do: it begins no PDU after one of the bounds is reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct WorkLimit {
    /// Bound of [`Work::cost`].
    pub cost: usize,
    /// More bytes of the input than this are taken.
    pub bytes: usize,
}

impl WorkLimit {
    /// So much work, whatever part of the input it is.
    #[must_use]
    pub fn of_cost(cost: usize) -> Self {
        Self { cost, bytes: usize::MAX }
    }
}

impl TargetShard {
    /// Takes in bytes of the connection's socket, at most [`SCRATCH_LEN`](crate::limits::SCRATCH_LEN), those that were
    /// received into the `space` of its receiver excepted. Call it after `filled`, too, with no bytes.
    ///
    /// Executes PDUs until work up to `limit` is done or the connection has too much to send. The bytes after the last executed
    /// PDU stay with the connection, which then [`has_unread`](crate::iscsi::connection::Connection::has_unread), until
    /// `receive_unread`.
    pub fn receive(
        &mut self,
        connection: ConnectionIndex,
        input: &[u8],
        limit: WorkLimit,
        env: &mut Env<'_>,
    ) -> Work {
        let (work, rest) = self.execute_all(connection, input, limit, env);
        if rest > 0
            && let Some(own) = self.sessions.connection_mut(connection)
        {
            own.keep_unread(&input[input.len() - rest..], env.pool);
        }
        work
    }

    /// Goes on with bytes that were received before, as [`receive`](Self::receive) does.
    pub fn receive_unread(
        &mut self,
        connection: ConnectionIndex,
        limit: WorkLimit,
        env: &mut Env<'_>,
    ) -> Work {
        let unread = self.sessions.connection_mut(connection).and_then(Connection::take_unread);
        let Some(unread) = unread else { return Work::default() };
        let (work, rest) = self.execute_all(connection, unread.bytes(), limit, env);
        match self.sessions.connection_mut(connection) {
            Some(own) if rest > 0 => own.put_back_unread(unread, rest),
            _ => unread.give_back(env.pool),
        }
        work
    }

    /// Executes the PDUs of `input`. Returns how much was done, and how many bytes are left for a later turn.
    #[inline(never)]
    fn execute_all(
        &mut self,
        connection: ConnectionIndex,
        mut input: &[u8],
        limit: WorkLimit,
        env: &mut Env<'_>,
    ) -> (Work, usize) {
        let len = input.len();
        let mut pdus = 0;
        self.extra_cost = 0;
        let rest = loop {
            let Some(own) = self.sessions.connection_mut(connection) else { break 0 };
            if !own.is_open() {
                break 0;
            }
            let taken = len - input.len();
            let is_enough = pdus * PDU_COST + taken + self.extra_cost >= limit.cost || taken > limit.bytes;
            if is_enough || own.must_send_first(env.pool) {
                break input.len();
            }
            match own.next_pdu(&mut input, env.pool) {
                Ok(None) => break 0,
                Ok(Some(pdu)) => {
                    pdus += 1;
                    own.received_at(env.now);
                    self.take_pdu(connection, pdu, env);
                }
                Err(error) => {
                    self.warnings.warn(env.now, format_args!("{}: {error}, closed", own.peer()));
                    self.close_connection(connection, env);
                }
            }
        };
        self.run_enabled(env);
        if let Some(own) = self.sessions.connection_mut(connection) {
            own.count_queued(env.pool);
            if own.begins_wait(env.now) {
                self.sessions.list_incomplete(connection);
            }
        }
        let bytes = len - rest;
        (Work { pdus, cost: pdus * PDU_COST + bytes + self.extra_cost, bytes }, rest)
    }

    #[inline]
    fn take_pdu(&mut self, connection: ConnectionIndex, mut pdu: Incoming<'_>, env: &mut Env<'_>) {
        if let Data::Owned(block) = &mut pdu.data {
            env.pool.assign(block, self.sessions.with_session(connection).0.account());
        }
        if !pdu.intact {
            return self.digest_error(connection, pdu, env);
        }
        match pdu::opcode(&pdu.bhs) {
            DataOut::OPCODE => return self.data_out(connection, pdu, env),
            ScsiCommand::OPCODE
            | NopOut::OPCODE
            | TaskManagementRequest::OPCODE
            | TextRequest::OPCODE
            | LogoutRequest::OPCODE => {}
            _ => return self.reject_opcode(connection, pdu, env),
        }
        if pdu::is_immediate(&pdu.bhs) {
            return self.execute(connection, pdu, env);
        }
        let session = self.sessions[connection].session();
        let cmd_sn = pdu::cmd_sn(&pdu.bhs);
        match self.sessions[session].commands().arrive(cmd_sn) {
            Arrival::InOrder => {
                self.execute(connection, pdu, env);
                self.execute_early(session, env);
            }
            Arrival::Early if !self.may_hold(session, &pdu.data, env.pool) => {
                let peer = self.sessions[connection].peer();
                self.warnings.warn(env.now, format_args!("{peer}: no memory for early data, closed"));
                pdu.data.discard(env.pool);
                self.close_connection(connection, env);
            }
            Arrival::Early => {
                let block = owned(pdu.data, self.sessions[session].account(), env.pool);
                let held = HeldPdu { connection, bhs: pdu.bhs, ahs: pdu.ahs, block };
                self.hold(session, cmd_sn, Held::Pdu(held), env);
            }
            Arrival::Ignored => pdu.data.discard(env.pool),
        }
    }

    /// Whether a session may hold the data of a PDU that is not in its turn.
    fn may_hold(&self, session: SessionIndex, data: &Data<'_>, pool: &Pool) -> bool {
        let len = if let Data::Borrowed(bytes) = data { bytes.len() } else { 0 };
        data.as_slice().is_empty() || pool.may_take(self.sessions[session].account(), len)
    }

    /// A PDU that an initiator must not send now.
    #[cold]
    fn reject_opcode(&mut self, connection: ConnectionIndex, pdu: Incoming<'_>, env: &mut Env<'_>) {
        let reason = match pdu::opcode(&pdu.bhs) {
            SnackRequest::OPCODE => RejectReason::SNACK_REJECT,
            LoginRequest::OPCODE => RejectReason::PROTOCOL_ERROR,
            _ => RejectReason::COMMAND_NOT_SUPPORTED,
        };
        self.reject(connection, &pdu.bhs, reason, pdu.data, env);
    }

    /// Executes the held requests whose turn has come.
    pub(super) fn execute_early(&mut self, session: SessionIndex, env: &mut Env<'_>) {
        while let Some(held) =
            self.sessions.get_mut(session).and_then(|session| session.commands().next_early())
        {
            let Held::Pdu(held) = held else {
                self.sessions[session].commands().finished();
                continue;
            };
            let data = held.block.map_or(Data::Borrowed(&[]), Data::Owned);
            if !self.sessions.is_open(held.connection) {
                // Its connection has logged out since.
                self.sessions[session].commands().finished();
                data.discard(env.pool);
                continue;
            }
            let pdu = Incoming { bhs: held.bhs, ahs: held.ahs, data, intact: true };
            self.execute(held.connection, pdu, env);
        }
        if self.functions.has_deferred() {
            self.run_deferred(session, env);
        }
    }

    #[inline]
    fn execute(&mut self, connection: ConnectionIndex, pdu: Incoming<'_>, env: &mut Env<'_>) {
        if pdu::opcode(&pdu.bhs) == ScsiCommand::OPCODE {
            self.scsi_command(connection, pdu, env);
        } else {
            self.execute_other(connection, pdu, env);
        }
    }

    /// Executes a request that is no SCSI command.
    #[inline(never)]
    fn execute_other(&mut self, connection: ConnectionIndex, pdu: Incoming<'_>, env: &mut Env<'_>) {
        if !pdu::is_immediate(&pdu.bhs) {
            // Only SCSI commands stay in the command window until they end.
            self.sessions.with_session(connection).0.commands().finished();
        }
        match pdu::opcode(&pdu.bhs) {
            NopOut::OPCODE => self.nop_out(connection, &pdu),
            TaskManagementRequest::OPCODE => self.task_management(connection, &pdu.bhs, env),
            TextRequest::OPCODE => self.text(connection, &pdu),
            _ => self.logout(connection, &pdu.bhs, env),
        }
        pdu.data.discard(env.pool);
    }

    /// A PDU whose data digest is wrong counts as not received (RFC 7143 7.8). A lost command leaves a gap in the
    /// numbers that only a new session fills; lost data fails its command.
    fn digest_error(&mut self, connection: ConnectionIndex, pdu: Incoming<'_>, env: &mut Env<'_>) {
        let peer = self.sessions[connection].peer();
        self.warnings.warn(env.now, format_args!("{peer}: wrong data digest"));
        let bhs = pdu.bhs;
        if pdu::opcode(&bhs) == DataOut::OPCODE {
            self.data_out_lost(connection, &bhs, env);
        } else {
            self.sessions.drain(connection);
        }
        self.reject(connection, &bhs, RejectReason::DATA_DIGEST_ERROR, pdu.data, env);
    }

    /// Sends a Reject.
    pub(super) fn reject(
        &mut self,
        connection: ConnectionIndex,
        bhs: &Bhs,
        reason: RejectReason,
        data: Data<'_>,
        env: &mut Env<'_>,
    ) {
        data.discard(env.pool);
        self.sessions.send(connection, |to, window| to.reject(reason, bhs, window));
    }
}

/// The data in a block of its own, which counts for `account`, if there is any.
fn owned(data: Data<'_>, account: Account, pool: &mut Pool) -> Option<Block> {
    match data {
        Data::Borrowed([]) => None,
        Data::Borrowed(bytes) => {
            let mut block = pool.take(bytes.len(), account);
            block.copy_from_slice(bytes);
            Some(block)
        }
        Data::Owned(block) => Some(block),
    }
}
