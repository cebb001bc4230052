//! The kinds of steps: the one mapping from the device server's [`Step`] to the store's [`BlockOp`] and to the words of
//! the log.

use scsi_core::device::Step;
use scsi_core::store::BlockOp;

/// What a transfer does.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::shard) enum TransferKind {
    /// Nothing at the store.
    #[default]
    Idle,
    /// Sends data of the store to the initiator.
    Read,
    /// Writes the Data-Out.
    Write {
        /// The data is on the medium when the write completes.
        fua: bool,
    },
    /// Compares data of the store with the Data-Out.
    Compare {
        /// Compare with so many first bytes of the Data-Out, repeated; `None`: with all of it.
        repeat: Option<u32>,
    },
    /// Reads and drops data of the store.
    Probe,
    /// Writes the first bytes of the Data-Out, repeated.
    Fill {
        /// Length of the pattern in bytes; 0: zeroes, without Data-Out.
        pattern_len: u32,
        /// The data is on the medium when the write completes.
        fua: bool,
    },
    /// Writes zeroes without a payload.
    Zeroes {
        /// The store may free the space.
        may_unmap: bool,
    },
    /// Frees space.
    Discard,
    /// Puts on the medium what was written.
    Flush,
    /// Asks whether space is allocated.
    Allocation,
}

impl TransferKind {
    /// The kind of a step, with its offset and length in the store, in bytes.
    #[inline]
    pub(super) fn of(step: &Step) -> (Self, u64, u64) {
        match *step {
            Step::Read { offset, len } => (Self::Read, offset, len),
            Step::Write { offset, len, fua } => (Self::Write { fua }, offset, len),
            Step::Compare { offset, len, repeat } => (Self::Compare { repeat }, offset, len),
            Step::Probe { offset, len } => (Self::Probe, offset, len),
            Step::Fill { offset, len, pattern_len, fua } => (Self::Fill { pattern_len, fua }, offset, len),
            Step::WriteZeroes { offset, len, may_unmap } => (Self::Zeroes { may_unmap }, offset, len),
            Step::Discard { offset, len } => (Self::Discard, offset, len),
            Step::Flush => (Self::Flush, 0, 0),
            Step::Allocation { offset, len } => (Self::Allocation, offset, len),
            Step::AbortTasks(_) | Step::Done(_) => (Self::Idle, 0, 0),
        }
    }

    /// The operation of a kind without a payload.
    pub(super) fn operation(self, offset: u64, len: u64) -> Option<BlockOp> {
        match self {
            Self::Zeroes { may_unmap } => Some(BlockOp::WriteZeroes { offset, len, may_unmap }),
            Self::Discard => Some(BlockOp::Discard { offset, len }),
            Self::Flush => Some(BlockOp::Flush),
            Self::Allocation => Some(BlockOp::Allocation { offset, len }),
            Self::Idle
            | Self::Read
            | Self::Write { .. }
            | Self::Compare { .. }
            | Self::Probe
            | Self::Fill { .. } => None,
        }
    }

    /// Whether its operations have a block.
    #[inline]
    pub(in crate::shard) fn moves_data(self) -> bool {
        match self {
            Self::Read | Self::Write { .. } | Self::Compare { .. } | Self::Probe | Self::Fill { .. } => true,
            Self::Idle | Self::Zeroes { .. } | Self::Discard | Self::Flush | Self::Allocation => false,
        }
    }

    /// Whether its operations change the store.
    #[inline]
    pub(in crate::shard) fn changes_data(self) -> bool {
        matches!(self, Self::Write { .. } | Self::Fill { .. } | Self::Zeroes { .. } | Self::Discard)
    }

    /// The name of its operation in the log.
    pub(in crate::shard) fn name(self) -> &'static str {
        match self {
            Self::Read | Self::Compare { .. } | Self::Probe => "read",
            Self::Write { .. } | Self::Fill { .. } => "write",
            Self::Zeroes { .. } => "write of zeroes",
            Self::Discard => "discard",
            Self::Allocation => "query of allocated space",
            Self::Flush => "flush",
            Self::Idle => "command",
        }
    }
}
