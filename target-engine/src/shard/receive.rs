//! PDUs in: numbered ones in their order, the others at once, each to its handler.

use bytes::Bytes;
use iscsi_proto::pdu::{
    self, Bhs, DataOut, LogoutReason, LogoutRequest, LogoutResponseCode, NopOut, RejectReason, ScsiCommand,
    SnackRequest, TaskManagementRequest, TextRequest,
};
use scsi_core::store::Block;

use super::session::HeldPdu;
use super::tasks::Aborted;
use super::{Env, TargetShard};
use crate::buffers::Pool;
use crate::iscsi::connection::ConnectionState;
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::iscsi::login::{TargetAddress, TargetRecord};
use crate::iscsi::session::Arrival;
use crate::iscsi::text_exchange::TextStep;
use crate::limits::{PAYLOAD_BYTES_MAX, TRANSMIT_BYTES_MAX};

impl TargetShard {
    /// Takes in what the connection's socket gave beyond its receiver's `space`; answers how many PDUs that ended.
    pub fn receive(&mut self, place: usize, mut input: &[u8], env: &mut Env<'_>) -> usize {
        let mut pdus = 0;
        loop {
            let Some(connection) = self.connections.get_mut(place) else { return pdus };
            if connection.state != ConnectionState::Open {
                return pdus;
            }
            match connection.receiver.next(&mut input, env.pool) {
                Ok(None) => break,
                Ok(Some(pdu)) => {
                    pdus += 1;
                    connection.heard(env.now);
                    self.take_pdu(place, pdu, env);
                }
                Err(error) => {
                    self.warnings.warn(env.now, format_args!("{}: {error}, closed", connection.peer));
                    self.close_connection(place, env);
                }
            }
        }
        self.run_held(env);
        pdus
    }

    /// Whether the connection's socket should be left alone until more of its answers are sent.
    #[must_use]
    pub fn is_choked(&self, place: usize) -> bool {
        self.connections.get(place).is_none_or(|connection| {
            connection.state != ConnectionState::Open || connection.transmit.len() > TRANSMIT_BYTES_MAX
        })
    }

    #[inline]
    fn take_pdu(&mut self, place: usize, pdu: Incoming<'_>, env: &mut Env<'_>) {
        let opcode = pdu::opcode(&pdu.bhs);
        if !pdu.intact {
            return self.broken_digest(place, pdu, env);
        }
        match opcode {
            DataOut::OPCODE => return self.data_out(place, pdu, env),
            SnackRequest::OPCODE => {
                return self.refuse(place, &pdu.bhs, RejectReason::SNACK_REJECT, pdu.data, env);
            }
            ScsiCommand::OPCODE
            | NopOut::OPCODE
            | TaskManagementRequest::OPCODE
            | TextRequest::OPCODE
            | LogoutRequest::OPCODE => {}
            pdu::LoginRequest::OPCODE => {
                return self.refuse(place, &pdu.bhs, RejectReason::PROTOCOL_ERROR, pdu.data, env);
            }
            _ => return self.refuse(place, &pdu.bhs, RejectReason::COMMAND_NOT_SUPPORTED, pdu.data, env),
        }
        if pdu::is_immediate(&pdu.bhs) {
            return self.execute(place, pdu, env);
        }
        let session = self.connections[place].session;
        let cmd_sn = pdu::cmd_sn(&pdu.bhs);
        match self.sessions[session].window.arrive(cmd_sn) {
            Arrival::InOrder => {
                self.execute(place, pdu, env);
                self.execute_early(session, env);
            }
            Arrival::Early
                if !pdu.data.as_slice().is_empty() && env.pool.counted_bytes() >= PAYLOAD_BYTES_MAX =>
            {
                let peer = self.connections[place].peer;
                self.warnings.warn(env.now, format_args!("{peer}: no memory for early data, closed"));
                pdu.data.discard(env.pool);
                self.close_connection(place, env);
            }
            Arrival::Early => {
                let block = owned(pdu.data, env.pool);
                let held = HeldPdu { connection: place, bhs: pdu.bhs, ahs: pdu.ahs, block };
                self.sessions[session].window.hold(cmd_sn, held);
            }
            Arrival::Ignored => pdu.data.discard(env.pool),
        }
    }

    pub(super) fn execute_early(&mut self, session: usize, env: &mut Env<'_>) {
        while let Some(held) = self.sessions.get_mut(session).and_then(|session| session.window.next_early())
        {
            let data = held.block.map_or(Data::Borrowed(&[]), Data::Owned);
            if self.connections[held.connection].state != ConnectionState::Open {
                // It has logged out since.
                self.sessions[session].window.finished();
                data.discard(env.pool);
                continue;
            }
            let pdu = Incoming { bhs: held.bhs, ahs: held.ahs, data, intact: true };
            self.execute(held.connection, pdu, env);
        }
        if !self.waits.deferred.is_empty() {
            self.run_deferred(session, env);
        }
    }

