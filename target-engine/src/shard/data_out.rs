//! Data-Out PDUs (RFC 7143 11.7): to which task they belong, and what they complete.

use iscsi_proto::pdu::{Bhs, DataOut, RejectReason};
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};

use super::TargetShard;
use super::driver::Env;
use super::task::{State, has_medium_data};
use crate::iscsi::connection::data_out::DataOutError;
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::keys::{ConnectionIndex, TaskKey};

/// Pieces from this length on are kept as they came instead of being copied together, in bytes.
const KEEP_LEN: usize = 32 * 1024;

impl TargetShard {
    /// A Data-Out PDU.
    pub(super) fn data_out(
        &mut self,
        connection: ConnectionIndex,
        incoming: Incoming<'_>,
        env: &mut Env<'_>,
    ) {
        self.sessions[connection].stats.data_out();
        let Ok(pdu) = DataOut::decode(&incoming.bhs) else {
            let reason = RejectReason::INVALID_PDU_FIELD;
            return self.reject(connection, &incoming.bhs, reason, incoming.data, env);
        };
        let Some(key) = self.find_receiver(connection, &pdu) else {
            // Data of a command that failed or was aborted may still arrive.
            return incoming.data.discard(env.pool);
        };
        let len = incoming.data.as_slice().len() as u32;
        let task = &mut self.tasks[key];
        if task.is_ending() {
            incoming.data.discard(env.pool);
            return self.skip_data_out(key, pdu.last, env);
        }
        let session = &mut self.sessions[task.session];
        let solicited = !task.data_out.is_unsolicited();
        let accepted = task.data_out.accept(pdu.data_sn, pdu.buffer_offset, len, pdu.last, session.rules());
        if let Err(fault) = accepted {
            incoming.data.discard(env.pool);
            self.skip_data_out(key, pdu.last, env);
            return self.fail_data_out(key, fault, env);
        }
        if solicited {
            let released = len.min(task.reserved);
            task.reserved -= released;
            env.pool.release(released as usize);
        } else if !task.data_out.is_unsolicited() {
            session.end_unsolicited(key);
        }
        self.accepted(key, incoming.data, env);
    }

    /// Goes on with a task whose next data has arrived.
    fn accepted(&mut self, key: TaskKey, data: Data<'_>, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        if task.streaming {
            self.keep(key, data, env);
            self.resume(key, env);
            self.request_data_if_alive(key, env);
        } else if !task.data_out.is_complete() {
            self.keep(key, data, env);
            self.request_data(key, env);
        } else if !task.enabled {
            task.state = State::Held;
            self.keep(key, data, env);
        } else if task.blocks.is_empty() {
            self.start(key, data, env);
        } else {
            self.keep(key, data, env);
            self.start(key, Data::Borrowed(&[]), env);
        }
    }

    /// A Data-Out that was lost to a digest error fails its command.
    pub(super) fn data_out_lost(&mut self, connection: ConnectionIndex, bhs: &Bhs, env: &mut Env<'_>) {
        let Ok(pdu) = DataOut::decode(bhs) else { return };
        let Some(key) = self.find_receiver(connection, &pdu) else { return };
        let is_ending = self.tasks[key].is_ending();
        self.skip_data_out(key, pdu.last, env);
        if !is_ending {
            let code = AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR;
            self.fail(key, Sense::new(SenseKey::AbortedCommand, code), env);
        }
    }

    /// The task of a Data-Out: by our tag, or, if it is unsolicited, by the initiator's.
    fn find_receiver(&self, connection: ConnectionIndex, pdu: &DataOut) -> Option<TaskKey> {
        let key = match pdu.ttt {
            Some(ttt) => self.tasks.find_ttt(ttt)?,
            None => {
                let session = &self.sessions[self.sessions[connection].session];
                session.unsolicited().iter().copied().find(|&key| self.tasks[key].itt == pdu.itt)?
            }
        };
        let task = &self.tasks[key];
        let receives = task.state == State::Collecting || task.streaming && !task.data_out.is_complete();
        let receives = receives && task.aborted.is_none() || task.data_out.is_outstanding();
        (task.itt == pdu.itt && task.connection == connection && receives).then_some(key)
    }

    /// Fails a command whose Data-Out breaks the rules.
    pub(super) fn fail_data_out(&mut self, key: TaskKey, fault: DataOutError, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        let (peer, itt) = (self.sessions[task.connection].peer, task.itt.0);
        self.warnings.warn(env.now, format_args!("{peer}: task {itt:#x}: {fault}"));
        let code = match fault {
            DataOutError::Unexpected => AdditionalSense::UNEXPECTED_UNSOLICITED_DATA,
            DataOutError::TooMuch | DataOutError::TooLittle => AdditionalSense::NOT_ENOUGH_UNSOLICITED_DATA,
            DataOutError::Offset | DataOutError::DataSn => AdditionalSense::PROTOCOL_SERVICE_CRC_ERROR,
        };
        self.fail(key, Sense::new(SenseKey::AbortedCommand, code), env);
    }

    /// Asks for the rest of a task's data, unless others wait for memory before it.
    pub(super) fn collect(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let session = &self.sessions[self.tasks[key].session];
        if self.queues.waits_for_memory() && session.others_reserving(false) > 0 {
            self.queues.push_waiting_for_memory(key);
        } else {
            self.request_data(key, env);
        }
    }

    /// Lists a task whose unsolicited data is still to come.
    pub(super) fn expect_unsolicited(&mut self, key: TaskKey) {
        let task = &self.tasks[key];
        if task.data_out.is_unsolicited() {
            self.sessions[task.session].expect_unsolicited(key);
        }
    }

    /// Keeps data that has arrived for a task.
    pub(super) fn keep(&mut self, key: TaskKey, data: Data<'_>, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        let len = data.as_slice().len();
        if len == 0 {
            return data.discard(env.pool);
        }
        let aligned = len.is_multiple_of(4096) || task.data_out.left() == 0;
        match data {
            Data::Owned(block)
                if len >= KEEP_LEN
                    && aligned
                    && task.blocks.ends_aligned()
                    && has_medium_data(task.cdb[0]) =>
            {
                task.blocks.push(block);
            }
            data => {
                let to_come = if task.is_put_off() { 0 } else { task.data_out.left() };
                task.blocks.append(data.as_slice(), len + to_come as usize, env.pool);
                data.discard(env.pool);
            }
        }
    }
}
