//! The loop's payload buffers: page-aligned blocks by size class, last freed first, so that the ones in use stay
//! in the cache. Made once; after warming up nothing is allocated. It may not know who uses them.

use scsi_core::store::Block;

use crate::limits::{PAYLOAD_BYTES_MAX, POOL_IDLE_BYTES_MAX, SEGMENT_LEN_MAX};

/// Blocks of 4 KiB to [`SEGMENT_LEN_MAX`], and how much of them is out.
#[derive(Debug, Default)]
pub struct Pool {
    classes: [Vec<Block>; CLASSES],
    idle_bytes: usize,
    used_bytes: usize,
    reserved_bytes: usize,
    /// Of those in use, what hangs in stores and is not to stand in others' way.
    written_off: usize,
}

const SMALLEST_SHIFT: u32 = 12;
const CLASSES: usize = (SEGMENT_LEN_MAX.ilog2() - SMALLEST_SHIFT + 1) as usize;

impl Pool {
    /// A block of exactly `len` bytes in use; what is in them is left over from its last user, so that every
    /// byte must be written before it is sent.
    ///
    /// # Panics
    /// `len` is above [`SEGMENT_LEN_MAX`], which is a mistake of the caller.
    #[inline]
    pub fn take(&mut self, len: usize) -> Block {
        let class = class_of(len);
        let mut block = match self.classes[class].pop() {
            Some(block) => {
                self.idle_bytes -= block.capacity();
                block
            }
            None => Block::new(1 << (class as u32 + SMALLEST_SHIFT)),
        };
        self.used_bytes += block.capacity();
        block.set_len(len);
        block
    }

    /// Takes a block back.
    #[inline]
    pub fn give(&mut self, block: Block) {
        self.used_bytes = self.used_bytes.saturating_sub(block.capacity());
        let class = class_of(block.capacity());
        if self.idle_bytes < POOL_IDLE_BYTES_MAX && block.capacity() == 1 << (class as u32 + SMALLEST_SHIFT) {
            self.idle_bytes += block.capacity();
            self.classes[class].push(block);
        }
    }

    /// Forgets `bytes` of blocks that were taken and never come back.
    pub fn lose(&mut self, bytes: usize) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }

    /// Sets `bytes` aside for data that was asked for and is still to come; false when the budget is spent. What is
    /// above the whole budget may come when nothing else is asked for.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        let wanted = self.counted_bytes() + self.reserved_bytes + bytes;
        let fits = wanted <= PAYLOAD_BYTES_MAX || self.reserved_bytes == 0;
        if fits {
            self.reserved_bytes += bytes;
        }
        fits
    }

    /// Sets `bytes` aside over the budget.
    pub fn reserve_anyway(&mut self, bytes: usize) {
        self.reserved_bytes += bytes;
    }

    /// Gives up what `reserve` set aside, because it came or will not come.
    pub fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.reserved_bytes, "what is released was reserved");
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
    }

    /// Takes bytes that are out from the budget: they hang in a store. Those beyond one more budget stay in it.
    pub fn write_off(&mut self, bytes: usize) {
        self.written_off += bytes;
    }

    /// Ends `write_off`: they came back.
    pub fn count_again(&mut self, bytes: usize) {
        self.written_off = self.written_off.saturating_sub(bytes);
    }

    /// Bytes of blocks that are out and count against the budget.
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        self.used_bytes.saturating_sub(self.written_off.min(PAYLOAD_BYTES_MAX))
    }

    /// Bytes of blocks that are out.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that are set aside for data to come.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.reserved_bytes
    }
}

#[inline]
fn class_of(len: usize) -> usize {
    assert!(len <= SEGMENT_LEN_MAX, "a segment is bounded");
    let bits = usize::BITS - (len.max(1) - 1).leading_zeros();
    bits.saturating_sub(SMALLEST_SHIFT) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_freed_block_comes_first() {
        let mut pool = Pool::default();
        let (one, two) = (pool.take(4096), pool.take(3000));
        let at = two.as_ptr();
        assert_eq!((two.len(), two.capacity(), pool.used_bytes()), (3000, 4096, 8192));
        pool.give(one);
        pool.give(two);
        assert_eq!(pool.take(1).as_ptr(), at);
    }

    #[test]
    fn classes_hold_what_they_are_asked_for() {
        for (len, capacity) in
            [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (SEGMENT_LEN_MAX, SEGMENT_LEN_MAX)]
        {
            assert_eq!(Pool::default().take(len).capacity(), capacity, "{len}");
        }
    }

    #[test]
    fn the_budget_is_kept() {
        let mut pool = Pool::default();
        assert!(pool.reserve(PAYLOAD_BYTES_MAX));
        assert!(!pool.reserve(1));
        pool.release(PAYLOAD_BYTES_MAX);
        assert!(pool.reserve(1));
    }

    #[test]
    fn what_hangs_does_not_count_up_to_one_more_budget() {
        let mut pool = Pool::default();
        let blocks: Vec<_> =
            (0..PAYLOAD_BYTES_MAX / SEGMENT_LEN_MAX).map(|_| pool.take(SEGMENT_LEN_MAX)).collect();
        assert!(pool.reserve(0) && pool.reserve(1), "the first is never refused");
        assert!(!pool.reserve(1));
        pool.write_off(SEGMENT_LEN_MAX);
        assert!(pool.reserve(SEGMENT_LEN_MAX - 1) && !pool.reserve(1));
        pool.write_off(2 * PAYLOAD_BYTES_MAX);
        assert_eq!(pool.counted_bytes(), 0);
        pool.count_again(2 * PAYLOAD_BYTES_MAX + SEGMENT_LEN_MAX);
        assert_eq!(pool.counted_bytes(), PAYLOAD_BYTES_MAX);
        blocks.into_iter().for_each(|block| pool.give(block));
    }
}
