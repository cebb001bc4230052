//! A volatile write cache over a store, for tests of durability: a write completes before it is on the medium, and
//! [`Volatile::crash`] loses writes that were not flushed, as a power failure does.
//!
//! The layer blocks: it does one operation of the store below at a time, under the lock of the cache.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use scsi_core::store::{
    Backstore, Block, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine,
    IoError, IoTag, Notice, Now, Port, Slot,
};
use slab::Slab;

use super::below::{new_events, watch};
use super::into_block;
use crate::done::DoneQueue;
use crate::waiting::Waiting;

/// A layer with a volatile write cache.
pub struct Volatile {
    below: Arc<dyn Backstore>,
    cache: Arc<Mutex<Cache>>,
}

impl Volatile {
    /// Returns a layer over `below` with an empty cache.
    #[must_use]
    pub fn new(below: Arc<dyn Backstore>) -> Self {
        let unit = u64::from(below.capabilities().alignment.max(512));
        let fua = below.capabilities().fua;
        let cache = Cache { unit, fua, dirty: BTreeMap::new(), settled: BTreeMap::new() };
        Self { below, cache: Arc::new(Mutex::new(cache)) }
    }

    /// Loses all writes that were not flushed, as a power failure does.
    pub fn crash(&self) {
        self.crash_keeping(|_| false);
    }

    /// Loses writes that were not flushed, except sectors at offsets that `kept` accepts: those had reached the medium.
    pub fn crash_keeping(&self, mut kept: impl FnMut(u64) -> bool) {
        let mut cache = self.cache.lock();
        let dirty = std::mem::take(&mut cache.dirty);
        cache.settled.extend(dirty.into_iter().filter(|(offset, _)| kept(*offset)));
    }

    /// Number of bytes that [`Volatile::crash`] would lose.
    #[must_use]
    pub fn at_risk(&self) -> u64 {
        let cache = self.cache.lock();
        cache.dirty.len() as u64 * cache.unit
    }
}

impl Backstore for Volatile {
    fn kind(&self) -> &'static str {
        self.below.kind()
    }

    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        let below = self.below.capabilities();
        Capabilities { volatile_cache: true, fua: true, alignment: below.alignment.max(512), ..below }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        self.below.refresh()
    }

    fn has_lost_writes(&self) -> bool {
        self.below.has_lost_writes()
    }

    fn flush(&self) -> Result<(), IoError> {
        self.cache.lock().write_back(&mut Waiting::new(&*self.below)?)?;
        self.below.flush()
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, layer) = engines.of_kind(VolatileEngine::new)?;
        let below = Waiting::new(&*self.below)?;
        if let Some(fd) = below.event_fd() {
            watch(&layer.events, fd)?;
        }
        let read_only = self.below.capabilities().read_only;
        let slot = layer.slots.insert(Attached { cache: self.cache.clone(), below, read_only });
        Ok(Port { engine, slot: Slot(slot as u32) })
    }
}

impl std::fmt::Debug for Volatile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Volatile").field("at_risk", &self.at_risk()).finish_non_exhaustive()
    }
}

/// Sectors by their offset.
type Sectors = BTreeMap<u64, Box<[u8]>>;

struct Cache {
    /// Length of a sector in bytes.
    unit: u64,
    /// Whether the store below supports writes to the medium.
    fua: bool,
    /// Completed writes that are not flushed.
    dirty: Sectors,
    /// Writes that survived a crash. They count as on the medium, and the next flush writes them to the store below.
    settled: Sectors,
}

/// The engine of one loop for all volatile layers.
struct VolatileEngine {
    slots: Slab<Attached>,
    done: DoneQueue,
    /// An epoll descriptor: readable when the event of an engine below is.
    events: OwnedFd,
}

impl VolatileEngine {
    fn new() -> Result<Self, IoError> {
        Ok(Self { slots: Slab::new(), done: DoneQueue::default(), events: new_events()? })
    }
}

struct Attached {
    cache: Arc<Mutex<Cache>>,
    below: Waiting,
    read_only: bool,
}

