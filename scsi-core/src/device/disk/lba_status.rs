//! GET LBA STATUS (SBC-3 5.4): queries the allocation of the store, one range after the other.

use super::super::answer::{Answer, data_in};
use super::super::request::Request;
use super::super::task::{Continuation, DeviceTask, Then};
use super::super::{IoDone, Step};
use super::range::out_of_range;
use crate::page::lba_status::{self as page, Provisioning};

/// The descriptors found so far. Positions are in blocks.
#[derive(Debug)]
struct LbaStatus {
    next: u64,
    end: u64,
    block_shift: u32,
    allocation_len: u32,
    /// Number of descriptors that fit the allocation length, at least 1.
    wanted: usize,
    /// Number of further queries that are permitted.
    queries_left: u32,
    found: Vec<page::LbaStatus>,
}

/// Maximum number of queries of one command. The initiator continues with another command after the last descriptor.
///
/// Hit by: initiator. Scope: command. Over it: the answer ends with the last descriptor found. Seen: nowhere.
const QUERIES_MAX: u32 = 64;
const HEADER_LEN: usize = 8;
const DESCRIPTOR_LEN: usize = 16;

/// Starts the command. Without thin provisioning, or if the store does not report allocation, all blocks are mapped.
pub(super) fn lba_status(request: &mut Request<'_>, lba: u64, allocation_len: u32) -> Answer {
    request.needs_medium()?;
    let medium = request.state.medium();
    if lba >= medium.blocks {
        return Err(out_of_range());
    }
    let wanted = (allocation_len as usize).saturating_sub(HEADER_LEN) / DESCRIPTOR_LEN;
    let mut list = LbaStatus {
        next: lba,
        end: medium.blocks,
        block_shift: medium.block_shift,
        allocation_len,
        wanted: wanted.max(1),
        queries_left: QUERIES_MAX,
        found: Vec::new(),
    };
    if medium.thin && medium.capabilities.allocation {
        return Ok(query(request.task, Box::new(list)));
    }
    list.add(list.end - lba, Provisioning::Mapped);
    Ok(list.answer())
}

impl Continuation for LbaStatus {
    fn next(self: Box<Self>, task: &mut DeviceTask, done: IoDone) -> Option<Step> {
        match done {
            IoDone::Allocation { len, hole } => Some(next(task, self, len, hole)),
            IoDone::Done | IoDone::Miscompare { .. } => None,
        }
    }
}

/// Adds the answer of the store, then queries the next range or ends the command.
fn next(task: &mut DeviceTask, mut list: Box<LbaStatus>, len: u64, hole: bool) -> Step {
    let left = list.end - list.next;
    // A block that is a hole only in part counts as mapped.
    let (blocks, status) = match (len >> list.block_shift, hole) {
        (0, _) => (1, Provisioning::Mapped),
        (blocks, true) => (blocks, Provisioning::Deallocated),
        (blocks, false) => (blocks, Provisioning::Mapped),
    };
    let more = list.add(blocks.min(left), status);
    if more && list.next < list.end && list.queries_left > 0 { query(task, list) } else { list.answer() }
}

fn query(task: &mut DeviceTask, mut list: Box<LbaStatus>) -> Step {
    list.queries_left -= 1;
    let (offset, len) = (list.next << list.block_shift, (list.end - list.next) << list.block_shift);
    task.follow_with(Then::Continue(list));
    Step::Allocation { offset, len }
}

impl LbaStatus {
    /// Adds blocks to the last descriptor or a new one. Returns false if the list is full.
    fn add(&mut self, mut blocks: u64, status: Provisioning) -> bool {
        while blocks > 0 {
            let full = self.found.len() == self.wanted;
            let taken = match self.found.last_mut() {
                Some(last) if last.status == status && last.blocks < u32::MAX => {
                    let taken = blocks.min(u64::from(u32::MAX - last.blocks));
                    last.blocks += taken as u32;
                    taken
                }
                _ if full => return false,
                _ => {
                    let taken = blocks.min(u32::MAX.into());
                    self.found.push(page::LbaStatus { lba: self.next, blocks: taken as u32, status });
                    taken
                }
            };
            self.next += taken;
            blocks -= taken;
        }
        true
    }

    fn answer(&self) -> Step {
        data_in(page::encode(&self.found), self.allocation_len)
    }
}
