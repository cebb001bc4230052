//! Blocking access to a store: for tests, for tools, and for the layers that tests use.

use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use scsi_core::store::{
    Backstore, Block, BlockOp, Completed, Completion, Engines, InlineOp, IoEngine, IoError, IoTag, Now, Port,
};

/// A store that is attached to engines of its own.
pub struct Waiting {
    engines: Engines,
    port: Port,
    next_tag: u64,
}

impl Waiting {
    /// Attaches to a store.
    ///
    /// # Errors
    /// Returns the error of [`Backstore::attach`].
    pub fn new(store: &dyn Backstore) -> Result<Self, IoError> {
        Self::with_engines(store, Engines::default())
    }

    /// Attaches to a store with the given engines, among which the store's may be already.
    ///
    /// # Errors
    /// Returns the error of [`Backstore::attach`].
    pub fn with_engines(store: &dyn Backstore, mut engines: Engines) -> Result<Self, IoError> {
        let port = store.attach(&mut engines)?;
        Ok(Self { engines, port, next_tag: 0 })
    }

    /// Returns the engine of the store, for several operations at a time.
    pub fn engine(&mut self) -> &mut dyn IoEngine {
        self.engines.engine(self.port.engine)
    }

    /// Returns engine and slot of the store.
    #[must_use]
    pub fn port(&self) -> Port {
        self.port
    }

    /// Calls [`IoEngine::try_now`].
    pub fn try_now(&mut self, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let slot = self.port.slot;
        self.engine().try_now(slot, op)
    }

    /// Submits an operation with a new tag.
    pub fn submit(&mut self, op: BlockOp) -> IoTag {
        self.next_tag += 1;
        let (tag, slot) = (IoTag(self.next_tag), self.port.slot);
        self.engine().submit(slot, tag, op);
        tag
    }

    /// Waits for `count` further completions, at most for `patience`.
    ///
    /// # Errors
    /// Returns the completions so far if there are fewer after that time.
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

    /// Submits an operation and waits for its completion; returns its block and result.
    ///
    /// # Errors
    /// Returns the error of the operation, or [`IoError::NOT_READY`] after 30 seconds without a completion.
    pub fn run(&mut self, op: BlockOp) -> Result<(Option<Block>, Completed), IoError> {
        self.submit(op);
        let mut done = self.wait_for(1, PATIENCE).map_err(|_| IoError::NOT_READY)?;
        let Completion { block, result, .. } = done.pop().ok_or(IoError::NOT_READY)?;
        result.map(|completed| (block, completed))
    }

    /// Reads `len` bytes at byte `offset`.
    ///
    /// # Errors
    /// Same errors as [`Waiting::run`].
    pub fn read(&mut self, offset: u64, len: usize) -> Result<Block, IoError> {
        let (block, _) = self.run(BlockOp::Read { offset, into: Block::new(len) })?;
        block.ok_or(IoError::ABANDONED)
    }

    /// Writes `data` at byte `offset`, with `fua` to the medium.
    ///
    /// # Errors
    /// Same errors as [`Waiting::run`].
    pub fn write(&mut self, offset: u64, data: &[u8], fua: bool) -> Result<(), IoError> {
        let mut from = Block::new(data.len());
        from.copy_from_slice(data);
        self.run(BlockOp::Write { offset, from, fua }).map(drop)
    }

    /// Flushes the store.
    ///
    /// # Errors
    /// Same errors as [`Waiting::run`].
    pub fn flush(&mut self) -> Result<(), IoError> {
        self.run(BlockOp::Flush).map(drop)
    }
}

impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("port", &self.port).finish_non_exhaustive()
    }
}

/// Waits until the engine's event is readable, at most for `patience`; returns whether it is. An engine without an
/// event completes at `kick`, so this returns `true`.
pub(crate) fn wait_readable(engine: &dyn IoEngine, patience: Duration) -> bool {
    let Some(fd) = engine.event_fd() else { return true };
    let timeout = Timespec { tv_sec: patience.as_secs() as i64, tv_nsec: patience.subsec_nanos().into() };
    matches!(rustix::event::poll(&mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)], Some(&timeout)), Ok(1))
}

/// How long tests wait for a completion.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