impl IoEngine for VolatileEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let attached = self.slots.get(slot.0 as usize)?;
        let mut cache = attached.cache.lock();
        match op {
            InlineOp::Write { .. } if attached.read_only => None,
            InlineOp::Write { offset, from } => {
                cache.write(offset, from);
                (cache.dirty.len() as u64 * cache.unit < AT_RISK_MAX).then_some(Ok(Now::Moved))
            }
            InlineOp::Read { offset, into } => cache.read_all(offset, into).then_some(Ok(Now::Moved)),
        }
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let Some(attached) = self.slots.get_mut(slot.0 as usize) else {
            return self.done.push(tag, into_block(op), Err(IoError::NOT_READY));
        };
        let (block, result) = attached.perform(op);
        self.done.push(tag, block, result);
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.done.drain_into(done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.events.as_fd())
    }

    fn event_ready(&mut self) {
        self.slots.iter_mut().for_each(|(_, attached)| attached.below.engine().event_ready());
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.slots.iter().filter_map(|(_, attached)| attached.below.poll_timeout()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.slots.iter_mut().for_each(|(_, attached)| attached.below.handle_timeout(now));
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        for (slot, attached) in &mut self.slots {
            let mut below = Vec::new();
            attached.below.engine().notices(&mut below);
            into.extend(below.into_iter().map(|(_, notice)| (Slot(slot as u32), notice)));
        }
    }

    fn cancel(&mut self, _tag: IoTag) {}

    fn detach(&mut self, slot: Slot) {
        let _ = self.slots.try_remove(slot.0 as usize);
    }
}

impl Attached {
    fn perform(&mut self, op: BlockOp) -> (Option<Block>, Result<Completed, IoError>) {
        let Self { cache, below, read_only } = self;
        let mut cache = cache.lock();
        match op {
            BlockOp::Read { offset, mut into } => {
                let result = below.read(offset, into.len()).map(|under| {
                    into.copy_from_slice(&under);
                    cache.patch(offset, &mut into);
                    Completed::Done
                });
                (Some(into), result)
            }
            BlockOp::Write { from, .. } if *read_only => (Some(from), Err(IoError::READ_ONLY)),
            BlockOp::Write { offset, from, fua: false } => {
                cache.write(offset, &from);
                let full = cache.dirty.len() as u64 * cache.unit >= AT_RISK_MAX;
                let result = if full { cache.write_back(below) } else { Ok(()) };
                (Some(from), result.map(|()| Completed::Done))
            }
            BlockOp::Write { offset, from, fua: true } => {
                let mut result = below.write(offset, &from, cache.fua);
                if result.is_ok() && !cache.fua {
                    result = below.flush();
                }
                if result.is_ok() {
                    cache.forget(offset, from.len() as u64);
                }
                (Some(from), result.map(|()| Completed::Done))
            }
            BlockOp::Flush => (None, cache.write_back(below).map(|()| Completed::Done)),
            BlockOp::WriteZeroes { offset, len, may_unmap: false } if !*read_only && len <= ZEROES_MAX => {
                cache.write(offset, &vec![0; len as usize]);
                (None, Ok(Completed::Done))
            }
            BlockOp::Discard { offset, len } | BlockOp::WriteZeroes { offset, len, .. } => {
                let result = below.run(op).map(|(_, completed)| completed);
                if result.is_ok() {
                    cache.forget(offset, len);
                }
                (None, result)
            }
            BlockOp::Allocation { offset, len } => (None, cache.allocation(offset, len, below)),
        }
    }
}

impl Cache {
    fn write(&mut self, offset: u64, from: &[u8]) {
        for (at, sector) in (offset..).step_by(self.unit as usize).zip(from.chunks(self.unit as usize)) {
            self.dirty.insert(at, sector.into());
        }
    }

    /// Overwrites the bytes of `into` that are in the cache.
    fn patch(&self, offset: u64, into: &mut [u8]) {
        let range = offset..offset + into.len() as u64;
        for (at, sector) in self.settled.range(range.clone()).chain(self.dirty.range(range)) {
            into[(at - offset) as usize..][..sector.len()].copy_from_slice(sector);
        }
    }

