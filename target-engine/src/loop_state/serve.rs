//! A connection's share of a turn: the work that it may cause, and what it may send, before other connections have their
//! turn.

use super::effect::Effect;
use super::stream::{ByteStream, Readiness, Received, Stream, StreamIndex};
use super::{LoopState, Resources, share};
use crate::limits::TRANSMIT_BYTES_LOW;
use crate::shard::TargetShard;
use crate::shard::receive::WorkLimit;

impl<S: ByteStream, A: Clone> LoopState<S, A> {
    /// Serves a connection that is ready. One that continues what the last turn left is served by
    /// [`finish_turn`](Self::finish_turn), so that it gets only one share of the turn.
    pub fn handle_ready(&mut self, index: StreamIndex, ready: Readiness) {
        let Some(stream) = self.streams.get_mut(index.0) else { return };
        if stream.unfinished {
            return stream.ready.add(ready);
        }
        self.serve(index, ready);
    }

    /// One connection's share of the turn: reads, runs, kicks, writes.
    pub(super) fn serve(&mut self, index: StreamIndex, ready: Readiness) {
        let Some(stream) = self.streams.get_mut(index.0) else { return };
        let (target, place) = (stream.target, stream.place);
        let Some(served) = self.targets.get_mut(target) else { return };
        if ready.writable {
            stream.blocked = false;
        }
        let mut closed = ready.broken && !ready.readable;
        let (mut taken, mut bytes) = (0, 0);
        let mut more = ready.readable;
        let mut allowed = stream.allowed_bytes(self.share, self.is_contended);
        while taken < self.share
            && bytes <= allowed
            && !served.shard.is_receive_paused(place, &self.resources.pool)
        {
            let Some(connection) = served.shard.connection(place) else { return };
            connection.set_ring_len(self.share.min(TRANSMIT_BYTES_LOW));
            if taken > 0 && connection.is_ring_full() {
                break;
            }
            if connection.has_unread() {
                let limit = WorkLimit { cost: self.share - taken, bytes: allowed - bytes };
                let done = served.shard.receive_unread(place, limit, &mut self.resources.env());
                (taken, bytes) = (taken + done.cost, bytes + done.bytes);
                self.commands += done.pdus;
                continue;
            }
            if !std::mem::take(&mut more) {
                break;
            }
            match stream.receive(connection, &mut self.scratch, self.share) {
                Received::Bytes { scratch, all, full } => {
                    more = full;
                    taken += all - scratch;
                    stream.at_hand = if full { None } else { Some(bytes + scratch) };
                    allowed = stream.allowed_bytes(self.share, self.is_contended);
                    let cost = self.share.saturating_sub(taken).max(1);
                    let limit = WorkLimit { cost, bytes: allowed.saturating_sub(bytes) };
                    let (input, mut env) = (&self.scratch[..scratch], self.resources.env());
                    let done = served.shard.receive(place, input, limit, &mut env);
                    (taken, bytes) = (taken + done.cost, bytes + done.bytes);
                    self.commands += done.pdus;
                }
                Received::Nothing => {}
                Received::Closed => closed = true,
            }
        }
        stream.held_back = bytes > allowed;
        closed |= ready.broken && taken == 0 && served.shard.is_receive_paused(place, &self.resources.pool);
        if closed {
            served.shard.close_connection(place, &mut self.resources.env());
        }
        self.after(target, Some(index));
    }

    /// Lets a connection send in this turn's [`finish_turn`](Self::finish_turn).
    pub(super) fn continue_in_turn(&mut self, index: StreamIndex) {
        if let Some(stream) = self.streams.get_mut(index.0) {
            stream.unfinished = true;
            self.unfinished.push_front(index);
            self.continuing += 1;
        }
    }

    /// Follows each call of a shard: kicks what it submitted, sends its responses, handles its events.
    pub(super) fn after(&mut self, target: usize, also: Option<StreamIndex>) {
        let Some(served) = self.targets.get_mut(target) else { return };
        if served.shard.take_submitted() {
            self.resources.engines.kick();
        }
        let mut touched = std::mem::take(&mut self.touched);
        served.shard.take_touched(&mut touched);
        self.share = self.share.min(share(touched.len()));
        let mut flushed_also = also.is_none();
        for place in touched.drain(..) {
            let stream = self.targets[target].streams.get(place.get()).copied().flatten();
            if let Some(stream) = stream {
                flushed_also |= also == Some(stream);
                self.flush(stream);
            }
        }
        self.touched = touched;
        if let (false, Some(stream)) = (flushed_also, also) {
            self.flush(stream);
        }
        self.handle_events(target);
    }

