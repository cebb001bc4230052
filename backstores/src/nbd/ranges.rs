//! The parts of a read that were received.

/// Ranges of bytes that do not overlap. Most replies have one, or several in ascending order, which need no memory.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    /// The bytes from 0 to here.
    front: u64,
    /// Ranges behind `front`, ascending, as start and end.
    others: Vec<(u64, u64)>,
}

/// Maximum number of ranges that are not adjacent; servers send a read in order, or a few parts of it at a time.
const PARTS_MAX: usize = 1024;

impl Ranges {
    /// Adds a range; `false` if it overlaps another one, or the ranges are in too many parts. The sum of the arguments
    /// does not overflow.
    pub(super) fn insert(&mut self, start: u64, len: u64) -> bool {
        let end = start + len;
        let at = self.others.partition_point(|(known, _)| *known < start);
        let before = if at == 0 { self.front } else { self.others[at - 1].1 };
        let behind = self.others.get(at).map_or(u64::MAX, |(known, _)| *known);
        if start < before || end > behind {
            return false;
        }
        if start > self.front {
            if self.others.len() == PARTS_MAX {
                return false;
            }
            self.others.insert(at, (start, end));
            return true;
        }
        self.front = end;
        while let Some((known, end)) = self.others.first().copied()
            && known == self.front
        {
            self.front = end;
            self.others.remove(0);
        }
        true
    }

    /// Whether the bytes from 0 to `len` are received.
    pub(super) fn covers(&self, len: u64) -> bool {
        self.front >= len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front == 0 && self.others.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_in_any_order_cover_the_whole() {
        let mut ranges = Ranges::default();
        for (start, len) in [(10, 5), (0, 5), (20, 5), (5, 5)] {
            assert!(ranges.insert(start, len) && !ranges.covers(25), "{start}");
        }
        assert!(ranges.insert(15, 5) && ranges.covers(25) && !ranges.covers(26));
        assert!(ranges.others.is_empty());
    }

    #[test]
    fn overlapping_range_is_refused() {
        let mut ranges = Ranges::default();
        assert!(ranges.insert(0, 4) && ranges.insert(8, 4));
        for (start, len) in [(0, 1), (3, 1), (3, 2), (7, 2), (8, 4), (9, 1), (11, 9), (0, 12), (6, 9)] {
            assert!(!ranges.insert(start, len), "{start}, {len}");
        }
        assert!(ranges.insert(4, 4) && ranges.covers(12));
    }
}
