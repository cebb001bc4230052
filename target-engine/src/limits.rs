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

/// CHAP accounts of the daemon.
pub const ACCOUNTS_MAX: usize = 4096;

/// Bytes of a CHAP name or secret (RFC 7143 12.1.3: up to 255).
pub const ACCOUNT_FIELD_LEN_MAX: usize = 255;

/// Targets of the daemon.
pub const TARGETS_MAX: usize = 4096;

/// Loops that may serve one target.
pub const TARGET_LOOPS_MAX: usize = 64;

/// Portals of the daemon.
pub const PORTALS_MAX: usize = 256;

/// Sessions of the daemon; a session's handle has 16 bits.
pub const SESSIONS_MAX: usize = 16_384;

/// Accepted connections that are not logged in yet, in all.
pub const LOGINS_MAX: usize = 1024;

/// Accepted connections that are not logged in yet, from one address.
pub const LOGINS_PER_ADDRESS_MAX: usize = 256;

/// TCP connections in all, those of sessions among them.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Connections accepted in one go before others get their turn.
pub const ACCEPTS_PER_TURN: usize = 32;

/// Letters that wait for the control thread, beside those that must not be lost.
pub const CONTROL_LETTERS_MAX: usize = 65_536;

/// Threads that open and close stores.
pub const OPENER_THREADS: usize = 4;

/// Jobs that wait for an opener.
pub const OPENER_JOBS_MAX: usize = 4096;
