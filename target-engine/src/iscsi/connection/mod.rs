//! One connection in full feature phase (RFC 7143 6.4, 11): what it receives, what it has to send, its numbers. It
//! owns no socket, reads no clock and knows no units; the target's shard stands above and mediates.
//!
//! - [`receive`]: bytes to whole PDUs
//! - [`data_out`]: the sequence of one command's Data-Out and R2Ts
//! - [`respond`]: response PDUs with their numbers

pub mod data_out;
pub mod receive;
pub mod respond;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use iscsi_proto::frame::{Digests, Limits};
use iscsi_proto::ids::{Cid, Ttt};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::ConnectionParams;
use iscsi_proto::sn::StatSn;

use self::receive::Receiver;
use crate::buffers::Pool;
use crate::iscsi::text_exchange::TextExchange;
use crate::iscsi::transmit::{Payload, Transmit};
use crate::limits::{AHS_LEN_MAX, SEGMENT_LEN_MAX, TRANSMIT_BYTES_LOW};
use crate::shard::tasks::TaskIndex;
use crate::stats::ConnectionStats;

/// One connection of a session.
#[derive(Debug)]
pub struct Connection {
    /// Its session's place in the shard.
    pub session: usize,
    /// Its number in the session.
    pub cid: Cid,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address it came in on.
    pub local: SocketAddr,
    /// The target it is with.
    pub target_name: IscsiName,
    /// What is received.
    pub receiver: Receiver,
    /// What is to be sent.
    pub transmit: Transmit,
    /// Bytes in `transmit` from which on its reads wait, whole multiples of 4 KiB.
    pub ring_len: usize,
    /// Reads that wait for room in `transmit`, in their order.
    pub reads: VecDeque<TaskIndex>,
    /// The text request that is being answered.
    pub text: TextExchange,
    /// Whether it lives.
    pub state: ConnectionState,
    /// It is on its shard's list of connections to be written to.
    pub touched: bool,
    /// What went over it.
    pub stats: Arc<ConnectionStats>,
    digests: Digests,
    max_xmit_len: usize,
    next_stat_sn: StatSn,
    ping: Ping,
}

/// What may still be done with a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ConnectionState {
    /// Everything.
    Open,
    /// Nothing more is read; it is closed once all is sent.
    Draining,
    /// It is over.
    Closed,
}

/// NOP-In pings to a silent initiator (RFC 7143 11.19).
#[derive(Debug)]
struct Ping {
    heard: Instant,
    asked: Instant,
    unanswered: u32,
    next_ttt: u32,
}

/// What the clock asks of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PingDue {
    /// Nothing.
    No,
    /// Send a NOP-In with this tag.
    Ask(Ttt),
    /// The initiator is gone.
    Dead,
}

impl Connection {
    /// A connection whose login is over but for its last response.
    #[must_use]
    pub fn new(from: NewConnection<'_>, now: Instant) -> Self {
        let digests = Digests { header: from.params.header_digest, data: from.params.data_digest };
        let limits = Limits { max_data_len: from.params.max_recv_data_segment_len, max_ahs_len: AHS_LEN_MAX };
        Self {
            session: from.session,
            cid: from.cid,
            peer: from.peer,
            local: from.local,
            target_name: from.target_name,
            receiver: Receiver::new(digests, limits),
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
            ping: Ping { heard: now, asked: now, unanswered: 0, next_ttt: 0 },
        }
    }

    /// Queues bytes that are a whole PDU already: the last Login Response.
    pub fn send_raw(&mut self, bytes: &Bytes) {
        let Some((bhs, data)) = bytes.split_first_chunk::<48>() else { return };
        let data_len = iscsi_proto::pdu::data_len(bhs);
        let data = bytes.slice_ref(&data[..data_len.min(data.len())]);
        self.transmit.push(*bhs, Payload::Bytes(data), Digests::default());
    }

    /// The longest data segment the initiator takes, in bytes, and no more than one block.
    #[inline]
    #[must_use]
    pub fn max_xmit_len(&self) -> usize {
        self.max_xmit_len
    }

