//! VERIFY and WRITE AND VERIFY (SBC-3 5.30, 5.36).

use super::super::Step;
use super::super::answer::Answer;
use super::super::request::Request;
use super::super::task::{Against, Check, Then};
use super::range::unless_empty;
use super::read_write;
use crate::cdb::{ByteCheck, Extent};
use crate::sense::Sense;

/// VERIFY. The cache is flushed first, because the medium must be verified (SBC-3 4.15.1).
pub(super) fn verify(request: &mut Request<'_>, extent: Extent, byte_check: ByteCheck) -> Answer {
    request.needs_medium()?;
    let medium = request.state.medium();
    let range = medium.transfer_range(extent, request.command.cdb[0])?;
    let block_len = 1u64 << medium.block_shift;
    let (wanted, against) = match byte_check {
        ByteCheck::MediumOnly => (0, Against::Nothing),
        ByteCheck::Every => (range.len, Against::DataOut),
        ByteCheck::One => (block_len.min(range.len), Against::Pattern(block_len as u32)),
    };
    if request.command.data_out_len < wanted {
        return Err(Sense::invalid_field_in_cdb(1, Some(2)).into());
    }
    request.task.transfers(wanted);
    let this = Check { offset: range.offset, len: range.len, against };
    if !medium.capabilities.volatile_cache || medium.write_protected {
        return Ok(unless_empty(range.len, this.step()));
    }
    request.task.follow_with(Then::Check(this));
    Ok(unless_empty(range.len, Step::Flush))
}

/// WRITE AND VERIFY: writes to the medium, then checks the written blocks.
pub(super) fn write_and_verify(request: &mut Request<'_>, extent: Extent, byte_check: bool) -> Answer {
    let step = read_write::write(request, Extent { fua: true, ..extent })?;
    let Step::Write { offset, len, .. } = step else {
        return Ok(step);
    };
    let against = if byte_check { Against::DataOut } else { Against::Nothing };
    let this = Check { offset, len, against };
    let flushes = request.task.flushes_next();
    request.task.follow_with(if flushes { Then::FlushAndCheck(this) } else { Then::Check(this) });
    Ok(step)
}
