//! Login stages, the legal ways between them, and login statuses (RFC 7143 6.3, 11.12.3, 11.13.5).

/// A stage of a connection's life, as CSG and NSG code it (RFC 7143 11.12.3).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum Stage {
    /// Who are you?
    #[default]
    SecurityNegotiation = 0,
    /// How shall we talk?
    OperationalNegotiation = 1,
    /// Login is over.
    FullFeature = 3,
}

impl Stage {
    /// From two bits; 2 is reserved.
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::SecurityNegotiation),
            1 => Some(Self::OperationalNegotiation),
            3 => Some(Self::FullFeature),
            _ => None,
        }
    }

    /// Whether a login may go from this stage to `next`: forward only, the middle may be left out
    /// (RFC 7143 6.3.1).
    pub fn may_transit_to(self, next: Self) -> bool {
        matches!(
            (self, next),
            (Self::SecurityNegotiation, Self::OperationalNegotiation | Self::FullFeature)
                | (Self::OperationalNegotiation, Self::FullFeature)
        )
    }
}

/// Declares the statuses: each is one line with its class and detail.
macro_rules! login_statuses {
    ($($(#[$doc:meta])* $name:ident = $code:literal,)*) => {
        /// Status-Class and Status-Detail of a Login Response (RFC 7143 11.13.5).
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum LoginStatus {
            $($(#[$doc])* $name,)*
            /// A detail the standard does not name; class in the high byte. Never holds a value it does name.
            Other(u16),
        }

        impl LoginStatus {
            /// Every status the standard names.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// From class (high byte) and detail (low byte).
            pub fn from_wire(code: u16) -> Self {
                match code {
                    $($code => Self::$name,)*
                    other => Self::Other(other),
                }
            }

            /// Class in the high byte, detail in the low one.
            pub fn to_wire(self) -> u16 {
                match self {
                    $(Self::$name => $code,)*
                    Self::Other(code) => code,
                }
            }
        }
    };
}

login_statuses! {
    /// The login goes on, or is complete.
    Success = 0x0000,
    /// The target is at the TargetAddress given, for now.
    TargetMovedTemporarily = 0x0101,
    /// The target is at the TargetAddress given, for good.
    TargetMovedPermanently = 0x0102,
    /// The initiator broke the protocol.
    InitiatorError = 0x0200,
    /// The initiator could not prove its identity.
    AuthenticationFailure = 0x0201,
    /// The initiator may not use this target.
    AuthorizationFailure = 0x0202,
    /// There is no such target.
    NotFound = 0x0203,
    /// The target is gone and leaves no address.
    TargetRemoved = 0x0204,
    /// No version of the protocol is common to both.
    UnsupportedVersion = 0x0205,
    /// Too many connections on this initiator port or session.
    TooManyConnections = 0x0206,
    /// A required key is missing: the initiator's name or the target's.
    MissingParameter = 0x0207,
    /// The target cannot have this session on this connection.
    CannotIncludeInSession = 0x0208,
    /// The session type is not supported.
    SessionTypeNotSupported = 0x0209,
    /// There is no such session.
    SessionDoesNotExist = 0x020a,
    /// A request that has no place in a login, or comes at the wrong moment.
    InvalidDuringLogin = 0x020b,
    /// The target failed.
    TargetError = 0x0300,
    /// The target does not serve now.
    ServiceUnavailable = 0x0301,
    /// The target has no room.
    OutOfResources = 0x0302,
}

/// What a Login Response means to the initiator.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum StatusClass {
    /// Go on.
    Success,
    /// Go elsewhere.
    Redirection,
    /// Do not try the same again.
    InitiatorError,
    /// The same may work at another time.
    TargetError,
    /// None of the standard's classes; the login has failed.
    Reserved,
}

impl LoginStatus {
    /// The Status-Class.
    pub fn class(self) -> StatusClass {
        match self.to_wire() >> 8 {
            0 => StatusClass::Success,
            1 => StatusClass::Redirection,
            2 => StatusClass::InitiatorError,
            3 => StatusClass::TargetError,
            _ => StatusClass::Reserved,
        }
    }

    /// The Status-Detail.
    pub fn detail(self) -> u8 {
        self.to_wire() as u8
    }

    /// Whether the login goes on.
    pub fn is_success(self) -> bool {
        self.class() == StatusClass::Success
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_go_forward_only() {
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
    fn every_code_survives_the_wire() {
        for code in 0..=u16::MAX {
            assert_eq!(LoginStatus::from_wire(code).to_wire(), code);
        }
        assert!(LoginStatus::ALL.iter().all(|status| LoginStatus::from_wire(status.to_wire()) == *status));
    }

    #[test]
    fn classes() {
        assert_eq!(LoginStatus::TargetMovedPermanently.class(), StatusClass::Redirection);
        assert_eq!(LoginStatus::InvalidDuringLogin.class(), StatusClass::InitiatorError);
        assert_eq!(LoginStatus::InvalidDuringLogin.detail(), 0x0b);
        assert_eq!(LoginStatus::OutOfResources.class(), StatusClass::TargetError);
        assert_eq!(LoginStatus::Other(0x0400).class(), StatusClass::Reserved);
        assert!(!LoginStatus::Other(0x0400).is_success());
    }
}
