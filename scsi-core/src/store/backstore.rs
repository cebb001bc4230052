//! A store: its properties, and its attachment to loops.

use std::borrow::Cow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::block::BLOCK_ALIGNMENT;
use super::engine::{EngineIndex, Port};
use super::engines::{Engines, panic_message};
use super::error::IoError;

/// A store of blocks, shared by all loops.
///
/// It owns what is slow to close, as files and connections. It is dropped after every loop has detached it, on a thread
/// that may block, and a deletion is answered only then. What an engine keeps of a store should be a further handle of
/// the same resource (an `Arc`), which is then never the last one.
///
/// The server catches a panic in any of these methods, or when the store is dropped: opening fails, `attach`, `refresh`
/// and `flush` fail, and the other methods answer what they answered before.
pub trait Backstore: Send + Sync {
    /// The name under which the store is registered (`rdwr`, `null` …), for reports.
    fn kind(&self) -> &'static str;

    /// Name of the store in messages, as the path of its file; by default its kind.
    fn name(&self) -> Cow<'_, str> {
        self.kind().into()
    }

    /// Size and block lengths, as last read. A unit needs a [plausible](Geometry::check) geometry.
    fn geometry(&self) -> Geometry;

    /// Capabilities of the store, which determine VPD pages, mode pages and the supported commands.
    fn capabilities(&self) -> Capabilities;

    /// Reads the size again, as a file may have grown.
    ///
    /// # Errors
    /// The size cannot be read, or is 0.
    fn refresh(&self) -> Result<Geometry, IoError>;

    /// Whether acknowledged writes may be lost after a failed flush. The store then refuses writes with [`IoError::LOST`]
    /// until it is opened again.
    fn has_lost_writes(&self) -> bool {
        false
    }

    /// Writes all completed writes to the medium. It may block: it is called on a thread for that, when the unit of the
    /// store goes offline, and before the store is dropped. By default nothing is done, as for a store without a
    /// volatile cache.
    ///
    /// # Errors
    /// Acknowledged writes may be lost.
    fn flush(&self) -> Result<(), IoError> {
        Ok(())
    }

    /// Attaches the store to one loop. Each loop may call it once.
    ///
    /// # Errors
    /// The engine of the store cannot be made, for lack of descriptors or memory.
    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError>;
}

impl Engines {
    /// [`Backstore::attach`]. A panic after the store has called [`Engines::of_kind`] counts as a panic of that engine.
    ///
    /// # Errors
    /// Returns the error of the store; [`IoError::ABANDONED`] if it panics, [`IoError::MISBEHAVED`] if its port has an engine
    /// index that is not of this loop.
    pub fn attach(&mut self, store: &dyn Backstore) -> Result<Port, IoError> {
        self.latest = None;
        match catch_unwind(AssertUnwindSafe(|| store.attach(self))) {
            Ok(Ok(port)) if port.engine.0 >= self.len() => Err(IoError::MISBEHAVED),
            Ok(attached) => attached,
            Err(payload) => {
                let message = panic_message(payload);
                if let Some(EngineIndex(index)) = self.latest {
                    self.fail(index, message);
                }
                Err(IoError::ABANDONED)
            }
        }
    }
}

/// Size and block lengths, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Geometry {
    /// Size of the store, a multiple of 512 up to [`SIZE_MAX`].
    pub size: u64,
    /// Physical block length of a device, a power of two of at least 512; 512 for stores without one, as files.
    pub physical_block_len: u32,
}

impl Geometry {
    /// Checks whether a disk with logical blocks of `block_len` bytes can have this geometry and this alignment of operations
    /// ([`Capabilities::alignment`]).
    ///
    /// # Errors
    /// Returns a text with the wrong value and what is accepted.
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

/// Maximum size of a store in bytes; file offsets are signed.
pub const SIZE_MAX: u64 = (1 << 63) - 512;

/// Capabilities of a store. Operations without their capability are refused before they reach the store.
///
/// A store states what it has and takes the rest from [`Capabilities::NONE`], so that it compiles and means the same when a
/// capability is added:
///
/// ```
/// # use scsi_core::store::Capabilities;
/// let capabilities = Capabilities { fua: true, write_zeroes: true, ..Capabilities::NONE };
/// ```
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Capabilities {
    /// The store refuses writes.
    pub read_only: bool,
    /// Written data may be lost until it is flushed; the unit reports a write cache.
    pub volatile_cache: bool,
    /// `Write { fua: true }` completes when the data is on the medium.
    pub fua: bool,
    /// `Discard` frees space.
    pub discard: bool,
    /// A discarded range reads as zeroes.
    pub discard_zeroes: bool,
    /// `WriteZeroes` is supported.
    pub write_zeroes: bool,
    /// `Allocation` is supported.
    pub allocation: bool,
    /// The store may become shorter while it is open, as a file that another process truncates:
    /// [`IoEngine::check_size`](super::IoEngine::check_size) is called while it is written.
    pub may_shrink: bool,
    /// Offsets and lengths are multiples of this: a power of two up to the block length of the unit and [`BLOCK_ALIGNMENT`],
    /// 1 for buffered files. Buffers are page-aligned. If it is less than 512, lengths may be less than 512, too, because an
    /// initiator may expect or send fewer bytes than its command names.
    pub alignment: u32,
    /// Granularity of a discard in bytes; 0 if unknown.
    pub discard_granularity: u32,
    /// The store may be attached by one loop only, because another loop might not see the writes of this one.
    pub one_loop: bool,
}

impl Capabilities {
    /// A store that is written without a cache, and has no other capability. A capability that is added later has the
    /// value here that means "no".
    pub const NONE: Self = Self {
        read_only: false,
        volatile_cache: false,
        fua: false,
        discard: false,
        discard_zeroes: false,
        write_zeroes: false,
        allocation: false,
        may_shrink: false,
        alignment: 1,
        discard_granularity: 0,
        one_loop: false,
    };

    /// A store that supports every operation, as one in memory, and has no other capability.
    pub const ALL_OPERATIONS: Self = Self {
        fua: true,
        discard: true,
        discard_zeroes: true,
        write_zeroes: true,
        allocation: true,
        ..Self::NONE
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn implausible_geometries_are_refused() {
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
}
