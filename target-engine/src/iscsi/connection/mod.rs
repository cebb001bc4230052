//! One connection in the full feature phase (RFC 7143 6.4, 11): what it receives, what it has to send, and its sequence
//! numbers. It has no socket, no clock and no units; the shard of its target mediates.
//!
//! - [`receive`]: from bytes to complete PDUs
//! - [`data_out`]: the sequence of one command's Data-Out and R2Ts
//! - [`respond`]: response PDUs with their numbers
//! - `socket`, `unread`: bytes that the driver receives and sends
//! - `waits`: since when it waits for its initiator

pub mod data_out;
pub mod receive;
pub mod respond;
mod socket;
mod unread;
mod waits;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iscsi_proto::frame::{Digests, Limits};
use iscsi_proto::ids::{Cid, Ttt};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::ConnectionParams;
use iscsi_proto::pdu::TextRequest;
use iscsi_proto::sn::StatSn;

use self::receive::Receiver;
use self::unread::Unread;
use self::waits::Waits;
use crate::buffers::{Account, Pool};
use crate::iscsi::login::TargetList;
use crate::iscsi::text_exchange::{TextExchange, TextPiece, TextStep};
use crate::iscsi::transmit::{Payload, Transmit};
use crate::keys::{SessionIndex, TaskKey};
use crate::limits::{AHS_LEN_MAX, SEGMENT_LEN_MAX, TRANSMIT_BYTES_LOW};
use crate::stats::{ConnectionCounts, ConnectionStats};

/// One connection of a session.
#[derive(Debug)]
pub struct Connection {
    /// Its session.
    session: SessionIndex,
    /// The account of its session.
    account: Account,
    /// Its number in the session.
    cid: Cid,
    /// The initiator's address.
    peer: SocketAddr,
    /// The local address.
    local: SocketAddr,
    /// Its target.
    target_name: IscsiName,
    /// What is received.
    receiver: Receiver,
    /// Received bytes that wait for a later turn.
    unread: Option<Unread>,
    /// What is to be sent.
    transmit: Transmit,
    /// Reads wait while `transmit` has so many bytes, a multiple of 4 KiB.
    ring_len: usize,
    /// Reads that wait for space in `transmit`, in their order.
    reads: VecDeque<TaskKey>,
    /// The text request that is being answered.
    text: TextExchange,
    /// Whether it is open.
    state: ConnectionState,
    /// It is on its shard's list of touched connections.
    touched: bool,
    /// Its counters.
    stats: Arc<ConnectionStats>,
    digests: Digests,
    max_xmit_len: usize,
    next_stat_sn: StatSn,
    ping: Ping,
    waits: Waits,
}

/// The state of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionState {
    /// It receives and sends.
    Open,
    /// It receives nothing more, and is closed once all is sent.
    Draining,
    /// It is closed.
    Closed,
}

/// NOP-In pings to a silent initiator (RFC 7143 11.19).
#[derive(Debug)]
struct Ping {
    last_received_at: Instant,
    asked: Instant,
    unanswered: u32,
    next_ttt: u32,
}

/// What is due on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PingDue {
    /// Nothing.
    No,
    /// Send a NOP-In with this tag.
    Send(Ttt),
    /// The initiator does not answer: close the connection.
    Dead,
}

impl Connection {
    /// A connection whose login is complete but for its final response.
    #[must_use]
    pub fn new(session: SessionIndex, account: Account, from: NewConnection<'_>, now: Instant) -> Self {
        let digests = Digests { header: from.params.header_digest, data: from.params.data_digest };
        let limits = Limits { max_data_len: from.params.max_recv_data_segment_len, max_ahs_len: AHS_LEN_MAX };
        Self {
            session,
            account,
            cid: from.cid,
            peer: from.peer,
            local: from.local,
            target_name: from.target_name,
            receiver: Receiver::new(digests, limits),
            unread: None,
            transmit: Transmit::default(),
            ring_len: TRANSMIT_BYTES_LOW,
            reads: VecDeque::new(),
            text: from.text,
            state: ConnectionState::Open,
            touched: false,
            stats: from.stats,
            digests,
            max_xmit_len: xmit_len(from.params.max_xmit_data_segment_len),
            next_stat_sn: from.next_stat_sn,
            ping: Ping { last_received_at: now, asked: now, unanswered: 0, next_ttt: 0 },
            waits: Waits::default(),
        }
    }

    /// Queues bytes that are a complete PDU: the final Login Response.
    pub fn send_raw(&mut self, bytes: &Bytes) {
        let Some((bhs, data)) = bytes.split_first_chunk::<48>() else { return };
        let data_len = iscsi_proto::pdu::data_len(bhs);
        let data = bytes.slice_ref(&data[..data_len.min(data.len())]);
        self.transmit.push(*bhs, Payload::Bytes(data), Digests::default());
    }

    /// Its session.
    #[inline]
    #[must_use]
    pub fn session(&self) -> SessionIndex {
        self.session
    }

    /// Its number in the session.
    #[must_use]
    pub fn cid(&self) -> Cid {
        self.cid
    }

