//! `memory`: blocks in memory of the process, sparse, lost when the process ends.
//!
//! A store consists of regions with one lock each, and a region of chunks, which are allocated when first written. The
//! store is for tests and scratch data; `rdwr` on a tmpfs does the same and other processes can see the file.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use parking_lot::RwLock;
use scsi_core::store::{
    Backstore, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine, IoError,
    IoTag, Now, Port, Slot,
};
use slab::Slab;

use crate::done::DoneQueue;
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};

/// The kind `memory`.
#[must_use]
pub fn kind() -> Kind {
    Kind {
        name: NAME,
        summary: "memory of the daemon: fast, sparse, lost when the daemon ends",
        sync: false,
        direct: false,
        path: PathUse::Unused,
        options: &["size"],
        open: Arc::new(open),
    }
}

/// The name of the kind.
pub const NAME: &str = "memory";

/// A store in memory.
#[derive(Debug)]
pub struct Memory {
    medium: Arc<Medium>,
}

/// The engine of one loop for all memory stores.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    slots: Slab<Arc<Medium>>,
    done: DoneQueue,
}

impl Memory {
    /// Returns a store of `size` bytes that reads as zeroes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        let regions = size.div_ceil(REGION_LEN as u64);
        let regions = (0..regions).map(|_| RwLock::default()).collect();
        Self { medium: Arc::new(Medium { size, regions }) }
    }
}

impl Backstore for Memory {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: self.medium.size, physical_block_len: 512 }
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { discard_granularity: CHUNK_LEN as u32, ..Capabilities::ALL_OPERATIONS }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, memory) = engines.of_kind(|| Ok(MemoryEngine::default()))?;
        let slot = memory.slots.insert(self.medium.clone());
        Ok(Port { engine, slot: Slot(slot as u32) })
    }
}

impl IoEngine for MemoryEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let medium = self.slots.get(slot.0 as usize)?;
        Some(
            match op {
                InlineOp::Read { offset, into } => medium.read(offset, into),
                InlineOp::Write { offset, from } => medium.write(offset, from),
            }
            .map(|()| Now::Moved),
        )
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let Some(medium) = self.slots.get(slot.0 as usize) else {
            let block = match op {
                BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
                _ => None,
            };
            return self.done.push(tag, block, Err(IoError::NOT_READY));
        };
        let (block, result) = match op {
            BlockOp::Read { offset, mut into } => {
                let result = medium.read(offset, &mut into);
                (Some(into), result.map(|()| Completed::Done))
            }
            BlockOp::Write { offset, from, .. } => {
                let result = medium.write(offset, &from);
                (Some(from), result.map(|()| Completed::Done))
            }
            BlockOp::Flush => (None, Ok(Completed::Done)),
            BlockOp::Discard { offset, len } => (None, medium.zero(offset, len, true)),
            BlockOp::WriteZeroes { offset, len, may_unmap } => (None, medium.zero(offset, len, may_unmap)),
            BlockOp::Allocation { offset, len } => (None, medium.allocation(offset, len)),
        };
        self.done.push(tag, block, result);
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.done.drain_into(done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancel(&mut self, _tag: IoTag) {}

    fn detach(&mut self, slot: Slot) {
        let _ = self.slots.try_remove(slot.0 as usize);
    }
}

#[derive(Debug)]
struct Medium {
    size: u64,
    regions: Box<[RwLock<Region>]>,
}

/// The chunks of a region; empty until the region is first written.
type Region = Vec<Option<Box<[u8]>>>;

/// The part of a range that lies in one chunk.
struct Piece {
    region: usize,
    chunk: usize,
    /// Offset in the chunk, in bytes.
    start: usize,
    /// Offset in the range, in bytes.
    done: u64,
    len: usize,
}

