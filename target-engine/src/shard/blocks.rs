//! The Data-Out that a task has received and its store has not taken yet.

use scsi_core::store::Block;

use crate::buffers::{Account, Pool};
use crate::limits::SEGMENT_LEN_MAX;

/// Data-Out in the order of arrival, without gaps. Nearly all commands have one block.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    first: Option<Block>,
    rest: Vec<Option<Block>>,
    /// Blocks received, those that were taken included.
    count: usize,
    /// Blocks that were taken or passed.
    taken: usize,
}

impl Blocks {
    /// Adds data that was received into a block of its own.
    pub(super) fn push(&mut self, block: Block) {
        match self.count {
            0 => self.first = Some(block),
            _ => self.rest.push(Some(block)),
        }
        self.count += 1;
    }

    /// Copies `data` behind the other data. New blocks, which count for `account`, are made for up to `remaining` bytes,
    /// `data` included.
    pub(super) fn append(
        &mut self,
        mut data: &[u8],
        mut remaining: usize,
        account: Account,
        pool: &mut Pool,
    ) {
        while !data.is_empty() {
            let has_space = self.last_mut().is_some_and(|last| last.len() < last.capacity());
            if !has_space {
                let len = remaining.clamp(data.len().min(SEGMENT_LEN_MAX), SEGMENT_LEN_MAX);
                let mut block = pool.take(len, account);
                block.set_len(0);
                self.push(block);
            }
            let Some(last) = self.last_mut() else { return };
            let at = last.len();
            let count = data.len().min(last.capacity() - at);
            last.set_len(at + count);
            last[at..].copy_from_slice(&data[..count]);
            data = &data[count..];
            remaining = remaining.saturating_sub(count);
        }
    }

    /// Whether the next data may be a block of its own: the data before it ends at a multiple of 4 KiB, as direct I/O
    /// needs it.
    pub(super) fn ends_aligned(&self) -> bool {
        let last = self.rest.last().map_or(self.first.as_ref(), Option::as_ref);
        last.is_none_or(|last| last.len().is_multiple_of(4096))
    }

    /// Whether no data was kept.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The first block.
    #[inline]
    pub(super) fn front(&self) -> &[u8] {
        self.first.as_deref().unwrap_or(&[])
    }

    /// The next block to be taken or passed; `None`: it has not arrived.
    #[inline]
    pub(super) fn next(&self) -> Option<&Block> {
        if self.taken == 0 { self.first.as_ref() } else { self.rest.get(self.taken - 1)?.as_ref() }
    }

    /// Takes the next block out.
    #[inline]
    pub(super) fn take_next(&mut self) -> Option<Block> {
        let index = self.taken;
        self.taken += 1;
        if index == 0 {
            return self.first.take();
        }
        self.rest.get_mut(index - 1)?.take()
    }

    /// Goes on to the block after the next one, and keeps that one.
    pub(super) fn pass_next(&mut self) {
        self.taken += 1;
    }

    /// The longest contiguous piece from byte `at` of all the data, up to `len` bytes.
    pub(super) fn piece(&self, at: u64, len: usize) -> &[u8] {
        let mut at = at;
        for block in self.first.iter().chain(self.rest.iter().flatten()) {
            if at < block.len() as u64 {
                let from = at as usize;
                return &block[from..block.len().min(from.saturating_add(len))];
            }
            at -= block.len() as u64;
        }
        &[]
    }

    /// Gives every block back to the pool.
    #[inline(always)]
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        if !self.is_empty() {
            self.give_all(pool);
        }
    }

    /// Its command has ended, and its blocks were given back.
    #[inline]
    pub(super) fn reset(&mut self) {
        debug_assert!(self.first.is_none(), "blocks are given back to the pool");
        if self.count > 0 {
            *self = Self::default();
        }
    }

    fn give_all(&mut self, pool: &mut Pool) {
        for block in self.first.take().into_iter().chain(self.rest.drain(..).flatten()) {
            pool.give(block);
        }
        (self.taken, self.count) = (0, 0);
    }

    fn last_mut(&mut self) -> Option<&mut Block> {
        match self.rest.last_mut() {
            Some(last) => last.as_mut(),
            None => self.first.as_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appended_data_is_contiguous_and_comes_back_in_order() {
        let mut pool = Pool::default();
        let account = pool.open();
        let mut blocks = Blocks::default();
        let data: Vec<u8> = (0..SEGMENT_LEN_MAX + 5000).map(|n| (n % 251) as u8).collect();
        for chunk in data.chunks(1000) {
            blocks.append(chunk, data.len(), account, &mut pool);
        }
        assert_eq!(blocks.front().len(), SEGMENT_LEN_MAX);
        let mut at = 0;
        while at < data.len() {
            let piece = blocks.piece(at as u64, 777);
            assert_eq!(piece, &data[at..at + piece.len()]);
            assert!(!piece.is_empty());
            at += piece.len();
        }
        assert_eq!(blocks.take_next().unwrap().len(), SEGMENT_LEN_MAX);
        assert_eq!(blocks.take_next().unwrap()[..], data[SEGMENT_LEN_MAX..]);
        assert!(blocks.take_next().is_none());
    }

    #[test]
    fn short_data_gets_a_small_block() {
        let mut pool = Pool::default();
        let account = pool.open();
        let mut blocks = Blocks::default();
        blocks.append(&[1; 24], 24, account, &mut pool);
        assert_eq!(blocks.next().unwrap().capacity(), 4096);
        blocks.clear(&mut pool);
        assert_eq!(pool.used_bytes(), 0);
    }
}
