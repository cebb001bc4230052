//! RFC 7143 on the wire.
