//! WRITE SAME (10) and (16) (SBC-3 5.41, 5.42).

use super::super::Step;
use super::super::answer::Answer;
use super::super::request::Request;
use super::super::task::Then;
use super::range::{out_of_range, unless_empty};
use crate::cdb::Extent;
use crate::sense::Sense;

/// Flags of the CDB.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) anchor: bool,
    pub(super) unmap: bool,
    pub(super) no_data_out: bool,
}

/// Bits of the flags in byte 1, for field pointers.
const ANCHOR: u8 = 4;
const UNMAP: u8 = 3;
const NDOB: u8 = 0;

/// Fills a range with one block. Zeroes are written with the zeroing operation of the store, if it has one, which may free
/// the space if UNMAP is set. With UNMAP any block is handled as zeroes, if the store can zero or discard.
pub(super) fn write_same(request: &mut Request<'_>, mut extent: Extent, options: Options) -> Answer {
    let medium = request.state.medium();
    let capabilities = medium.capabilities;
    let refused = |bit| Err(Sense::invalid_field_in_cdb(1, Some(bit)).into());
    if options.unmap && !medium.thin {
        return refused(UNMAP);
    }
    if options.anchor {
        return refused(ANCHOR);
    }
    request.needs_writable()?;
    let blocks = if extent.blocks == 0 { medium.blocks.checked_sub(extent.lba) } else { None };
    if blocks == Some(0) {
        return Err(out_of_range());
    }
    // The range to the end of the medium may exceed the 32 bits of a CDB.
    extent.dpo = false;
    let mut range = medium.range(extent)?;
    if let Some(blocks) = blocks {
        range.len = blocks << medium.block_shift;
    }

    let block_len = 1u64 << medium.block_shift;
    let discards = options.unmap && capabilities.discard_zeroes;
    let can_zero = capabilities.write_zeroes || discards;
    let sent = request.command.data_out_len;
    // With UNMAP some initiators send no data-out, also without NDOB.
    let absent = options.no_data_out || options.unmap && sent == 0;
    let pattern = request.command.data_out.get(..block_len as usize);
    let zeroes = match pattern {
        _ if absent && !can_zero => return refused(NDOB),
        _ if absent => true,
        // Initiators and other targets handle UNMAP as zeroes for any block.
        Some(_) if options.unmap && can_zero && sent == block_len => true,
        Some(pattern) if sent == block_len => pattern.iter().all(|byte| *byte == 0),
        _ => return Err(Sense::invalid_field_in_cdb(0, None).into()),
    };

    let durable = medium.must_be_durable(false);
    let fua = durable && capabilities.fua;
    let (offset, len) = (range.offset, range.len);
    let step = if zeroes && capabilities.write_zeroes {
        Step::WriteZeroes { offset, len, may_unmap: options.unmap }
    } else if zeroes && discards {
        Step::Discard { offset, len }
    } else {
        Step::Fill { offset, len, pattern_len: block_len as u32, fua }
    };
    request.task.writes();
    request.task.transfers(if absent { 0 } else { block_len });
    if durable && !(fua && matches!(step, Step::Fill { .. })) {
        request.task.follow_with(Then::Flush);
    }
    Ok(unless_empty(len, step))
}
