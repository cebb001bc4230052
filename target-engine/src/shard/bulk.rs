//! The rarer steps: compare, probe, fill, and operations without a payload. They go piece by piece, and let others
//! in between after a while, all of a target's together, so that a WRITE SAME of a whole disk holds up nobody, nor do
//! many of them.

use std::collections::VecDeque;

use scsi_core::device::IoDone;
use scsi_core::store::{BlockOp, InlineOp, IoError, Now, Port};

use super::tasks::{Kind, State, TaskIndex};
use super::transfer::Progress;
use super::{Env, TargetShard};
use crate::limits::SEGMENT_LEN_MAX;

/// The long steps of a shard, which share one bound.
#[derive(Debug, Default)]
pub(super) struct Long {
    /// Tasks in the middle of such a step, by place and generation; each goes on in its turn.
    pub(super) yielded: VecDeque<(TaskIndex, u16)>,
    /// Bytes that may still be moved at once before all of them have to wait for the next turn.
    pub(super) left: usize,
}

impl TargetShard {
    /// One piece after the other: read it and compare it, or only read it.
    pub(super) fn run_compare(&mut self, index: TaskIndex, store: Port, env: &mut Env<'_>) -> Progress {
        loop {
            let transfer = &self.tasks[index].transfer;
            if let Some(at) = transfer.miscompare {
                return Progress::Over(Ok(IoDone::Miscompare { at }));
            }
            if transfer.in_flight > 0 {
                return Progress::Waits;
            }
            let left = transfer.len - transfer.through;
            if left == 0 {
                return Progress::Over(Ok(IoDone::Done));
            }
            if self.long.left == 0 {
                return self.yield_turn(index);
            }
            let len = left.min(SEGMENT_LEN_MAX as u64) as usize;
            let offset = transfer.offset + transfer.through;
            let mut block = env.pool.take(len);
            match env.engines.try_now(store, InlineOp::Read { offset, into: &mut block }) {
                Some(Ok(now)) => {
                    if now == Now::Zeroes {
                        block.fill(0);
                    }
                    self.long.left = self.long.left.saturating_sub(len);
                    self.compared(index, &block);
                    env.pool.give(block);
                }
                Some(Err(error)) => {
                    env.pool.give(block);
                    return Progress::Over(Err(error));
                }
                None => self.submit(index, store, BlockOp::Read { offset, into: block }, env.engines),
            }
        }
    }

    /// A piece that was moved counts as through; one that was read is compared with the Data-Out.
    pub(super) fn compared(&mut self, index: TaskIndex, piece: &[u8]) {
        let task = &mut self.tasks[index];
        let at = task.transfer.through;
        task.transfer.through += piece.len() as u64;
        let Kind::Compare { repeat } = task.transfer.kind else { return };
        let mut done = 0;
        while done < piece.len() {
            let position = at + done as u64;
            let data = match repeat {
                Some(len) => {
                    let phase = position % u64::from(len.max(1));
                    task.blocks.piece(phase, (u64::from(len) - phase) as usize)
                }
                None => task.blocks.piece(position, piece.len() - done),
            };
            let count = data.len().min(piece.len() - done);
            let same = piece[done..done + count].iter().zip(data).position(|(stored, sent)| stored != sent);
            if let Some(differs) = same {
                task.transfer.miscompare = Some(position + differs as u64);
                return;
            }
            if count == 0 {
                // There is less data than the step compares with.
                task.transfer.miscompare = Some(position);
                return;
            }
            done += count;
        }
    }

    /// Writes the pattern piece by piece.
    pub(super) fn run_fill(
        &mut self,
        index: TaskIndex,
        store: Port,
        (pattern_len, fua): (u32, bool),
        env: &mut Env<'_>,
    ) -> Progress {
        loop {
            let task = &self.tasks[index];
            let transfer = &task.transfer;
            if transfer.in_flight > 0 {
                return Progress::Waits;
            }
            let left = transfer.len - transfer.through;
            if left == 0 {
                return Progress::Over(Ok(IoDone::Done));
            }
            if self.long.left == 0 {
                return self.yield_turn(index);
            }
            let pattern = &task.blocks.front()[..task.blocks.front().len().min(pattern_len as usize)];
            if pattern_len > 0 && pattern.len() < pattern_len as usize {
                return Progress::Over(Err(IoError::UNSUPPORTED));
            }
            let unit = pattern.len().max(1);
            let len = left.min((SEGMENT_LEN_MAX - SEGMENT_LEN_MAX % unit) as u64) as usize;
            let mut block = env.pool.take(len);
            match pattern {
                [] => block.fill(0),
                pattern => {
                    for piece in block.chunks_mut(pattern.len()) {
                        piece.copy_from_slice(&pattern[..piece.len()]);
                    }
                }
            }
            let offset = transfer.offset + transfer.through;
            let op = InlineOp::Write { offset, from: &block };
            let inline = if fua { None } else { env.engines.try_now(store, op) };
            match inline {
                Some(Ok(_)) => {
                    self.long.left = self.long.left.saturating_sub(len);
                    self.tasks[index].transfer.through += len as u64;
                    env.pool.give(block);
                }
                Some(Err(error)) => {
                    env.pool.give(block);
                    return Progress::Over(Err(error));
                }
                None => self.submit(index, store, BlockOp::Write { offset, from: block, fua }, env.engines),
            }
        }
    }

    /// One operation without a payload.
    pub(super) fn run_single(&mut self, index: TaskIndex, store: Port, env: &mut Env<'_>) -> Progress {
        let transfer = &mut self.tasks[index].transfer;
        if transfer.in_flight > 0 {
            return Progress::Waits;
        }
        if transfer.next_chunk > 0 {
            return Progress::Over(Ok(match transfer.allocation {
                Some((len, hole)) => IoDone::Allocation { len, hole },
                None => IoDone::Done,
            }));
        }
        let (offset, len) = (transfer.offset, transfer.len);
        let op = match transfer.kind {
            Kind::Zeroes { may_unmap } => BlockOp::WriteZeroes { offset, len, may_unmap },
            Kind::Discard => BlockOp::Discard { offset, len },
            Kind::Allocation => BlockOp::Allocation { offset, len },
            _ => BlockOp::Flush,
        };
        self.submit(index, store, op, env.engines);
        Progress::Waits
    }

    /// Lets others in between.
    fn yield_turn(&mut self, index: TaskIndex) -> Progress {
        let task = &mut self.tasks[index];
        task.state = State::Yielded;
        self.long.yielded.push_back((index, task.generation));
        Progress::Waits
    }
}
