//! Writes: the Data-Out goes to the store as it lies in the loop's scratch or in blocks, all of it at a time.

use scsi_core::device::IoDone;
use scsi_core::store::{BlockOp, InlineOp, IoError, Port};

use super::Progress;
use crate::keys::TaskKey;
use crate::limits::IN_FLIGHT_MAX;
use crate::shard::TargetShard;
use crate::shard::driver::Env;
use crate::shard::task::is_write_and_verify;

impl TargetShard {
    /// Writes the Data-Out that has arrived. `borrowed` is the data if it is not in the task's blocks.
    #[inline(always)]
    pub(in crate::shard) fn run_write(
        &mut self,
        key: TaskKey,
        store: Port,
        fua: bool,
        borrowed: &[u8],
        env: &mut Env<'_>,
    ) -> Progress {
        let task = &mut self.tasks[key];
        let account = task.account();
        let (transfer, blocks) = task.transfer_with_data();
        let mut may_be_inline = !fua;
        if !borrowed.is_empty() && transfer.begun == 0 {
            let data = &borrowed[..borrowed.len().min(transfer.len as usize)];
            if may_be_inline {
                let op = InlineOp::Write { offset: transfer.offset, from: data };
                if let Some(done) = env.engines.try_now(store, op) {
                    return Progress::Over(done.map(|_| IoDone::Done));
                }
                may_be_inline = false;
            }
            blocks.append(data, data.len(), account, env.pool);
        }
        self.write_blocks(key, store, (fua, may_be_inline), env)
    }

    /// Writes the blocks that have arrived; not at once if the store has declined that, or must not.
    fn write_blocks(
        &mut self,
        key: TaskKey,
        store: Port,
        (fua, may_be_inline): (bool, bool),
        env: &mut Env<'_>,
    ) -> Progress {
        // What is read again afterwards stays.
        let keep = is_write_and_verify(self.tasks[key].opcode());
        loop {
            let task = &mut self.tasks[key];
            let (account, more_to_come) = (task.account(), task.awaits_stream());
            let (transfer, blocks) = task.transfer_with_data();
            if transfer.begun == transfer.len {
                return transfer.over(Ok(IoDone::Done));
            }
            if transfer.in_flight >= IN_FLIGHT_MAX || transfer.out.contains(transfer.next_chunk) {
                return Progress::Waits;
            }
            let block = match blocks.next() {
                // A block that is not full yet ends where direct I/O cannot.
                Some(block) if !more_to_come || block.len().is_multiple_of(4096) => block,
                _ if more_to_come => return Progress::Waits,
                // Fewer bytes have arrived than the step takes, although the device server was told how many.
                _ => return Progress::Over(Err(IoError::ABANDONED)),
            };
            let count = (block.len() as u64).min(transfer.len - transfer.begun);
            let offset = transfer.offset + transfer.begun;
            let op = InlineOp::Write { offset, from: &block[..count as usize] };
            let inline = if may_be_inline { env.engines.try_now(store, op) } else { None };
            transfer.begun += count;
            match inline {
                Some(Ok(_)) if keep => blocks.pass_next(),
                Some(Ok(_)) => blocks.take_next().into_iter().for_each(|block| env.pool.give(block)),
                Some(Err(error)) => {
                    transfer.error = Some(error);
                    return transfer.over(Err(error));
                }
                None => {
                    let from = if keep {
                        let mut copy = env.pool.take(count as usize, account);
                        copy.copy_from_slice(&block[..count as usize]);
                        blocks.pass_next();
                        copy
                    } else {
                        let Some(mut block) = blocks.take_next() else { continue };
                        block.set_len(count as usize);
                        block
                    };
                    self.submit(key, store, BlockOp::Write { offset, from, fua }, env.engines);
                }
            }
        }
    }
}
