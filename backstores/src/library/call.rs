//! Calls of a library, and what they are for.

use scsi_core::store::BlockOp;

/// One call of a library, with memory of a [`Request`](super::Request). Offsets and lengths are in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Call {
    /// Read.
    Read { offset: u64, into: *mut u8, len: usize },
    /// Write.
    Write { offset: u64, from: *const u8, len: usize },
    /// Flush all completed writes.
    Flush,
    /// Discard.
    Discard { offset: u64, len: u64 },
    /// Write zeroes; the store may free the space.
    Zero { offset: u64, len: u64, may_unmap: bool },
}

/// Whether a call moves data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transfer {
    Read,
    Write,
    None,
}

/// A call that has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    /// Its number of bytes; 0 for a flush.
    pub(crate) len: u64,
    pub(crate) kind: Transfer,
}

/// What a call that failed was for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum During {
    Read,
    /// A write, a discard, or the writing of zeroes.
    Change,
    Flush,
}

impl Call {
    /// Its number of bytes; 0 for a flush.
    pub(super) fn len(&self) -> u64 {
        match *self {
            Self::Read { len, .. } | Self::Write { len, .. } => len as u64,
            Self::Discard { len, .. } | Self::Zero { len, .. } => len,
            Self::Flush => 0,
        }
    }
}

/// Whether an operation changes the store.
pub(crate) fn changes(op: &BlockOp) -> bool {
    matches!(op, BlockOp::Write { .. } | BlockOp::Discard { .. } | BlockOp::WriteZeroes { .. })
}

/// The range of an operation: offset and length in bytes; empty for a flush.
pub(crate) fn range(op: &BlockOp) -> (u64, u64) {
    match op {
        BlockOp::Read { offset, into: block } | BlockOp::Write { offset, from: block, .. } => {
            (*offset, block.len() as u64)
        }
        BlockOp::Discard { offset, len }
        | BlockOp::WriteZeroes { offset, len, .. }
        | BlockOp::Allocation { offset, len } => (*offset, *len),
        BlockOp::Flush => (0, 0),
    }
}
