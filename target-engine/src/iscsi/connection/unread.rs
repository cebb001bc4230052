//! Received bytes that wait for a later turn.

use scsi_core::store::Block;

use crate::buffers::{Account, Pool};

/// Received bytes that wait for a later turn, in a block of the pool.
#[derive(Debug)]
pub(crate) struct Unread {
    block: Block,
    /// Where they begin in the block.
    start: usize,
}

impl Unread {
    /// Copies bytes, at most [`SEGMENT_LEN_MAX`](crate::limits::SEGMENT_LEN_MAX), to a block.
    pub(super) fn copy(bytes: &[u8], pool: &mut Pool) -> Self {
        let mut block = pool.take(bytes.len(), Account::NONE);
        block.copy_from_slice(bytes);
        Self { block, start: 0 }
    }

    /// The bytes.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.block[self.start..]
    }

    /// The last `len` of the bytes.
    pub(super) fn last(self, len: usize) -> Self {
        let start = self.block.len().saturating_sub(len);
        Self { start, ..self }
    }

    /// Gives the block back to the pool.
    pub(crate) fn give_back(self, pool: &mut Pool) {
        pool.give(self.block);
    }
}