    /// Reads a range if all of it is in the cache; returns whether it is.
    fn read_all(&self, offset: u64, into: &mut [u8]) -> bool {
        let end = offset + into.len() as u64;
        let all = (offset..end).step_by(self.unit as usize).all(|at| self.dirty.contains_key(&at));
        if all {
            self.patch(offset, into);
        }
        all
    }

    /// Removes a range from the cache.
    fn forget(&mut self, offset: u64, len: u64) {
        for sectors in [&mut self.settled, &mut self.dirty] {
            let mut after = sectors.split_off(&offset);
            sectors.append(&mut after.split_off(&(offset + len)));
        }
    }

    /// Writes all sectors to the store below, flushes it, and empties the cache.
    fn write_back(&mut self, below: &mut Waiting) -> Result<(), IoError> {
        for sectors in [&self.settled, &self.dirty] {
            let mut run: Option<(u64, Vec<u8>)> = None;
            for (at, sector) in sectors {
                match &mut run {
                    Some((start, data)) if *start + data.len() as u64 == *at && data.len() < RUN_MAX => {
                        data.extend_from_slice(sector);
                    }
                    _ => {
                        if let Some((start, data)) = run.replace((*at, sector.to_vec())) {
                            below.write(start, &data, false)?;
                        }
                    }
                }
            }
            if let Some((start, data)) = run {
                below.write(start, &data, false)?;
            }
        }
        below.flush()?;
        self.settled.clear();
        self.dirty.clear();
        Ok(())
    }

    /// Combines the answer of the store below with the cache, whose sectors are data.
    fn allocation(&self, offset: u64, len: u64, below: &mut Waiting) -> Result<Completed, IoError> {
        let (_, under) = below.run(BlockOp::Allocation { offset, len })?;
        let Completed::Allocation { len, hole } = under else { return Ok(under) };
        let held = |sectors: &Sectors| sectors.range(offset..offset + len).next().map(|(at, _)| *at);
        Ok(match held(&self.settled).into_iter().chain(held(&self.dirty)).min() {
            Some(at) if hole && at == offset => {
                Completed::Allocation { len: self.unit.min(len), hole: false }
            }
            Some(at) if hole => Completed::Allocation { len: at - offset, hole },
            _ => Completed::Allocation { len, hole },
        })
    }
}

