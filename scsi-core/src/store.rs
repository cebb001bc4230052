//! Storage as seen from above: one handle on the blocks, one engine per loop and kind of store.
//!
//! A [`Backstore`] is shared by all loops and knows its geometry and what it can do. Each loop has its own
//! [`Engines`], and in it one [`IoEngine`] per kind of store, found by type, so that all files of a loop share
//! one ring. Nothing here blocks, and nothing here knows SCSI.

mod engines;
mod error;

use std::any::Any;
use std::borrow::Cow;
use std::os::fd::BorrowedFd;

pub use self::engines::{Engines, panic_message};
pub use self::error::{IoError, IoErrorKind};

/// A handle on stored blocks, shared by all loops.
///
/// It owns whatever is slow to close: files, connections. The engine drops it after every loop has detached it, on a
/// thread where that may block, and answers a deletion only then. What an engine keeps of it should be a further handle
/// on the same thing (an `Arc`), which is then never the last one.
///
/// The server catches a panic in any of these methods, or when the store is dropped: opening fails, `attach` and
/// `refresh` fail, and the other methods answer what they answered before.
pub trait Backstore: Send + Sync {
    /// The name under which the store is registered (`rdwr`, `null` …), for reports.
    fn kind(&self) -> &'static str;

    /// What the store is called in messages, as the path of its file; its kind where it has no name.
    fn name(&self) -> Cow<'_, str> {
        self.kind().into()
    }

    /// Size and block lengths as last read. A unit is made only of a [plausible](Geometry::check) geometry.
    fn geometry(&self) -> Geometry;

    /// What the store can do; VPD pages, mode pages and the list of supported commands are derived from it.
    fn capabilities(&self) -> Capabilities;

    /// Reads the size again; a file may have grown.
    ///
    /// # Errors
    /// The store cannot be asked, or the new size is none.
    fn refresh(&self) -> Result<Geometry, IoError>;

    /// Whether it has failed to bring acknowledged writes to the medium: it takes no more of them
    /// ([`IoError::LOST`]) until it is opened again.
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
///
/// # What the target does about an engine that does not keep this contract
///
/// * A completion whose result is not one of its operation, or without the very [`Block`] that was submitted, of the
///   length that it had, is an error of the operation ([`IoError::MISBEHAVED`]), whatever its result says.
/// * A completion of an unknown operation, also one that was completed before, is logged; its block is freed.
/// * An operation that is not completed hangs: after ten seconds its unit takes no more commands.
/// * After a panic in any method the engine is not called again, nor dropped. What it had fails with
///   [`IoError::ABANDONED`], and so does every later operation of the stores that are attached to it, on this loop.
///   A store that is opened again, as by taking its unit offline and online, gets a new engine.
pub trait IoEngine: Any {
    /// Does it at once if that needs no waiting; borrows the payload. `None`: submit it.
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>>;

    /// Takes what `try_now` declined; the operation may start now or at `kick`. It fails by a completion only.
    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp);

    /// The batch is complete: one system call for all of it.
    fn kick(&mut self);

    /// Appends what is done to `done`; every submitted tag comes back exactly once, with its block if it had one.
    fn reap(&mut self, done: &mut Vec<Completion>);

    /// Readable when `reap` has something; `None` where all is done at `kick`.
    fn event_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Asks that an operation end early; it still comes back by `reap`, as what it became.
    fn cancel(&mut self, tag: IoTag);

    /// Forgets a store once its last operation is in; the slot may be given out again after that. Does not block: the
    /// [`Backstore`] outlives this call.
    fn detach(&mut self, slot: Slot);
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
    /// Size of the store, a multiple of 512 up to [`SIZE_MAX`].
    pub size: u64,
    /// Physical block length of the medium, where it is a device's; 512 where it has none, as a file. A power of
    /// two, at least 512.
    pub physical_block_len: u32,
}

impl Geometry {
    /// Whether a disk with logical blocks of `block_len` bytes can be made of this geometry and this alignment of
    /// operations ([`Capabilities::alignment`]).
    ///
    /// # Errors
    /// Returns what is wrong, with what is accepted.
    pub fn check(&self, alignment: u32, block_len: u32) -> Result<(), String> {
        let Self { size, physical_block_len } = *self;
        if !physical_block_len.is_power_of_two() || physical_block_len < 512 {
            return Err(format!(
                "physical block length {physical_block_len}; accepted: a power of two from 512"
            ));
        }
        let most = block_len.min(BLOCK_ALIGNMENT as u32);
        if !alignment.is_power_of_two() || alignment > most {
            return Err(format!("alignment {alignment}; accepted: a power of two from 1 to {most}"));
        }
        if size == 0 || size > SIZE_MAX || !size.is_multiple_of(512) {
            return Err(format!("size {size} bytes; accepted: a multiple of 512 from 512 to {SIZE_MAX}"));
        }
        Ok(())
    }
}

