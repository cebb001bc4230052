//! Why the model refuses a change. The numbers and sentences for these errors are in `control::report::errors`.

use iscsi_proto::name::{IscsiName, NameError};
use scsi_core::device::unit::UpdateError;

use super::state::Direction;
use super::tid::Tid;

/// Why an account is not bound to an initiator name, or not unbound from it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AccountNameError {
    /// The account.
    pub user: String,
    /// The name.
    pub name: IscsiName,
    /// The reason.
    pub reason: NameRefusal,
}

/// The reason of an [`AccountNameError`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NameRefusal {
    /// The account is bound to the name.
    Bound,
    /// The account is not bound to the name.
    NotBound,
    /// It is the only name of the account, which would admit any without it.
    Last,
    /// The account is bound to `ACCOUNT_NAMES_MAX` names.
    TooMany,
}

/// Why the model refuses a change.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ModelError {
    /// No target has this number.
    NoTarget(Tid),
    /// A target has this number.
    TidTaken {
        /// The number.
        tid: Tid,
        /// The name of the target that has it.
        name: String,
    },
    /// A target has this name.
    TargetNameTaken {
        /// The name.
        name: String,
        /// The number of the target that has it.
        tid: Tid,
    },
    /// There are `TARGETS_MAX` targets.
    TooManyTargets,
    /// A SCSI host is bound to a target.
    HostBound {
        /// The host.
        host: u32,
        /// The target.
        tid: Tid,
    },
    /// A SCSI host is bound to no target.
    HostNotBound(u32),
    /// An account has this name.
    AccountExists(String),
    /// There are `ACCOUNTS_MAX` accounts.
    TooManyAccounts,
    /// A user name or a secret is too long, or the name has control characters.
    AccountFields,
    /// A secret is longer than `ACCOUNT_FIELD_LEN_MAX` bytes.
    SecretLength,
    /// A secret is empty: it would admit every initiator that knows the name.
    SecretEmpty,
    /// No account has this name.
    NoAccount(String),
    /// The account is bound as an incoming account.
    AccountBound(String),
    /// Another account is bound as the outgoing account.
    OutgoingAccountBound(String),
    /// The account is not bound.
    AccountNotBound {
        /// The account.
        user: String,
        /// As what it is not bound.
        direction: Direction,
    },
    /// An initiator name of an account cannot be bound or unbound.
    AccountName(AccountNameError),
    /// The target has this access rule.
    RuleExists(Rule),
    /// The target does not have this access rule.
    NoRule(Rule),
    /// An address rule is malformed.
    AddressRule {
        /// The rule.
        rule: String,
        /// Why.
        error: AddressRuleError,
    },
    /// A name rule is not an iSCSI name.
    NameRule {
        /// The rule.
        rule: String,
        /// Why.
        error: NameError,
    },
    /// An unknown word among the flags that a store is opened with.
    OpenFlag {
        /// All flags.
        flags: String,
        /// The word.
        word: String,
    },
    /// A parameter or its value is refused.
    Parameter(ParameterError),
    /// A logical unit refuses a change.
    Unit(UpdateError),
}

/// An access rule as given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Rule {
    /// A rule on initiators' addresses.
    Address(String),
    /// A rule on initiators' names.
    Name(String),
}

/// Why an address rule is malformed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressRuleError {
    /// It is neither an address, a network, a host's name nor `ALL`.
    Form,
    /// The prefix is longer than an address of this many bits.
    Prefix {
        /// 32 or 128.
        bits: u8,
    },
}

/// Why a parameter or its value is refused.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum ParameterError {
    /// The name is not known.
    Unknown {
        /// The name.
        name: String,
        /// The names that are.
        accepted: String,
    },
    /// The parameter cannot have this value.
    Value {
        /// The parameter.
        name: String,
        /// The value.
        value: String,
        /// The values that it can have.
        accepted: String,
    },
    /// The value is one of the parameter's, but is not supported.
    Unsupported {
        /// The parameter.
        name: &'static str,
        /// The value.
        value: String,
        /// The values that are supported.
        accepted: String,
    },
    /// The name is not a parameter of a logical unit.
    UnknownOfUnit(String),
    /// The name is a parameter of tgt's media changers.
    OfChangers(String),
    /// A parameter of a logical unit cannot have this value.
    UnitValue {
        /// The parameter.
        name: &'static str,
        /// The value.
        value: String,
        /// The values that it can have.
        accepted: String,
    },
    /// `disksize` has a value other than `auto`.
    DiskSize(String),
}

impl From<ParameterError> for ModelError {
    fn from(error: ParameterError) -> Self {
        Self::Parameter(error)
    }
}

impl From<UpdateError> for ModelError {
    fn from(error: UpdateError) -> Self {
        Self::Unit(error)
    }
}
