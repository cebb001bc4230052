//! Ranges of the medium: from logical blocks to bytes of the store, and their bounds.

use crate::cdb::Extent;
use crate::device::Step;
use crate::device::answer::{Refusal, good};
use crate::device::unit::{Medium, TRANSFER_LEN_MAX};
use crate::sense::{AdditionalSense, Sense};

/// A stretch of the store in bytes, within it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Range {
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Medium {
    /// The bytes of an extent, if the medium has them. An empty extent may stand right behind the last block.
    #[inline]
    pub(super) fn range(&self, extent: Extent) -> Result<Range, Refusal> {
        match self.blocks.checked_sub(extent.lba) {
            Some(left) if u64::from(extent.blocks) <= left => Ok(Range {
                offset: extent.lba << self.block_shift,
                len: u64::from(extent.blocks) << self.block_shift,
            }),
            _ => Err(out_of_range()),
        }
    }

    /// The same for commands that MAXIMUM TRANSFER LENGTH binds.
    #[inline]
    pub(super) fn transfer_range(&self, extent: Extent, opcode: u8) -> Result<Range, Refusal> {
        let range = self.range(extent)?;
        if range.len > TRANSFER_LEN_MAX {
            return Err(Sense::invalid_field_in_cdb(length_field(opcode), None).into());
        }
        Ok(range)
    }

    /// Whether what a write leaves in the store's cache must be flushed before GOOD.
    #[inline]
    pub(super) fn must_be_durable(&self, fua: bool) -> bool {
        (fua || !self.write_cache) && self.capabilities.volatile_cache
    }
}

#[cold]
pub(super) fn out_of_range() -> Refusal {
    Sense::illegal_request(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE).into()
}

/// The byte of TRANSFER LENGTH, by the CDB's length (SAM-5 5.2: the group code).
fn length_field(opcode: u8) -> u16 {
    match opcode >> 5 {
        0 => 4,
        1 | 2 => 7,
        4 => 10,
        _ => 6,
    }
}

/// A step on the medium, or GOOD at once where there is nothing to do.
#[inline]
pub(super) fn unless_empty(len: u64, step: Step) -> Step {
    if len == 0 { good() } else { step }
}
