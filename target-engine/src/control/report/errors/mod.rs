//! The number and the sentence of each error of the model and of the dispatcher.

mod dispatch;

use std::fmt::{Display, Formatter, Result};

use scsi_core::device::unit::UpdateError;

use super::super::error::{ControlError, TgtadmError};
use crate::limits::{ACCOUNT_FIELD_LEN_MAX, ACCOUNT_NAMES_MAX, ACCOUNTS_MAX, TARGETS_MAX};
use crate::model::account::Direction;
use crate::model::error::{
    AccountNameError, AddressRuleError, ModelError, NameRefusal, ParameterError, Rule,
};
use crate::model::unit_parameters::UnitParameter;

/// An error with a number of tgtadm.
pub(in crate::control) trait Numbered: Display {
    /// Returns the number.
    fn number(&self) -> TgtadmError;
}

impl<E: Numbered> From<E> for ControlError {
    fn from(error: E) -> Self {
        error.number().because(error.to_string())
    }
}

impl Numbered for ParameterError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::Unsupported { .. } => TgtadmError::UnsupportedOperation,
            Self::DiskSize(_) => TgtadmError::UnknownParameter,
            Self::Unknown { .. }
            | Self::Value { .. }
            | Self::UnknownOfUnit(_)
            | Self::OfChangers(_)
            | Self::UnitValue { .. } => TgtadmError::InvalidRequest,
        }
    }
}

impl Numbered for ModelError {
    fn number(&self) -> TgtadmError {
        match self {
            Self::NoTarget(_) => TgtadmError::NoTarget,
            Self::TidTaken { .. } | Self::TargetNameTaken { .. } => TgtadmError::TargetExists,
            Self::TooManyTargets => TgtadmError::NoMemory,
            Self::HostBound { .. } => TgtadmError::BindingExists,
            Self::HostNotBound(_) => TgtadmError::NoBinding,
            Self::AccountExists(_) | Self::AccountBound(_) => TgtadmError::UserExists,
            Self::TooManyAccounts => TgtadmError::TooManyUsers,
            Self::NoAccount(_) | Self::AccountNotBound { .. } => TgtadmError::NoUser,
            Self::OutgoingAccountBound(_) => TgtadmError::OutgoingAccountExists,
            Self::RuleExists(_) => TgtadmError::AclExists,
            Self::NoRule(_) => TgtadmError::AclNotFound,
            Self::AccountName(error) => match error.reason {
                NameRefusal::Bound => TgtadmError::AclExists,
                NameRefusal::NotBound => TgtadmError::AclNotFound,
                NameRefusal::Last | NameRefusal::TooMany => TgtadmError::InvalidRequest,
            },
            Self::Parameter(error) => error.number(),
            Self::Unit(UpdateError::RemovalPrevented) => TgtadmError::PreventRemoval,
            Self::AccountFields
            | Self::SecretLength
            | Self::SecretEmpty
            | Self::AddressRule { .. }
            | Self::NameRule { .. }
            | Self::OpenFlag { .. }
            | Self::Unit(_) => TgtadmError::InvalidRequest,
        }
    }
}
impl std::error::Error for ModelError {}

