//! Data-In (RFC 7143 11.7): parameter data and data of the store, in segments and bursts.

use bytes::Bytes;

use super::TargetShard;
use super::driver::Env;
use crate::iscsi::connection::respond::burst_left;
use crate::iscsi::transmit::Payload;
use crate::keys::TaskKey;

impl TargetShard {
    /// Queues parameter data, as much as the initiator expects.
    pub(super) fn send_parameter_data(&mut self, key: TaskKey, data: Vec<u8>) {
        if let Some(data) = self.tasks[key].begin_parameter_data(data) {
            self.send_cut(key, data);
        }
    }

    /// Queues the next piece of a read. It may be longer than the initiator's segments if the store reads only whole
    /// blocks.
    #[inline(always)]
    pub(super) fn send_read(&mut self, key: TaskKey, len: usize, payload: Payload, env: &mut Env<'_>) {
        if self.tasks[key].transfer().is_coarse() {
            self.send_coarse(key, payload, env);
        } else {
            self.send_segment(key, len, payload);
        }
    }

    #[cold]
    fn send_coarse(&mut self, key: TaskKey, payload: Payload, env: &mut Env<'_>) {
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
        self.send_cut(key, data);
    }

    /// Cuts data into segments that end where bursts end.
    fn send_cut(&mut self, key: TaskKey, mut data: Bytes) {
        let task = &self.tasks[key];
        let max_burst = self.sessions[task.session()].rules().max_burst_len;
        let segment_len = self.sessions[task.connection()].segment_len();
        while !data.is_empty() {
            let burst_left = burst_left(max_burst, self.tasks[key].data_in_sent().into());
            let part = data.split_to(data.len().min(segment_len).min(burst_left as usize));
            self.send_segment(key, part.len(), Payload::Bytes(part));
        }
    }

    /// Queues a segment; the last one is held until the status is known.
    #[inline]
    fn send_segment(&mut self, key: TaskKey, len: usize, payload: Payload) {
        let task = &mut self.tasks[key];
        let Some(payload) = task.hold_last_segment(len, payload) else { return };
        let max_burst = self.sessions[task.session()].rules().max_burst_len;
        let segment = task.next_segment(len, max_burst);
        let (to, window) = self.sessions.sender(task.connection());
        to.data_in(segment, payload, window);
    }
}
