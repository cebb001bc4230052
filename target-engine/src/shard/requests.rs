//! Requests that are no SCSI command and no task management function: NOP-Out, Text and Logout (RFC 7143 11.10, 11.14,
//! 11.18).

use bytes::Bytes;
use iscsi_proto::pdu::{
    Bhs, LogoutReason, LogoutRequest, LogoutResponseCode, NopOut, RejectReason, TextRequest,
};

use super::TargetShard;
use super::abort::Whose;
use super::driver::Env;
use super::task::{Aborted, Task};
use crate::iscsi::connection::receive::{Data, Incoming};
use crate::iscsi::login::{TargetAddress, TargetList, TargetRecord};
use crate::iscsi::text_exchange::TextStep;
use crate::keys::ConnectionIndex;

impl TargetShard {
    /// A NOP-Out; one that asks for an answer gets its data back.
    pub(super) fn nop_out(&mut self, connection: ConnectionIndex, pdu: &Incoming<'_>) {
        let Ok(nop) = NopOut::decode(&pdu.bhs) else { return };
        // Without a task tag it answers a ping of ours, which `received_at` has counted.
        let Some(itt) = nop.itt else { return };
        let data = pdu.data.as_slice();
        self.sessions.send(connection, |to, window| {
            let data = Bytes::copy_from_slice(&data[..data.len().min(to.max_xmit_len())]);
            to.nop_answer(itt, nop.lun, data, window);
        });
    }

    /// A Text Request.
    pub(super) fn text(&mut self, connection: ConnectionIndex, pdu: &Incoming<'_>) {
        let (session, own) = self.sessions.with_session(connection);
        let step = match TextRequest::decode(&pdu.bhs) {
            Ok(request) => own.receive_text(&request, pdu.data.as_slice()),
            Err(_) => TextStep::Reject(RejectReason::INVALID_PDU_FIELD),
        };
        let step = match step {
            TextStep::SendTargets(_) => {
                // A normal session learns only of the target that it is with (RFC 7143 Appendix C).
                let group = session.nexus().target_port;
                let addresses = TargetAddress::of_connection(own.local(), group).into_iter().collect();
                let record = TargetRecord { name: own.target_name().clone(), addresses };
                match own.text_targets(&TargetList::new([record])) {
                    Some(piece) => TextStep::Send(piece),
                    None => TextStep::Reject(RejectReason::PROTOCOL_ERROR),
                }
            }
            step => step,
        };
        self.sessions.send(connection, |to, window| match step {
            TextStep::Send(piece) => to.text_response(piece, window),
            TextStep::Reject(reason) => to.reject(reason, &pdu.bhs, window),
            TextStep::SendTargets(_) => {}
        });
    }

    /// A Logout Request: its connections end, with their commands.
    pub(super) fn logout(&mut self, connection: ConnectionIndex, bhs: &Bhs, env: &mut Env<'_>) {
        let Ok(request) = LogoutRequest::decode(bhs) else {
            let reason = RejectReason::INVALID_PDU_FIELD;
            return self.reject(connection, bhs, reason, Data::Borrowed(&[]), env);
        };
        let own = self.sessions[connection].session();
        let session = &self.sessions[own];
        let times = session.times();
        let of_session = session.connections();
        let (response, ended) = match request.reason {
            LogoutReason::CLOSE_SESSION => (LogoutResponseCode::CLOSED, of_session.to_vec()),
            LogoutReason::CLOSE_CONNECTION => {
                let is_named = |other: &&ConnectionIndex| self.sessions[**other].cid() == request.cid;
                match of_session.iter().find(is_named) {
                    None => (LogoutResponseCode::CID_NOT_FOUND, Vec::new()),
                    Some(named) => (LogoutResponseCode::CLOSED, vec![*named]),
                }
            }
            _ => (LogoutResponseCode::RECOVERY_NOT_SUPPORTED, Vec::new()),
        };
        let which = |task: &Task| ended.contains(&task.connection());
        self.abort_where(Whose::Session(own), which, &Aborted::default(), env);
        let itt = request.itt;
        self.sessions.send(connection, |to, window| to.logout_response(itt, response, times, window));
        for other in ended {
            if other == connection {
                self.sessions.drain(connection);
            } else {
                self.close_connection(other, env);
            }
        }
    }
}