    /// The initiator's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The local address.
    #[must_use]
    pub fn local(&self) -> SocketAddr {
        self.local
    }

    /// Its target.
    #[must_use]
    pub fn target_name(&self) -> &IscsiName {
        &self.target_name
    }

    /// Whether it is open.
    #[inline]
    #[must_use]
    pub fn state(&self) -> ConnectionState {
        self.state
    }

    /// Whether it receives and sends.
    #[inline]
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.state == ConnectionState::Open
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == ConnectionState::Closed
    }

    /// Whether it was drained: all is sent, and it is to be closed.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.state == ConnectionState::Draining && self.transmit.is_empty()
    }

    /// Stops receiving. Returns false if it was not open.
    pub(crate) fn drain(&mut self) -> bool {
        let was_open = self.is_open();
        if was_open {
            self.state = ConnectionState::Draining;
        }
        was_open
    }

    /// Counts a SCSI Command.
    #[inline]
    pub(crate) fn count_command(&self) {
        self.stats.command();
    }

    /// Counts a Data-Out PDU.
    #[inline]
    pub(crate) fn count_data_out(&mut self) {
        self.waits.data_out_arrived();
        self.stats.data_out();
    }

    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> ConnectionCounts {
        self.stats.counts()
    }

    /// Takes in a Text Request with its data.
    pub(crate) fn receive_text(&mut self, request: &TextRequest, data: &[u8]) -> TextStep {
        let step = self.text.receive(request, data);
        self.set_max_xmit_len(self.text.connection().max_xmit_data_segment_len);
        step
    }

    /// Answers SendTargets with these records; `None`: the initiator did not ask.
    pub(crate) fn text_targets(&mut self, targets: &TargetList) -> Option<TextPiece> {
        let piece = self.text.targets(targets);
        self.set_max_xmit_len(self.text.connection().max_xmit_data_segment_len);
        piece
    }

    /// The initiator may have declared another MaxRecvDataSegmentLength in a text request.
    pub(crate) fn set_max_xmit_len(&mut self, len: u32) {
        self.max_xmit_len = xmit_len(len);
    }

    /// Lists it as one with something to send. Returns false if it was listed before.
    #[inline]
    pub(crate) fn touch(&mut self) -> bool {
        let is_new = !self.touched;
        self.touched = true;
        is_new
    }

    /// It was taken off the list of touched connections.
    #[inline]
    pub(crate) fn untouch(&mut self) {
        self.touched = false;
    }

    /// The longest data segment to send, in bytes: what the initiator takes, and at most one block.
    #[inline]
    #[must_use]
    pub fn max_xmit_len(&self) -> usize {
        self.max_xmit_len
    }

    /// The longest data segment to send now, in bytes: at most what the transmit ring may hold.
    #[inline]
    #[must_use]
    pub fn segment_len(&self) -> usize {
        self.max_xmit_len.min(self.ring_len)
    }

    /// A PDU was received from the initiator.
    #[inline]
    pub(crate) fn received_at(&mut self, now: Instant) {
        self.ping.last_received_at = now;
        self.ping.unanswered = 0;
        self.waits.pdu_arrived();
    }

    /// Notes whether a PDU is incomplete now. Returns true if the connection is to be checked for it from now on.
    #[inline]
    pub(crate) fn begins_wait(&mut self, now: Instant) -> bool {
        self.receiver.is_incomplete() && self.waits.begin_pdu(now)
    }

    /// Whether a PDU has been incomplete for [`PDU_WAIT`](crate::limits::PDU_WAIT); `None`: none is, and the connection is
    /// not to be checked any more.
    pub(crate) fn is_pdu_late(&mut self, pool: &Pool, now: Instant) -> Option<bool> {
        let paused = self.is_receive_paused(pool);
        self.waits.is_pdu_late(self.is_open() && self.receiver.is_incomplete(), paused, now)
    }

    /// A command waits for Data-Out: whether none has arrived for [`DATA_OUT_WAIT`](crate::limits::DATA_OUT_WAIT).
    pub(crate) fn is_data_out_late(&mut self, pool: &Pool, now: Instant) -> bool {
        let paused = self.is_receive_paused(pool);
        self.waits.is_data_out_late(paused, now)
    }

    /// Whether reads wait for space in `transmit`.
    #[inline]
    #[must_use]
    pub fn has_paused_reads(&self) -> bool {
        !self.reads.is_empty()
    }

    /// The read that waits for space in `transmit` for the longest time.
    #[inline]
    pub(crate) fn first_paused_read(&self) -> Option<TaskKey> {
        self.reads.front().copied()
    }

    /// Whether reads have to wait for space in `transmit`.
    #[inline]
    #[must_use]
    pub fn is_ring_full(&self) -> bool {
        self.transmit.len() >= self.ring_len
    }

    /// Whether a read may queue data now. One that `begins` waits for those before it.
    #[inline]
    pub(crate) fn has_space_for(&self, read: TaskKey, begins: bool) -> bool {
        let waits = begins && self.reads.front().is_some_and(|&first| first != read);
        !waits && !self.is_ring_full()
    }

    /// A read waits for space in `transmit`.
    pub(crate) fn pause_read(&mut self, read: TaskKey) {
        if !self.reads.contains(&read) {
            self.reads.push_back(read);
        }
    }

    /// A read no longer waits.
    pub(crate) fn remove_paused_read(&mut self, read: TaskKey) {
        self.reads.retain(|&other| other != read);
    }

    /// Whether a ping is due, or too many were not answered.
    pub fn ping_due(&mut self, interval: Duration, count: u32, now: Instant) -> PingDue {
        if self.is_closed() {
            // It waits for its release; its session may have ended.
            return PingDue::No;
        }
        let since = self.ping.last_received_at.max(self.ping.asked);
        if interval.is_zero() || now.saturating_duration_since(since) < interval {
            return PingDue::No;
        }
        if self.ping.unanswered >= count.max(1) {
            return PingDue::Dead;
        }
        self.ping.unanswered += 1;
        self.ping.asked = now;
        self.ping.next_ttt = self.ping.next_ttt.wrapping_add(1) & 0x7fff_ffff;
        PingDue::Send(Ttt(self.ping.next_ttt))
    }

    /// Gives back memory that it needed for more than it has to send now.
    pub(crate) fn shrink(&mut self) {
        self.transmit.shrink();
        self.reads.shrink_to(READS_KEPT.max(2 * self.reads.len()));
    }

    /// Closes it and gives its blocks back to the pool. The driver closes the socket.
    pub fn close(&mut self, pool: &mut Pool) {
        self.state = ConnectionState::Closed;
        self.receiver.clear(pool);
        self.unread.take().into_iter().for_each(|unread| unread.give_back(pool));
        self.transmit.clear(pool);
        self.count_queued(pool);
        self.reads.clear();
    }

    fn push(&mut self, bhs: iscsi_proto::pdu::Bhs, payload: Payload) {
        self.transmit.push(bhs, payload, self.digests);
    }
}

