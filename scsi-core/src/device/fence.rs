//! Fences: ranges of the store that aborted writes may still change, because the store has not completed them. No loop
//! starts a step on a fenced range, so that an aborted write cannot overwrite a later one.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::ByteRange;

/// The fences of a unit, shared by all loops.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// Number of fences. While it is 0, a command reads nothing else here.
    count: AtomicUsize,
    next_id: AtomicU64,
    /// Locked to add or remove a fence, and to check a range while there are fences.
    list: Mutex<Vec<Fence>>,
}

#[derive(Debug)]
struct Fence {
    id: FenceId,
    range: ByteRange,
}

/// Identifies a fence for [`super::unit::Unit::remove_fence`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FenceId(u64);

impl Fences {
    /// Adds a fence for a range.
    pub(super) fn add(&self, range: ByteRange) -> FenceId {
        let id = FenceId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let mut list = self.list.lock();
        list.push(Fence { id, range });
        self.count.store(list.len(), Ordering::Release);
        id
    }

    /// Removes a fence.
    pub(super) fn remove(&self, id: FenceId) {
        let mut list = self.list.lock();
        list.retain(|fence| fence.id != id);
        self.count.store(list.len(), Ordering::Release);
    }

    /// Whether there are fences.
    #[inline]
    pub(super) fn exist(&self) -> bool {
        self.count.load(Ordering::Acquire) > 0
    }

    /// Whether a fence overlaps a range.
    #[cold]
    pub(super) fn overlap(&self, range: ByteRange) -> bool {
        self.list.lock().iter().any(|fence| fence.range.overlaps(range))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fence_overlaps_ranges_until_it_is_removed() {
        let fences = Fences::default();
        assert!(!fences.exist());
        let range = |from, to| ByteRange { offset: from, len: to - from };
        let first = fences.add(range(512, 1024));
        let second = fences.add(range(1000, 2048));
        for (from, to, overlaps) in
            [(0, 512, false), (0, 513, true), (1023, 1024, true), (1500, 1501, true), (2048, 4096, false)]
        {
            assert_eq!(fences.overlap(range(from, to)), overlaps, "{from} to {to}");
        }
        fences.remove(first);
        assert!(fences.exist() && !fences.overlap(range(512, 1000)) && fences.overlap(range(1000, 1001)));
        fences.remove(second);
        assert!(!fences.exist());
    }
}
