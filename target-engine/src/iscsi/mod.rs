//! iSCSI sessions and connections as plain state (RFC 7143).

pub mod discovery;
pub mod login;
pub mod text_exchange;
