//! All bounds of the engine. Whatever grows with input has a bound here.
//!
//! The documentation of each constant ends with a paragraph of four sentences, from which `docs/limits.md` is generated: who
//! hits the bound (`any peer`, `initiator`, `operator`, `store`, `engine`), what has the bound, what happens over it, and
//! where it is seen. `LEN` or `BYTES` in a name means bytes.

use std::time::Duration;

/// Bytes of a management request after its header; a longer one is dropped without a reply, as tgt does.
///
/// Hit by: operator. Scope: request. Over it: it is dropped and its connection closed, without a reply. Seen: log,
/// `management socket`.
pub const CONTROL_PAYLOAD_LEN_MAX: usize = 8192;

/// Admin connections served at a time.
///
/// Hit by: operator. Scope: daemon. Over it: the oldest one without a whole request is closed, or else the oldest one that
/// does not take its reply; while the requests of all are carried out, others wait in the socket's backlog. Seen: log,
/// `management socket`.
pub const CONTROL_CONNECTIONS_MAX: usize = 64;

/// How long an admin connection may take to send its request or to take its reply.
///
/// Hit by: operator. Scope: management connection. Over it: it is closed. Seen: nowhere.
pub const CONTROL_IDLE: Duration = Duration::from_secs(60);

/// A reply is sent within this time, whatever a store or a loop does; the operation itself may go on.
///
/// Hit by: operator. Scope: request. Over it: the reply says that the operation did not end in time. Seen: the reply.
pub const CONTROL_REPLY: Duration = Duration::from_secs(20);

/// How long a deletion may wait for commands to finish.
///
/// Hit by: operator. Scope: request. Over it: a longer wait is refused. Seen: the reply.
pub const DRAIN_MAX: Duration = Duration::from_secs(3600);

/// CHAP accounts of the daemon.
///
/// Hit by: operator. Scope: daemon. Over it: a further one is refused. Seen: the reply.
pub const ACCOUNTS_MAX: usize = 4096;

/// Bytes of a CHAP name or secret (RFC 7143 12.1.3: up to 255).
///
/// Hit by: operator. Scope: account. Over it: the account is refused. Seen: the reply.
pub const ACCOUNT_FIELD_LEN_MAX: usize = 255;

/// Initiator names to which an account is bound at a target.
///
/// Hit by: operator. Scope: account of a target. Over it: a further one is refused. Seen: the reply.
pub const ACCOUNT_NAMES_MAX: usize = 64;

/// Targets of the daemon.
///
/// Hit by: operator. Scope: daemon. Over it: a further one is refused. Seen: the reply.
pub const TARGETS_MAX: usize = 4096;

/// Loops that may serve one target.
///
/// Hit by: operator. Scope: target. Over it: more are refused. Seen: the reply; `loops` of `target show` in JSON.
pub const TARGET_LOOPS_MAX: usize = 64;

/// Loops that all targets may share.
///
/// Hit by: operator. Scope: daemon. Over it: `tgtd --loops` refuses more. Seen: standard error.
pub const SHARED_LOOPS_MAX: usize = 256;

/// Portals of the daemon.
///
/// Hit by: operator. Scope: daemon. Over it: a further one is refused. Seen: the reply.
pub const PORTALS_MAX: usize = 256;

/// Sessions of the daemon; a session's handle has 16 bits.
///
/// Hit by: initiator. Scope: daemon. Over it: the login is refused with 0302, out of resources. Seen: log, `all session
/// handles are in use`.
pub const SESSIONS_MAX: usize = 16_384;

/// Sessions that a login has replaced and whose end is not reported yet, beyond [`SESSIONS_MAX`]: room for initiators that
/// reconnect when all handles are in use.
///
/// Hit by: initiator. Scope: daemon. Over it: the login is refused with 0302, out of resources. Seen: log, `all session
/// handles are in use`.
pub const REINSTATEMENTS_MAX: usize = 1024;

/// Accepted connections that are not logged in yet, in all; discovery sessions are counted apart.
///
/// Hit by: any peer. Scope: daemon. Over it: of the addresses that are furthest above [`LOGINS_PER_ADDRESS_SHARE`], the
/// connection that has gone longest without a whole Login Request is closed. Seen: log, `too many connections`;
/// `admission_counters` of `system stat` in JSON.
pub const LOGINS_MAX: usize = 1024;

