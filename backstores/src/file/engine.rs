//! One loop's way to all files: at once from the page cache where that needs no waiting, else to the workers.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use rustix::io::Errno;
use scsi_core::store::{Block, BlockOp, Completion, InlineOp, IoEngine, IoError, IoTag, Now, Slot};
use slab::Slab;

use super::geometry::Medium;
use super::outbox::{FileJob, Outbox, Returned};
use super::{OpenFile, blocking};
use crate::workers::JobId;

/// One loop's way to all its files.
pub struct FileEngine {
    slots: Slab<SlotEntry>,
    ops: Slab<Op>,
    outbox: Arc<Outbox>,
    /// Finished without the kernel.
    done: Vec<Completion>,
    /// Reused by every reap.
    returned: Vec<Returned>,
}

struct SlotEntry {
    file: Arc<OpenFile>,
    read_inline: Inline,
    write_inline: Inline,
    /// Submitted and not yet reaped; the file stays while there are some.
    ops: usize,
    detached: bool,
}

/// Whether an operation may be tried on the loop itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Inline {
    /// Never: it would wait for a device.
    Never,
    /// With RWF_NOWAIT: the page cache serves it, or nobody.
    Cached,
    /// Plainly: the file system is memory.
    Plain,
}

struct Op {
    tag: IoTag,
    slot: usize,
    job: JobId,
}

impl FileEngine {
    /// An engine for one loop.
    ///
    /// # Errors
    /// No descriptor is left for its event.
    pub fn new() -> Result<Self, IoError> {
        let outbox = Outbox::new().map_err(|errno| {
            log::error!("no event descriptor for file I/O: {errno}");
            IoError::NotReady
        })?;
        Ok(Self {
            slots: Slab::new(),
            ops: Slab::new(),
            outbox: Arc::new(outbox),
            done: Vec::new(),
            returned: Vec::new(),
        })
    }

    pub(crate) fn attach(&mut self, file: Arc<OpenFile>) -> Slot {
        let read_inline = match file.medium {
            Medium::MemoryFile => Inline::Plain,
            Medium::File | Medium::Device if file.mode.direct => Inline::Never,
            Medium::File | Medium::Device => Inline::Cached,
        };
        let never_writes = file.mode.read_only || (file.mode.sync && read_inline != Inline::Plain);
        let write_inline = if never_writes { Inline::Never } else { read_inline };
        let entry = SlotEntry { file, read_inline, write_inline, ops: 0, detached: false };
        Slot(self.slots.insert(entry) as u32)
    }

    fn finish_op(&mut self, key: usize) -> IoTag {
        let op = self.ops.remove(key);
        let entry = &mut self.slots[op.slot];
        entry.ops -= 1;
        if entry.detached && entry.ops == 0 {
            self.slots.remove(op.slot);
        }
        op.tag
    }
}

impl IoEngine for FileEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let entry = self.slots.get_mut(slot.0 as usize)?;
        match op {
            InlineOp::Read { offset, into } => entry.read_now(offset, into),
            InlineOp::Write { offset, from } => entry.write_now(offset, from),
        }
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let refusal = match self.slots.get(slot.0 as usize) {
            Some(entry) => entry.file.refusal(&op),
            None => Some(IoError::NotReady),
        };
        if let Some(error) = refusal {
            self.done.push(Completion { tag, block: into_block(op), result: Err(error) });
            return;
        }
        let entry = &mut self.slots[slot.0 as usize];
        entry.ops += 1;
        let place = self.ops.vacant_entry();
        let job =
            FileJob { key: place.key(), file: entry.file.clone(), outbox: self.outbox.clone(), op: Some(op) };
        let job = entry.file.workers.push(Box::new(job));
        place.insert(Op { tag, slot: slot.0 as usize, job });
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
        let mut returned = std::mem::take(&mut self.returned);
        self.outbox.take(&mut returned);
        for Returned { key, op, result } in returned.drain(..) {
            let tag = self.finish_op(key);
            done.push(Completion { tag, block: into_block(op), result });
        }
        self.returned = returned;
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.outbox.event_fd())
    }

    fn cancel(&mut self, tag: IoTag) {
        if let Some((_, op)) = self.ops.iter().find(|(_, op)| op.tag == tag) {
            self.slots[op.slot].file.workers.cancel(op.job);
        }
    }

    fn detach(&mut self, slot: Slot) {
        let Some(entry) = self.slots.get_mut(slot.0 as usize) else { return };
        entry.detached = true;
        if entry.ops == 0 {
            self.slots.remove(slot.0 as usize);
        }
    }
}

impl std::fmt::Debug for FileEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileEngine").field("files", &self.slots.len()).finish_non_exhaustive()
    }
}

impl SlotEntry {
    fn read_now(&mut self, offset: u64, into: &mut [u8]) -> Option<Result<Now, IoError>> {
        match self.read_inline {
            Inline::Never => None,
            Inline::Plain => Some(blocking::read(&self.file, offset, into).map(|()| Now::Moved)),
            Inline::Cached => match blocking::read_cached(&self.file, offset, into) {
                Ok(n) if n == into.len() => Some(Ok(Now::Moved)),
                Err(Errno::OPNOTSUPP) => {
                    self.read_inline = Inline::Never;
                    None
                }
                Ok(_) | Err(_) => None,
            },
        }
    }

    fn write_now(&mut self, offset: u64, from: &[u8]) -> Option<Result<Now, IoError>> {
        match self.write_inline {
            Inline::Never => None,
            Inline::Plain => Some(blocking::write(&self.file, offset, from, false).map(|()| Now::Moved)),
            Inline::Cached => match blocking::write_cached(&self.file, offset, from) {
                Ok(n) if n == from.len() => Some(Ok(Now::Moved)),
                Err(Errno::OPNOTSUPP) => {
                    self.write_inline = Inline::Never;
                    None
                }
                Ok(_) | Err(_) => None,
            },
        }
    }
}

fn into_block(op: BlockOp) -> Option<Block> {
    match op {
        BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
        BlockOp::Flush
        | BlockOp::Discard { .. }
        | BlockOp::WriteZeroes { .. }
        | BlockOp::Allocation { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{OpenOptions, Registry};
    use scsi_core::store::{Completed, Engines};

    #[test]
    fn a_file_is_written_and_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let options = OpenOptions { size: Some(1 << 20), ..OpenOptions::for_path(&path) };
        let store = Registry::builtin().open("rdwr", &options).unwrap();
        assert_eq!(store.geometry().size, 1 << 20);
        let mut engines = Engines::default();
        let port = store.attach(&mut engines).unwrap();
        let engine = engines.engine(port.engine);
        let mut block = Block::new(8192);
        block.fill(0x5a);
        engine.submit(port.slot, IoTag(1), BlockOp::Write { offset: 4096, from: block, fua: true });
        engine.kick();
        let mut done = Vec::new();
        while done.is_empty() {
            engine.reap(&mut done);
        }
        assert_eq!(done[0].result, Ok(Completed::Done));
        assert_eq!(std::fs::read(&path).unwrap()[4096..12288], [0x5a; 8192]);
    }
}
