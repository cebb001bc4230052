//! Steps of the device server, done at the store: in pieces of a segment, at once where the store can, through its
//! engine where it cannot. Reads go out in order as they come; writes are in the store's hands all together.

use scsi_core::device::{IoDone, IoResult, Step};
use scsi_core::store::{Block, BlockOp, Completed, Completion, Engines, InlineOp, IoError, Now, Port};

use super::data_in::burst_left;
use super::tasks::{Direction, Kind, State, TaskIndex, Tasks, Transfer};
use super::{Env, TargetShard};
use crate::iscsi::transmit::Payload;
use crate::limits::IN_FLIGHT_MAX;

/// How far a step got.
pub(super) enum Progress {
    /// To its end.
    Over(IoResult),
    /// The store has the rest, or the task waits in a list.
    Waits,
}

impl TargetShard {
    /// Does step after step until the command is over or something has to be waited for. `borrowed` is the data of a
    /// plain write, if it is not in the task's blocks.
    pub(super) fn advance(&mut self, index: TaskIndex, step: Step, borrowed: &[u8], env: &mut Env<'_>) {
        let mut step = step;
        loop {
            match step {
                Step::Done(outcome) => return self.finish(index, outcome, env),
                Step::AbortTasks(nexuses) => return self.abort_for(index, nexuses, env),
                _ => {}
            }
            let unit = self.tasks[index].lun.and_then(|lun| self.unit(lun));
            if let Some(unit) = unit
                && (unit.pulse.hangs() && self.tasks[index].hangs.is_none()
                    || unit.port.unit().is_fenced(&step))
            {
                let refusal = unit.pulse.refusal(env.now);
                return self.finish(index, refusal, env);
            }
            self.begin(index, &step);
            match self.run(index, borrowed, env) {
                Progress::Over(result) => match self.io_done(index, result, env) {
                    Some(next) => step = next,
                    None => return,
                },
                Progress::Waits => return,
            }
        }
    }

    /// Goes on with a step that had to wait.
    pub(super) fn resume(&mut self, index: TaskIndex, env: &mut Env<'_>) {
        if let Progress::Over(result) = self.run(index, &[], env)
            && let Some(step) = self.io_done(index, result, env)
        {
            self.advance(index, step, &[], env);
        }
    }

    /// An operation is back from the store.
    pub fn complete(&mut self, completion: Completion, env: &mut Env<'_>) {
        let known = self.tasks.find_io(completion.tag);
        let known = known.filter(|&(index, chunk)| self.tasks[index].transfer.out.contains(chunk));
        let Some((index, chunk)) = known else {
            return self.unknown_completion(&completion, env.now);
        };
        self.freed = true;
        if let Some(unit) = self.tasks[index].lun.and_then(|lun| self.unit_mut(lun)) {
            unit.pulse.beat();
        }
        let transfer = &mut self.tasks[index].transfer;
        transfer.in_flight -= 1;
        transfer.out.remove(chunk);
        let (block, result) = transfer.take_back(completion);
        if transfer.in_flight == 0 && transfer.lent > 0 {
            env.pool.lose(std::mem::take(&mut transfer.lent) as usize);
        }
        match result {
            Ok(Completed::Done) => {}
            Ok(Completed::Allocation { len, hole }) => transfer.allocation = Some((len, hole)),
            Err(error) => {
                transfer.error.get_or_insert(error);
            }
        }
        let (kind, failed) = (transfer.kind, transfer.error.is_some());
        let aborted = self.tasks[index].aborted.is_some();
        match block {
            Some(block) if kind == Kind::Read && !failed && !aborted => {
                self.read_back(index, chunk, block, env)
            }
            Some(block) => {
                if !failed && !aborted {
                    self.compared(index, &block);
                }
                env.pool.give(block);
            }
            None => {}
        }
        if !aborted {
            self.resume(index, env);
        } else if self.tasks[index].transfer.in_flight == 0 {
            self.drop_task(index, env);
        }
    }

