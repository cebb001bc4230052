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

/// How long a deletion may let commands finish.
pub const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// CHAP accounts of the daemon.
pub const ACCOUNTS_MAX: usize = 4096;

/// Bytes of a CHAP name or secret (RFC 7143 12.1.3: up to 255).
pub const ACCOUNT_FIELD_LEN_MAX: usize = 255;

/// Targets of the daemon.
pub const TARGETS_MAX: usize = 4096;

/// Loops that may serve one target.
pub const TARGET_LOOPS_MAX: usize = 64;

/// Loops that all targets may share.
pub const SHARED_LOOPS_MAX: usize = 256;

/// Portals of the daemon.
pub const PORTALS_MAX: usize = 256;

/// Sessions of the daemon; a session's handle has 16 bits.
pub const SESSIONS_MAX: usize = 16_384;

/// Accepted connections that are not logged in yet, in all.
pub const LOGINS_MAX: usize = 1024;

/// Accepted connections that are not logged in yet, from one IPv4 address or one IPv6 network of 64 bits.
pub const LOGINS_PER_ADDRESS_MAX: usize = 256;

/// TCP connections in all, those of sessions among them.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Connections accepted in one go before others get their turn.
pub const ACCEPTS_PER_TURN: usize = 32;

/// How long no connection is accepted after one could be neither accepted nor rejected.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Messages that may wait for the control thread, not counting those that must not be lost.
pub const CONTROL_MESSAGES_MAX: usize = 65_536;

/// Threads that open and close stores.
pub const OPENER_THREADS: usize = 16;

/// Jobs that wait for an opener.
pub const OPENER_JOBS_MAX: usize = 4096;

/// A login, from the first byte of a connection to the full feature phase.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Data bytes of one PDU before the full feature phase: the default MaxRecvDataSegmentLength.
pub const LOGIN_PDU_DATA_LEN_MAX: u32 = 8192;

/// Text bytes of all requests of a login.
pub const LOGIN_TEXT_LEN_MAX: usize = 64 * 1024;

/// Requests of a login.
pub const LOGIN_PDUS_MAX: u32 = 64;

/// Bytes kept of what arrives while a login or a discovery session waits for an answer.
pub const LOGIN_UNREAD_LEN_MAX: usize = 64 * 1024;

/// Silence of a discovery session, after which it is closed. Initiators that look for news keep theirs.
pub const DISCOVERY_IDLE: Duration = Duration::from_secs(600);

/// Discovery sessions in all; a further one ends the one that was silent for the longest time.
pub const DISCOVERIES_MAX: usize = LOGINS_MAX / 2;

/// Discovery sessions from one IPv4 address or one IPv6 network of 64 bits, in the same manner.
pub const DISCOVERIES_PER_ADDRESS_MAX: usize = LOGINS_PER_ADDRESS_MAX / 2;

/// Commands that a discovery session may send ahead.
pub const DISCOVERY_WINDOW: u32 = 8;

/// Responses of a discovery session that wait to be sent, beyond which no request is read.
pub const DISCOVERY_TRANSMIT_MAX: usize = 16;

/// Text bytes of one text request, all its PDUs together.
pub const TEXT_REQUEST_LEN_MAX: usize = 64 * 1024;
/// The longest data segment received or sent, and the longest piece of one operation, in bytes.
pub const SEGMENT_LEN_MAX: usize = 256 * 1024;

/// Additional header segments of one PDU, in bytes: all that their length field can say.
pub const AHS_LEN_MAX: u32 = 255 * 4;

/// Payload bytes of one loop that may be in use or asked for before no more is asked for.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Unused buffers that one loop keeps for later, in bytes.
pub const POOL_IDLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// R2Ts that one command may have outstanding, whatever was negotiated.
pub const OUTSTANDING_R2T_MAX: u16 = 64;

/// Data-Out of one command that goes to the medium, in bytes: no unit takes more. What an initiator announces beyond
/// it is not asked for.
pub const DATA_OUT_LEN_MAX: u32 = 256 * 1024 * 1024;

/// The same for commands whose data is a parameter list, or that take none.
pub const PARAMETER_LIST_LEN_MAX: u32 = 1024 * 1024;

/// Task management functions of one connection that may wait for commands to end; more are rejected.
pub const TASK_FUNCTIONS_MAX: usize = 16;

/// The same for all of a target's on one loop, those of other loops among them.
pub const TASK_FUNCTION_WAITS_MAX: usize = 4096;

/// Immediate SCSI commands that one session may have running; more are rejected.
pub const IMMEDIATE_TASKS_MAX: usize = 8;

/// Bytes in a connection's transmit ring from which on its reads wait for the socket, where no others want their turn.
pub const TRANSMIT_BYTES_LOW: usize = 256 * 1024;

/// Bytes in a connection's transmit ring from which on nothing more is read from it.
pub const TRANSMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A write from this length on goes to the store while its data is still coming, in bytes; a shorter one starts when
/// all of it is there.
pub const STREAM_LEN_MIN: u32 = 512 * 1024;

/// What one R2T asks for and one sequence of Data-In holds at the most, whatever was negotiated, in bytes.
pub const BURST_LEN_MAX: u32 = 1024 * 1024;

/// Operations of one step in a store's hands at a time.
pub const IN_FLIGHT_MAX: u8 = 32;

/// Bytes that the long steps of one target move at once before others have their say.
pub const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// How often pings and deadlines are looked at.
pub const TICK: Duration = Duration::from_millis(500);

/// A task management function is answered by then, even if the store has not given back what it was to abort.
pub const ABORT_WAIT: Duration = Duration::from_secs(10);

/// How long the data is waited for that tasks asked for, when their initiator aborts many at once. Some initiators send
/// it no more.
pub const ABORT_DATA_WAIT: Duration = Duration::from_secs(2);

/// How long a command that has ended waits for the next Data-Out that it asked for, before its connection is closed.
pub const DATA_OUT_WAIT: Duration = Duration::from_secs(30);

/// When nothing has come back from a unit's store for so long though data is out, the unit takes no more commands for
/// it. Initiators wait longer before they abort.
pub const HANG_AFTER: Duration = Duration::from_secs(10);

/// How long initiators are told to try again later; then their commands fail.
pub const HANG_BUSY: Duration = Duration::from_secs(60);

/// Connections and other messages that may wait for one loop, not counting those that must not be lost.
pub const LOOP_MESSAGES_MAX: usize = 4096;

/// Events that one wait of a loop reports.
pub const EVENTS_MAX: usize = 256;

/// What one read of a socket brings at the most beyond a payload in progress, in bytes.
pub const SCRATCH_LEN: usize = 256 * 1024;

/// How long a redirect command may take, as in stock.
pub const REDIRECT_TIME: Duration = Duration::from_millis(100);

/// Bytes of a redirect command's answer.
pub const REDIRECT_ANSWER_LEN_MAX: u64 = 512;

/// How long initiators may take to log out when the daemon is told to end.
pub const END_GRACE: Duration = Duration::from_secs(5);

/// How long the last replies and loops may take after that.
pub const END_REPLIES: Duration = Duration::from_secs(2);

/// How long stores may take to close after that.
pub const END_CLOSE: Duration = Duration::from_secs(5);

/// How long a connection may take to accept the response that refuses it, or the last one before it is closed.
pub const LAST_WORDS: Duration = Duration::from_secs(5);

/// Lines of the log that peers can cause, of one kind in one [`WARNINGS_PERIOD`]; more are counted only.
pub const WARNINGS_MAX: u32 = 20;

/// See [`WARNINGS_MAX`].
pub const WARNINGS_PERIOD: Duration = Duration::from_secs(10);
