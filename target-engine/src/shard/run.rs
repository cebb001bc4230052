//! The steps of a command: from the device server to the store and back, until the command is done or has to wait.

use scsi_core::device::{IoDone, IoResult, Step};
use scsi_core::store::{BlockOp, Completion, Engines, IoError, Port};

use super::TargetShard;
use super::driver::Env;
use super::task::State;
use super::transfer::Progress;
use super::transfer::kind::TransferKind;
use crate::iscsi::connection::receive::Data;
use crate::keys::{ConnectionIndex, TaskKey};
use crate::limits::READ_BYTES_MAX;

impl TargetShard {
    /// Does step after step until the command is done or has to wait. `borrowed` is the data of a plain write if it is
    /// not in the task's blocks.
    pub(super) fn advance(&mut self, key: TaskKey, mut step: Step, borrowed: &[u8], env: &mut Env<'_>) {
        loop {
            match step {
                Step::Done(outcome) => return self.finish(key, outcome, env),
                Step::AbortTasks(nexuses) => return self.abort_for(key, nexuses, env),
                _ => {}
            }
            let task = &mut self.tasks[key];
            let unit = task.lun().and_then(|lun| self.units.get(lun));
            if let Some(unit) = unit
                && (unit.is_hung() && !task.is_hung() || unit.unit().is_fenced(&step))
            {
                let refusal = unit.refusal(env.now);
                return self.finish(key, refusal, env);
            }
            task.begin_step(&step);
            match self.run(key, borrowed, env) {
                Progress::Over(result) => match self.end_step(key, result, env) {
                    Some(next) => step = next,
                    None => return,
                },
                Progress::Waits => return,
            }
        }
    }

    /// Goes on with a step that had to wait.
    pub(super) fn resume(&mut self, key: TaskKey, env: &mut Env<'_>) {
        if let Progress::Over(result) = self.run(key, &[], env)
            && let Some(step) = self.end_step(key, result, env)
        {
            self.advance(key, step, &[], env);
        }
    }

    /// Takes in a completed operation of a store. Feed it every completion whose tag names this shard, in the order in
    /// which the engines return them.
    pub fn complete(&mut self, completion: Completion, env: &mut Env<'_>) {
        let (key, chunk) = TaskKey::from_io_tag(completion.tag);
        let task = self.tasks.get_mut(key).filter(|task| task.transfer().has_chunk_out(chunk));
        let Some(task) = task else { return self.unknown_completion(&completion, env.now) };
        self.queues.memory_freed();
        if let Some(unit) = task.lun().and_then(|lun| self.units.get_mut(lun)) {
            unit.hangs().completed();
        }
        let account = task.account();
        let block = task.transfer_mut().complete(chunk, completion, account, env.pool);
        let aborted = task.is_aborted();
        let is_wanted = !aborted && task.transfer().error().is_none();
        match block {
            Some(block) if is_wanted && task.transfer().kind() == TransferKind::Read => {
                self.read_completed(key, chunk, block, env);
            }
            Some(block) => {
                if is_wanted {
                    task.piece_done(&block);
                }
                env.pool.give(block);
            }
            None => {}
        }
        if !aborted {
            self.resume(key, env);
        } else if !self.tasks[key].transfer().is_out() {
            self.drop_task(key, env);
        }
    }

    /// Reports the end of a step to the device server; returns the next one.
    fn end_step(&mut self, key: TaskKey, result: IoResult, env: &Env<'_>) -> Option<Step> {
        if let Err(error) = result {
            self.store_failed(key, error, env.now);
        }
        let task = &mut self.tasks[key];
        let lun = task.lun()?;
        let unit = self.units.get_mut(lun)?;
        let step = task.end_step(unit.port(), result);
        if unit.health().is_failing() && result.is_ok() {
            self.store_succeeded(key, lun);
        }
        Some(step)
    }

