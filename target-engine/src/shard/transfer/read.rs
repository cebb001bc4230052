//! Reads: piece by piece from the store to the connection, in order. A read that finds its connection's transmit ring
//! full waits in the connection's list.

use scsi_core::device::IoDone;
use scsi_core::store::{Block, BlockOp, InlineOp, Now, Port};

use super::{Progress, Transfer};
use crate::buffers::Pool;
use crate::iscsi::connection::respond::burst_left;
use crate::iscsi::transmit::Payload;
use crate::keys::TaskKey;
use crate::limits::{IN_FLIGHT_MAX, READ_BYTES_MAX};
use crate::shard::TargetShard;
use crate::shard::driver::Env;

impl TargetShard {
    /// Begins as many pieces of a read as the connection has space for.
    #[inline(always)]
    pub(in crate::shard) fn run_read(
        &mut self,
        key: TaskKey,
        store: Port,
        alignment: u32,
        env: &mut Env<'_>,
    ) -> Progress {
        let task = &self.tasks[key];
        let (index, account) = (task.connection(), task.account());
        let max_burst = self.sessions[task.session()].rules().max_burst_len;
        loop {
            let connection = &mut self.sessions[index];
            let task = &mut self.tasks[key];
            let transfer = task.transfer_mut();
            if transfer.begun == transfer.len {
                return transfer.over(Ok(IoDone::Done));
            }
            if transfer.has_enough_out() {
                return Progress::Waits;
            }
            if !connection.has_space_for(key, transfer.begun == 0) {
                if transfer.in_flight == 0 {
                    connection.pause_read(key);
                    task.pause();
                    self.sessions.touch(index);
                }
                return Progress::Waits;
            }
            let wanted = (transfer.len - transfer.begun).min(connection.segment_len() as u64);
            if !env.pool.may_take(account, wanted as usize) {
                return self.wait_for_memory(key);
            }
            let offset = transfer.offset + transfer.begun;
            let (len, block_len) =
                transfer.begin_read(max_burst, connection.segment_len(), alignment as usize);
            self.extra_cost += len;
            let mut block = env.pool.take(block_len, account);
            let done = match transfer.in_flight {
                0 => env.engines.try_now(store, InlineOp::Read { offset, into: &mut block }),
                _ => None,
            };
            match done {
                Some(Ok(now)) => {
                    let payload = payload(now, block, len, env.pool);
                    self.send_read(key, len, payload, env);
                }
                Some(Err(error)) => {
                    env.pool.give(block);
                    return Progress::Over(Err(error));
                }
                None => self.submit(key, store, BlockOp::Read { offset, into: block }, env.engines),
            }
        }
    }

    /// A piece of a read has completed. It is sent once all pieces before it are.
    pub(in crate::shard) fn read_completed(
        &mut self,
        key: TaskKey,
        chunk: u8,
        block: Block,
        env: &mut Env<'_>,
    ) {
        let transfer = self.tasks[key].transfer_mut();
        transfer.early.push((chunk, block));
        loop {
            let transfer = self.tasks[key].transfer_mut();
            let next = transfer.next_send;
            let Some(at) = transfer.early.iter().position(|(chunk, _)| *chunk == next) else { return };
            let (_, mut block) = transfer.early.swap_remove(at);
            transfer.next_send = next.wrapping_add(1);
            // The last piece may be shorter than what the store had to read for it.
            let len = (transfer.len - transfer.done).min(block.len() as u64) as usize;
            block.set_len(len);
            self.send_read(key, len, Payload::Block(block), env);
        }
    }
}

impl Transfer {
    /// Whether a read must not begin another piece. Pieces that completed before one that is late count, too: they hold
    /// memory and numbers.
    #[inline(always)]
    fn has_enough_out(&self) -> bool {
        let pieces = usize::from(self.in_flight) + self.early.len();
        pieces >= usize::from(IN_FLIGHT_MAX) || self.begun - self.done >= READ_BYTES_MAX
    }

    /// Begins the next piece of a read: how much of it is sent, and how much is read for that, in bytes.
    #[inline(always)]
    fn begin_read(&mut self, max_burst: u32, segment_len: usize, alignment: usize) -> (usize, usize) {
        let left = self.len - self.begun;
        let burst_left = burst_left(max_burst, self.begun);
        let mut len = left.min(burst_left).min(segment_len as u64) as usize;
        let mut block_len = len;
        if len & (alignment - 1) != 0 {
            (len, block_len) = whole_blocks(len, left, segment_len, alignment);
            self.is_coarse |= len as u64 > burst_left || len > segment_len;
        }
        self.begun += len as u64;
        (len, block_len)
    }
}

/// What is sent of a piece that was read at once.
#[inline(always)]
fn payload(now: Now, mut block: Block, len: usize, pool: &mut Pool) -> Payload {
    match now {
        Now::Moved => {
            block.set_len(len);
            Payload::Block(block)
        }
        Now::Zeroes => {
            pool.give(block);
            Payload::Zeroes(len)
        }
    }
}

/// A piece of a read from a store that reads only whole blocks: how much of it is sent, and how much is read. Best would
/// be `len` bytes, `left` bytes of the command are left. At the end of the command more is read than is sent.
#[cold]
fn whole_blocks(len: usize, left: u64, segment_len: usize, alignment: usize) -> (usize, usize) {
    let at_once = segment_len.max(alignment).next_multiple_of(alignment) as u64;
    let len = if (len as u64) < left { left.min(at_once) as usize } else { len };
    (len, len.next_multiple_of(alignment))
}