    #[inline]
    fn execute(&mut self, place: usize, pdu: Incoming<'_>, env: &mut Env<'_>) {
        if pdu::opcode(&pdu.bhs) == ScsiCommand::OPCODE {
            return self.scsi_command(place, pdu, env);
        }
        if !pdu::is_immediate(&pdu.bhs) {
            // Only SCSI commands stay in the window until they end.
            let session = self.connections[place].session;
            self.sessions[session].window.finished();
        }
        match pdu::opcode(&pdu.bhs) {
            NopOut::OPCODE => self.nop_out(place, &pdu),
            TaskManagementRequest::OPCODE => self.task_management(place, &pdu.bhs, env),
            TextRequest::OPCODE => self.text(place, &pdu),
            _ => self.logout(place, &pdu.bhs, env),
        }
        pdu.data.discard(env.pool);
    }

    /// RFC 7143 7.8: the PDU is as if it had not come. A lost command leaves a gap in the numbers that only a new
    /// session fills; lost data fails its command.
    fn broken_digest(&mut self, place: usize, pdu: Incoming<'_>, env: &mut Env<'_>) {
        let peer = self.connections[place].peer;
        self.warnings.warn(env.now, format_args!("{peer}: wrong data digest"));
        let bhs = pdu.bhs;
        if pdu::opcode(&bhs) == DataOut::OPCODE {
            self.data_out_lost(place, &bhs, env);
        } else {
            self.drain(place);
        }
        self.refuse(place, &bhs, RejectReason::DATA_DIGEST_ERROR, pdu.data, env);
    }

    pub(super) fn refuse(
        &mut self,
        place: usize,
        bhs: &Bhs,
        reason: RejectReason,
        data: Data<'_>,
        env: &mut Env<'_>,
    ) {
        data.discard(env.pool);
        let window = self.window(self.connections[place].session);
        self.connections[place].reject(reason, bhs, window);
        self.touch(place);
    }

    fn nop_out(&mut self, place: usize, pdu: &Incoming<'_>) {
        let Ok(nop) = NopOut::decode(&pdu.bhs) else { return };
        // Without a task tag it answers a ping of ours, and `heard` has counted that.
        let Some(itt) = nop.itt else { return };
        let window = self.window(self.connections[place].session);
        let connection = &mut self.connections[place];
        let data = pdu.data.as_slice();
        let data = Bytes::copy_from_slice(&data[..data.len().min(connection.max_xmit_len())]);
        connection.nop_answer(itt, nop.lun, data, window);
        self.touch(place);
    }

    fn text(&mut self, place: usize, pdu: &Incoming<'_>) {
        let window = self.window(self.connections[place].session);
        let connection = &mut self.connections[place];
        let step = match TextRequest::decode(&pdu.bhs) {
            Ok(request) => connection.text.receive(&request, pdu.data.as_slice()),
            Err(_) => TextStep::Reject(RejectReason::INVALID_PDU_FIELD),
        };
        let step = match step {
            TextStep::SendTargets(_) => {
                // A normal session may ask only for the target it is with (RFC 7143 Appendix C).
                let group = self.sessions[connection.session].nexus.target_port;
                let addresses = TargetAddress::of_connection(connection.local, group).into_iter().collect();
                let own = TargetRecord { name: connection.target_name.clone(), addresses };
                match connection.text.targets(&[own]) {
                    Some(piece) => TextStep::Send(piece),
                    None => TextStep::Reject(RejectReason::PROTOCOL_ERROR),
                }
            }
            step => step,
        };
        connection.set_max_xmit_len(connection.text.connection().max_xmit_data_segment_len);
        match step {
            TextStep::Send(piece) => connection.text_response(piece, window),
            TextStep::Reject(reason) => connection.reject(reason, &pdu.bhs, window),
            TextStep::SendTargets(_) => {}
        }
        self.touch(place);
    }

    fn logout(&mut self, place: usize, bhs: &Bhs, env: &mut Env<'_>) {
        let index = self.connections[place].session;
        let Ok(request) = LogoutRequest::decode(bhs) else {
            return self.refuse(place, bhs, RejectReason::INVALID_PDU_FIELD, Data::Borrowed(&[]), env);
        };
        let of_session = self.sessions[index].connections.clone();
        let (response, ended) = match request.reason {
            LogoutReason::CLOSE_SESSION => (LogoutResponseCode::CLOSED, of_session),
            LogoutReason::CLOSE_CONNECTION => {
                let named =
                    of_session.into_iter().filter(|&other| self.connections[other].cid == request.cid);
                match named.collect::<Vec<_>>() {
                    named if named.is_empty() => (LogoutResponseCode::CID_NOT_FOUND, named),
                    named => (LogoutResponseCode::CLOSED, named),
                }
            }
            _ => (LogoutResponseCode::RECOVERY_NOT_SUPPORTED, Vec::new()),
        };
        self.abort_where(|task| ended.contains(&task.connection), Aborted::default(), env);
        let times = self.sessions[index].times;
        let window = self.window(index);
        self.connections[place].logout_response(request.itt, response, times, window);
        self.touch(place);
        for other in ended {
            if other == place {
                self.drain(place);
            } else {
                self.close_connection(other, env);
            }
        }
    }
}

/// The data in a block of its own, if there is any.
fn owned(data: Data<'_>, pool: &mut Pool) -> Option<Block> {
    match data {
        Data::Borrowed([]) => None,
        Data::Borrowed(bytes) => {
            let mut block = pool.take(bytes.len());
            block.copy_from_slice(bytes);
            Some(block)
        }
        Data::Owned(block) => Some(block),
    }
}
