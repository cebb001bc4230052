//! iSCSI logins, sessions and connections as plain state (RFC 7143).

pub mod connection;
pub mod discovery;
pub mod login;
pub mod session;
pub mod text_exchange;
pub mod transmit;
