//! The engine of one loop for all stores of a kind, and its operations.

use std::any::Any;
use std::os::fd::BorrowedFd;
use std::time::Instant;

use super::block::{Block, IoTag};
use super::error::IoError;

/// The engine of one loop for all stores of one type. No method blocks.
///
/// # When the methods are called
///
/// * A store of the engine gets a command: `try_now`, and if it declines, `submit`. After the last submission of a batch:
///   `kick`, then `reap`.
/// * The descriptor of `event_fd` is readable: `event_ready`, `notices`, then `reap`. `reap` is also called at other times
///   while operations are submitted and not completed. So an engine that has sockets reads them in `event_ready` and writes
///   them in `event_ready` and `kick`; `reap` only returns what these have completed, without a system call.
/// * The time of `poll_timeout` has come: `handle_timeout`, `notices`, then `reap`.
/// * `poll_timeout` is called after `reap`, and `reap` follows every other method but `try_now`, which therefore starts no
///   timeout.
///
/// # Time
///
/// An engine must not read a clock. It gets the time only as the argument of `handle_timeout`, which is called once when the
/// engine is new, before its first completions are taken. An engine that needs the present time, as for the deadline of an
/// operation that was just submitted, returns from `poll_timeout` a time that has passed, such as the last that it got:
/// `handle_timeout` is then called at once.
///
/// # How the target handles violations of this contract
///
/// * A completion with a result of another operation, or without the submitted [`Block`] of the same length, is an error of
///   the operation ([`IoError::MISBEHAVED`]).
/// * A completion of an unknown operation, or a second one of the same operation, is logged; its block is freed.
/// * An operation that does not complete within ten seconds hangs: its unit accepts no more commands.
/// * After a panic in any method the engine is neither called again nor dropped. Its operations fail with
///   [`IoError::ABANDONED`], and so does every later operation of the stores that are attached to it on this loop. A store
///   that is opened again, as when its unit is set offline and online, gets a new engine.
pub trait IoEngine: Any {
    /// Performs an operation, if that needs no waiting; it borrows its buffer. `None` declines: the loop submits it.
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>>;

    /// Submits an operation, which may start now or at `kick`. Errors are reported by its completion.
    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp);

    /// Starts the submitted operations, with one system call for all of them. Only called after `submit` or `cancel`.
    fn kick(&mut self);

    /// Appends completions to `done`. Every submitted tag completes exactly once, with its block if it had one.
    fn reap(&mut self, done: &mut Vec<Completion>);

    /// A descriptor that is readable while `reap` has completions, or `event_ready` has something to do; what completes in
    /// `submit`, `kick` and `cancel` need not make it readable. It is the same as long as the engine lives. `None` if all
    /// operations complete at `kick`.
    fn event_fd(&self) -> Option<BorrowedFd<'_>>;

    /// The descriptor of `event_fd` was reported readable. It may not be any more. By default nothing is done.
    fn event_ready(&mut self) {}

    /// When `handle_timeout` is due; `None`, the default: never.
    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    /// The time of `poll_timeout` has come, or the engine is new. It may also be called earlier; `now` never decreases.
    /// Afterwards `poll_timeout` returns a later time or `None`; if it does not, the next call is a millisecond later. By
    /// default nothing is done.
    fn handle_timeout(&mut self, now: Instant) {
        let _ = now;
    }

    /// Appends what happened to stores that completes no operation, oldest first. Called after `event_ready` and after
    /// `handle_timeout`. By default there is nothing.
    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        let _ = into;
    }

    /// Requests that an operation end early. It still completes by `reap`, with its actual result.
    fn cancel(&mut self, tag: IoTag);

    /// Starts a check whether a store that was written since the last call still has its size, as a file that another
    /// process truncated has not. Operations behind the new end then fail with [`IoError::OUT_OF_RANGE`] until
    /// [`Backstore::refresh`](super::Backstore::refresh). Called every half second while a store that
    /// [may shrink](super::Capabilities::may_shrink) is written. It must not block and completes no operation. By default
    /// nothing is checked.
    fn check_size(&mut self, _slot: Slot) {}

    /// Detaches a store after its last operation has completed. The slot may be reused then. The method must not block:
    /// the [`Backstore`](super::Backstore) outlives the call.
    fn detach(&mut self, slot: Slot);
}

