//! Ranges of the medium: converts logical blocks to bytes of the store, and checks their bounds.

use crate::cdb::Extent;
use crate::device::answer::{Refusal, good};
use crate::device::unit::{Medium, TRANSFER_LEN_MAX};
use crate::device::{ByteRange, Step};
use crate::sense::{AdditionalSense, Sense};

impl Medium {
    /// Converts an extent to bytes, and refuses it if it exceeds the medium. An empty extent may start directly after the
    /// last block.
    #[inline]
    pub(super) fn range(&self, extent: Extent) -> Result<ByteRange, Refusal> {
        match self.blocks.checked_sub(extent.lba) {
            Some(left) if u64::from(extent.blocks) <= left => Ok(ByteRange {
                offset: extent.lba << self.block_shift,
                len: u64::from(extent.blocks) << self.block_shift,
            }),
            _ => Err(out_of_range()),
        }
    }

    /// [`Self::range`], for commands that MAXIMUM TRANSFER LENGTH limits.
    #[inline]
    pub(super) fn transfer_range(&self, extent: Extent, opcode: u8) -> Result<ByteRange, Refusal> {
        let range = self.range(extent)?;
        if range.len > TRANSFER_LEN_MAX {
            return Err(Sense::invalid_field_in_cdb(length_field(opcode), None).into());
        }
        Ok(range)
    }

    /// Whether a write must be flushed from the cache of the store before GOOD.
    #[inline]
    pub(super) fn must_be_durable(&self, fua: bool) -> bool {
        (fua || !self.write_cache) && self.capabilities.volatile_cache
    }
}

#[cold]
pub(super) fn out_of_range() -> Refusal {
    Sense::illegal_request(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE).into()
}

/// Offset of TRANSFER LENGTH in a CDB, which its group code determines (SAM-5 5.2).
fn length_field(opcode: u8) -> u16 {
    match opcode >> 5 {
        0 => 4,
        1 | 2 => 7,
        4 => 10,
        _ => 6,
    }
}

/// The step, or GOOD at once if its length is 0.
#[inline]
pub(super) fn unless_empty(len: u64, step: Step) -> Step {
    if len == 0 { good() } else { step }
}
