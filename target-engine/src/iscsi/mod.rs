//! iSCSI sessions and connections as plain state (RFC 7143).
