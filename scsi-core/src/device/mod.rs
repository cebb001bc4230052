//! The device server: it turns commands into steps on the store. It does no I/O and starts no threads.
//!
//! A [`unit::Unit`] is shared by all loops; each loop has a [`port::UnitPort`] of it. Once the transport has received a
//! command with its data-out, it calls [`port::UnitPort::start`], performs the returned [`Step`], reports the result with
//! [`port::UnitPort::io_done`], which returns the next step, and so on until [`Step::Done`].
//!
//! The modules are layers, lowest first: answers and tasks; reservations and the state of the unit; the request; the
//! command groups `persist`, `spc` and `disk`; the port, which dispatches commands.

pub mod absent;
mod answer;
mod attention;
#[cfg(test)]
mod bench;
pub mod config;
mod controller;
mod disk;
mod error;
pub mod fence;
mod persist;
pub mod port;
pub mod reports;
mod request;
mod reservation;
mod spc;
pub mod task;
pub mod task_set;
#[cfg(test)]
mod tests;
mod unflushed;
pub mod unit;

use std::sync::Arc;

use crate::lun::Lun;
use crate::sense::Sense;
use crate::status::Status;
use crate::store::IoError;

/// A command with its data-out, as the transport passes it to the device server.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// The nexus that sent the command, by its index at the port.
    pub nexus: NexusIndex,
    /// The command descriptor block, padded with zeroes to at least 16 bytes.
    pub cdb: &'a [u8],
    /// Length of the received data-out in bytes.
    pub data_out_len: u64,
    /// The contiguous start of the data-out; all of it for parameter lists (up to 256 KiB).
    pub data_out: &'a [u8],
}

/// What the transport must do next for a command. Offsets and lengths are in bytes, and within the store when the step is
/// made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Send this range of the store to the initiator.
    Read {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes, which may be 0.
        len: u64,
    },
    /// Write the first `len` bytes of the data-out to this range.
    Write {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes, which may be 0.
        len: u64,
        /// The data must be on the medium before `io_done`.
        fua: bool,
    },
    /// Compare this range with the data-out; `IoDone::Miscompare` reports the first difference. With `repeat` the first
    /// `repeat` bytes of the data-out are compared with each part of that length.
    Compare {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length of the range in bytes.
        len: u64,
        /// Length of the pattern in bytes; `None` compares the whole data-out.
        repeat: Option<u32>,
    },
    /// Check that this range can be read.
    Probe {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Fill this range with copies of the first `pattern_len` bytes of the data-out.
    Fill {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes, a multiple of `pattern_len`.
        len: u64,
        /// Length of the pattern in bytes.
        pattern_len: u32,
        /// The data must be on the medium before `io_done`.
        fua: bool,
    },
    /// Write zeroes to this range.
    WriteZeroes {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
        /// The store may free the space.
        may_unmap: bool,
    },
    /// Discard this range.
    Discard {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes.
        len: u64,
    },
    /// Flush all acknowledged writes to the medium.
    Flush,
    /// Ask whether the start of this range is a hole; answered by `IoDone::Allocation`.
    Allocation {
        /// Offset in the store, in bytes.
        offset: u64,
        /// Length in bytes; the answer need not exceed it.
        len: u64,
    },
    /// Abort all commands of these nexuses on this unit, on all loops, except for this command.
    AbortTasks(Arc<[NexusName]>),
    /// The command is complete.
    Done(Outcome),
}

impl Step {
    /// The range that the step reads or changes; `None` if it accesses no data.
    #[must_use]
    pub fn range(&self) -> Option<ByteRange> {
        match *self {
            Self::Read { offset, len }
            | Self::Write { offset, len, .. }
            | Self::Compare { offset, len, .. }
            | Self::Probe { offset, len }
            | Self::Fill { offset, len, .. }
            | Self::WriteZeroes { offset, len, .. }
            | Self::Discard { offset, len } => Some(ByteRange { offset, len }),
            Self::Allocation { .. } | Self::Flush | Self::AbortTasks(_) | Self::Done(_) => None,
        }
    }
}

/// A range of a store, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ByteRange {
    /// Offset of the first byte.
    pub offset: u64,
    /// Length, which may be 0.
    pub len: u64,
}

impl ByteRange {
    /// Offset of the byte behind the last.
    #[must_use]
    pub fn end(self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether the ranges have a byte in common, or one is empty and within the other.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// Result of a step that succeeded.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IoDone {
    /// The step was performed.
    Done,
    /// `Step::Compare` found a difference.
    Miscompare {
        /// Offset of the first differing byte in the range.
        at: u64,
    },
    /// Answer to `Step::Allocation`.
    Allocation {
        /// Number of bytes from the offset with the same allocation, more than 0.
        len: u64,
        /// Whether these bytes are a hole.
        hole: bool,
    },
}

/// Result of a step, as the transport reports it.
pub type IoResult = Result<IoDone, IoError>;

/// Result of a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// SCSI status.
    pub status: Status,
    /// Sense data; given with CHECK CONDITION.
    pub sense: Option<Sense>,
    /// Parameter data for the initiator, truncated to the allocation length.
    pub data_in: Vec<u8>,
}

/// Index of an I_T nexus at a port, dense from 0. It is the same at all ports of a target on one loop.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct NexusIndex(pub u32);

/// Identifies a nexus in the process; never reused.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NexusId(pub u64);

/// An I_T nexus, with the names of its two ports.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nexus {
    /// Identifier of the nexus.
    pub id: NexusId,
    /// Name of the initiator port; for iSCSI `name,i,0xISID` (RFC 7143 3.4).
    pub initiator_port: Arc<str>,
    /// Relative identifier of the target port (SPC-4 4.6).
    pub target_port: u16,
}

impl Nexus {
    /// The names of both ports.
    #[must_use]
    pub fn name(&self) -> NexusName {
        NexusName { initiator_port: self.initiator_port.clone(), target_port: self.target_port }
    }
}

/// The names of the two ports of a nexus, to which persistent reservations belong. A session that the initiator
/// re-establishes has the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NexusName {
    /// Name of the initiator port, as in [`Nexus`].
    pub initiator_port: Arc<str>,
    /// Relative identifier of the target port, as in [`Nexus`].
    pub target_port: u16,
}

impl NexusName {
    /// Whether a nexus has these names.
    #[must_use]
    pub fn is_of(&self, nexus: &Nexus) -> bool {
        self.target_port == nexus.target_port && self.initiator_port == nexus.initiator_port
    }
}

/// The properties of the target that commands report.
pub trait TargetView {
    /// The LUNs of the target that the initiator may access, in ascending order.
    fn luns(&self) -> &[Lun];
}