/// Accepted connections that are not logged in yet, from one IPv4 address or one IPv6 network of 64 bits.
///
/// Hit by: any peer. Scope: address. Over it: the address's connection that has gone longest without a whole Login Request
/// is closed. Seen: as [`LOGINS_MAX`].
pub const LOGINS_PER_ADDRESS_MAX: usize = 256;

/// Accepted connections that are not logged in yet, or discovery sessions, up to which all addresses are equal when one of
/// them must close a connection.
///
/// Hit by: any peer. Scope: address. Over it: see [`LOGINS_MAX`] and [`DISCOVERIES_MAX`]. Seen: as [`LOGINS_MAX`].
pub const LOGINS_PER_ADDRESS_SHARE: usize = LOGINS_MAX / 64;

/// Connections of sessions. By default a target has at most half of those that would be free without it, an address half of
/// what its target may still have, and an initiator name half of what its address may still have: 8192, 4096 and 2048 if
/// there are no others. `tgtd --max-connections-per-target`, `-per-address` and `-per-initiator` set other bounds. A login
/// that reinstates a session is not refused.
///
/// Hit by: initiator. Scope: daemon, target, address, initiator name. Over it: a login to a new session is refused with
/// 0302, out of resources, one to an existing session with 0206, too many connections. Seen: log; `login_counters` of
/// `system stat` in JSON.
pub const CONNECTIONS_MAX: usize = 16_384;

/// Connections accepted in one turn of the control loop.
///
/// Hit by: any peer. Scope: portal; management socket. Over it: the others are accepted in the next turns. Seen: nowhere.
pub const ACCEPTS_PER_TURN: usize = 32;

/// How long no connection is accepted after one could be neither accepted nor rejected.
///
/// Hit by: any peer. Scope: daemon. Over it: connections are accepted again. Seen: log, `portal`.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// Messages that may wait for the control thread, not counting those that must not be lost.
///
/// Hit by: engine. Scope: daemon. Over it: only messages that must not be lost are queued. Seen: nowhere.
pub const CONTROL_MESSAGES_MAX: usize = 65_536;

/// Threads of each of the three pools for jobs that may block: one opens stores, flushes them and resolves names, one closes
/// stores, one runs redirect commands.
///
/// Hit by: store. Scope: pool. Over it: further jobs are queued. Seen: nowhere.
pub const OPENER_THREADS: usize = 16;

/// Jobs queued for the openers.
///
/// Hit by: operator. Scope: daemon. Over it: the request is refused; a login that needs one gets 0301, service
/// unavailable. Seen: the reply; log.
pub const OPENER_JOBS_MAX: usize = 4096;

/// A login, from the first byte of a connection to the full feature phase.
///
/// Hit by: any peer. Scope: connection. Over it: it is closed, or refused with 0301, service unavailable, if it waits
/// for us. Seen: log, `timed out`.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the refusal of a login waits whose CHAP name or secret was wrong.
///
/// Hit by: any peer. Scope: login. Over it: 0201, authentication failure, is sent. Seen: log, `wrong name or secret`;
/// `login_counters` of `system stat` in JSON.
pub const PROOF_DELAY: Duration = Duration::from_secs(1);

/// Addresses (IPv4) and networks (IPv6, 64 bits) whose failed proofs are counted one by one.
///
/// Hit by: any peer. Scope: daemon. Over it: the address whose last failure is longest ago is forgotten. Seen: nowhere.
pub const FAILED_PROOF_ADDRESSES_MAX: usize = 1024;

/// Data bytes of one PDU before the full feature phase: the default MaxRecvDataSegmentLength.
///
/// Hit by: any peer. Scope: PDU. Over it: the connection is closed. Seen: log, `malformed PDU`.
pub const LOGIN_PDU_DATA_LEN_MAX: u32 = 8192;

/// Text bytes of all requests of a login.
///
/// Hit by: any peer. Scope: login. Over it: it is refused with 0200, initiator error. Seen: log.
pub const LOGIN_TEXT_LEN_MAX: usize = 64 * 1024;

/// Requests of a login.
///
/// Hit by: any peer. Scope: login. Over it: it is refused with 0200, initiator error. Seen: log.
pub const LOGIN_PDUS_MAX: u32 = 64;

