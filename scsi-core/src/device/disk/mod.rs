//! Commands of a direct-access block device (SBC-3 5): which one goes where, and the bounds they share.

mod capacity;
pub(super) mod lba_status;
mod medium;
mod read_write;
#[cfg(test)]
mod tests;
pub(super) mod unmap;
mod verify;
mod write_same;

pub(super) use verify::check;

use super::request::{Answer, Refusal, Request, good};
use super::spc;
use super::unit::{Medium, TRANSFER_LEN_MAX};
use super::{Step, TargetView};
use crate::cdb::{Cdb, CdbError, Extent};
use crate::sense::{AdditionalSense, Sense};

/// A stretch of the store in bytes, within it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Range {
    offset: u64,
    len: u64,
}

/// Begins a command.
#[inline]
pub(super) fn start(request: &mut Request<'_>, cdb: Cdb, view: &dyn TargetView) -> Answer {
    match cdb {
        Cdb::Read(extent) => read_write::read(request, extent),
        Cdb::Write(extent) => read_write::write(request, extent),
        Cdb::TestUnitReady => request.needs_medium().map(|()| good()),
        _ => start_rare(request, cdb, view),
    }
}

#[cold]
fn start_rare(request: &mut Request<'_>, cdb: Cdb, view: &dyn TargetView) -> Answer {
    match cdb {
        Cdb::WriteAndVerify { extent, byte_check } => verify::write_and_verify(request, extent, byte_check),
        Cdb::Verify { extent, byte_check } => verify::verify(request, extent, byte_check),
        Cdb::PreFetch { extent, .. } => pre_fetch(request, extent),
        Cdb::SynchronizeCache { extent, .. } => read_write::synchronize_cache(request, extent),
        Cdb::WriteSame { extent, anchor, unmap, no_data_out } => {
            write_same::write_same(request, extent, write_same::Options { anchor, unmap, no_data_out })
        }
        Cdb::Unmap { anchor, parameter_len } => unmap::unmap(request, anchor, parameter_len),
        Cdb::GetLbaStatus { lba, allocation_len } => lba_status::lba_status(request, lba, allocation_len),
        Cdb::ReadCapacity10 => capacity::read_capacity_10(request),
        Cdb::ReadCapacity16 { allocation_len } => capacity::read_capacity_16(request, allocation_len),
        Cdb::StartStopUnit { power_condition, no_flush, load_eject, start, .. } => {
            let options = medium::StartStop { power_condition, no_flush, load_eject, start };
            medium::start_stop(request, options)
        }
        Cdb::PreventAllow(prevent) => {
            request.unit.prevent_removal(request.nexus.id, prevent);
            Ok(good())
        }
        _ => spc::start(request, cdb, view),
    }
}

/// MEDIUM NOT PRESENT.
pub(super) fn medium_not_present() -> Sense {
    Sense::not_ready(AdditionalSense::MEDIUM_NOT_PRESENT)
}

/// PRE-FETCH (SBC-3 5.14) is advice; the store's own read-ahead is better at it.
fn pre_fetch(request: &Request<'_>, extent: Extent) -> Answer {
    request.needs_medium()?;
    request.state.medium.range(extent)?;
    Ok(good())
}

impl Medium {
    /// The bytes of an extent, if the medium has them. An empty extent may stand right behind the last block.
    #[inline]
    fn range(&self, extent: Extent) -> Result<Range, Refusal> {
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
    fn transfer_range(&self, extent: Extent, opcode: u8) -> Result<Range, Refusal> {
        let range = self.range(extent)?;
        if range.len > TRANSFER_LEN_MAX {
            return Err(Sense::invalid_field_in_cdb(length_field(opcode), None).into());
        }
        Ok(range)
    }

    /// Whether what a write leaves in the store's cache must be flushed before GOOD.
    #[inline]
    fn must_be_durable(&self, fua: bool) -> bool {
        (fua || !self.write_cache) && self.capabilities.volatile_cache
    }
}

#[cold]
fn out_of_range() -> Refusal {
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

impl From<CdbError> for Refusal {
    fn from(error: CdbError) -> Self {
        Self::Sense(super::error::cdb_sense(error))
    }
}

/// A step on the medium, or GOOD at once where there is nothing to do.
#[inline]
fn unless_empty(len: u64, step: Step) -> Step {
    if len == 0 { good() } else { step }
}