/// Largest store, in bytes: a file offset is signed.
pub const SIZE_MAX: u64 = (1 << 63) - 512;

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
    /// Offsets and lengths must be multiples of this (1 for buffered files), a power of two up to the unit's block length
    /// and [`BLOCK_ALIGNMENT`]; buffers are page-aligned. Where it is less than 512, so may lengths be: an initiator
    /// may expect or send fewer bytes than its command names.
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
    /// The tag it was submitted with.
    pub tag: IoTag,
    /// The very block that was submitted comes back, as long as it was, whatever happened.
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

/// A page-aligned buffer, made once and used again and again.
#[derive(Debug)]
pub struct Block {
    bytes: Box<[u8]>,
    start: u32,
    /// The length when it was lent.
    lent_len: u32,
    len: usize,
    /// The operation it was lent for.
    lent_for: u64,
}

/// Alignment of every [`Block`], in bytes: enough for direct I/O.
pub const BLOCK_ALIGNMENT: usize = 4096;

impl Block {
    /// A zeroed block of `capacity` bytes, all of them in use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + BLOCK_ALIGNMENT].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(BLOCK_ALIGNMENT).min(BLOCK_ALIGNMENT) as u32;
        Self { bytes, start, lent_len: 0, len: capacity, lent_for: 0 }
    }

    /// Bytes it could hold.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_ALIGNMENT
    }

    /// Sets the length in use.
    ///
    /// # Panics
    /// `len` is beyond the capacity, which is a mistake of the caller.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a block's length is within its capacity");
        self.len = len;
    }

    /// Notes the operation that the block is submitted with, for [`Block::is_lent_for`]. Layers leave that alone.
    #[inline]
    pub fn lend(&mut self, tag: IoTag) {
        (self.lent_for, self.lent_len) = (tag.0, self.len as u32);
    }

    /// Whether it is the block that was lent for this operation, of the length that it had.
    #[inline]
    #[must_use]
    pub fn is_lent_for(&self, tag: IoTag) -> bool {
        self.lent_for == tag.0 && self.lent_len == self.len as u32
    }
}

impl BlockOp {
    /// Its block, if it has one.
    pub fn block_mut(&mut self) -> Option<&mut Block> {
        match self {
            Self::Read { into: block, .. } | Self::Write { from: block, .. } => Some(block),
            Self::Flush | Self::Discard { .. } | Self::WriteZeroes { .. } | Self::Allocation { .. } => None,
        }
    }
}

impl std::ops::Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[self.start as usize..self.start as usize + self.len]
    }
}

impl std::ops::DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start as usize..self.start as usize + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometries_that_no_disk_has_are_refused() {
        let good = Geometry { size: 1 << 20, physical_block_len: 4096 };
        for (geometry, alignment, block_len, wrong) in [
            (good, 1, 512, None),
            (good, 4096, 4096, None),
            (Geometry { size: SIZE_MAX, ..good }, 512, 512, None),
            (good, 0, 512, Some("alignment 0")),
            (good, 3, 512, Some("alignment 3")),
            (good, 1024, 512, Some("alignment 1024; accepted: a power of two from 1 to 512")),
            (good, 8192, 8192, Some("alignment 8192")),
            (Geometry { size: 0, ..good }, 1, 512, Some("size 0")),
            (Geometry { size: 700, ..good }, 1, 512, Some("size 700")),
            (Geometry { size: u64::MAX, ..good }, 1, 512, Some("size 18446744073709551615")),
            (Geometry { size: SIZE_MAX + 512, ..good }, 1, 512, Some("size 9223372036854775808")),
            (Geometry { physical_block_len: 0, ..good }, 1, 512, Some("physical block length 0")),
            (Geometry { physical_block_len: 768, ..good }, 1, 512, Some("physical block length 768")),
        ] {
            let checked = geometry.check(alignment, block_len);
            assert_eq!(checked.is_err(), wrong.is_some(), "{geometry:?} {alignment}: {checked:?}");
            assert!(wrong.is_none_or(|wrong| checked.unwrap_err().starts_with(wrong)), "{wrong:?}");
        }
    }

    #[test]
    fn a_block_knows_the_operation_it_was_lent_for_and_its_length() {
        let mut block = Block::new(8192);
        block.set_len(512);
        assert!(!block.is_lent_for(IoTag(1 << 40)));
        block.lend(IoTag(1 << 40));
        assert!(block.is_lent_for(IoTag(1 << 40)) && !block.is_lent_for(IoTag(2 << 40)));
        block.set_len(511);
        assert!(!block.is_lent_for(IoTag(1 << 40)));
        assert_eq!(size_of::<Block>(), 40);
    }

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