    /// Begins as many operations of a step as there may be now.
    fn run(&mut self, key: TaskKey, borrowed: &[u8], env: &mut Env<'_>) -> Progress {
        let task = &self.tasks[key];
        let transfer = task.transfer();
        let kind = transfer.kind();
        let unit = task.lun().and_then(|lun| self.units.get(lun));
        let Some((unit, store)) = unit.and_then(|unit| Some((unit, unit.store()?))) else {
            return Progress::Over(match (kind, transfer.error()) {
                (TransferKind::Idle, None) => Ok(IoDone::Done),
                (_, error) => Err(error.unwrap_or(IoError::NOT_READY)),
            });
        };
        if let Some(error) = transfer.error() {
            return if transfer.is_out() { Progress::Waits } else { Progress::Over(Err(error)) };
        }
        let alignment = unit.alignment();
        if unit.may_shrink() && kind.changes_data() {
            self.units.expect_size_check();
        }
        match kind {
            TransferKind::Read => self.run_read(key, store, alignment, env),
            TransferKind::Write { fua } => self.run_write(key, store, fua, borrowed, env),
            TransferKind::Compare { .. } | TransferKind::Probe => self.run_compare(key, store, env),
            TransferKind::Fill { pattern_len, fua } => self.run_fill(key, store, (pattern_len, fua), env),
            TransferKind::Zeroes { .. }
            | TransferKind::Discard
            | TransferKind::Flush
            | TransferKind::Allocation => self.run_single(key, store, env),
            TransferKind::Idle => Progress::Over(Ok(IoDone::Done)),
        }
    }

    /// Gives an operation to the engine.
    pub(super) fn submit(&mut self, key: TaskKey, store: Port, mut op: BlockOp, engines: &mut Engines) {
        let tag = self.tasks[key].transfer_mut().submit(self.id, key, &mut op);
        engines.submit(store, tag, op);
        self.submitted = true;
    }

    /// Whether tasks can go on, so that `run_ready` must be called in the next turn without waiting.
    #[must_use]
    pub fn has_ready(&self) -> bool {
        self.queues.has_ready()
    }

    /// Memory of the loop has come back: a connection has sent what it had queued.
    #[inline]
    pub fn memory_freed(&mut self) {
        self.queues.memory_freed();
    }

    /// Runs what was left for this turn: long steps as far as they may go in one turn, commands whose turn in their
    /// task set has come, and commands that waited for memory. Call it once a turn.
    pub fn run_ready(&mut self, env: &mut Env<'_>) {
        self.queues.begin_turn();
        while let Some(key) = self.queues.pop_yielded() {
            self.run_queued(key, env);
        }
        self.run_enabled(env);
    }

    /// Runs commands whose turn in their task set has come, and asks for the data of those that waited for memory.
    pub(super) fn run_enabled(&mut self, env: &mut Env<'_>) {
        for _ in 0..self.queues.ready_len() {
            let Some(key) = self.queues.pop_ready() else { return };
            self.run_queued(key, env);
        }
        if self.queues.waits_for_memory() {
            self.serve_waiting_for_memory(env);
        }
    }

    pub(super) fn run_queued(&mut self, key: TaskKey, env: &mut Env<'_>) {
        let Some(task) = self.tasks.get_mut(key) else { return };
        match task.state() {
            State::Held => self.start(key, Data::Borrowed(&[]), env),
            State::Yielded => {
                task.go_on();
                self.resume(key, env);
            }
            State::Collecting if task.is_put_off() => self.stream(key, env),
            State::Collecting | State::Running | State::Paused | State::Ending => {}
        }
    }

    /// Resumes the reads that wait for space in a connection's transmit ring, until they have begun
    /// [`READ_BYTES_MAX`]. Returns true if more is left. Call it after the connection's bytes were sent.
    pub fn resume_reads(&mut self, connection: ConnectionIndex, env: &mut Env<'_>) -> bool {
        self.extra_cost = 0;
        loop {
            let Some(own) = self.sessions.connection_mut(connection) else { return false };
            let Some(key) = own.first_paused_read() else { return false };
            if own.is_ring_full() || self.extra_cost as u64 >= READ_BYTES_MAX {
                return true;
            }
            match self.tasks.get_mut(key) {
                // It stays the first of the list while it runs: reads are sent one after the other.
                Some(task) if task.state() == State::Paused => {
                    task.go_on();
                    self.resume(key, env);
                }
                _ => {}
            }
            let waits = self.tasks.get(key).is_some_and(|task| task.state() == State::Paused);
            if !waits && let Some(own) = self.sessions.connection_mut(connection) {
                own.remove_paused_read(key);
            }
        }
    }
}