impl Display for ModelError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::NoTarget(tid) => write!(out, "--tid {tid}: no target has this number"),
            Self::TidTaken { tid, name } => {
                write!(out, "--tid {tid}: that is the number of the target {name}")
            }
            Self::TargetNameTaken { name, tid } => {
                write!(out, "--targetname {name:?}: that is the name of target {tid}")
            }
            Self::TooManyTargets => write!(out, "there are {TARGETS_MAX} targets, and no more can be"),
            Self::HostBound { host, tid } => {
                write!(out, "--host {host}: it is bound to target {tid}; unbind it first")
            }
            Self::HostNotBound(host) => write!(out, "--host {host}: it is bound to no target"),
            Self::AccountExists(user) => write!(out, "--user {user:?}: there is an account of this name"),
            Self::TooManyAccounts => write!(out, "there are {ACCOUNTS_MAX} accounts, and no more can be"),
            Self::AccountFields => write!(
                out,
                "--user and --password: accepted: up to {ACCOUNT_FIELD_LEN_MAX} bytes each (RFC 7143 12.1.3), and no \
                 control characters in the name"
            ),
            Self::SecretLength => {
                write!(out, "--password: accepted: up to {ACCOUNT_FIELD_LEN_MAX} bytes (RFC 7143 12.1.3)")
            }
            Self::SecretEmpty => {
                write!(out, "--password: it is empty; accepted: 1 to {ACCOUNT_FIELD_LEN_MAX} bytes")
            }
            Self::NoAccount(user) => write!(out, "--user {user:?}: no account has this name"),
            Self::AccountBound(user) => write!(out, "--user {user:?}: it is bound here already"),
            Self::OutgoingAccountBound(known) => {
                write!(out, "--outgoing: {known:?} is the outgoing account; unbind it first")
            }
            Self::AccountNotBound { user, direction } => {
                let (as_what, how) = match direction {
                    Direction::Incoming => ("an incoming", "; --outgoing is for the target's own"),
                    Direction::Outgoing => ("the outgoing", ""),
                };
                write!(out, "--user {user:?}: it is not bound here as {as_what} account{how}")
            }
            Self::AccountName(error) => error.fmt(out),
            Self::RuleExists(rule) => write!(out, "{rule}: the target has this rule already"),
            Self::NoRule(rule) => write!(out, "{rule}: the target has no rule that is written so"),
            Self::AddressRule { rule, error } => write!(out, "--initiator-address {rule:?}: {error}"),
            Self::NameRule { rule, error } => write!(out, "--initiator-name {rule:?}: {error}"),
            Self::OpenFlag { flags, word } => {
                write!(
                    out,
                    "--bsoflags {flags:?}: {word:?} is not known; accepted: sync, direct, sync:direct"
                )
            }
            Self::Parameter(error) => error.fmt(out),
            Self::Unit(error) => error.fmt(out),
        }
    }
}

impl Display for AccountNameError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let Self { user, name, reason } = self;
        write!(out, "--initiator-name {:?}: ", name.as_str())?;
        match reason {
            NameRefusal::Bound => write!(out, "account {user:?} is bound to this name already"),
            NameRefusal::NotBound => write!(out, "account {user:?} is not bound to this name"),
            NameRefusal::Last => write!(
                out,
                "it is the last name of account {user:?}, which would admit any initiator without it; to remove it, \
                 unbind the account (without --initiator-name)"
            ),
            NameRefusal::TooMany => {
                write!(out, "account {user:?} is bound to {ACCOUNT_NAMES_MAX} names, and no more can be")
            }
        }
    }
}

impl Display for Rule {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Address(rule) => write!(out, "--initiator-address {rule:?}"),
            Self::Name(rule) => write!(out, "--initiator-name {rule:?}"),
        }
    }
}

impl Display for AddressRuleError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        match self {
            Self::Form => out.write_str(
                "expected ALL, an IPv4 or IPv6 address, or a network such as 192.0.2.0/24 or 2001:db8::/32",
            ),
            Self::Prefix { bits: 32 } => out.write_str("the prefix of an IPv4 network is 0 to 32 bits"),
            Self::Prefix { bits } => write!(out, "the prefix of an IPv6 network is 0 to {bits} bits"),
        }
    }
}

impl std::error::Error for ParameterError {}

impl Display for ParameterError {
    fn fmt(&self, out: &mut Formatter<'_>) -> Result {
        let unit_names = || UnitParameter::names().collect::<Vec<_>>().join(", ");
        match self {
            Self::Unknown { name, accepted } => {
                write!(out, "--name {name:?} is not known; accepted: {accepted}")
            }
            Self::Value { name, value, accepted } => {
                write!(out, "--name {name} --value {value:?} is not possible; accepted: {accepted}")
            }
            Self::Unsupported { name, value, accepted } => {
                write!(out, "--name {name} --value {value:?} is not possible; accepted: {accepted}")
            }
            Self::UnknownOfUnit(name) => {
                write!(out, "--params {name:?} is not a parameter of a unit; accepted: {}", unit_names())
            }
            Self::OfChangers(name) => write!(
                out,
                "--params {name:?} is for media changers, which are not supported; accepted: {}",
                unit_names()
            ),
            Self::UnitValue { name, value, accepted } => {
                write!(out, "--params {name}={value:?} is not possible; accepted: {accepted}")
            }
            Self::DiskSize(value) => {
                write!(out, "--params disksize={value:?} is not possible; accepted: auto")
            }
        }
    }
}
