//! A login that is complete but for its final response: one owned value, which is sent to the loop that will serve the
//! connection.

use bytes::Bytes;
use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::LoginResponse;
use iscsi_proto::sn::{CmdSn, StatSn};

use super::{LoginNames, wire};

/// What a session needs of the login that makes or joins it.
///
/// The final Login Response is not sent yet, because it carries the handle of the session. The owner of the session sends
/// [`LoggedIn::final_response`]; or it sends [`LoggedIn::refusal`] and closes the connection.
#[derive(Clone, Debug)]
pub struct LoggedIn {
    /// InitiatorName.
    pub initiator_name: IscsiName,
    /// InitiatorAlias, as the peer wrote it; escape it before it is shown.
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
    /// The session's parameters; not used when an existing session is joined.
    pub session: SessionParams,
    /// The connection's parameters.
    pub connection: ConnectionParams,
    /// Target portal group tag of the portal.
    pub portal_group_tag: u16,
    /// The final Login Response without TSIH and MaxCmdSN.
    pub response: LoginResponse,
    /// The text of the final Login Response.
    pub response_text: Bytes,
    /// CmdSN of the first command: ExpCmdSN.
    pub next_cmd_sn: CmdSn,
    /// StatSN of the first response after the final Login Response.
    pub next_stat_sn: StatSn,
    /// Bytes received after the last Login Request: the beginning of the full feature phase.
    pub unread: Bytes,
    /// Bytes received, `unread` included.
    pub received: u64,
    /// Bytes sent, without the final Login Response.
    pub sent: u64,
}

impl LoggedIn {
    /// The initiator port's name (RFC 7143 4.2.7.3), the same at each login of the same port.
    #[must_use]
    pub fn initiator_port(&self) -> String {
        format!("{},i,{}", self.initiator_name.normalized(), self.isid)
    }

    /// The names of initiator and target, for the log.
    pub fn names(&self) -> LoginNames {
        LoginNames::of(&self.initiator_name, &self.target_name)
    }

    /// The bytes of the final Login Response; `tsih` is the handle of the session, new or joined.
    pub fn final_response(&self, tsih: Tsih, max_cmd_sn: CmdSn) -> Bytes {
        let response = LoginResponse { tsih, max_cmd_sn, ..self.response };
        wire::encode(&response, &self.response_text)
    }

    /// The bytes of a response that refuses the login after all (RFC 7143 11.13.5); close the connection after it.
    pub fn refusal(&self, status: LoginStatus) -> Bytes {
        wire::encode(&wire::refusal(&self.response, status), &[])
    }
}