/// What happened to a store that completes no operation.
///
/// Every loop that the store is attached to may report the same; what is reported for a slot without a store is ignored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Notice {
    /// The size may have changed. The server calls [`Backstore::refresh`](super::Backstore::refresh) on a thread that may
    /// block, and if the size differs, initiators get the unit attention CAPACITY DATA HAS CHANGED (SPC-4 annex E.2: 2Ah 09h).
    Resized,
    /// The store cannot be reached from this loop, so its operations wait or fail. The server logs it and shows it in its
    /// reports. Commands are not refused because of it.
    Unreachable,
    /// The store can be reached again, after [`Notice::Unreachable`] on the same loop.
    Back,
    /// Writes that this loop completed before, and that no flush covered, may be lost: the connection over which they were
    /// acknowledged is lost, and with it perhaps the server and its cache. The next flush of each I_T nexus that has written
    /// on this loop since its last flush fails with [`IoErrorKind::Forgotten`](super::IoErrorKind::Forgotten), once.
    Forgotten,
}

/// Address of a store on one loop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    /// The engine of the store.
    pub engine: EngineIndex,
    /// The store in that engine.
    pub slot: Slot,
}

/// Index of an engine in the [`Engines`](super::Engines) of a loop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EngineIndex(pub usize);

/// Index of a store in its engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot(pub u32);

/// An operation that borrows its buffer. The device server has checked that offset and length are within the store.
#[derive(Debug)]
pub enum InlineOp<'a> {
    /// Read `into.len()` bytes.
    Read {
        /// Offset in the store, in bytes.
        offset: u64,
        /// The buffer to fill.
        into: &'a mut [u8],
    },
    /// Write `from` to the cache of the store.
    Write {
        /// Offset in the store, in bytes.
        offset: u64,
        /// The data to write.
        from: &'a [u8],
    },
}

/// Result of an inline operation that succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Now {
    /// All bytes were read or written.
    Moved,
    /// The range reads as zeroes; `into` was not written.
    Zeroes,
}

/// An operation that owns its buffer until it completes.
#[derive(Debug)]
pub enum BlockOp {
    /// Read the length of the block.
    Read {
        /// Offset in the store, in bytes.
        offset: u64,
        /// The block to fill.
        into: Block,
    },
    /// Write the length of the block.
    Write {
        /// Offset in the store, in bytes.
        offset: u64,
        /// The block to write.
        from: Block,
        /// The data must be on the medium before the completion.
        fua: bool,
    },
    /// Flush all completed writes to the medium.
    Flush,
    /// Discard this range.
    Discard {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Write zeroes to this range.
    WriteZeroes {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// The store may free the space.
        may_unmap: bool,
    },
    /// Query how many bytes from `offset` are all data or all a hole.
    Allocation {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Maximum length in bytes; the answer may be shorter.
        len: u64,
    },
}

/// Completion of a submitted operation.
#[derive(Debug)]
pub struct Completion {
    /// Tag of the operation.
    pub tag: IoTag,
    /// The submitted block, with the same length, also after an error.
    pub block: Option<Block>,
    /// Result of the operation.
    pub result: Result<Completed, IoError>,
}

/// Result of a submitted operation that succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Completed {
    /// The operation was performed.
    Done,
    /// Answer to `Allocation`: `len` bytes from the offset have the same allocation.
    Allocation {
        /// Length in bytes, more than 0.
        len: u64,
        /// Whether the bytes are a hole, which reads as zeroes and occupies no space.
        hole: bool,
    },
}

impl BlockOp {
    /// The block of a read or write.
    pub fn block_mut(&mut self) -> Option<&mut Block> {
        match self {
            Self::Read { into: block, .. } | Self::Write { from: block, .. } => Some(block),
            Self::Flush | Self::Discard { .. } | Self::WriteZeroes { .. } | Self::Allocation { .. } => None,
        }
    }
}
