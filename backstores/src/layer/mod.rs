//! Layers: stores over stores, for tests of everything above. Each is a backstore below and above.
//!
//! | layer | what it does |
//! | --- | --- |
//! | [`fault`] | fails chosen operations |
//! | [`delay`] | makes operations slow, or lets them hang |
//! | [`log`] | keeps a journal of what happened, in order |
//! | [`volatile`] | a write cache: loses at [`volatile::Volatile::crash`] what was not flushed |
//!
//! They may be stacked. Two or three are enough for everybody: each nests one more descriptor in the loop's poll, and
//! the kernel allows few.

pub mod delay;
pub mod fault;
pub mod log;
pub mod volatile;

mod below;
mod hook;

use scsi_core::store::{Block, BlockOp, InlineOp};

/// What an operation is, without its payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct What {
    /// Its kind.
    pub kind: OpKind,
    /// First byte; 0 for a flush.
    pub offset: u64,
    /// Bytes; 0 for a flush.
    pub len: u64,
    /// A write to the medium.
    pub fua: bool,
}

/// Kinds of operations.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OpKind {
    /// Read, at once or submitted.
    Read,
    /// Write, at once or submitted.
    Write,
    /// Flush.
    Flush,
    /// Discard.
    Discard,
    /// Write zeroes.
    WriteZeroes,
    /// Allocation.
    Allocation,
}

impl What {
    /// Of an operation that owns its payload.
    #[must_use]
    pub fn of(op: &BlockOp) -> Self {
        let (kind, offset, len, fua) = match op {
            BlockOp::Read { offset, into } => (OpKind::Read, *offset, into.len() as u64, false),
            BlockOp::Write { offset, from, fua } => (OpKind::Write, *offset, from.len() as u64, *fua),
            BlockOp::Flush => (OpKind::Flush, 0, 0, false),
            BlockOp::Discard { offset, len } => (OpKind::Discard, *offset, *len, false),
            BlockOp::WriteZeroes { offset, len, .. } => (OpKind::WriteZeroes, *offset, *len, false),
            BlockOp::Allocation { offset, len } => (OpKind::Allocation, *offset, *len, false),
        };
        Self { kind, offset, len, fua }
    }

    /// Of an operation that borrows its payload.
    #[must_use]
    pub fn of_inline(op: &InlineOp<'_>) -> Self {
        let (kind, offset, len) = match op {
            InlineOp::Read { offset, into } => (OpKind::Read, *offset, into.len()),
            InlineOp::Write { offset, from } => (OpKind::Write, *offset, from.len()),
        };
        Self { kind, offset, len: len as u64, fua: false }
    }
}

/// The buffer of an operation that ends here.
pub(crate) fn into_block(op: BlockOp) -> Option<Block> {
    match op {
        BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
        BlockOp::Flush
        | BlockOp::Discard { .. }
        | BlockOp::WriteZeroes { .. }
        | BlockOp::Allocation { .. } => None,
    }
}
