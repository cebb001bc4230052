//! The payload buffers of a loop: page-aligned blocks by size class. The block freed last is used first, so that used blocks
//! stay in the cache. Once warm, nothing is allocated.

use scsi_core::store::Block;

use crate::limits::{PAYLOAD_BYTES_MAX, POOL_IDLE_BYTES_MAX, SEGMENT_LEN_MAX};

/// Free blocks of 4 KiB to [`SEGMENT_LEN_MAX`], and how many bytes are in use.
#[derive(Debug, Default)]
pub struct Pool {
    classes: [Vec<Block>; CLASSES],
    idle_bytes: usize,
    used_bytes: usize,
    reserved_bytes: usize,
    /// Bytes in use at stores that hang. They do not count against the budget.
    written_off: usize,
}

const SMALLEST_SHIFT: u32 = 12;
const CLASSES: usize = (SEGMENT_LEN_MAX.ilog2() - SMALLEST_SHIFT + 1) as usize;

impl Pool {
    /// Takes a block with a length of `len` bytes. It holds data of its last use, so every byte must be written before it
    /// is sent.
    ///
    /// # Panics
    /// `len` is above [`SEGMENT_LEN_MAX`].
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

    /// Gives a block back.
    #[inline(always)]
    pub fn give(&mut self, block: Block) {
        self.used_bytes = self.used_bytes.saturating_sub(block.capacity());
        let class = class_of(block.capacity());
        if self.idle_bytes < POOL_IDLE_BYTES_MAX && block.capacity() == 1 << (class as u32 + SMALLEST_SHIFT) {
            self.idle_bytes += block.capacity();
            self.classes[class].push(block);
        }
    }

    /// Stops counting `bytes` of blocks that were taken and will not be given back.
    pub fn lose(&mut self, bytes: usize) {
        self.used_bytes = self.used_bytes.saturating_sub(bytes);
    }

    /// Sets `bytes` of the budget aside for data to be asked for. Returns false if the budget has not enough left; but if
    /// nothing else is set aside, any number is granted.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        let wanted = self.counted_bytes() + self.reserved_bytes + bytes;
        let fits = wanted <= PAYLOAD_BYTES_MAX || self.reserved_bytes == 0;
        if fits {
            self.reserved_bytes += bytes;
        }
        fits
    }

    /// Sets `bytes` aside even beyond the budget.
    pub fn reserve_anyway(&mut self, bytes: usize) {
        self.reserved_bytes += bytes;
    }

    /// Releases bytes that were set aside, because their data has arrived or will not arrive.
    pub fn release(&mut self, bytes: usize) {
        debug_assert!(bytes <= self.reserved_bytes, "released bytes were reserved");
        self.reserved_bytes = self.reserved_bytes.saturating_sub(bytes);
    }

    /// Stops counting bytes at a store that hangs against the budget. Bytes beyond a second budget still count.
    pub fn write_off(&mut self, bytes: usize) {
        self.written_off += bytes;
    }

    /// Reverses `write_off`: the store has answered.
    pub fn count_again(&mut self, bytes: usize) {
        self.written_off = self.written_off.saturating_sub(bytes);
    }

    /// Bytes of taken blocks that count against the budget.
    #[must_use]
    pub fn counted_bytes(&self) -> usize {
        self.used_bytes.saturating_sub(self.written_off.min(PAYLOAD_BYTES_MAX))
    }

    /// Bytes of taken blocks.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that are set aside.
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
    fn the_block_freed_last_is_taken_first() {
        let mut pool = Pool::default();
        let (one, two) = (pool.take(4096), pool.take(3000));
        let at = two.as_ptr();
        assert_eq!((two.len(), two.capacity(), pool.used_bytes()), (3000, 4096, 8192));
        pool.give(one);
        pool.give(two);
        assert_eq!(pool.take(1).as_ptr(), at);
    }

    #[test]
    fn a_block_has_the_capacity_of_its_class() {
        for (len, capacity) in
            [(0, 4096), (1, 4096), (4096, 4096), (4097, 8192), (SEGMENT_LEN_MAX, SEGMENT_LEN_MAX)]
        {
            assert_eq!(Pool::default().take(len).capacity(), capacity, "{len}");
        }
    }

    #[test]
    fn reservations_are_bounded_by_the_budget() {
        let mut pool = Pool::default();
        assert!(pool.reserve(PAYLOAD_BYTES_MAX));
        assert!(!pool.reserve(1));
        pool.release(PAYLOAD_BYTES_MAX);
        assert!(pool.reserve(1));
    }

    #[test]
    fn written_off_bytes_do_not_count_up_to_a_second_budget() {
        let mut pool = Pool::default();
        let blocks: Vec<_> =
            (0..PAYLOAD_BYTES_MAX / SEGMENT_LEN_MAX).map(|_| pool.take(SEGMENT_LEN_MAX)).collect();
        assert!(pool.reserve(0) && pool.reserve(1), "the first reservation is never refused");
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
