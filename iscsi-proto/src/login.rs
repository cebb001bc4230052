//! Login stages, their transitions, and login statuses (RFC 7143 6.3, 11.12.3, 11.13.5).

use std::fmt;

/// Stage of a connection, as encoded in CSG and NSG (RFC 7143 11.12.3).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Stage {
    /// Authentication.
    #[default]
    SecurityNegotiation = 0,
    /// Negotiation of operational parameters.
    OperationalNegotiation = 1,
    /// The login is complete; SCSI commands are permitted.
    FullFeature = 3,
}

impl Stage {
    /// Decodes CSG or NSG; `None` for the reserved 2 and for values above 3.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::SecurityNegotiation),
            1 => Some(Self::OperationalNegotiation),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }

    /// Whether a login may go from this stage to `next`. Stages are never repeated, and operational negotiation may be
    /// omitted (RFC 7143 6.3.1).
    pub fn may_transit_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::SecurityNegotiation, Self::OperationalNegotiation | Self::FullFeature)
                | (Self::OperationalNegotiation, Self::FullFeature)
        )
    }
}

/// The name in RFC 7143 11.12.3.
impl fmt::Display for Stage {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::SecurityNegotiation => "SecurityNegotiation",
            Self::OperationalNegotiation => "LoginOperationalNegotiation",
            Self::FullFeature => "FullFeaturePhase",
        })
    }
}

/// Declares the statuses, with class and detail, and their names in RFC 7143 11.13.5.
macro_rules! login_statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal $words:literal,)*) => {
        /// Status-Class and Status-Detail of a Login Response (RFC 7143 11.13.5).
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum LoginStatus {
            $($(#[$doc])* $name,)*
            /// A status that the standard does not name; class in the high byte.
            Other(u16),
        }

        impl LoginStatus {
            /// All statuses that the standard names.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// Decodes Status-Class (high byte) and Status-Detail (low byte).
            pub fn from_wire(code: u16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }

            /// Encodes Status-Class (high byte) and Status-Detail (low byte).
            pub fn to_wire(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }
        }

        impl fmt::Display for LoginStatus {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self {
                    $(Self::$name => out.write_str($words),)*
                    Self::Other(code) => write!(out, "status {code:#06x}"),
                }
            }
        }
    };
}

login_statuses! {
    /// The login proceeds or is complete.
    Success = 0x0000 "success",
    /// The target has moved temporarily to the TargetAddress in the response.
    TargetMovedTemporarily = 0x0101 "target moved temporarily",
    /// The target has moved permanently to the TargetAddress in the response.
    TargetMovedPermanently = 0x0102 "target moved permanently",
    /// Miscellaneous initiator error, as a protocol error.
    InitiatorError = 0x0200 "initiator error",
    /// Authentication of the initiator failed.
    AuthenticationFailure = 0x0201 "authentication failure",
    /// The initiator is not authorized for the target.
    AuthorizationFailure = 0x0202 "authorization failure",
    /// The target does not exist.
    NotFound = 0x0203 "not found",
    /// The target was removed, and no forwarding address is known.
    TargetRemoved = 0x0204 "target removed",
    /// Initiator and target support no common protocol version.
    UnsupportedVersion = 0x0205 "unsupported version",
    /// The session has too many connections.
    TooManyConnections = 0x0206 "too many connections",
    /// A required key is missing, as InitiatorName or TargetName.
    MissingParameter = 0x0207 "missing parameter",
    /// The target cannot include this connection in the session.
    CannotIncludeInSession = 0x0208 "can't include in session",
    /// The session type is not supported.
    SessionTypeNotSupported = 0x0209 "session type not supported",
    /// The session does not exist.
    SessionDoesNotExist = 0x020a "session does not exist",
    /// The request is invalid during a login.
    InvalidDuringLogin = 0x020b "invalid during login",
    /// Hardware or software error of the target.
    TargetError = 0x0300 "target error",
    /// The target is temporarily not available.
    ServiceUnavailable = 0x0301 "service unavailable",
    /// The target has insufficient session, connection or other resources.
    OutOfResources = 0x0302 "out of resources",
}

/// Status-Class: how the initiator has to react to a Login Response.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StatusClass {
    /// The login proceeds.
    Success,
    /// Log in at another address.
    Redirection,
    /// Do not retry the same login.
    InitiatorError,
    /// The same login may succeed later.
    TargetError,
    /// A class that the standard does not define; the login has failed.
    Reserved,
}

impl LoginStatus {
    /// Status-Class.
    pub fn class(self) -> StatusClass {
        match self.to_wire() >> 8 {
            0 => StatusClass::Success,
            1 => StatusClass::Redirection,
            2 => StatusClass::InitiatorError,
            3 => StatusClass::TargetError,
            _ => StatusClass::Reserved,
        }
    }

    /// Status-Detail.
    pub fn detail(self) -> u8 {
        self.to_wire() as u8
    }

    /// Whether the login proceeds or is complete.
    pub fn is_success(self) -> bool {
        self.class() == StatusClass::Success
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transitions_go_forward_only() {
        use Stage::{FullFeature, OperationalNegotiation, SecurityNegotiation};
        let stages = [SecurityNegotiation, OperationalNegotiation, FullFeature];
        for (from, a) in stages.into_iter().enumerate() {
            for (to, b) in stages.into_iter().enumerate() {
                assert_eq!(a.may_transit_to(b), from < to, "{a:?} to {b:?}");
            }
        }
    }

    #[test]
    fn stage_two_is_reserved() {
        assert_eq!(Stage::from_bits(2), None);
        for stage in [Stage::SecurityNegotiation, Stage::OperationalNegotiation, Stage::FullFeature] {
            assert_eq!(Stage::from_bits(stage as u8), Some(stage));
        }
    }

    #[test]
    fn every_code_decodes_and_encodes_to_itself() {
        for code in 0..=u16::MAX {
            assert_eq!(LoginStatus::from_wire(code).to_wire(), code);
        }
        assert!(LoginStatus::ALL.iter().all(|status| LoginStatus::from_wire(status.to_wire()) == *status));
    }

    #[test]
    fn statuses_have_their_class_and_detail() {
        assert_eq!(LoginStatus::TargetMovedPermanently.class(), StatusClass::Redirection);
        assert_eq!(LoginStatus::InvalidDuringLogin.class(), StatusClass::InitiatorError);
        assert_eq!(LoginStatus::InvalidDuringLogin.detail(), 0x0b);
        assert_eq!(LoginStatus::OutOfResources.class(), StatusClass::TargetError);
        assert_eq!(LoginStatus::Other(0x0400).class(), StatusClass::Reserved);
        assert!(!LoginStatus::Other(0x0400).is_success());
        assert_eq!(LoginStatus::AuthenticationFailure.to_string(), "authentication failure");
        assert_eq!(LoginStatus::Other(0x0400).to_string(), "status 0x0400");
    }
}
