//! Blocking access to a store: for tests, for tools, and for the layers that tests use.

use std::os::fd::BorrowedFd;
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
    /// The latest time that the engine got.
    now: Instant,
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
        Ok(Self { engines, port, next_tag: 0, now: Instant::now() })
    }

    /// Returns the engine of the store, for several operations at a time.
    pub fn engine(&mut self) -> &mut dyn IoEngine {
        self.engines.engine(self.port.engine)
    }

    /// Calls [`IoEngine::event_fd`].
    #[must_use]
    pub fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        self.engines.iter().nth(self.port.engine.0)?.event_fd()
    }

    /// Calls [`IoEngine::poll_timeout`].
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engines.iter().nth(self.port.engine.0)?.poll_timeout()
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
        let mut done = Vec::new();
        self.engine().kick();
        self.handle_timeout(Instant::now());
        self.engine().reap(&mut done);
        while done.len() < count {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(done);
            }
            wait(self.engine(), left);
            self.handle_timeout(Instant::now());
            self.engine().reap(&mut done);
        }
        Ok(done)
    }

    /// Gives the engine the time. It never gets an earlier one than before.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let now = self.now;
        self.engine().handle_timeout(now);
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

/// Waits until the engine's event is readable or its timeout is due, at most for `patience`, and calls
/// [`IoEngine::event_ready`]. Returns whether the event is readable.
pub(crate) fn wait(engine: &mut dyn IoEngine, patience: Duration) -> bool {
    let due = engine.poll_timeout().map(|due| due.saturating_duration_since(Instant::now()));
    let ready = wait_readable(engine, due.map_or(patience, |due| due.min(patience)));
    if ready {
        engine.event_ready();
    }
    ready
}

/// Submits operations, kicks and waits until all have completed. The event must be readable for each that completes later,
/// unless a timeout completes it.
///
/// # Panics
/// They do not complete.
#[cfg(any(test, feature = "contract"))]
pub(crate) fn run_all(
    engine: &mut dyn IoEngine,
    ops: Vec<(scsi_core::store::Slot, IoTag, BlockOp)>,
) -> Vec<Completion> {
    let count = ops.len();
    ops.into_iter().for_each(|(slot, tag, op)| engine.submit(slot, tag, op));
    engine.kick();
    let mut done = Vec::new();
    engine.handle_timeout(Instant::now());
    engine.reap(&mut done);
    while done.len() < count {
        let has_timeout = engine.poll_timeout().is_some();
        assert!(
            wait(engine, PATIENCE) || has_timeout,
            "the event is readable when an operation completes after kick"
        );
        engine.handle_timeout(Instant::now());
        engine.reap(&mut done);
    }
    done
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