/// Received bytes kept while a login or a discovery session waits for an answer.
///
/// Hit by: any peer. Scope: connection. Over it: it is closed. Seen: log, `peer sent too much`.
pub const LOGIN_UNREAD_LEN_MAX: usize = 64 * 1024;

/// A discovery session without requests for so long is closed. Some initiators keep theirs to poll for changes.
///
/// Hit by: any peer. Scope: discovery session. Over it: it is closed. Seen: log, `timed out`.
pub const DISCOVERY_IDLE: Duration = Duration::from_secs(600);

/// Discovery sessions in all.
///
/// Hit by: any peer. Scope: daemon. Over it: of the addresses that are furthest above [`LOGINS_PER_ADDRESS_SHARE`], the
/// discovery session that has gone longest without a whole request is closed. Seen: log, `too many connections`;
/// `admission_counters` of `system stat` in JSON.
pub const DISCOVERIES_MAX: usize = LOGINS_MAX / 2;

/// Discovery sessions from one IPv4 address or one IPv6 network of 64 bits.
///
/// Hit by: any peer. Scope: address. Over it: the address's discovery session that has gone longest without a whole request
/// is closed. Seen: as [`DISCOVERIES_MAX`].
pub const DISCOVERIES_PER_ADDRESS_MAX: usize = LOGINS_PER_ADDRESS_MAX / 2;

/// The command window of a discovery session.
///
/// Hit by: any peer. Scope: discovery session. Over it: MaxCmdSN does not advance. Seen: nowhere.
pub const DISCOVERY_WINDOW: u32 = 8;

/// Bytes of unsent responses from which on a discovery session handles no request. The list of targets, which is one more
/// response, is shared by the sessions.
///
/// Hit by: any peer. Scope: discovery session. Over it: its requests wait until it has read. Seen: nowhere.
pub const DISCOVERY_TRANSMIT_BYTES_MAX: usize = 16 * 1024;

/// The kernel's send buffer of a discovery session, in bytes without the kernel's own overhead.
///
/// Hit by: any peer. Scope: discovery session. Over it: responses wait until it has read. Seen: nowhere.
pub const DISCOVERY_SEND_BUFFER_LEN: usize = 64 * 1024;

/// The unsent bytes in the kernel's send buffer of a connection from which on it takes no more. Bytes under way to the peer
/// do not count, so that the buffer still grows with the bandwidth and the delay of the network.
///
/// Hit by: any peer. Scope: connection. Over it: responses wait until it has read. Seen: nowhere.
pub const UNSENT_LEN_MAX: u32 = 64 * 1024;

/// Connections of sessions without [`UNSENT_LEN_MAX`], those that come while there are so few: the kernel's bound
/// (`net.ipv4.tcp_wmem`) lets one connection use a fast network alone.
///
/// Hit by: initiator. Scope: daemon. Over it: see [`UNSENT_LEN_MAX`]. Seen: nowhere.
pub const UNSENT_FREE_CONNECTIONS: usize = 16;

/// Requests of discovery sessions handled in one turn of the control loop, one of each session: logins are served in each
/// turn.
///
/// Hit by: any peer. Scope: daemon. Over it: the others are handled in the next turns. Seen: nowhere.
pub const DISCOVERY_REQUESTS_PER_TURN: usize = 8;

/// Lists of targets kept for further requests, in bytes.
///
/// Hit by: any peer. Scope: daemon. Over it: lists are made again. Seen: nowhere.
pub const TARGET_LISTS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Text bytes of one text request, all its PDUs together.
///
/// Hit by: initiator. Scope: connection. Over it: the request is rejected, protocol error. Seen: nowhere.
pub const TEXT_REQUEST_LEN_MAX: usize = 64 * 1024;

/// The longest data segment received or sent, and the longest operation of a store with data, in bytes.
///
/// Hit by: initiator. Scope: PDU; operation of a store. Over it: more is not negotiated; a longer PDU closes the
/// connection; longer commands are split. Seen: `session show` in JSON, `TargetMaxRecvDataSegmentLength`.
pub const SEGMENT_LEN_MAX: usize = 256 * 1024;

