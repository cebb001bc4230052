//! Parts of the store that aborted writes may still change: the store has not given them back. All loops keep off
//! them, so that an aborted write is never carried out behind anybody's back.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

/// A unit's fences, seen by all its loops.
#[derive(Debug, Default)]
pub(super) struct Fences {
    /// How many stand: all that a command looks at while there are none.
    standing: AtomicUsize,
    next_id: AtomicU64,
    /// Taken to put one up or down, and to look while there are some.
    list: Mutex<Vec<Fence>>,
}

#[derive(Debug)]
struct Fence {
    id: FenceId,
    from: u64,
    to: u64,
}

/// Names a fence to [`super::unit::Unit::lift`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FenceId(u64);

impl Fences {
    /// From byte `from` to before byte `to`.
    pub(super) fn put_up(&self, from: u64, to: u64) -> FenceId {
        let id = FenceId(self.next_id.fetch_add(1, Ordering::Relaxed));
        let mut list = self.list.lock();
        list.push(Fence { id, from, to });
        self.standing.store(list.len(), Ordering::Release);
        id
    }

    pub(super) fn lift(&self, id: FenceId) {
        let mut list = self.list.lock();
        list.retain(|fence| fence.id != id);
        self.standing.store(list.len(), Ordering::Release);
    }

    #[inline]
    pub(super) fn stand(&self) -> bool {
        self.standing.load(Ordering::Acquire) > 0
    }

    #[cold]
    pub(super) fn cross(&self, from: u64, to: u64) -> bool {
        self.list.lock().iter().any(|fence| fence.from < to && from < fence.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_keeps_off_what_overlaps_it_until_it_is_lifted() {
        let fences = Fences::default();
        assert!(!fences.stand());
        let first = fences.put_up(512, 1024);
        let second = fences.put_up(1000, 2048);
        for (from, to, crosses) in
            [(0, 512, false), (0, 513, true), (1023, 1024, true), (1500, 1501, true), (2048, 4096, false)]
        {
            assert_eq!(fences.cross(from, to), crosses, "{from} to {to}");
        }
        fences.lift(first);
        assert!(fences.stand() && !fences.cross(512, 1000) && fences.cross(1000, 1001));
        fences.lift(second);
        assert!(!fences.stand());
    }
}
