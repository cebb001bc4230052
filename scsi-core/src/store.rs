//! Storage as seen from above: one handle on the blocks, one engine per loop and kind of store.
//!
//! A [`Backstore`] is shared by all loops and knows its geometry and what it can do. Each loop has its own
//! [`Engines`], and in it one [`IoEngine`] per kind of store, found by type, so that all files of a loop share
//! one ring. Nothing here blocks, and nothing here knows SCSI.

use std::any::{Any, TypeId};
use std::os::fd::BorrowedFd;

/// A handle on stored blocks, shared by all loops.
pub trait Backstore: Send + Sync {
    /// The name under which the store is registered (`rdwr`, `null` …), for reports.
    fn kind(&self) -> &'static str;

    /// Size and block lengths as last read.
    fn geometry(&self) -> Geometry;

    /// What the store can do; VPD pages, mode pages and the list of supported commands are derived from it.
    fn capabilities(&self) -> Capabilities;

    /// Reads the size again; a file may have grown.
    ///
    /// # Errors
    /// The store cannot be asked, or the new size is none.
    fn refresh(&self) -> Result<Geometry, IoError>;

    /// Whether it has failed to bring acknowledged writes to the medium: it takes no more of them
    /// ([`IoError::Lost`]) until it is opened anew.
    fn has_lost_writes(&self) -> bool {
        false
    }

    /// Makes the store reachable from one loop. May be called by several loops, once each.
    ///
    /// # Errors
    /// The engine of this kind cannot be made (no descriptors, no memory).
    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError>;
}

/// One loop's way to all stores of one kind. Nothing here blocks.
pub trait IoEngine: Any {
    /// Does it at once if that needs no waiting; borrows the payload. `None`: submit it.
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>>;

    /// Takes what `try_now` declined; the operation may start now or at `kick`. It fails by a completion only.
    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp);

    /// The batch is complete: one system call for all of it.
    fn kick(&mut self);

    /// Appends what is done to `done`; every submitted tag comes back exactly once.
    fn reap(&mut self, done: &mut Vec<Completion>);

    /// Readable when `reap` has something; `None` where all is done at `kick`.
    fn event_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Asks that an operation end early; it still comes back by `reap`, as what it became.
    fn cancel(&mut self, tag: IoTag);

    /// Forgets a store once its last operation is in; the slot may be given out again after that.
    fn detach(&mut self, slot: Slot);
}

/// All engines of one loop.
#[derive(Default)]
pub struct Engines {
    engines: Vec<(TypeId, Box<dyn IoEngine>)>,
}

/// A store's place on one loop.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Port {
    /// Which of the loop's engines.
    pub engine: EngineIndex,
    /// Which of the engine's stores.
    pub slot: Slot,
}

/// An engine's index among the loop's [`Engines`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EngineIndex(pub usize);

/// A store's index in its engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Slot(pub u32);

/// Names an operation to its loop: index and generation in the loop's table of tasks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IoTag(pub u64);

/// Size and block lengths, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    /// Size of the store.
    pub size: u64,
    /// Physical block length of the medium, where it is a device's; 512 where it has none, as a file. A power of
    /// two, at least 512.
    pub physical_block_len: u32,
}

/// What a store can do. What is not set here is refused above, never attempted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// Writes are refused.
    pub read_only: bool,
    /// Written data may be lost until flushed: the unit reports a write cache.
    pub volatile_cache: bool,
    /// `Write { fua: true }` is on the medium when it completes.
    pub fua: bool,
    /// `Discard` frees space.
    pub discard: bool,
    /// A discarded range reads as zeroes.
    pub discard_zeroes: bool,
    /// `WriteZeroes` is done without a payload.
    pub write_zeroes: bool,
    /// `Allocation` tells holes from data.
    pub allocation: bool,
    /// Offsets and lengths must be multiples of this (1 for buffered files); buffers are page-aligned.
    pub alignment: u32,
    /// Granularity of a discard in bytes; 0 where unknown.
    pub discard_granularity: u32,
}

/// An operation that borrows its payload. Offsets and lengths are bytes, in bounds: the device server saw to it.
#[derive(Debug)]
pub enum InlineOp<'a> {
    /// Fill `into` from `offset`.
    Read {
        /// Where in the store.
        offset: u64,
        /// Filled whole.
        into: &'a mut [u8],
    },
    /// Put `from` at `offset`, to the store's cache.
    Write {
        /// Where in the store.
        offset: u64,
        /// Written whole.
        from: &'a [u8],
    },
}

/// How an inline operation ended well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Now {
    /// The payload was moved.
    Moved,
    /// The range reads as zeroes; `into` was not touched.
    Zeroes,
}

