//! A login that succeeded but for its last response: one owned value, carried to the loop that will serve it.

use bytes::Bytes;
use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::LoginResponse;
use iscsi_proto::sn::{CmdSn, StatSn};

use super::{LoginNames, wire};

/// All that a session needs to know of the login that made or joined it.
///
/// The last Login Response is not sent yet: a session identifying handle exists only once the session does.
/// Whoever makes the session sends [`LoggedIn::final_response`], or [`LoggedIn::refusal`] and closes.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// InitiatorAlias, as the peer wrote it: to be escaped before it is shown.
    pub initiator_alias: Option<String>,
    /// TargetName.
    pub target_name: IscsiName,
    /// The initiator's part of the session identifier.
    pub isid: Isid,
    /// The session to join; [`Tsih::NEW`] asks for a new one.
    pub tsih: Tsih,
    /// The connection's number within the session.
    pub cid: Cid,
    /// The name that CHAP has proven.
    pub chap_user: Option<String>,
    /// What was agreed for the session; of no meaning when an existing session is joined.
    pub session: SessionParams,
    /// What was agreed for this connection.
    pub connection: ConnectionParams,
    /// Target portal group tag of the portal.
    pub portal_group_tag: u16,
    /// The last Login Response but for TSIH and MaxCmdSN.
    pub response: LoginResponse,
    /// The text that goes with it.
    pub response_text: Bytes,
    /// CmdSN of the first command to come: ExpCmdSN.
    pub next_cmd_sn: CmdSn,
    /// StatSN of the first response after the last Login Response.
    pub next_stat_sn: StatSn,
    /// Bytes received after the last Login Request: the beginning of the full feature phase.
    pub unread: Bytes,
    /// Bytes received, `unread` included.
    pub received: u64,
    /// Bytes sent, the last Login Response not included.
    pub sent: u64,
}

impl LoggedIn {
    /// The initiator port's name (RFC 7143 4.2.7.3), the same at each login of the same port.
    #[must_use]
    pub fn initiator_port(&self) -> String {
        format!("{},i,{}", self.initiator_name.normalized(), self.isid)
    }

    /// Who logs in where, for the log.
    pub fn names(&self) -> LoginNames {
        LoginNames::of(&self.initiator_name, &self.target_name)
    }

    /// The last Login Response on the wire; `tsih` is the session's, new or joined.
    pub fn final_response(&self, tsih: Tsih, max_cmd_sn: CmdSn) -> Bytes {
        let response = LoginResponse { tsih, max_cmd_sn, ..self.response };
        wire::encode(&response, &self.response_text)
    }

    /// The login refused at the last moment (RFC 7143 11.13.5); the connection is to be closed after it.
    pub fn refusal(&self, status: LoginStatus) -> Bytes {
        wire::encode(&wire::refusal(&self.response, status), &[])
    }
}
