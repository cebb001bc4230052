//! The declarations that say who logs in, where, and what for; all of them belong in the first request.

use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::SessionType;
use iscsi_proto::pdu::LoginRequest;
use iscsi_proto::text::keys::Key;

use super::question::{Question, Refusal, TargetQuestion};

pub(super) struct Names {
    pub(super) initiator_name: IscsiName,
    pub(super) initiator_alias: Option<String>,
    pub(super) session_type: SessionType,
    pub(super) target_name: Option<IscsiName>,
}

impl Names {
    /// What the whole text of the first request declares (RFC 7143 6.3.1).
    pub(super) fn of_first_request(pairs: &[(&str, &str)]) -> Result<Self, Refusal> {
        let value = |wanted| pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value);
        let initiator_name = value("InitiatorName").ok_or(LoginStatus::MissingParameter)?;
        let session_type = session_type(value("SessionType"))?;
        let target_name = match (session_type, value("TargetName")) {
            (SessionType::Normal, None) => return Err(LoginStatus::MissingParameter.into()),
            // A name that no target can have is not found.
            (SessionType::Normal, Some(name)) => {
                Some(IscsiName::parse_any(name).map_err(|_| LoginStatus::NotFound)?)
            }
            (SessionType::Discovery, _) => None,
        };
        Ok(Self {
            initiator_name: IscsiName::parse_any(initiator_name).map_err(|_| LoginStatus::InitiatorError)?,
            initiator_alias: value("InitiatorAlias").map(str::to_owned),
            session_type,
            target_name,
        })
    }

    /// What the configuration is to be asked.
    pub(super) fn question(&self, request: &LoginRequest) -> Result<Question, Refusal> {
        if self.session_type == SessionType::Discovery && !request.tsih.is_new() {
            // A discovery session has one connection (RFC 7143 4.3).
            return Err(LoginStatus::CannotIncludeInSession.into());
        }
        Ok(Question::Target(Box::new(TargetQuestion {
            initiator_name: self.initiator_name.clone(),
            initiator_alias: self.initiator_alias.clone(),
            isid: request.isid,
            tsih: request.tsih,
            cid: request.cid,
            session_type: self.session_type,
            target_name: self.target_name.clone(),
        })))
    }

    /// A declaration, in whichever request. What the question was about cannot change any more.
    pub(super) fn declared(&mut self, key: Key, value: &str) -> Result<(), Refusal> {
        match key {
            Key::InitiatorAlias => self.initiator_alias = Some(value.to_owned()),
            Key::SessionType if self.session_type != session_type(Some(value))? => {
                return Err(LoginStatus::InitiatorError.into());
            }
            _ => {}
        }
        Ok(())
    }
}

fn session_type(value: Option<&str>) -> Result<SessionType, Refusal> {
    value
        .map_or(Some(SessionType::Normal), SessionType::by_name)
        .ok_or(LoginStatus::SessionTypeNotSupported.into())
}
