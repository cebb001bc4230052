//! Tasks that wait for something other than their store: for a turn of their loop, or for memory. Keys of tasks that
//! have ended may be in the queues; they find no task.

use std::collections::VecDeque;

use crate::keys::TaskKey;
use crate::limits::INLINE_BYTES_MAX;

/// The queues of a shard.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// Tasks whose turn in their task set has come, or whose wait is over.
    ready: VecDeque<TaskKey>,
    /// Tasks in the middle of a long step.
    yielded: VecDeque<TaskKey>,
    /// Bytes that the long steps may move in this turn.
    bytes_left: usize,
    /// Tasks that wait for memory, to ask for their data or to go on with a step.
    waiting_for_memory: VecDeque<TaskKey>,
    /// Memory came back since `waiting_for_memory` was last served.
    is_memory_freed: bool,
}

impl Queues {
    /// Whether tasks can go on.
    #[inline]
    pub(super) fn has_ready(&self) -> bool {
        !self.ready.is_empty()
            || !self.yielded.is_empty()
            || self.is_memory_freed && !self.waiting_for_memory.is_empty()
    }

    /// Queues a task that can go on.
    pub(super) fn push_ready(&mut self, key: TaskKey) {
        self.ready.push_back(key);
    }

    /// How many tasks can go on.
    #[inline]
    pub(super) fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// The next task that can go on.
    pub(super) fn pop_ready(&mut self) -> Option<TaskKey> {
        self.ready.pop_front()
    }

    /// A turn begins: the long steps may move [`INLINE_BYTES_MAX`] bytes.
    pub(super) fn begin_turn(&mut self) {
        self.bytes_left = INLINE_BYTES_MAX;
    }

    /// Whether long steps may go on in this turn.
    pub(super) fn has_bytes_left(&self) -> bool {
        self.bytes_left > 0
    }

    /// A long step has moved so many bytes.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// Queues a task that goes on with its long step in another turn.
    pub(super) fn push_yielded(&mut self, key: TaskKey) {
        self.yielded.push_back(key);
    }

    /// The next task to go on with its long step in this turn.
    pub(super) fn pop_yielded(&mut self) -> Option<TaskKey> {
        if self.has_bytes_left() { self.yielded.pop_front() } else { None }
    }

    /// Memory came back.
    #[inline]
    pub(super) fn memory_freed(&mut self) {
        self.is_memory_freed = true;
    }

    /// Tasks that wait for memory are being served. Returns how many there are.
    pub(super) fn begin_serving_memory(&mut self) -> usize {
        self.is_memory_freed = false;
        self.waiting_for_memory.len()
    }

    /// Whether tasks wait for memory.
    #[inline]
    pub(super) fn waits_for_memory(&self) -> bool {
        !self.waiting_for_memory.is_empty()
    }

    /// Queues a task that waits for memory.
    pub(super) fn push_waiting_for_memory(&mut self, key: TaskKey) {
        self.waiting_for_memory.push_back(key);
    }

    /// The next task that waits for memory.
    pub(super) fn pop_waiting_for_memory(&mut self) -> Option<TaskKey> {
        self.waiting_for_memory.pop_front()
    }
}