/// The parameters of a new [`Connection`].
#[derive(Debug)]
pub struct NewConnection<'a> {
    /// Its number in the session.
    pub cid: Cid,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The local address.
    pub local: SocketAddr,
    /// Its target.
    pub target_name: IscsiName,
    /// Its negotiated parameters.
    pub params: &'a ConnectionParams,
    /// The state of its text requests.
    pub text: TextExchange,
    /// StatSN of the first response after the final Login Response.
    pub next_stat_sn: StatSn,
    /// Its counters.
    pub stats: Arc<ConnectionStats>,
}

/// Waiting reads that the list keeps space for.
const READS_KEPT: usize = 128;

fn xmit_len(declared: u32) -> usize {
    whole_blocks(declared).min(SEGMENT_LEN_MAX as u32) as usize
}

/// The largest part of a negotiated length that direct I/O can do in one piece. The length may be any number of bytes from
/// 512 on.
#[must_use]
pub fn whole_blocks(len: u32) -> u32 {
    let block = if len < 4096 { 512 } else { 4096 };
    (len - len % block).max(512.min(len))
}

#[cfg(test)]
mod tests {
    use iscsi_proto::params::SessionParams;

    use super::*;
    use crate::iscsi::text_exchange::TextSession;

    fn connection(now: Instant) -> Connection {
        let name = IscsiName::parse("iqn.2001-04.com.example:t").unwrap();
        let address: SocketAddr = "127.0.0.1:3260".parse().unwrap();
        let new = NewConnection {
            cid: Cid(0),
            peer: address,
            local: address,
            params: &ConnectionParams::default(),
            target_name: name.clone(),
            text: TextExchange::new(
                TextSession::Normal(name),
                SessionParams::default(),
                ConnectionParams::default(),
            ),
            next_stat_sn: StatSn(1),
            stats: Arc::default(),
        };
        Connection::new(SessionIndex::new(0), Account::NONE, new, now)
    }

    #[test]
    fn a_silent_initiator_is_pinged_and_then_closed() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut connection = connection(start);
        let mut due = |at| connection.ping_due(5 * second, 2, start + at);
        assert_eq!(due(4 * second), PingDue::No);
        assert_eq!(due(5 * second), PingDue::Send(Ttt(1)));
        assert_eq!(due(6 * second), PingDue::No);
        assert_eq!(due(10 * second), PingDue::Send(Ttt(2)));
        assert_eq!(due(15 * second), PingDue::Dead);
    }

    #[test]
    fn any_pdu_delays_the_ping_and_interval_zero_disables_it() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut connection = connection(start);
        assert_eq!(connection.ping_due(5 * second, 1, start + 5 * second), PingDue::Send(Ttt(1)));
        connection.received_at(start + 6 * second);
        assert_eq!(connection.ping_due(5 * second, 1, start + 10 * second), PingDue::No);
        assert_eq!(connection.ping_due(Duration::ZERO, 1, start + 1000 * second), PingDue::No);
    }
}