    fn io_done(&mut self, index: TaskIndex, result: IoResult, env: &Env<'_>) -> Option<Step> {
        if let Err(error) = result {
            self.store_failed(index, error, env.now);
        }
        let task = &mut self.tasks[index];
        let lun = task.lun?;
        let unit = self.units.get_mut(usize::from(lun.number()))?.as_mut()?;
        let step = unit.port.io_done(&mut task.device, result);
        if unit.health.failing && result.is_ok() {
            self.store_succeeded(index, lun);
        }
        Some(step)
    }

    fn begin(&mut self, index: TaskIndex, step: &Step) {
        let task = &mut self.tasks[index];
        let expected_in = if task.direction == Direction::Read { task.expected_len.into() } else { 0 };
        let received = u64::from(task.data_out_len());
        let (kind, offset, len) = match *step {
            Step::Read { offset, len } => (Kind::Read, offset, len.min(expected_in)),
            Step::Write { offset, len, fua } => (Kind::Write { fua }, offset, len.min(received)),
            Step::Compare { offset, len, repeat } => (Kind::Compare { repeat }, offset, len),
            Step::Probe { offset, len } => (Kind::Probe, offset, len),
            Step::Fill { offset, len, pattern_len, fua } => (Kind::Fill { pattern_len, fua }, offset, len),
            Step::WriteZeroes { offset, len, may_unmap } => (Kind::Zeroes { may_unmap }, offset, len),
            Step::Discard { offset, len } => (Kind::Discard, offset, len),
            Step::Flush => (Kind::Flush, 0, 0),
            Step::Allocation { offset, len } => (Kind::Allocation, offset, len),
            Step::AbortTasks(_) | Step::Done(_) => (Kind::Idle, 0, 0),
        };
        let early = std::mem::take(&mut task.transfer.early);
        task.transfer = Transfer { kind, offset, len, early, ..Transfer::default() };
    }

    fn run(&mut self, index: TaskIndex, borrowed: &[u8], env: &mut Env<'_>) -> Progress {
        let transfer = &self.tasks[index].transfer;
        let Some((store, alignment)) = self.store_of(index) else {
            return Progress::Over(match (transfer.kind, transfer.error) {
                (Kind::Idle, None) => Ok(IoDone::Done),
                (_, error) => Err(error.unwrap_or(IoError::NOT_READY)),
            });
        };
        if let Some(error) = transfer.error {
            return if transfer.in_flight == 0 { Progress::Over(Err(error)) } else { Progress::Waits };
        }
        match transfer.kind {
            Kind::Read => self.run_read(index, store, alignment, env),
            Kind::Write { fua } => self.run_write(index, store, fua, borrowed, env),
            Kind::Compare { .. } | Kind::Probe => self.run_compare(index, store, env),
            Kind::Fill { pattern_len, fua } => self.run_fill(index, store, (pattern_len, fua), env),
            Kind::Zeroes { .. } | Kind::Discard | Kind::Flush | Kind::Allocation => {
                self.run_single(index, store, env)
            }
            Kind::Idle => Progress::Over(Ok(IoDone::Done)),
        }
    }

    #[inline]
    fn store_of(&self, index: TaskIndex) -> Option<(Port, u32)> {
        let unit = self.unit(self.tasks[index].lun?)?;
        unit.store.map(|port| (port, unit.alignment))
    }