/// Additional header segments of one PDU, in bytes: the most that TotalAHSLength can express.
///
/// Hit by: initiator. Scope: PDU. Over it: cannot be exceeded. Seen: nowhere.
pub const AHS_LEN_MAX: u32 = 255 * 4;

/// The budget of a loop for payload: bytes in use and asked for. While half of it is in use, a session that holds more than
/// the budget divided by the sessions that hold something gets no more.
///
/// Hit by: initiator. Scope: loop. Over it: writes and reads of the session wait for memory; its command with immediate data
/// gets TASK SET FULL. Seen: log if a connection is closed because of data ahead of its turn.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024 * 1024;

/// What a session may hold whatever others hold, in bytes. Beyond it the data of one R2T is always asked for.
///
/// Hit by: initiator. Scope: session. Over it: see [`PAYLOAD_BYTES_MAX`]. Seen: nowhere.
pub const SESSION_BYTES_MIN: usize = 256 * 1024;

/// Free buffers that one loop keeps, in bytes.
///
/// Hit by: engine. Scope: loop. Over it: a freed buffer goes back to the system. Seen: nowhere.
pub const POOL_IDLE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The most bytes that peers can have a loop hold, with so many sessions and connections: the budget, as much again at stores
/// that hang, one command whose data must be complete before it starts, the buffers of the loop itself, and what each session
/// and each connection may hold beyond these. It is the sum of bounds that are enforced one by one.
#[must_use]
pub const fn loop_bytes_max(sessions: usize, connections: usize) -> usize {
    // The transmit ring when the session may hold no more, with the response that fills it.
    let of_connection = 2 * SEGMENT_LEN_MAX + 2 * TRANSMIT_BYTES_LOW;
    let of_session = SESSION_BYTES_MIN + BURST_LEN_MAX as usize;
    let of_loop = 2 * PAYLOAD_BYTES_MAX + DATA_OUT_LEN_MAX as usize + POOL_IDLE_BYTES_MAX + SCRATCH_LEN;
    of_loop + sessions * of_session + connections * of_connection
}

/// How often a loop gives memory back that it has not used since the last time.
///
/// Hit by: engine. Scope: loop. Over it: the memory goes back to the system. Seen: nowhere.
pub const TRIM_EVERY: Duration = Duration::from_secs(10);

/// R2Ts that one command may have outstanding, whatever was negotiated.
///
/// Hit by: initiator. Scope: command. Over it: further R2Ts are sent when data has arrived. Seen: nowhere.
pub const OUTSTANDING_R2T_MAX: u16 = 64;

/// Data-Out of one command that goes to the medium, in bytes: no unit takes more. Data that an initiator announces beyond it
/// is not asked for.
///
/// Hit by: initiator. Scope: command. Over it: the data beyond it is not asked for. Seen: the residual count of the
/// response.
pub const DATA_OUT_LEN_MAX: u32 = 256 * 1024 * 1024;

/// Data-Out of other commands, which is a parameter list, in bytes.
///
/// Hit by: initiator. Scope: command. Over it: the data beyond it is not asked for. Seen: the residual count of the
/// response.
pub const PARAMETER_LIST_LEN_MAX: u32 = 1024 * 1024;

/// Task management functions of one connection that may wait for commands to end; more are rejected.
///
/// Hit by: initiator. Scope: connection. Over it: the function is answered with function rejected. Seen: nowhere.
pub const TASK_FUNCTIONS_MAX: usize = 16;

/// Task management functions of one target that may wait on one loop, those of other loops included.
///
/// Hit by: initiator. Scope: target and loop. Over it: the function is answered with function rejected. Seen: nowhere.
pub const TASK_FUNCTION_WAITS_MAX: usize = 4096;

/// Immediate SCSI commands that one session may have running; more are rejected.
///
/// Hit by: initiator. Scope: session. Over it: the command is rejected, immediate command reject. Seen: nowhere.
pub const IMMEDIATE_TASKS_MAX: usize = 8;

/// Reads wait while their connection's transmit ring has so many bytes, or fewer if many connections are active.
///
/// Hit by: initiator. Scope: connection. Over it: its reads wait until it has taken data. Seen: nowhere.
pub const TRANSMIT_BYTES_LOW: usize = 256 * 1024;

