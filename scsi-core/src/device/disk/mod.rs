//! Dispatches the commands of a direct-access block device (SBC-3 5).

mod capacity;
mod lba_status;
mod range;
mod read_write;
mod start_stop;
#[cfg(test)]
mod tests;
mod unmap;
mod verify;
mod write_same;

use super::answer::{Answer, good};
use super::request::Request;
use super::{TargetView, spc};
use crate::cdb::{Cdb, Extent};

/// Starts a command.
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
            let options = start_stop::StartStop { power_condition, no_flush, load_eject, start };
            start_stop::start_stop(request, options)
        }
        Cdb::PreventAllow(prevent) => {
            request.unit.prevent_removal(request.nexus.id, prevent);
            Ok(good())
        }
        _ => spc::start(request, cdb, view),
    }
}

/// PRE-FETCH (SBC-3 5.14). Only the range is checked: prefetching is optional, and the store has its own read-ahead.
fn pre_fetch(request: &Request<'_>, extent: Extent) -> Answer {
    request.needs_medium()?;
    request.state.medium().range(extent)?;
    Ok(good())
}