    #[inline]
    fn run_read(&mut self, index: TaskIndex, store: Port, alignment: u32, env: &mut Env<'_>) -> Progress {
        let (place, session) = (self.tasks[index].connection, self.tasks[index].session);
        let max_burst = self.sessions[session].rules.max_burst_len;
        loop {
            let connection = &mut self.connections[place];
            let task = &mut self.tasks[index];
            let transfer = &mut task.transfer;
            let left = transfer.len - transfer.begun;
            if left == 0 {
                let over = transfer.in_flight == 0;
                return if over { Progress::Over(Ok(IoDone::Done)) } else { Progress::Waits };
            }
            // Pieces that came back before one that is late count too: they hold memory, and numbers.
            if usize::from(transfer.in_flight) + transfer.early.len() >= usize::from(IN_FLIGHT_MAX) {
                return Progress::Waits;
            }
            if connection.transmit.len() >= connection.ring_len
                || (transfer.begun == 0 && connection.reads.front().is_some_and(|&first| first != index))
            {
                if transfer.in_flight == 0 {
                    if !connection.reads.contains(&index) {
                        connection.reads.push_back(index);
                    }
                    task.state = State::Paused;
                    self.touch(place);
                }
                return Progress::Waits;
            }
            let burst_left = burst_left(max_burst, transfer.begun);
            let mut len = left.min(burst_left).min(connection.segment_len() as u64) as usize;
            let mut block_len = len;
            if len & (alignment as usize - 1) != 0 {
                (len, block_len) = whole_blocks(len, left, connection.segment_len(), alignment as usize);
                transfer.coarse |= len as u64 > burst_left || len > connection.segment_len();
            }
            let offset = transfer.offset + transfer.begun;
            let mut block = env.pool.take(block_len);
            transfer.begun += len as u64;
            let done = match transfer.in_flight {
                0 => env.engines.try_now(store, InlineOp::Read { offset, into: &mut block }),
                _ => None,
            };
            match done {
                Some(Ok(now)) => {
                    let payload = match now {
                        Now::Moved => {
                            block.set_len(len);
                            Payload::Block(block)
                        }
                        Now::Zeroes => {
                            env.pool.give(block);
                            Payload::Zeroes(len)
                        }
                    };
                    self.read_piece(index, len, payload, env);
                }
                Some(Err(error)) => {
                    env.pool.give(block);
                    return Progress::Over(Err(error));
                }
                None => self.submit(index, store, BlockOp::Read { offset, into: block }, env.engines),
            }
        }
    }

    /// A piece of a read is back; it goes out when all before it have.
    fn read_back(&mut self, index: TaskIndex, chunk: u8, block: Block, env: &mut Env<'_>) {
        let transfer = &mut self.tasks[index].transfer;
        transfer.early.push((chunk, block));
        loop {
            let transfer = &mut self.tasks[index].transfer;
            let next = transfer.next_send;
            let Some(at) = transfer.early.iter().position(|(chunk, _)| *chunk == next) else { return };
            let (_, mut block) = transfer.early.swap_remove(at);
            transfer.next_send = next.wrapping_add(1);
            // The last piece may be less than the store has to read for it.
            let len = (transfer.len - transfer.through).min(block.len() as u64) as usize;
            block.set_len(len);
            self.read_piece(index, len, Payload::Block(block), env);
        }
    }

