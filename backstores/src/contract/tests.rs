//! The suite fails for stores that break the contract.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::Mutex;
use scsi_core::store::*;

use super::{Subject, check};

/// How the store breaks the contract.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    /// It keeps the contract.
    None,
    /// Every operation reaches the store that was attached last.
    IgnoresSlot,
    /// Every submitted operation does.
    IgnoresSlotOfSubmitted,
    /// Inline reads return whole sectors only.
    WholeSectors,
    /// Submitted reads do.
    WholeSectorsSubmitted,
    /// The alignment is 0.
    NoAlignment,
    /// The size is not a multiple of 512.
    OddSize,
    /// The size exceeds the maximum.
    HugeSize,
}

/// A store in memory with a flaw.
#[derive(Clone)]
struct Toy {
    bytes: Arc<Mutex<Vec<u8>>>,
    flaw: Flaw,
}

#[derive(Default)]
struct ToyEngine {
    slots: Vec<Option<Toy>>,
    /// The slot that was attached last.
    last: usize,
    done: Vec<Completion>,
}

const LEN: usize = 1 << 20;

impl Backstore for Toy {
    fn kind(&self) -> &'static str {
        "toy"
    }

    fn geometry(&self) -> Geometry {
        let size = match self.flaw {
            Flaw::OddSize => LEN as u64 + 700,
            Flaw::HugeSize => u64::MAX,
            _ => LEN as u64,
        };
        Geometry { size, physical_block_len: 512 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { fua: true, alignment: u32::from(self.flaw != Flaw::NoAlignment), ..Capabilities::NONE }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, toys) = engines.of_kind(|| Ok(ToyEngine::default()))?;
        let free = toys.slots.iter().position(Option::is_none).unwrap_or(toys.slots.len());
        toys.slots.resize(toys.slots.len().max(free + 1), None);
        toys.slots[free] = Some(self.clone());
        toys.last = free;
        Ok(Port { engine, slot: Slot(free as u32) })
    }
}

impl ToyEngine {
    fn store(&self, slot: Slot, inline: bool) -> (Arc<Mutex<Vec<u8>>>, Flaw) {
        let Toy { bytes, flaw } = self.slots[slot.0 as usize].clone().unwrap();
        let ignores = flaw == Flaw::IgnoresSlot || !inline && flaw == Flaw::IgnoresSlotOfSubmitted;
        (if ignores { self.slots[self.last].clone().unwrap().bytes } else { bytes }, flaw)
    }
}

fn read(bytes: &Mutex<Vec<u8>>, offset: u64, into: &mut [u8], whole_sectors: bool) {
    let len = if whole_sectors { into.len() / 512 * 512 } else { into.len() };
    into[..len].copy_from_slice(&bytes.lock()[offset as usize..][..len]);
}

impl IoEngine for ToyEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let (bytes, flaw) = self.store(slot, true);
        match op {
            InlineOp::Read { offset, into } => read(&bytes, offset, into, flaw == Flaw::WholeSectors),
            InlineOp::Write { offset, from } => {
                bytes.lock()[offset as usize..][..from.len()].copy_from_slice(from);
            }
        }
        Some(Ok(Now::Moved))
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let (bytes, flaw) = self.store(slot, false);
        let (block, result) = match op {
            BlockOp::Read { offset, mut into } => {
                read(&bytes, offset, &mut into, flaw == Flaw::WholeSectorsSubmitted);
                (Some(into), Ok(Completed::Done))
            }
            BlockOp::Write { offset, from, .. } => {
                bytes.lock()[offset as usize..][..from.len()].copy_from_slice(&from);
                (Some(from), Ok(Completed::Done))
            }
            BlockOp::Flush => (None, Ok(Completed::Done)),
            _ => (None, Err(IoError::UNSUPPORTED)),
        };
        self.done.push(Completion { tag, block, result });
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancel(&mut self, _: IoTag) {}

    fn detach(&mut self, slot: Slot) {
        self.slots[slot.0 as usize] = None;
    }
}

fn subject(flaw: Flaw) -> Subject {
    Subject::new(move || Arc::new(Toy { bytes: Arc::new(Mutex::new(vec![0; LEN])), flaw }))
}

#[test]
fn store_without_a_flaw_passes() {
    check(&subject(Flaw::None));
}

#[test]
fn suite_finds_each_flaw() {
    for (flaw, found) in [
        (Flaw::IgnoresSlot, "reached the other store"),
        (Flaw::IgnoresSlotOfSubmitted, "reached the other store"),
        (Flaw::WholeSectors, "bytes at"),
        (Flaw::WholeSectorsSubmitted, "bytes at"),
        (Flaw::NoAlignment, "alignment 0"),
        (Flaw::OddSize, "size 1049276"),
        (Flaw::HugeSize, "size 18446744073709551615"),
    ] {
        let checked = std::panic::catch_unwind(|| check(&subject(flaw)));
        let message = panic_message(checked.expect_err("a flaw is found"));
        assert!(message.contains(found), "{flaw:?}: {message}");
    }
}

#[test]
fn suite_refuses_the_same_store_as_the_other_one() {
    let bytes = Arc::new(Mutex::new(vec![0; LEN]));
    let one = move || -> Arc<dyn Backstore> { Arc::new(Toy { bytes: bytes.clone(), flaw: Flaw::None }) };
    let twice = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| check(&Subject::new(one.clone()))));
    assert!(panic_message(twice.unwrap_err()).contains("Subject::beside"));
    let other = || -> Arc<dyn Backstore> {
        Arc::new(Toy { bytes: Arc::new(Mutex::new(vec![0; LEN])), flaw: Flaw::None })
    };
    check(&Subject::new(one).beside(other));
}