impl Medium {
    fn read(&self, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
        for piece in self.pieces(offset, into.len() as u64)? {
            let to = &mut into[piece.done as usize..][..piece.len];
            let region = self.regions[piece.region].read();
            match region.get(piece.chunk) {
                Some(Some(chunk)) => to.copy_from_slice(&chunk[piece.start..][..piece.len]),
                _ => to.fill(0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, from: &[u8]) -> Result<(), IoError> {
        for piece in self.pieces(offset, from.len() as u64)? {
            let mut region = self.regions[piece.region].write();
            let chunk = chunk_mut(&mut region, piece.chunk);
            chunk[piece.start..][..piece.len].copy_from_slice(&from[piece.done as usize..][..piece.len]);
        }
        Ok(())
    }

    fn zero(&self, offset: u64, len: u64, may_unmap: bool) -> Result<Completed, IoError> {
        for piece in self.pieces(offset, len)? {
            let mut region = self.regions[piece.region].write();
            if may_unmap && piece.len == CHUNK_LEN {
                if let Some(chunk) = region.get_mut(piece.chunk) {
                    *chunk = None;
                }
            } else if may_unmap {
                if let Some(Some(chunk)) = region.get_mut(piece.chunk) {
                    chunk[piece.start..][..piece.len].fill(0);
                }
            } else {
                chunk_mut(&mut region, piece.chunk)[piece.start..][..piece.len].fill(0);
            }
        }
        Ok(Completed::Done)
    }

    fn allocation(&self, offset: u64, len: u64) -> Result<Completed, IoError> {
        let mut first = None;
        let mut same = 0;
        for piece in self.pieces(offset, len)? {
            let hole = !matches!(self.regions[piece.region].read().get(piece.chunk), Some(Some(_)));
            if *first.get_or_insert(hole) != hole {
                break;
            }
            same += piece.len as u64;
        }
        Ok(Completed::Allocation { len: same, hole: first.unwrap_or(true) })
    }

    /// Splits a range at the boundaries of chunks.
    ///
    /// # Errors
    /// The range exceeds the store.
    fn pieces(&self, offset: u64, len: u64) -> Result<impl Iterator<Item = Piece> + use<>, IoError> {
        if offset.checked_add(len).is_none_or(|end| end > self.size) {
            return Err(IoError::OUT_OF_RANGE);
        }
        let mut done = 0;
        Ok(std::iter::from_fn(move || {
            if done == len {
                return None;
            }
            let at = offset + done;
            let start = (at % CHUNK_LEN as u64) as usize;
            let piece = Piece {
                region: (at / REGION_LEN as u64) as usize,
                chunk: (at % REGION_LEN as u64) as usize / CHUNK_LEN,
                start,
                done,
                len: ((CHUNK_LEN - start) as u64).min(len - done) as usize,
            };
            done += piece.len as u64;
            Some(piece)
        }))
    }
}

/// Returns a chunk, allocated if it is not yet.
fn chunk_mut(region: &mut Region, chunk: usize) -> &mut [u8] {
    if region.is_empty() {
        region.resize_with(REGION_LEN / CHUNK_LEN, || None);
    }
    region[chunk].get_or_insert_with(|| vec![0; CHUNK_LEN].into_boxed_slice())
}

fn open(options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let size = options.size_option()?.or(options.size).ok_or(OpenError::OptionMissing {
        kind: NAME,
        key: "size",
        example: "size=64M",
    })?;
    Ok(Arc::new(Memory::new(size)))
}

/// Bytes of a chunk.
const CHUNK_LEN: usize = 64 << 10;
/// Bytes of a region.
const REGION_LEN: usize = 64 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};

    #[test]
    fn keeps_the_contract() {
        contract::check(&Subject::new(|| Arc::new(Memory::new(3 << 20))));
    }

    #[test]
    fn range_across_chunks_and_regions_reads_back() {
        let medium = Memory::new(3 * REGION_LEN as u64).medium;
        let data: Vec<u8> = (0..200_000u32).map(|i| (i * 7) as u8).collect();
        let offset = REGION_LEN as u64 - 100_001;
        medium.write(offset, &data).unwrap();
        let mut back = vec![0xee; data.len() + 2];
        medium.read(offset - 1, &mut back).unwrap();
        assert_eq!((back[0], back[back.len() - 1]), (0, 0));
        assert_eq!(&back[1..=data.len()], &data[..]);
    }

    #[test]
    fn discard_frees_whole_chunks_and_zeroes_parts_of_others() {
        let chunk = CHUNK_LEN as u64;
        let medium = Memory::new(8 * chunk).medium;
        medium.write(0, &[1; 4 * CHUNK_LEN]).unwrap();
        medium.zero(chunk - 512, 2 * chunk, true).unwrap();
        let hole_at = |offset| medium.allocation(offset, 8 * chunk - offset).unwrap();
        assert_eq!(hole_at(0), Completed::Allocation { len: chunk, hole: false });
        assert_eq!(hole_at(chunk), Completed::Allocation { len: chunk, hole: true });
        let mut around = [9; 1024];
        medium.read(chunk - 1024, &mut around).unwrap();
        assert!(around[..512].iter().all(|byte| *byte == 1) && around[512..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn write_zeroes_without_unmap_allocates_chunks() {
        let medium = Memory::new(2 * CHUNK_LEN as u64).medium;
        medium.zero(0, CHUNK_LEN as u64, false).unwrap();
        assert_eq!(
            medium.allocation(0, 2 * CHUNK_LEN as u64).unwrap(),
            Completed::Allocation { len: CHUNK_LEN as u64, hole: false }
        );
    }

    #[test]
    fn range_beyond_the_end_is_refused() {
        let medium = Memory::new(4096).medium;
        assert_eq!(medium.read(4096 - 1, &mut [0; 2]), Err(IoError::OUT_OF_RANGE));
        assert_eq!(medium.write(u64::MAX, &[0; 2]), Err(IoError::OUT_OF_RANGE));
        assert_eq!(medium.zero(0, u64::MAX, true), Err(IoError::OUT_OF_RANGE));
    }
}