    /// The longest data segment to be made now: no more than the ring is to hold.
    #[inline]
    #[must_use]
    pub fn segment_len(&self) -> usize {
        self.max_xmit_len.min(self.ring_len)
    }

    /// The initiator declared another MaxRecvDataSegmentLength by a text request.
    pub fn set_max_xmit_len(&mut self, len: u32) {
        self.max_xmit_len = xmit_len(len);
    }

    /// Something came from the initiator.
    #[inline]
    pub fn heard(&mut self, now: Instant) {
        self.ping.heard = now;
        self.ping.unanswered = 0;
    }

    /// Whether the initiator has to be asked if it is there, or was asked too often.
    pub fn ping_due(&mut self, interval: Duration, count: u32, now: Instant) -> PingDue {
        let since = self.ping.heard.max(self.ping.asked);
        if interval.is_zero() || now.saturating_duration_since(since) < interval {
            return PingDue::No;
        }
        if self.ping.unanswered >= count.max(1) {
            return PingDue::Dead;
        }
        self.ping.unanswered += 1;
        self.ping.asked = now;
        self.ping.next_ttt = self.ping.next_ttt.wrapping_add(1) & 0x7fff_ffff;
        PingDue::Ask(Ttt(self.ping.next_ttt))
    }

    /// Ends it: what it holds goes back. Its socket is the runtime's to close.
    pub fn close(&mut self, pool: &mut Pool) {
        self.state = ConnectionState::Closed;
        self.receiver.clear(pool);
        self.transmit.clear(pool);
        self.reads.clear();
    }

    fn push(&mut self, bhs: iscsi_proto::pdu::Bhs, payload: Payload) {
        self.transmit.push(bhs, payload, self.digests);
    }
}

/// What makes a [`Connection`].
#[derive(Debug)]
pub struct NewConnection<'a> {
    /// Its session's place in the shard.
    pub session: usize,
    /// Its number in the session.
    pub cid: Cid,
    /// The initiator's address.
    pub peer: SocketAddr,
    /// The address it came in on.
    pub local: SocketAddr,
    /// The target it is with.
    pub target_name: IscsiName,
    /// What was negotiated.
    pub params: &'a ConnectionParams,
    /// For text requests.
    pub text: TextExchange,
    /// The number of the next response after the last Login Response.
    pub next_stat_sn: StatSn,
    /// Where it counts.
    pub stats: Arc<ConnectionStats>,
}

fn xmit_len(declared: u32) -> usize {
    whole_blocks(declared).min(SEGMENT_LEN_MAX as u32) as usize
}

/// As much of a negotiated length as direct I/O can do in one piece. It may be any number of bytes, from 512 on.
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
            session: 0,
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
        Connection::new(new, now)
    }

    #[test]
    fn a_silent_initiator_is_asked_and_then_given_up() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut connection = connection(start);
        let mut due = |at| connection.ping_due(5 * second, 2, start + at);
        assert_eq!(due(4 * second), PingDue::No);
        assert_eq!(due(5 * second), PingDue::Ask(Ttt(1)));
        assert_eq!(due(6 * second), PingDue::No);
        assert_eq!(due(10 * second), PingDue::Ask(Ttt(2)));
        assert_eq!(due(15 * second), PingDue::Dead);
    }

    #[test]
    fn any_pdu_is_a_sign_of_life_and_no_interval_is_no_ping() {
        let start = Instant::now();
        let second = Duration::from_secs(1);
        let mut connection = connection(start);
        assert_eq!(connection.ping_due(5 * second, 1, start + 5 * second), PingDue::Ask(Ttt(1)));
        connection.heard(start + 6 * second);
        assert_eq!(connection.ping_due(5 * second, 1, start + 10 * second), PingDue::No);
        assert_eq!(connection.ping_due(Duration::ZERO, 1, start + 1000 * second), PingDue::No);
    }
}
