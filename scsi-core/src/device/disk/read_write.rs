//! READ, WRITE and SYNCHRONIZE CACHE (SBC-3 5.8, 5.20, 5.32).

use super::super::Step;
use super::super::answer::{Answer, good};
use super::super::request::Request;
use super::super::task::Then;
use super::range::unless_empty;
use crate::cdb::Extent;

/// READ. FUA needs no action, because the cache of the store is coherent with its medium.
#[inline]
pub(super) fn read(request: &mut Request<'_>, extent: Extent) -> Answer {
    request.needs_medium()?;
    let range = request.state.medium().transfer_range(extent, request.command.cdb[0])?;
    request.task.transfers(range.len);
    Ok(unless_empty(range.len, Step::Read { offset: range.offset, len: range.len }))
}

/// WRITE. Writes the complete blocks that were received, at most those of the CDB. Missing data is reported as a residual,
/// not as an error (RFC 7143 11.4.5.1).
#[inline]
pub(super) fn write(request: &mut Request<'_>, extent: Extent) -> Answer {
    request.needs_writable()?;
    let medium = request.state.medium();
    let range = medium.transfer_range(extent, request.command.cdb[0])?;
    let received = request.command.data_out_len >> medium.block_shift << medium.block_shift;
    let len = range.len.min(received);
    let durable = medium.must_be_durable(extent.fua);
    let fua = durable && medium.capabilities.fua;
    let task = &mut *request.task;
    task.transfers(range.len);
    task.writes();
    if durable && !fua {
        task.follow_with(Then::Flush);
    }
    Ok(unless_empty(len, Step::Write { offset: range.offset, len, fua }))
}

/// SYNCHRONIZE CACHE. Flushes the whole store for any range. A command with IMMED gets its status after the flush, too.
pub(super) fn synchronize_cache(request: &mut Request<'_>, extent: Extent) -> Answer {
    request.needs_medium()?;
    request.state.medium().range(extent)?;
    request.task.writes();
    Ok(if request.state.medium().capabilities.volatile_cache { Step::Flush } else { good() })
}