    #[inline]
    fn run_write(
        &mut self,
        index: TaskIndex,
        store: Port,
        fua: bool,
        borrowed: &[u8],
        env: &mut Env<'_>,
    ) -> Progress {
        let task = &mut self.tasks[index];
        let len = task.transfer.len;
        if !borrowed.is_empty() && task.transfer.begun == 0 {
            let data = &borrowed[..borrowed.len().min(len as usize)];
            let inline = if fua {
                None
            } else {
                let op = InlineOp::Write { offset: task.transfer.offset, from: data };
                env.engines.try_now(store, op)
            };
            match inline {
                Some(done) => return Progress::Over(done.map(|_| IoDone::Done)),
                None => task.blocks.append(data, data.len(), env.pool),
            }
        }
        let keep = matches!(task.cdb[0], 0x2e | 0x8e | 0xae);
        loop {
            let task = &mut self.tasks[index];
            let transfer = &mut task.transfer;
            if transfer.begun == len {
                let over = transfer.in_flight == 0;
                return if over { Progress::Over(Ok(IoDone::Done)) } else { Progress::Waits };
            }
            if transfer.in_flight >= IN_FLIGHT_MAX || transfer.out.contains(transfer.next_chunk) {
                return Progress::Waits;
            }
            let more_to_come = task.streaming && !task.data_out.is_complete();
            let block = match task.blocks.get(task.blocks.handed) {
                // A block that is not full yet ends where direct I/O cannot.
                Some(block) if !more_to_come || block.len().is_multiple_of(4096) => block,
                _ if more_to_come => return Progress::Waits,
                // Fewer bytes came than the step takes: the device server was told how many.
                _ => return Progress::Over(Err(IoError::ABANDONED)),
            };
            let count = (block.len() as u64).min(len - transfer.begun);
            let offset = transfer.offset + transfer.begun;
            let op = InlineOp::Write { offset, from: &block[..count as usize] };
            let inline = if fua { None } else { env.engines.try_now(store, op) };
            transfer.begun += count;
            match inline {
                Some(Ok(_)) if keep => task.blocks.handed += 1,
                Some(Ok(_)) => task.blocks.hand_out().into_iter().for_each(|block| env.pool.give(block)),
                Some(Err(error)) => {
                    transfer.error = Some(error);
                    let over = transfer.in_flight == 0;
                    return if over { Progress::Over(Err(error)) } else { Progress::Waits };
                }
                None => {
                    let from = if keep {
                        let mut copy = env.pool.take(count as usize);
                        copy.copy_from_slice(&block[..count as usize]);
                        task.blocks.handed += 1;
                        copy
                    } else {
                        let Some(mut block) = task.blocks.hand_out() else { continue };
                        block.set_len(count as usize);
                        block
                    };
                    self.submit(index, store, BlockOp::Write { offset, from, fua }, env.engines);
                }
            }
        }
    }

    /// Gives an operation to the engine; its number tells its completion apart.
    pub(super) fn submit(&mut self, index: TaskIndex, store: Port, mut op: BlockOp, engines: &mut Engines) {
        let task = &mut self.tasks[index];
        let chunk = task.transfer.next_chunk;
        task.transfer.next_chunk = chunk.wrapping_add(1);
        task.transfer.in_flight += 1;
        task.transfer.out.insert(chunk);
        let tag = Tasks::io_tag(self.id, index, task.generation, chunk);
        if let Some(block) = op.block_mut() {
            block.lend(tag);
            task.transfer.lent += block.capacity() as u32;
        }
        engines.submit(store, tag, op);
        self.submitted = true;
    }
}

impl Transfer {
    /// Takes a completion of one of its operations: the block if it is the one that was lent, and the result if it is one
    /// of this operation, or else an error.
    fn take_back(&mut self, completion: Completion) -> (Option<Block>, Result<Completed, IoError>) {
        let Completion { tag, block, result } = completion;
        let lent = self.kind.moves_data();
        let came_back = block.is_some();
        let block = block.filter(|block| lent && block.is_lent_for(tag));
        if let Some(block) = &block {
            self.lent -= block.capacity() as u32;
        }
        let fits = match result {
            Ok(Completed::Allocation { len, .. }) => {
                self.kind == Kind::Allocation && (1..=self.len).contains(&len)
            }
            Ok(Completed::Done) => self.kind != Kind::Allocation,
            Err(_) => true,
        };
        let kept = fits && block.is_some() == lent && came_back == lent;
        (block, if kept || result.is_err() { result } else { Err(IoError::MISBEHAVED) })
    }
}

/// A piece of a read from a store that does nothing but whole blocks: what is read for the initiator, and how much of
/// the store that takes. `len` bytes would be best, `left` are left; in the end some may be read in vain.
#[cold]
fn whole_blocks(len: usize, left: u64, segment_len: usize, alignment: usize) -> (usize, usize) {
    let at_once = segment_len.max(alignment).next_multiple_of(alignment) as u64;
    let len = if (len as u64) < left { left.min(at_once) as usize } else { len };
    (len, len.next_multiple_of(alignment))
}
