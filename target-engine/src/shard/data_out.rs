//! Data-Out PDUs (RFC 7143 11.7): to which task they belong, and what they complete.

use iscsi_proto::pdu::{Bhs, DataOut, RejectReason};
use scsi_core::sense::{AdditionalSense, Sense, SenseKey};

use super::TargetShard;
use super::driver::Env;
use crate::iscsi::connection::data_out::DataOutError;
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::keys::{ConnectionIndex, TaskKey};

impl TargetShard {
    /// A Data-Out PDU.
    pub(super) fn data_out(
        &mut self,
        connection: ConnectionIndex,
        incoming: Incoming<'_>,
        env: &mut Env<'_>,
    ) {
        self.sessions[connection].count_data_out();
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
        let session = &mut self.sessions[task.session()];
        let was_unsolicited = task.awaits_unsolicited();
        match task.receive(&pdu, len, session.rules()) {
            Ok(released) => env.pool.release(released as usize, task.account()),
            Err(fault) => {
                incoming.data.discard(env.pool);
                self.skip_data_out(key, pdu.last, env);
                return self.fail_data_out(key, fault, env);
            }
        }
        if was_unsolicited && !task.awaits_unsolicited() {
            session.end_unsolicited(key);
        }
        self.accepted(key, incoming.data, env);
    }

    /// Goes on with a task whose next data has arrived.
    fn accepted(&mut self, key: TaskKey, data: Data<'_>, env: &mut Env<'_>) {
        let task = &mut self.tasks[key];
        if task.is_streaming() {
            task.keep(data, env.pool);
            self.resume(key, env);
            self.request_data_if_alive(key, env);
        } else if !task.has_all_data() {
            task.keep(data, env.pool);
            self.request_data(key, env);
        } else if !task.is_enabled() {
            task.hold();
            task.keep(data, env.pool);
        } else if task.has_blocks() {
            task.keep(data, env.pool);
            self.start(key, Data::Borrowed(&[]), env);
        } else {
            self.start(key, data, env);
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
                let session = &self.sessions[self.sessions[connection].session()];
                session.unsolicited().iter().copied().find(|&key| self.tasks[key].itt() == pdu.itt)?
            }
        };
        self.tasks[key].receives(connection, pdu.itt).then_some(key)
    }

    /// Fails a command whose Data-Out breaks the rules.
    pub(super) fn fail_data_out(&mut self, key: TaskKey, fault: DataOutError, env: &mut Env<'_>) {
        let task = &self.tasks[key];
        let (peer, itt) = (self.sessions[task.connection()].peer(), task.itt().0);
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
        let session = &self.sessions[self.tasks[key].session()];
        if self.queues.waits_for_memory() && session.others_reserving(false) > 0 {
            self.queues.push_waiting_for_memory(key);
        } else {
            self.request_data(key, env);
        }
    }

    /// Lists a task whose unsolicited data is still to come.
    pub(super) fn expect_unsolicited(&mut self, key: TaskKey) {
        let task = &self.tasks[key];
        if task.awaits_unsolicited() {
            self.sessions[task.session()].expect_unsolicited(key);
        }
    }
}