/// Bytes of cached writes from which on the cache writes back without a flush.
const AT_RISK_MAX: u64 = 256 << 20;
/// Maximum number of bytes of a WriteZeroes operation that is cached like a write.
const ZEROES_MAX: u64 = 16 << 20;
/// Approximate maximum number of bytes of one write of adjacent sectors to the store below.
const RUN_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};
    use crate::layer::OpKind;
    use crate::layer::fault::{Fault, Rule};
    use crate::layer::log::{Entry, Journal, Log};
    use crate::memory::Memory;

    fn volatile() -> (Arc<Volatile>, Waiting) {
        let store = Arc::new(Volatile::new(Arc::new(Memory::new(1 << 20))));
        let waiting = Waiting::new(&*store).unwrap();
        (store, waiting)
    }

    #[test]
    fn keeps_the_contract() {
        contract::check(&Subject::new(|| Arc::new(Volatile::new(Arc::new(Memory::new(1 << 20))))));
    }

    #[test]
    fn crash_loses_only_writes_that_were_not_flushed() {
        let (store, mut loop_0) = volatile();
        loop_0.write(0, &[1; 512], false).unwrap();
        loop_0.flush().unwrap();
        loop_0.write(512, &[2; 512], true).unwrap();
        loop_0.write(0, &[3; 512], false).unwrap();
        loop_0.write(1024, &[4; 512], false).unwrap();
        assert_eq!(loop_0.try_now(InlineOp::Write { offset: 1536, from: &[5; 512] }), Some(Ok(Now::Moved)));
        assert_eq!(store.at_risk(), 1536);
        let now = loop_0.read(0, 2048).unwrap();
        assert_eq!([now[0], now[512], now[1024], now[1536]], [3, 2, 4, 5]);
        store.crash();
        let now = loop_0.read(0, 2048).unwrap();
        assert_eq!([now[0], now[512], now[1024], now[1536]], [1, 2, 0, 0]);
    }

    #[test]
    fn flush_of_the_store_covers_writes_of_a_loop() {
        let (store, mut loop_0) = volatile();
        loop_0.write(0, &[1; 512], false).unwrap();
        assert_eq!((store.at_risk(), store.flush(), store.at_risk()), (512, Ok(()), 0));
        store.crash();
        assert_eq!(loop_0.read(0, 512).unwrap()[0], 1);
    }

    #[test]
    fn flush_by_one_loop_covers_writes_of_another() {
        let (store, mut loop_0) = volatile();
        let mut loop_1 = Waiting::new(&*store).unwrap();
        loop_0.write(0, &[1; 512], false).unwrap();
        loop_1.flush().unwrap();
        store.crash();
        assert_eq!(loop_1.read(0, 512).unwrap()[0], 1);
    }

    #[test]
    fn write_to_the_medium_replaces_an_earlier_cached_one() {
        let (store, mut loop_0) = volatile();
        loop_0.write(0, &[1; 1024], false).unwrap();
        loop_0.write(0, &[2; 512], true).unwrap();
        loop_0.flush().unwrap();
        store.crash();
        let now = loop_0.read(0, 1024).unwrap();
        assert_eq!([now[0], now[512]], [2, 1]);
    }

    #[test]
    fn sectors_that_a_crash_keeps_survive_the_next_one() {
        let (store, mut loop_0) = volatile();
        loop_0.write(0, &[1; 1024], false).unwrap();
        store.crash_keeping(|offset| offset == 512);
        store.crash();
        let now = loop_0.read(0, 1024).unwrap();
        assert_eq!([now[0], now[512]], [0, 1]);
    }

    #[test]
    fn crash_loses_zeroes_that_were_not_flushed() {
        let (store, mut loop_0) = volatile();
        loop_0.write(0, &[1; 512], true).unwrap();
        loop_0.run(BlockOp::WriteZeroes { offset: 0, len: 512, may_unmap: false }).unwrap();
        assert_eq!(loop_0.read(0, 512).unwrap()[0], 0);
        store.crash();
        assert_eq!(loop_0.read(0, 512).unwrap()[0], 1);
    }

    #[test]
    fn failed_flush_reports_the_error_and_keeps_the_cache() {
        let fault = Arc::new(Fault::new(Arc::new(Memory::new(1 << 20))));
        let store = Volatile::new(fault.clone());
        let mut loop_0 = Waiting::new(&store).unwrap();
        loop_0.write(0, &[1; 512], false).unwrap();
        fault.arm(Rule::new(OpKind::Flush, IoError::medium(0)).times(1));
        assert_eq!(loop_0.flush(), Err(IoError::medium(0)));
        assert_eq!(store.at_risk(), 512);
        assert_eq!(loop_0.flush(), Ok(()));
        store.crash();
        assert_eq!(loop_0.read(0, 512).unwrap()[0], 1);
    }

    #[test]
    fn flush_reaches_the_store_below_before_it_completes() {
        let journal = Journal::shared();
        let below = Log::new(Arc::new(Memory::new(1 << 20)), journal.clone());
        let mut loop_0 = Waiting::new(&Volatile::new(Arc::new(below))).unwrap();
        loop_0.write(0, &[1; 1024], false).unwrap();
        assert_eq!(journal.entries(), [], "a cached write stays in the cache");
        loop_0.flush().unwrap();
        let ended: Vec<_> = journal
            .entries()
            .into_iter()
            .filter_map(|entry| match entry {
                Entry::Completed { what, .. } => Some((what.kind, what.len)),
                _ => None,
            })
            .collect();
        assert_eq!(ended, [(OpKind::Write, 1024), (OpKind::Flush, 0)]);
    }
}
