//! The error numbers of replies, the texts that `tgtadm` prints for them, and the reasons beside them.

use crate::system_text::without_numbers;

/// Why a management request was refused. The discriminant is the number on the wire.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, thiserror::Error)]
#[repr(u32)]
pub enum TgtadmError {
    /// Something failed that has no number of its own.
    #[error("unknown error")]
    Unknown = 1,
    /// No memory.
    #[error("out of memory")]
    NoMemory = 2,
    /// The low-level driver is not known, or not ready.
    #[error("can't find the driver")]
    NoDriver = 3,
    /// No target has this number.
    #[error("can't find the target")]
    NoTarget = 4,
    /// The target has no such logical unit.
    #[error("can't find the logical unit")]
    NoLun = 5,
    /// No session has this number.
    #[error("can't find the session")]
    NoSession = 6,
    /// The session has no such connection.
    #[error("can't find the connection")]
    NoConnection = 7,
    /// The host is not bound.
    #[error("can't find the binding")]
    NoBinding = 8,
    /// The number or the name is taken.
    #[error("this target already exists")]
    TargetExists = 9,
    /// The logical unit's number is taken.
    #[error("this logical unit number already exists")]
    LunExists = 10,
    /// The host is bound already.
    #[error("this binding already exists")]
    BindingExists = 11,
    /// The target has this rule already.
    #[error("this access control rule already exists")]
    AclExists = 12,
    /// The target has no such rule.
    #[error("this access control rule does not exist")]
    AclNotFound = 13,
    /// The account exists, or is bound already.
    #[error("this account already exists")]
    UserExists = 14,
    /// No account has this name, or it is not bound.
    #[error("can't find the account")]
    NoUser = 15,
    /// A bound on accounts is reached.
    #[error("too many accounts")]
    TooManyUsers = 16,
    /// The request makes no sense.
    #[error("invalid request")]
    InvalidRequest = 17,
    /// A target authenticates itself by one account only.
    #[error("this target already has an outgoing account")]
    OutgoingAccountExists = 18,
    /// Initiators are logged in.
    #[error("this target is still active")]
    TargetActive = 19,
    /// Commands are running.
    #[error("this logical unit is still active")]
    LunActive = 20,
    /// Targets of this driver exist.
    #[error("this driver is busy")]
    DriverActive = 21,
    /// Not done for this kind of object.
    #[error("this operation isn't supported")]
    UnsupportedOperation = 22,
    /// The parameter is not known.
    #[error("unknown parameter")]
    UnknownParameter = 23,
    /// An initiator prevents medium removal.
    #[error("this device has Prevent Removal set")]
    PreventRemoval = 24,
}

/// A refusal: a number for programs and a reason for people.
///
/// Two are the same when their numbers are.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{kind}: {reason}")]
pub struct ControlError {
    /// The number in the reply.
    pub kind: TgtadmError,
    /// One line: the option, what was given, and what is accepted. Never a secret.
    pub reason: String,
}

impl PartialEq for ControlError {
    fn eq(&self, other: &Self) -> bool {
        self.kind == other.kind
    }
}

impl Eq for ControlError {}

impl From<TgtadmError> for ControlError {
    fn from(kind: TgtadmError) -> Self {
        kind.because(String::new())
    }
}

impl TgtadmError {
    /// Makes a refusal with a reason. Control characters in the reason are replaced, and error numbers of the system
    /// removed.
    #[must_use]
    pub fn because(self, reason: impl Into<String>) -> ControlError {
        let reason: String = reason.into();
        let mut reason = without_numbers(&reason).into_owned();
        if reason.contains(char::is_control) {
            reason = reason.chars().map(|c| if c.is_control() { '?' } else { c }).collect();
        }
        ControlError { kind: self, reason }
    }

    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 24] = [
        Self::Unknown,
        Self::NoMemory,
        Self::NoDriver,
        Self::NoTarget,
        Self::NoLun,
        Self::NoSession,
        Self::NoConnection,
        Self::NoBinding,
        Self::TargetExists,
        Self::LunExists,
        Self::BindingExists,
        Self::AclExists,
        Self::AclNotFound,
        Self::UserExists,
        Self::NoUser,
        Self::TooManyUsers,
        Self::InvalidRequest,
        Self::OutgoingAccountExists,
        Self::TargetActive,
        Self::LunActive,
        Self::DriverActive,
        Self::UnsupportedOperation,
        Self::UnknownParameter,
        Self::PreventRemoval,
    ];

    /// The number on the wire, 1 to 24.
    #[must_use]
    pub fn number(self) -> u32 {
        self as u32
    }

    /// `None` for 0, which is success, and for what no daemon sends.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        Self::ALL.get(index).copied()
    }
}

/// The text `tgtadm` prints for a reply's number, also for success and for numbers not known.
#[must_use]
pub fn text(number: u32) -> String {
    match (number, TgtadmError::from_number(number)) {
        (0, _) => "success".to_owned(),
        (_, Some(error)) => error.to_string(),
        (_, None) => "(unknown tgtadm_errno)".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_numbers_of_a_reason_are_removed_and_control_characters_replaced() {
        let error = std::io::Error::from_raw_os_error(2);
        assert_eq!(TgtadmError::NoLun.because(error.to_string()).reason, "No such file or directory");
        let refusal = TgtadmError::NoTarget.because("\"a\n\u{1b}[31mb\" is no target");
        assert_eq!(refusal.reason, "\"a??[31mb\" is no target");
        assert_eq!(refusal, TgtadmError::NoTarget.into());
        assert_ne!(refusal, TgtadmError::NoLun.because(refusal.reason.clone()));
    }

    #[test]
    fn numbers_and_texts_are_those_of_the_wire() {
        let texts = [
            "success",
            "unknown error",
            "out of memory",
            "can't find the driver",
            "can't find the target",
            "can't find the logical unit",
            "can't find the session",
            "can't find the connection",
            "can't find the binding",
            "this target already exists",
            "this logical unit number already exists",
            "this binding already exists",
            "this access control rule already exists",
            "this access control rule does not exist",
            "this account already exists",
            "can't find the account",
            "too many accounts",
            "invalid request",
            "this target already has an outgoing account",
            "this target is still active",
            "this logical unit is still active",
            "this driver is busy",
            "this operation isn't supported",
            "unknown parameter",
            "this device has Prevent Removal set",
            "(unknown tgtadm_errno)",
        ];
        for (number, expected) in (0..).zip(texts) {
            assert_eq!(text(number), expected);
        }
        for error in TgtadmError::ALL {
            assert_eq!(TgtadmError::from_number(error.number()), Some(error));
        }
        assert_eq!(TgtadmError::from_number(0), None);
        assert_eq!(TgtadmError::from_number(u32::MAX), None);
    }
}
