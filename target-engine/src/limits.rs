//! Every bound of the engine: what is not listed here is not bounded, and that would be a mistake.

use std::time::Duration;

/// Bytes of a management request after its header; a longer one is dropped without a reply, as stock does.
pub const CONTROL_PAYLOAD_LEN_MAX: usize = 8192;

/// Admin connections served at a time; the rest wait in the socket's backlog.
pub const CONTROL_CONNECTIONS_MAX: usize = 64;

/// How long an admin connection may take to send its request or to take its reply.
pub const CONTROL_IDLE: Duration = Duration::from_secs(60);

/// A reply is sent by then, whatever a store or a loop is doing; the operation itself may go on.
pub const CONTROL_REPLY: Duration = Duration::from_secs(20);
