//! The declarations of initiator, target and session type. All of them belong in the first request.

use core::fmt;

use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::{IscsiName, NAME_LEN_MAX};
use iscsi_proto::params::SessionType;
use iscsi_proto::pdu::LoginRequest;
use iscsi_proto::text::keys::Key;

use super::question::{AccountQuestion, Question, Refusal, TargetQuestion};

/// The names that a connection declares, as the log shows them, those that are refused included.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LoginNames {
    initiator: Option<String>,
    target: Option<String>,
    discovery: bool,
}

impl LoginNames {
    /// The names in the text of a first request, shortened and without control characters.
    pub(super) fn declared(pairs: &[(&str, &str)]) -> Self {
        let name = |key| value(pairs, key).map(|name| shown(name, NAME_LEN_MAX));
        let discovery =
            value(pairs, SESSION_TYPE).and_then(SessionType::by_name) == Some(SessionType::Discovery);
        let target = name(TARGET_NAME).filter(|_| !discovery);
        Self { initiator: name(INITIATOR_NAME), target, discovery }
    }

    pub(super) fn of(initiator: &IscsiName, target: &IscsiName) -> Self {
        let (initiator, target) = (Some(initiator.to_string()), Some(target.to_string()));
        Self { initiator, target, discovery: false }
    }
}

impl fmt::Display for LoginNames {
    /// The beginning of a line: `INITIATOR to TARGET: `, as far as the names are known.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let target = if self.discovery { Some("discovery") } else { self.target.as_deref() };
        match (&self.initiator, target) {
            (Some(initiator), Some(target)) => write!(f, "{initiator} to {target}: "),
            (Some(initiator), None) => write!(f, "{initiator}: "),
            (None, Some(target)) => write!(f, "to {target}: "),
            (None, None) => Ok(()),
        }
    }
}

/// Text of a peer, as a line of the log shows it.
pub(super) fn shown(text: &str, len_max: usize) -> String {
    text.escape_debug().take(len_max).collect()
}

pub(super) struct Names {
    pub(super) initiator_name: IscsiName,
    pub(super) initiator_alias: Option<String>,
    pub(super) session_type: SessionType,
    pub(super) target_name: Option<IscsiName>,
}

impl Names {
    /// The declarations in the whole text of the first request (RFC 7143 6.3.1).
    pub(super) fn of_first_request(pairs: &[(&str, &str)]) -> Result<Self, Refusal> {
        let missing = |key| Refusal::because(LoginStatus::MissingParameter, format!("{key} is missing"));
        let name = |key: &str, name, status| {
            IscsiName::parse_any(name)
                .map_err(|error| Refusal::because(status, format!("{key} is no iSCSI name: {error}")))
        };
        let initiator_name = value(pairs, INITIATOR_NAME).ok_or_else(|| missing(INITIATOR_NAME))?;
        let session_type = session_type(value(pairs, SESSION_TYPE))?;
        let target_name = match (session_type, value(pairs, TARGET_NAME)) {
            (SessionType::Normal, None) => return Err(missing(TARGET_NAME)),
            // No target can have a malformed name: it is not found.
            (SessionType::Normal, Some(text)) => Some(name(TARGET_NAME, text, LoginStatus::NotFound)?),
            (SessionType::Discovery, _) => None,
        };
        Ok(Self {
            initiator_name: name(INITIATOR_NAME, initiator_name, LoginStatus::InitiatorError)?,
            initiator_alias: value(pairs, "InitiatorAlias").map(str::to_owned),
            session_type,
            target_name,
        })
    }

    /// The question to the configuration.
    pub(super) fn question(&self, request: &LoginRequest) -> Result<Question, Refusal> {
        if self.session_type == SessionType::Discovery && !request.tsih.is_new() {
            // A discovery session has one connection (RFC 7143 4.3).
            let why = format!("TSIH {}: a discovery session has one connection", request.tsih.0);
            return Err(Refusal::because(LoginStatus::CannotIncludeInSession, why));
        }
        Ok(Question::Target(Box::new(TargetQuestion {
            initiator_name: self.initiator_name.clone(),
            initiator_alias: self.initiator_alias.clone(),
            session_type: self.session_type,
            target_name: self.target_name.clone(),
        })))
    }

    /// The question for the account that the initiator names.
    pub(super) fn account_question(&self, user: &str) -> Question {
        let target_name = self.target_name.clone();
        Question::Account(Box::new(AccountQuestion { target_name, user: user.to_owned() }))
    }

    /// A declaration in any request. What the question was about must not change any more.
    pub(super) fn declared(&mut self, key: Key, value: &str) -> Result<(), Refusal> {
        match key {
            Key::InitiatorAlias => self.initiator_alias = Some(value.to_owned()),
            Key::SessionType if self.session_type != session_type(Some(value))? => {
                let why = format!("SessionType changes to {value}");
                return Err(Refusal::because(LoginStatus::InitiatorError, why));
            }
            _ => {}
        }
        Ok(())
    }
}

fn value<'a>(pairs: &[(&str, &'a str)], wanted: &str) -> Option<&'a str> {
    pairs.iter().find(|(key, _)| *key == wanted).map(|(_, value)| *value)
}

fn session_type(value: Option<&str>) -> Result<SessionType, Refusal> {
    let Some(value) = value else { return Ok(SessionType::Normal) };
    SessionType::by_name(value).ok_or_else(|| {
        let why = format!("SessionType={}: expected Normal or Discovery", shown(value, VALUE_SHOWN_MAX));
        Refusal::because(LoginStatus::SessionTypeNotSupported, why)
    })
}

const INITIATOR_NAME: &str = Key::InitiatorName.name();
const TARGET_NAME: &str = Key::TargetName.name();
const SESSION_TYPE: &str = Key::SessionType.name();
/// Characters of a value in the log.
pub(super) const VALUE_SHOWN_MAX: usize = 64;
