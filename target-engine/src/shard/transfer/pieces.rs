//! The rarer steps: compare, probe and fill, piece by piece, and operations without a payload. All long steps of a
//! target share one bound of bytes for a turn, so that a WRITE SAME of a whole disk, or many of them, leave other
//! commands their share of the loop.

use scsi_core::device::IoDone;
use scsi_core::store::{BlockOp, InlineOp, IoError, Now, Port};

use super::Progress;
use crate::keys::TaskKey;
use crate::limits::SEGMENT_LEN_MAX;
use crate::shard::TargetShard;
use crate::shard::driver::Env;

impl TargetShard {
    /// Reads piece after piece, and compares it in the case of a compare.
    pub(in crate::shard) fn run_compare(&mut self, key: TaskKey, store: Port, env: &mut Env<'_>) -> Progress {
        loop {
            let transfer = self.tasks[key].transfer();
            if let Some(at) = transfer.miscompare {
                return Progress::Over(Ok(IoDone::Miscompare { at }));
            }
            if transfer.in_flight > 0 {
                return Progress::Waits;
            }
            let left = transfer.len - transfer.done;
            if left == 0 {
                return Progress::Over(Ok(IoDone::Done));
            }
            if !self.queues.has_bytes_left() {
                return self.yield_turn(key);
            }
            let account = self.tasks[key].account();
            let len = left.min(SEGMENT_LEN_MAX as u64) as usize;
            if !env.pool.may_take(account, len) {
                return self.wait_for_memory(key);
            }
            let offset = transfer.offset + transfer.done;
            let mut block = env.pool.take(len, account);
            match env.engines.try_now(store, InlineOp::Read { offset, into: &mut block }) {
                Some(Ok(now)) => {
                    if now == Now::Zeroes {
                        block.fill(0);
                    }
                    self.queues.spend(len);
                    self.tasks[key].piece_done(&block);
                    env.pool.give(block);
                }
                Some(Err(error)) => {
                    env.pool.give(block);
                    return Progress::Over(Err(error));
                }
                None => self.submit(key, store, BlockOp::Read { offset, into: block }, env.engines),
            }
        }
    }

    /// Writes the pattern piece by piece.
    pub(in crate::shard) fn run_fill(
        &mut self,
        key: TaskKey,
        store: Port,
        (pattern_len, fua): (u32, bool),
        env: &mut Env<'_>,
    ) -> Progress {
        loop {
            let task = &self.tasks[key];
            let transfer = task.transfer();
            if transfer.in_flight > 0 {
                return Progress::Waits;
            }
            let left = transfer.len - transfer.done;
            if left == 0 {
                return Progress::Over(Ok(IoDone::Done));
            }
            if !self.queues.has_bytes_left() {
                return self.yield_turn(key);
            }
            let (account, data) = (task.account(), task.first_data());
            let pattern = &data[..data.len().min(pattern_len as usize)];
            if pattern.len() < pattern_len as usize {
                return Progress::Over(Err(IoError::UNSUPPORTED));
            }
            let unit = pattern.len().max(1);
            let len = left.min((SEGMENT_LEN_MAX - SEGMENT_LEN_MAX % unit) as u64) as usize;
            if !env.pool.may_take(account, len) {
                return self.wait_for_memory(key);
            }
            let mut block = env.pool.take(len, account);
            repeat(pattern, &mut block);
            let offset = transfer.offset + transfer.done;
            let op = InlineOp::Write { offset, from: &block };
            let inline = if fua { None } else { env.engines.try_now(store, op) };
            match inline {
                Some(Ok(_)) => {
                    self.queues.spend(len);
                    self.tasks[key].transfer_mut().done += len as u64;
                    env.pool.give(block);
                }
                Some(Err(error)) => {
                    env.pool.give(block);
                    return Progress::Over(Err(error));
                }
                None => self.submit(key, store, BlockOp::Write { offset, from: block, fua }, env.engines),
            }
        }
    }

    /// Does the one operation of a kind without a payload.
    pub(in crate::shard) fn run_single(&mut self, key: TaskKey, store: Port, env: &mut Env<'_>) -> Progress {
        let transfer = self.tasks[key].transfer();
        if transfer.in_flight > 0 {
            return Progress::Waits;
        }
        if transfer.next_chunk > 0 {
            return Progress::Over(Ok(transfer.allocation.unwrap_or(IoDone::Done)));
        }
        let Some(op) = transfer.kind.operation(transfer.offset, transfer.len) else {
            return Progress::Over(Ok(IoDone::Done));
        };
        self.submit(key, store, op, env.engines);
        Progress::Waits
    }

    /// Queues a step for the time when memory comes back, unless operations are out whose end resumes it.
    #[cold]
    pub(in crate::shard) fn wait_for_memory(&mut self, key: TaskKey) -> Progress {
        let task = &mut self.tasks[key];
        if !task.transfer().is_out() {
            task.yield_turn();
            self.queues.push_waiting_for_memory(key);
        }
        Progress::Waits
    }

    /// Queues a long step for another turn.
    fn yield_turn(&mut self, key: TaskKey) -> Progress {
        self.tasks[key].yield_turn();
        self.queues.push_yielded(key);
        Progress::Waits
    }
}

/// Fills a block with a pattern; an empty one is zeroes.
fn repeat(pattern: &[u8], block: &mut [u8]) {
    if pattern.is_empty() {
        return block.fill(0);
    }
    for piece in block.chunks_mut(pattern.len()) {
        piece.copy_from_slice(&pattern[..piece.len()]);
    }
}
