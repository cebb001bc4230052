//! UNMAP (SBC-3 5.28).

use super::super::answer::{Answer, good};
use super::super::request::Request;
use super::super::task::{Continuation, DeviceTask, Then};
use super::super::unit::UNMAP_DESCRIPTORS_MAX;
use super::super::{ByteRange, IoDone, Step};
use crate::cdb::Extent;
use crate::page::unmap::UnmapList;
use crate::sense::Sense;

/// The ranges that have not been discarded yet.
#[derive(Debug)]
struct Ranges(std::vec::IntoIter<ByteRange>);

/// Checks all descriptors, then discards their ranges one after the other. The cache is not flushed before GOOD.
pub(super) fn unmap(request: &mut Request<'_>, anchor: bool, parameter_len: u32) -> Answer {
    request.needs_writable()?;
    if anchor {
        return Err(Sense::invalid_field_in_cdb(1, Some(0)).into());
    }
    if parameter_len == 0 {
        return Ok(good());
    }
    let descriptors = UnmapList::parse(request.parameter_list(parameter_len)?)?;
    if descriptors.len() > UNMAP_DESCRIPTORS_MAX as usize {
        let first_too_many = HEADER_LEN + DESCRIPTOR_LEN * UNMAP_DESCRIPTORS_MAX as u16;
        return Err(Sense::invalid_field_in_parameter_list(first_too_many, None).into());
    }
    let mut ranges = Vec::new();
    for descriptor in descriptors.iter() {
        let extent = Extent { lba: descriptor.lba, blocks: descriptor.blocks, ..Extent::default() };
        // An empty range is valid, also directly after the last block.
        if extent.blocks == 0 && extent.lba == request.state.medium().blocks {
            continue;
        }
        let range = request.state.medium().range(extent)?;
        if range.len > 0 {
            ranges.push(range);
        }
    }
    request.task.writes();
    Ok(next(request.task, Box::new(Ranges(ranges.into_iter()))))
}

/// Length of the header of the parameter list, in bytes.
const HEADER_LEN: u16 = 8;
/// Length of a descriptor in bytes.
const DESCRIPTOR_LEN: u16 = 16;

impl Continuation for Ranges {
    fn next(self: Box<Self>, task: &mut DeviceTask, done: IoDone) -> Option<Step> {
        (done == IoDone::Done).then(|| next(task, self))
    }
}

/// Discards the next range, or ends the command.
fn next(task: &mut DeviceTask, mut ranges: Box<Ranges>) -> Step {
    let Some(ByteRange { offset, len }) = ranges.0.next() else {
        return good();
    };
    task.follow_with(Then::Continue(ranges));
    Step::Discard { offset, len }
}
