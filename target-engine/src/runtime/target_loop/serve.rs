//! A connection's share of a turn: what it may receive and send before other connections have their turn.

use super::{DataLoop, Env, Ready, Source, share};
use crate::iscsi::connection::ConnectionState;
use crate::limits::TRANSMIT_BYTES_LOW;
use crate::runtime::stream::Received;

impl DataLoop {
    /// The number of connections that are active in this turn.
    pub(super) fn active(&self) -> usize {
        let wants = |ready: &&Ready<Source>| match ready.what {
            Source::Stream(index) => self.streams.get(index).is_some_and(|stream| !stream.unfinished),
            Source::Messages | Source::Engine(_) => false,
        };
        self.ready.iter().filter(wants).count() + self.unfinished.len()
    }

    /// One connection's share of the turn: read, run, kick, write.
    pub(super) fn serve(&mut self, index: usize, ready: Ready<Source>) {
        // A message may have closed it, and another connection may have its index.
        let Some(stream) = self.streams.get_mut(index).filter(|stream| stream.key == ready.key) else {
            return;
        };
        let (shard_index, place) = (stream.shard, stream.place);
        let Some(served) = self.shards.get_mut(shard_index) else { return };
        if ready.writable {
            stream.blocked = false;
        }
        let mut closed = ready.broken && !ready.readable;
        let mut taken = 0;
        let mut more = ready.readable;
        while more && taken < self.share && !served.shard.is_receive_paused(place) {
            let Some(connection) = served.shard.connection(place) else { return };
            connection.ring_len = self.share.min(TRANSMIT_BYTES_LOW);
            if taken > 0 && connection.transmit.len() >= connection.ring_len {
                break;
            }
            more = false;
            match stream.receive(connection, &mut self.scratch, self.share) {
                Received::Bytes { scratch, all, full } => {
                    (taken, more) = (taken + all, full);
                    let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                    self.commands += served.shard.receive(place, &self.scratch[..scratch], &mut env);
                }
                Received::Nothing => {}
                Received::Closed => closed = true,
            }
        }
        closed |= ready.broken && taken == 0 && served.shard.is_receive_paused(place);
        if closed {
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            served.shard.close_connection(place, &mut env);
        }
        self.after(shard_index, Some(index));
    }

    /// Follows each call of a shard: kicks what it submitted, sends its responses, handles its events.
    pub(in crate::runtime) fn after(&mut self, shard_index: usize, also: Option<usize>) {
        let Some(served) = self.shards.get_mut(shard_index) else { return };
        if served.shard.take_submitted() {
            self.engines.kick();
        }
        let mut touched = std::mem::take(&mut self.touched);
        served.shard.take_touched(&mut touched);
        self.share = self.share.min(share(touched.len()));
        let mut flushed_also = also.is_none();
        for place in touched.drain(..) {
            let stream = self.shards[shard_index].streams.get(place.get()).copied().flatten();
            if let Some(stream) = stream {
                flushed_also |= also == Some(stream);
                self.flush(stream);
            }
        }
        self.touched = touched;
        if let (false, Some(stream)) = (flushed_also, also) {
            self.flush(stream);
        }
        self.handle_events(shard_index);
    }

    /// Sends the responses of a connection, continues its waiting reads, and sends again, up to its share. A connection
    /// that continues in the next turn is skipped.
    pub(super) fn flush(&mut self, index: usize) {
        let mut alive = true;
        let mut more = true;
        let ring_len = self.share.min(TRANSMIT_BYTES_LOW);
        for _ in 0..self.share / ring_len {
            let Some(stream) = self.streams.get_mut(index).filter(|stream| !stream.unfinished) else {
                return;
            };
            let Some(served) = self.shards.get_mut(stream.shard) else { return };
            let Some(connection) = served.shard.connection(stream.place) else { return };
            if connection.state == ConnectionState::Closed {
                return;
            }
            connection.ring_len = ring_len;
            if !stream.blocked {
                alive = stream.send(connection, &mut self.pool);
            }
            let blocked = stream.blocked;
            if !alive || !connection.has_paused_reads() {
                more = false;
                break;
            }
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            more = served.shard.resume_reads(stream.place, &mut env);
            if blocked {
                more = false;
                break;
            }
        }
        self.settle(index, alive, more);
    }

    /// Follows each flush: closes a drained or failed connection, and updates the interest of its socket.
    fn settle(&mut self, index: usize, alive: bool, more: bool) {
        let Some(stream) = self.streams.get_mut(index) else { return };
        let Some(served) = self.shards.get_mut(stream.shard) else { return };
        if served.shard.take_submitted() {
            self.engines.kick();
        }
        let Some(connection) = served.shard.connection(stream.place) else { return };
        let drained = connection.state == ConnectionState::Draining && connection.transmit.is_empty();
        if !alive || drained {
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            served.shard.close_connection(stream.place, &mut env);
            return;
        }
        // No event announces what the last round queued.
        if more || !stream.blocked && !connection.transmit.is_empty() {
            stream.unfinished = true;
            self.unfinished.push_back(index);
        }
        let state = connection.state;
        let wanted = stream.wanted(served.shard.is_receive_paused(stream.place), state);
        if wanted != stream.interest {
            stream.interest = wanted;
            if let Err(error) = self.poller.modify(stream.key, stream, wanted) {
                let text = format_args!("loop {}: cannot watch a connection: {error}", self.id.0);
                self.warnings.log(self.now, log::Level::Error, text);
            }
        }
    }
}
