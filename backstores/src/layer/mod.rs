//! Layers: stores that pass operations to another store and change what happens, for tests of the code above.
//!
//! | layer | effect |
//! | --- | --- |
//! | [`fault`] | fails selected operations |
//! | [`delay`] | delays operations or lets them hang |
//! | [`log`] | records operations in a journal |
//! | [`volatile`] | caches writes; [`volatile::Volatile::crash`] loses those that were not flushed |
//!
//! Layers can be stacked, up to three: each nests one more epoll descriptor, and the kernel limits the depth.

/// The functions of a [`Backstore`](scsi_core::store::Backstore) that a layer passes unchanged to the store `below`.
macro_rules! pass_below {
    () => {
        fn kind(&self) -> &'static str {
            self.below.kind()
        }

        fn geometry(&self) -> scsi_core::store::Geometry {
            self.below.geometry()
        }

        fn capabilities(&self) -> scsi_core::store::Capabilities {
            self.below.capabilities()
        }

        fn refresh(&self) -> Result<scsi_core::store::Geometry, IoError> {
            self.below.refresh()
        }

        fn has_lost_writes(&self) -> bool {
            self.below.has_lost_writes()
        }

        fn flush(&self) -> Result<(), IoError> {
            self.below.flush()
        }
    };
}

pub mod delay;
pub mod fault;
pub mod log;
pub mod volatile;

pub(crate) mod below;
mod hook;

use scsi_core::store::{Block, BlockOp, InlineOp};

/// An operation without its payload.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct What {
    /// The kind of the operation.
    pub kind: OpKind,
    /// Offset in bytes; 0 for a flush.
    pub offset: u64,
    /// Length in bytes; 0 for a flush.
    pub len: u64,
    /// Whether it is a write that reaches the medium (`fua`).
    pub fua: bool,
}

/// The kind of an operation, inline or submitted.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum OpKind {
    /// [`BlockOp::Read`] or [`InlineOp::Read`].
    Read,
    /// [`BlockOp::Write`] or [`InlineOp::Write`].
    Write,
    /// [`BlockOp::Flush`].
    Flush,
    /// [`BlockOp::Discard`].
    Discard,
    /// [`BlockOp::WriteZeroes`].
    WriteZeroes,
    /// [`BlockOp::Allocation`].
    Allocation,
}

impl What {
    /// Describes a submitted operation.
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

    /// Describes an inline operation.
    #[must_use]
    pub fn of_inline(op: &InlineOp<'_>) -> Self {
        let (kind, offset, len) = match op {
            InlineOp::Read { offset, into } => (OpKind::Read, *offset, into.len()),
            InlineOp::Write { offset, from } => (OpKind::Write, *offset, from.len()),
        };
        Self { kind, offset, len: len as u64, fua: false }
    }
}

/// Returns the block of an operation, for its completion.
pub(crate) fn into_block(op: BlockOp) -> Option<Block> {
    match op {
        BlockOp::Read { into: block, .. } | BlockOp::Write { from: block, .. } => Some(block),
        BlockOp::Flush
        | BlockOp::Discard { .. }
        | BlockOp::WriteZeroes { .. }
        | BlockOp::Allocation { .. } => None,
    }
}