/// An operation that owns its buffer until it completes.
#[derive(Debug)]
pub enum BlockOp {
    /// Fill the whole block.
    Read {
        /// Where in the store.
        offset: u64,
        /// Filled up to its length.
        into: Block,
    },
    /// Write the whole block.
    Write {
        /// Where in the store.
        offset: u64,
        /// Written up to its length.
        from: Block,
        /// On the medium before it completes.
        fua: bool,
    },
    /// All that was completed before is on the medium when this completes.
    Flush,
    /// The range is no longer needed.
    Discard {
        /// Where in the store.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// The range reads as zeroes afterwards.
    WriteZeroes {
        /// Where in the store.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Space may be freed by it.
        may_unmap: bool,
    },
    /// Asks how far from `offset` the store is all data or all hole.
    Allocation {
        /// Where in the store.
        offset: u64,
        /// Bytes of interest; the answer may be shorter.
        len: u64,
    },
}

/// The end of a submitted operation.
#[derive(Debug)]
pub struct Completion {
    /// Whose.
    pub tag: IoTag,
    /// The buffer comes back, whatever happened.
    pub block: Option<Block>,
    /// How it went.
    pub result: Result<Completed, IoError>,
}

/// What a submitted operation has to say.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Completed {
    /// Done.
    Done,
    /// `Allocation`'s answer: `len` bytes from the offset asked are all of one kind.
    Allocation {
        /// Bytes, more than 0.
        len: u64,
        /// A hole: reads as zeroes and holds no space.
        hole: bool,
    },
}

/// Why an operation failed. Sense is made from it in one place above.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum IoError {
    /// The medium failed.
    #[error("medium error at byte {0}")]
    Medium(u64),
    /// No space for a write.
    #[error("no space left in the store")]
    NoSpace,
    /// Beyond the present end: the store shrank.
    #[error("beyond the end of the store")]
    OutOfRange,
    /// Not among the capabilities.
    #[error("not supported by this store")]
    Unsupported,
    /// A flush failed: writes that were acknowledged may be lost, and no later one is taken.
    #[error("acknowledged writes may be lost: the store takes no more until it is opened anew")]
    Lost,
    /// The store refuses writes.
    #[error("the store is read-only")]
    ReadOnly,
    /// The store cannot be reached.
    #[error("the store is not ready")]
    NotReady,
    /// Ended early because it was asked to.
    #[error("cancelled")]
    Cancelled,
    /// Its engine ended.
    #[error("abandoned: its engine ended")]
    Abandoned,
}

/// A page-aligned buffer, made once and used again and again.
#[derive(Debug)]
pub struct Block {
    bytes: Box<[u8]>,
    start: usize,
    capacity: usize,
    len: usize,
}

/// Alignment of every [`Block`], in bytes: enough for direct I/O.
pub const BLOCK_ALIGNMENT: usize = 4096;

impl Block {
    /// A zeroed block of `capacity` bytes, all of them in use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + BLOCK_ALIGNMENT].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(BLOCK_ALIGNMENT);
        Self { bytes, start, capacity, len: capacity }
    }

    /// Bytes it could hold.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Sets the length in use.
    ///
    /// # Panics
    /// `len` is beyond the capacity, which is a mistake of the caller.
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity, "a block's length is within its capacity");
        self.len = len;
    }
}

impl std::ops::Deref for Block {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }
}

impl std::ops::DerefMut for Block {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

impl Engines {
    /// The loop's engine of type `E`, made on first use.
    ///
    /// # Errors
    /// What `make` says.
    pub fn of_kind<E: IoEngine>(
        &mut self,
        make: impl FnOnce() -> Result<E, IoError>,
    ) -> Result<(EngineIndex, &mut E), IoError> {
        let kind = TypeId::of::<E>();
        let index = match self.engines.iter().position(|(known, _)| *known == kind) {
            Some(index) => index,
            None => {
                self.engines.push((kind, Box::new(make()?)));
                self.engines.len() - 1
            }
        };
        let engine: &mut dyn Any = self.engines[index].1.as_mut();
        let engine = engine.downcast_mut().expect("found by its type");
        Ok((EngineIndex(index), engine))
    }

    /// The engine behind a port.
    ///
    /// # Panics
    /// The index is not of this loop.
    pub fn engine(&mut self, index: EngineIndex) -> &mut dyn IoEngine {
        self.engines[index.0].1.as_mut()
    }

    /// All engines, in the order of their indices.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (EngineIndex, &mut dyn IoEngine)> {
        self.engines
            .iter_mut()
            .enumerate()
            .map(|(index, (_, engine))| (EngineIndex(index), engine.as_mut() as _))
    }

    /// How many kinds there are; grows by `of_kind` only.
    #[must_use]
    pub fn len(&self) -> usize {
        self.engines.len()
    }

    /// Whether no store was attached yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_page_aligned_whatever_their_length() {
        for capacity in [1, 512, 4096, 1 << 20] {
            let mut block = Block::new(capacity);
            assert_eq!(block.as_ptr() as usize % BLOCK_ALIGNMENT, 0);
            block.set_len(capacity / 2);
            assert_eq!(block.len(), capacity / 2);
            assert_eq!(block.capacity(), capacity);
        }
    }
}