/// No request of a connection is executed while its transmit ring holds more bytes; from [`TRANSMIT_BYTES_LOW`] on if its
/// session may hold no more.
///
/// Hit by: initiator. Scope: connection. Over it: nothing more is received from it until it has taken data. Seen:
/// nowhere.
pub const TRANSMIT_BYTES_MAX: usize = 1024 * 1024;

/// A write from this length on goes to the store while its data is still arriving, in bytes; a shorter one starts when all
/// of its data has arrived.
///
/// Hit by: engine. Scope: command. Over it: the write starts before its data is complete. Seen: nowhere.
pub const STREAM_LEN_MIN: u32 = 512 * 1024;

/// The longest burst, whatever was negotiated, in bytes: what one R2T asks for, and one sequence of Data-In has.
///
/// Hit by: initiator. Scope: session. Over it: R2Ts and sequences of Data-In end there. Seen: nowhere.
pub const BURST_LEN_MAX: u32 = 1024 * 1024;

/// Operations of one step that are at the store at a time.
///
/// Hit by: engine. Scope: command. Over it: further operations wait. Seen: nowhere.
pub const IN_FLIGHT_MAX: u8 = 32;

/// Bytes of one read that are at the store or wait for those before them.
///
/// Hit by: initiator. Scope: command. Over it: further operations wait. Seen: nowhere.
pub const READ_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes that the long steps of one target may move in one turn of a loop.
///
/// Hit by: initiator. Scope: target and turn of a loop. Over it: the command continues in the next turn. Seen: nowhere.
pub const INLINE_BYTES_MAX: usize = 1024 * 1024;

/// How often pings and deadlines are checked.
///
/// Hit by: engine. Scope: loop. Over it: they are checked at the next tick. Seen: nowhere.
pub const TICK: Duration = Duration::from_millis(500);

/// A task management function is answered within this time, even if the store has not returned the aborted commands.
///
/// Hit by: initiator. Scope: task management function. Over it: it is answered with function rejected; the tasks stay
/// aborted. Seen: nowhere.
pub const ABORT_WAIT: Duration = Duration::from_secs(10);

/// How long aborted tasks wait for data that they asked for, if their initiator aborts many at once. Some initiators do not
/// send it any more.
///
/// Hit by: initiator. Scope: command. Over it: the task is aborted without the data. Seen: nowhere.
pub const ABORT_DATA_WAIT: Duration = Duration::from_secs(2);

/// How long the commands of a connection wait for the next Data-Out before it is closed, and a command that has ended for
/// the next of its own.
///
/// Hit by: initiator. Scope: connection; command. Over it: the connection is closed. Seen: log, `no Data-Out`.
pub const DATA_OUT_WAIT: Duration = Duration::from_secs(30);

/// How long a PDU that has begun may be incomplete.
///
/// Hit by: initiator. Scope: connection. Over it: it is closed. Seen: log, `a PDU is incomplete`.
pub const PDU_WAIT: Duration = Duration::from_secs(30);

/// How long commands that arrived before their turn wait for the command before them.
///
/// Hit by: initiator. Scope: session. Over it: its connections are closed. Seen: log, `is missing`.
pub const COMMAND_WAIT: Duration = Duration::from_secs(60);

/// A store that completes nothing for so long, although data is out, hangs: its unit takes no more commands. Initiators wait
/// longer before they abort.
///
/// Hit by: store. Scope: unit and loop. Over it: the unit answers BUSY. Seen: log, `nothing has come from its store`.
pub const HANG_AFTER: Duration = Duration::from_secs(10);

/// How long commands of a hung unit get BUSY; later ones fail.
///
/// Hit by: store. Scope: unit and loop. Over it: the commands fail with an error. Seen: the unit's `errors` of `stat`.
pub const HANG_BUSY: Duration = Duration::from_secs(60);

/// Connections and other messages that may wait for one loop, not counting those that must not be lost.
///
/// Hit by: initiator. Scope: loop. Over it: the login is refused with 0302, out of resources. Seen: log, `the target's
/// loop takes no more connections`.
pub const LOOP_MESSAGES_MAX: usize = 4096;

/// Events that one wait of a loop or of the control thread returns.
///
/// Hit by: engine. Scope: thread and turn. Over it: the others are served in the next turn. Seen: nowhere.
pub const EVENTS_MAX: usize = 256;

