//! Tags and buffers of submitted operations.

/// Identifies an operation of a loop: index and generation in its table of tasks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct IoTag(pub u64);

/// A page-aligned buffer, which is reused.
#[derive(Debug)]
pub struct Block {
    bytes: Box<[u8]>,
    start: u16,
    /// The account of its pool that it counts for.
    owner: u16,
    /// Length of the block when it was submitted.
    lent_len: u32,
    len: usize,
    /// Tag of the operation that it was submitted with.
    lent_for: u64,
}

/// Alignment of every [`Block`] in bytes, which suffices for direct I/O.
pub const BLOCK_ALIGNMENT: usize = 4096;

impl Block {
    /// A block of `capacity` bytes, all zero and in use.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + BLOCK_ALIGNMENT].into_boxed_slice();
        let start = bytes.as_ptr().align_offset(BLOCK_ALIGNMENT).min(BLOCK_ALIGNMENT) as u16;
        Self { bytes, start, owner: 0, lent_len: 0, len: capacity, lent_for: 0 }
    }

    /// Capacity in bytes.
    #[inline]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.bytes.len() - BLOCK_ALIGNMENT
    }

    /// The length in use, in bytes.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // The slice has `is_empty`.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Sets the length in use, in bytes.
    ///
    /// # Panics
    /// If `len` exceeds the capacity.
    #[inline]
    pub fn set_len(&mut self, len: usize) {
        assert!(len <= self.capacity(), "a block's length is within its capacity");
        self.len = len;
    }

    /// Notes the account of its pool that the block counts for. Layers must not call it.
    #[inline]
    pub fn set_owner(&mut self, owner: u16) {
        self.owner = owner;
    }

    /// The account that was set with [`Block::set_owner`]; 0 for a new block.
    #[inline]
    #[must_use]
    pub fn owner(&self) -> u16 {
        self.owner
    }

    /// Notes the operation that the block is submitted with, for [`Block::is_lent_for`]. Layers must not call it.
    #[inline]
    pub fn lend(&mut self, tag: IoTag) {
        (self.lent_for, self.lent_len) = (tag.0, self.len as u32);
    }

    /// Whether the block was submitted with this operation and still has the same length.
    #[inline]
    #[must_use]
    pub fn is_lent_for(&self, tag: IoTag) -> bool {
        self.lent_for == tag.0 && self.lent_len == self.len as u32
    }
}

impl std::ops::Deref for Block {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[usize::from(self.start)..usize::from(self.start) + self.len]
    }
}

impl std::ops::DerefMut for Block {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[usize::from(self.start)..usize::from(self.start) + self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_is_lent_for_its_operation_and_length() {
        let mut block = Block::new(8192);
        block.set_len(512);
        assert!(!block.is_lent_for(IoTag(1 << 40)));
        block.lend(IoTag(1 << 40));
        assert!(block.is_lent_for(IoTag(1 << 40)) && !block.is_lent_for(IoTag(2 << 40)));
        block.set_len(511);
        assert!(!block.is_lent_for(IoTag(1 << 40)));
        assert_eq!(size_of::<Block>(), 40);
    }

    #[test]
    fn blocks_are_page_aligned() {
        for capacity in [1, 512, 4096, 1 << 20] {
            let mut block = Block::new(capacity);
            assert_eq!(block.as_ptr() as usize % BLOCK_ALIGNMENT, 0);
            block.set_len(capacity / 2);
            assert_eq!(block.len(), capacity / 2);
            assert_eq!(block.capacity(), capacity);
        }
    }
}