    /// Sends a connection's share of the turn, closes a drained or failed connection, and updates the interest of its
    /// socket. A connection that continues in the next turn is skipped.
    pub(super) fn flush(&mut self, index: StreamIndex) {
        let Some(stream) = self.streams.get_mut(index.0).filter(|stream| !stream.unfinished) else { return };
        let Some(served) = self.targets.get_mut(stream.target) else { return };
        let shard = &mut served.shard;
        let Some(Sent { alive, more }) = send_share(stream, shard, self.share, &mut self.resources) else {
            return;
        };
        if shard.take_submitted() {
            self.resources.engines.kick();
        }
        let Some(connection) = shard.connection(stream.place) else { return };
        if !alive || connection.is_drained() {
            return shard.close_connection(stream.place, &mut self.resources.env());
        }
        let paused = connection.is_receive_paused(&self.resources.pool);
        // No event announces what the last round queued.
        let unread = connection.has_unread() && !paused;
        if more || unread || !stream.blocked && connection.unsent() > 0 {
            stream.unfinished = true;
            if stream.held_back && !more {
                self.held_back.push_back(index);
            } else {
                self.unfinished.push_back(index);
                self.is_exhausted = true;
            }
        }
        let wanted = stream.wanted(paused, connection.state());
        if wanted != stream.watch {
            stream.watch = wanted;
            self.effects.push_back(Effect::Watch(index, wanted));
        }
    }
}

/// What [`send_share`] has done.
struct Sent {
    /// The connection has not failed.
    alive: bool,
    /// Reads are left for another turn.
    more: bool,
}

/// Sends the responses of a connection, continues its waiting reads, and sends again, up to its share. `None`: it is
/// closed.
#[inline]
fn send_share<S: ByteStream>(
    stream: &mut Stream<S>,
    shard: &mut TargetShard,
    share: usize,
    resources: &mut Resources,
) -> Option<Sent> {
    let ring_len = share.min(TRANSMIT_BYTES_LOW);
    let mut more = true;
    for _ in 0..share / ring_len {
        let connection = shard.connection(stream.place).filter(|connection| !connection.is_closed())?;
        connection.set_ring_len(ring_len);
        let sends = !stream.blocked && connection.unsent() > 0;
        let alive = !sends || stream.send(connection, &mut resources.pool);
        let has_reads = connection.has_paused_reads();
        if sends {
            shard.memory_freed();
        }
        if !alive || !has_reads {
            return Some(Sent { alive, more: false });
        }
        more = shard.resume_reads(stream.place, &mut resources.env());
        if stream.blocked {
            return Some(Sent { alive, more: false });
        }
    }
    Some(Sent { alive: true, more })
}

/// For the tests of drivers.
#[cfg(all(test, feature = "runtime"))]
impl<S, A> LoopState<S, A> {
    /// Bytes that are not sent to sockets which would take them.
    pub(crate) fn unsent(&mut self) -> usize {
        let streams = self.streams.iter().filter(|(_, stream)| !stream.blocked);
        let transmit_len = |(_, stream): (_, &Stream<S>)| {
            let connection = self.targets[stream.target].shard.connection(stream.place);
            connection.map_or(0, |connection| connection.unsent())
        };
        streams.map(transmit_len).sum()
    }

    /// Whether a socket takes no more.
    pub(crate) fn is_blocked(&self) -> bool {
        self.streams.iter().any(|(_, stream)| stream.blocked)
    }

    /// Bytes that each connection has received.
    pub(crate) fn received(&mut self) -> Vec<u64> {
        let streams = self.streams.iter();
        let received = |(_, stream): (_, &Stream<S>)| {
            let connection = self.targets[stream.target].shard.connection(stream.place);
            connection.map_or(0, |connection| connection.counts().received)
        };
        streams.map(received).collect()
    }
}