/// Bytes that all connections of a loop together receive in a turn, and that they send. Several long writes fit, and their
/// responses are sent together. Each received PDU counts as [`PDU_COST`] bytes more, and as many as the data of reads and of
/// parameters that it asks for. While others have more to do than their shares, a connection whose requests are all there
/// has one of them executed, and a quarter of the others, for each [`SHARE_LEN_MIN`] of its share.
///
/// Hit by: initiator. Scope: loop and turn. Over it: the connection continues in the next turn. Seen:
/// nowhere.
pub const TURN_BYTES_MAX: usize = 1024 * 1024;

/// What a PDU costs beyond its bytes: executing it takes as long as moving so many bytes.
///
/// Hit by: initiator. Scope: PDU. Over it: see [`TURN_BYTES_MAX`]. Seen: nowhere.
pub const PDU_COST: usize = 4096;

/// A connection's share of [`TURN_BYTES_MAX`] is a whole multiple of this: with less the system calls cost more than copying
/// the data.
///
/// Hit by: engine. Scope: connection and turn. Over it: a share may be longer. Seen: nowhere.
pub const SHARE_LEN_MIN: usize = 64 * 1024;

/// Rounds of completions in a turn.
///
/// Hit by: store. Scope: loop and turn. Over it: the others are handled in the next turn. Seen: nowhere.
pub const REAPS_PER_TURN: usize = 8;

/// The scratch buffer of a loop: what one read of a socket returns beyond a payload in progress, in bytes.
///
/// Hit by: engine. Scope: loop and turn. Over it: the rest is received in the next turn. Seen: nowhere.
pub const SCRATCH_LEN: usize = 256 * 1024;

/// How long a redirect command may take, as in tgt.
///
/// Hit by: store. Scope: redirect command. Over it: it is killed and the login refused. Seen: log.
pub const REDIRECT_TIME: Duration = Duration::from_millis(100);

/// Redirect commands that run at a time, one of each IPv4 address or IPv6 network of 64 bits.
///
/// Hit by: any peer. Scope: daemon, address. Over it: the login waits until its own time is over; with [`LOGINS_MAX`] that
/// wait it is refused with 0301, service unavailable. Seen: log.
pub const REDIRECTS_MAX: usize = 4;

/// How long a redirect command counts as running at least, so that few are started in a second.
///
/// Hit by: any peer. Scope: redirect command. Over it: see [`REDIRECTS_MAX`]. Seen: nowhere.
pub const REDIRECT_TIME_MIN: Duration = Duration::from_millis(20);

/// Bytes of a redirect command's answer.
///
/// Hit by: store. Scope: redirect command. Over it: the rest is not read. Seen: log, if the answer is not valid.
pub const REDIRECT_ANSWER_LEN_MAX: u64 = 512;

/// How long initiators may take to log out when the daemon ends.
///
/// Hit by: initiator. Scope: daemon. Over it: the sessions are closed. Seen: nowhere.
pub const END_GRACE: Duration = Duration::from_secs(5);

/// How long the final replies and the loops may take after [`END_GRACE`].
///
/// Hit by: operator. Scope: daemon. Over it: the replies are lost. Seen: nowhere.
pub const END_REPLIES: Duration = Duration::from_secs(2);

/// How long stores may take to close after [`END_REPLIES`]. A library of a network store may need ten seconds.
///
/// Hit by: store. Scope: daemon. Over it: the daemon exits. Seen: log, `has not closed in time`.
pub const END_CLOSE: Duration = Duration::from_secs(12);

/// How long a connection may take to send its final responses before it is closed.
///
/// Hit by: initiator. Scope: connection. Over it: it is closed with its last responses unsent. Seen: nowhere.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);

/// Lines of one kind that peers can cause in the log in one [`WARNINGS_PERIOD`]; others are only counted.
///
/// Hit by: any peer. Scope: kind of line. Over it: further lines are counted. Seen: log, `lines like the last ones were
/// left out`.
pub const WARNINGS_MAX: u32 = 20;

/// See [`WARNINGS_MAX`].
///
/// Hit by: engine. Scope: kind of line. Over it: the lines are logged again. Seen: nowhere.
pub const WARNINGS_PERIOD: Duration = Duration::from_secs(10);
