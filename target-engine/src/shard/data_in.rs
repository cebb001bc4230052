//! Data-In (RFC 7143 11.7): what a command sends, read from its store or parameter data, in segments and bursts. The
//! last segment waits for the status, which it may carry.

use bytes::Bytes;

use super::tasks::{Direction, Kind, TaskIndex, Transfer};
use super::{Env, TargetShard};
use crate::iscsi::connection::respond::Segment;
use crate::iscsi::transmit::Payload;

/// Bytes that fit into the burst that goes on `at` bytes into a command's data.
#[inline]
pub(super) fn burst_left(max_burst: u32, at: u64) -> u64 {
    let max_burst = u64::from(max_burst);
    max_burst - at % max_burst
}

impl TargetShard {
    /// Queues parameter data, no more than the initiator expects.
    pub(super) fn parameter_data(&mut self, index: TaskIndex, data: Vec<u8>) {
        let task = &mut self.tasks[index];
        if task.direction != Direction::Read {
            return;
        }
        let mut data = Bytes::from(data);
        data.truncate(task.expected_len as usize);
        task.transfer = Transfer { kind: Kind::Idle, len: data.len() as u64, ..Transfer::default() };
        self.send_in_parts(index, data);
    }

    /// Queues the next piece of a read, which may be longer than the initiator takes at once where the store has no
    /// shorter ones.
    #[inline]
    pub(super) fn read_piece(&mut self, index: TaskIndex, len: usize, payload: Payload, env: &mut Env<'_>) {
        if self.tasks[index].transfer.coarse {
            self.read_in_parts(index, payload, env);
        } else {
            self.send_piece(index, len, payload);
        }
    }

    #[cold]
    fn read_in_parts(&mut self, index: TaskIndex, payload: Payload, env: &mut Env<'_>) {
        let data = match payload {
            Payload::Block(block) => {
                let data = Bytes::copy_from_slice(&block);
                env.pool.give(block);
                data
            }
            Payload::Zeroes(len) => vec![0; len].into(),
            Payload::Bytes(data) => data,
            Payload::Empty => return,
        };
        self.send_in_parts(index, data);
    }

    /// Cuts data into segments that end where bursts do.
    fn send_in_parts(&mut self, index: TaskIndex, mut data: Bytes) {
        let (place, session) = (self.tasks[index].connection, self.tasks[index].session);
        let max_burst = self.sessions[session].rules.max_burst_len;
        let segment_len = self.connections[place].segment_len();
        while !data.is_empty() {
            let burst_left = burst_left(max_burst, self.tasks[index].sent.into());
            let part = data.split_to(data.len().min(segment_len).min(burst_left as usize));
            self.send_piece(index, part.len(), Payload::Bytes(part));
        }
    }

    /// Queues a segment with the F bit where it ends a burst; keeps the last one back.
    #[inline]
    fn send_piece(&mut self, index: TaskIndex, len: usize, payload: Payload) {
        let task = &mut self.tasks[index];
        task.transfer.through += len as u64;
        if task.transfer.through == task.transfer.len {
            task.last_segment = Some(payload);
            return;
        }
        let (place, session) = (task.connection, task.session);
        let max_burst = self.sessions[session].rules.max_burst_len;
        let last = (task.sent + len as u32).is_multiple_of(max_burst);
        let segment = Segment { itt: task.itt, data_sn: task.data_sn, offset: task.sent, last, status: None };
        task.sent += len as u32;
        task.data_sn = task.data_sn.next();
        let window = self.window(session);
        self.connections[place].data_in(segment, payload, window);
        self.touch(place);
    }
}
