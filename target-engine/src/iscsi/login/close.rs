//! Why a connection ends during its login or in a discovery session.

use iscsi_proto::login::LoginStatus;

/// Why a login or a discovery session ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// A response has refused the login.
    #[error("login refused: {0}")]
    Refused(LoginStatus),
    /// The first PDU was no Login Request.
    #[error("opcode {0:#04x} before login")]
    NotALogin(u8),
    /// The bytes are no PDU that can be answered.
    #[error("malformed PDU")]
    Malformed,
    /// The peer has sent more than the bounds of a login allow.
    #[error("peer sent too much")]
    TooMuch,
    /// The time is over.
    #[error("timed out")]
    TimedOut,
    /// The peer has logged out of its discovery session.
    #[error("logged out")]
    LoggedOut,
}
