//! A store used by one operation at a time, with waiting: for tests, tools, and the layers that tests use.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use scsi_core::store::{
    Backstore, Block, BlockOp, Completed, Completion, Engines, InlineOp, IoEngine, IoError, IoTag, Now, Port,
};

/// One store with engines of its own.
pub struct Waiting {
    engines: Engines,
    port: Port,
    next_tag: u64,
}

impl Waiting {
    /// Attaches to a store.
    ///
    /// # Errors
    /// What the store says.
    pub fn new(store: &dyn Backstore) -> Result<Self, IoError> {
        Self::with_engines(store, Engines::default())
    }

    /// Attaches to a store with engines that may have been prepared.
    ///
    /// # Errors
    /// What the store says.
    pub fn with_engines(store: &dyn Backstore, mut engines: Engines) -> Result<Self, IoError> {
        let port = store.attach(&mut engines)?;
        Ok(Self { engines, port, next_tag: 0 })
    }

    /// The engine, for more than one operation at a time.
    pub fn engine(&mut self) -> &mut dyn IoEngine {
        self.engines.engine(self.port.engine)
    }

    /// Where the store is in its engine.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Tries it without waiting.
    pub fn try_now(&mut self, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let slot = self.port.slot;
        self.engine().try_now(slot, op)
    }

    /// Begins an operation.
    pub fn submit(&mut self, op: BlockOp) -> IoTag {
        self.next_tag += 1;
        let (tag, slot) = (IoTag(self.next_tag), self.port.slot);
        self.engine().submit(slot, tag, op);
        tag
    }

    /// Waits until `count` more operations are in; `Err` has those that were when `patience` ended.
    ///
    /// # Errors
    /// Not all came in time.
    pub fn wait_for(&mut self, count: usize, patience: Duration) -> Result<Vec<Completion>, Vec<Completion>> {
        let deadline = Instant::now() + patience;
        let engine = self.engine();
        let mut done = Vec::new();
        engine.kick();
        loop {
            engine.reap(&mut done);
            if done.len() >= count {
                return Ok(done);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(done);
            }
            wait_readable(engine, left);
        }
    }

    /// Does one operation to its end.
    ///
    /// # Errors
    /// What the store says, or `NotReady` if it says nothing for a long time.
    pub fn run(&mut self, op: BlockOp) -> Result<(Option<Block>, Completed), IoError> {
        self.submit(op);
        let mut done = self.wait_for(1, PATIENCE).map_err(|_| IoError::NOT_READY)?;
        let Completion { block, result, .. } = done.pop().ok_or(IoError::NOT_READY)?;
        result.map(|completed| (block, completed))
    }

    /// Reads `len` bytes.
    ///
    /// # Errors
    /// As of `run`.
    pub fn read(&mut self, offset: u64, len: usize) -> Result<Block, IoError> {
        let (block, _) = self.run(BlockOp::Read { offset, into: Block::new(len) })?;
        block.ok_or(IoError::ABANDONED)
    }

    /// Writes `data`.
    ///
    /// # Errors
    /// As of `run`.
    pub fn write(&mut self, offset: u64, data: &[u8], fua: bool) -> Result<(), IoError> {
        let mut from = Block::new(data.len());
        from.copy_from_slice(data);
        self.run(BlockOp::Write { offset, from, fua }).map(drop)
    }

    /// Flushes.
    ///
    /// # Errors
    /// As of `run`.
    pub fn flush(&mut self) -> Result<(), IoError> {
        self.run(BlockOp::Flush).map(drop)
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Whether the engine's event is readable within `patience`; an engine without one is done at `kick`.
pub(crate) fn wait_readable(engine: &dyn IoEngine, patience: Duration) -> bool {
    let Some(fd) = engine.event_fd() else { return true };
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    matches!(rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)), Ok(1))
}

/// A store that is silent for this long is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
