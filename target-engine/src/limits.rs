//! All bounds of the engine. Whatever grows with input has a bound here.

use std::time::Duration;

/// Bytes of a management request after its header; a longer one is dropped without a reply, as tgt does.
pub const CONTROL_PAYLOAD_LEN_MAX: usize = 8192;

/// Admin connections served at a time; others wait in the socket's backlog.
pub const CONTROL_CONNECTIONS_MAX: usize = 64;

/// How long an admin connection may take to send its request or to take its reply.
pub const CONTROL_IDLE: Duration = Duration::from_secs(60);

/// A reply is sent within this time, whatever a store or a loop does; the operation itself may go on.
pub const CONTROL_REPLY: Duration = Duration::from_secs(20);

/// How long a deletion may wait for commands to finish.
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

/// Connections accepted in one turn.
pub const ACCEPTS_PER_TURN: usize = 32;

/// How long no connection is accepted after one could be neither accepted nor rejected.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Messages that may wait for the control thread, not counting those that must not be lost.
pub const CONTROL_MESSAGES_MAX: usize = 65_536;

/// Threads that open and close stores.
pub const OPENER_THREADS: usize = 16;

/// Jobs queued for the openers.
pub const OPENER_JOBS_MAX: usize = 4096;

/// A login, from the first byte of a connection to the full feature phase.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Data bytes of one PDU before the full feature phase: the default MaxRecvDataSegmentLength.
pub const LOGIN_PDU_DATA_LEN_MAX: u32 = 8192;

/// Text bytes of all requests of a login.
pub const LOGIN_TEXT_LEN_MAX: usize = 64 * 1024;

/// Requests of a login.
pub const LOGIN_PDUS_MAX: u32 = 64;

/// Received bytes kept while a login or a discovery session waits for an answer.
pub const LOGIN_UNREAD_LEN_MAX: usize = 64 * 1024;

/// A discovery session without requests for so long is closed. Some initiators keep theirs to poll for changes.
pub const DISCOVERY_IDLE: Duration = Duration::from_secs(600);

/// Discovery sessions in all; a further one ends the one that has been silent for the longest time.
pub const DISCOVERIES_MAX: usize = LOGINS_MAX / 2;

/// Discovery sessions from one IPv4 address or one IPv6 network of 64 bits; as for [`DISCOVERIES_MAX`].
pub const DISCOVERIES_PER_ADDRESS_MAX: usize = LOGINS_PER_ADDRESS_MAX / 2;

/// The command window of a discovery session.
pub const DISCOVERY_WINDOW: u32 = 8;

/// A discovery session with so many unsent responses reads no requests.
pub const DISCOVERY_TRANSMIT_MAX: usize = 16;

/// Text bytes of one text request, all its PDUs together.
pub const TEXT_REQUEST_LEN_MAX: usize = 64 * 1024;
/// The longest data segment received or sent, and the longest operation of a store with data, in bytes.
pub const SEGMENT_LEN_MAX: usize = 256 * 1024;

/// Additional header segments of one PDU, in bytes: the most that TotalAHSLength can express.
pub const AHS_LEN_MAX: u32 = 255 * 4;

/// The budget of a loop for payload: bytes in use and asked for, beyond which no more is asked for.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Free buffers that one loop keeps, in bytes.
pub const POOL_IDLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// R2Ts that one command may have outstanding, whatever was negotiated.
pub const OUTSTANDING_R2T_MAX: u16 = 64;

/// Data-Out of one command that goes to the medium, in bytes: no unit takes more. Data that an initiator announces beyond it
/// is not asked for.
pub const DATA_OUT_LEN_MAX: u32 = 256 * 1024 * 1024;

/// Data-Out of other commands, which is a parameter list, in bytes.
pub const PARAMETER_LIST_LEN_MAX: u32 = 1024 * 1024;

/// Task management functions of one connection that may wait for commands to end; more are rejected.
pub const TASK_FUNCTIONS_MAX: usize = 16;

/// Task management functions of one target that may wait on one loop, those of other loops included.
pub const TASK_FUNCTION_WAITS_MAX: usize = 4096;

/// Immediate SCSI commands that one session may have running; more are rejected.
pub const IMMEDIATE_TASKS_MAX: usize = 8;

/// Reads wait while their connection's transmit ring has so many bytes, or fewer if many connections are active.
pub const TRANSMIT_BYTES_LOW: usize = 256 * 1024;

/// Nothing is received from a connection while its transmit ring has more bytes.
pub const TRANSMIT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A write from this length on goes to the store while its data is still arriving, in bytes; a shorter one starts when all
/// of its data has arrived.
pub const STREAM_LEN_MIN: u32 = 512 * 1024;

/// The longest burst, whatever was negotiated, in bytes: what one R2T asks for, and one sequence of Data-In has.
pub const BURST_LEN_MAX: u32 = 1024 * 1024;

/// Operations of one step that are at the store at a time.
pub const IN_FLIGHT_MAX: u8 = 32;

/// Bytes that the long steps of one target may move in one turn of a loop.
pub const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// How often pings and deadlines are checked.
pub const TICK: Duration = Duration::from_millis(500);

/// A task management function is answered within this time, even if the store has not returned the aborted commands.
pub const ABORT_WAIT: Duration = Duration::from_secs(10);

/// How long aborted tasks wait for data that they asked for, if their initiator aborts many at once. Some initiators do not
/// send it any more.
pub const ABORT_DATA_WAIT: Duration = Duration::from_secs(2);

/// How long a command that has ended waits for the next Data-Out that it asked for before its connection is closed.
pub const DATA_OUT_WAIT: Duration = Duration::from_secs(30);

/// A store that completes nothing for so long, although data is out, hangs: its unit takes no more commands. Initiators wait
/// longer before they abort.
pub const HANG_AFTER: Duration = Duration::from_secs(10);

/// How long commands of a hung unit get BUSY; later ones fail.
pub const HANG_BUSY: Duration = Duration::from_secs(60);

/// Connections and other messages that may wait for one loop, not counting those that must not be lost.
pub const LOOP_MESSAGES_MAX: usize = 4096;

/// Events that one wait of a loop returns.
pub const EVENTS_MAX: usize = 256;

/// The scratch buffer of a loop: what one read of a socket returns beyond a payload in progress, in bytes.
pub const SCRATCH_LEN: usize = 256 * 1024;

/// How long a redirect command may take, as in tgt.
pub const REDIRECT_TIME: Duration = Duration::from_millis(100);

/// Bytes of a redirect command's answer.
pub const REDIRECT_ANSWER_LEN_MAX: u64 = 512;

/// How long initiators may take to log out when the daemon ends.
pub const END_GRACE: Duration = Duration::from_secs(5);

/// How long the final replies and the loops may take after that.
pub const END_REPLIES: Duration = Duration::from_secs(2);

/// How long stores may take to close after that.
pub const END_CLOSE: Duration = Duration::from_secs(5);

/// How long a connection may take to send its final responses before it is closed.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines of one kind that peers can cause in the log in one [`WARNINGS_PERIOD`]; others are only counted.
pub const WARNINGS_MAX: u32 = 20;

/// See [`WARNINGS_MAX`].
pub const WARNINGS_PERIOD: Duration = Duration::from_secs(10);
