//! The device server: commands in, steps out, no I/O and no threads.
//!
//! A [`unit::Unit`] is shared by all loops; each loop has a [`port::UnitPort`] on it. For a
//! command the transport has in full (data-out included) it calls [`port::UnitPort::start`], does the [`Step`] it is
//! told, reports by [`port::UnitPort::io_done`], and so on until [`Step::Done`].

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
mod request;
mod reservation;
mod spc;
pub mod task;
pub mod task_set;
#[cfg(test)]
mod tests;
pub mod unit;

use std::sync::Arc;

use crate::lun::Lun;
use crate::sense::Sense;
use crate::status::Status;
use crate::store::IoError;

/// A command as a transport hands it over: everything the initiator has to send is there.
#[derive(Clone, Copy, Debug)]
pub struct Command<'a> {
    /// Who sends it: the port's index of the nexus.
    pub nexus: NexusIndex,
    /// The command descriptor block, 16 bytes or more, padded with zeroes.
    pub cdb: &'a [u8],
    /// Data-out bytes the transport has received for it.
    pub data_out_len: u64,
    /// The front of the data-out, contiguous; all of it for parameter lists (up to 256 KiB).
    pub data_out: &'a [u8],
}

/// What is to be done next. Offsets and lengths are bytes, in bounds of the store when the step was made.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// Send this range of the store to the initiator.
    Read {
        /// Where in the store.
        offset: u64,
        /// Bytes; may be 0.
        len: u64,
    },
    /// Put this much of the data-out (from its front) there.
    Write {
        /// Where in the store.
        offset: u64,
        /// Bytes; may be 0.
        len: u64,
        /// On the medium before `io_done`.
        fua: bool,
    },
    /// Compare the data-out with the store; `IoDone::Miscompare` where they first differ. With `repeat` the
    /// first `repeat` bytes of the data-out stand for every such stretch.
    Compare {
        /// Where in the store.
        offset: u64,
        /// Bytes of the store.
        len: u64,
        /// Length of the pattern, or `None`: all data-out is there.
        repeat: Option<u32>,
    },
    /// Only read, to see that it can be read.
    Probe {
        /// Where in the store.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// Write the first `pattern_len` bytes of the data-out again and again.
    Fill {
        /// Where in the store.
        offset: u64,
        /// Bytes, a multiple of `pattern_len`.
        len: u64,
        /// Bytes.
        pattern_len: u32,
        /// On the medium before `io_done`.
        fua: bool,
    },
    /// The range reads as zeroes afterwards.
    WriteZeroes {
        /// Where in the store.
        offset: u64,
        /// Bytes.
        len: u64,
        /// Space may be freed.
        may_unmap: bool,
    },
    /// The range is no longer needed.
    Discard {
        /// Where in the store.
        offset: u64,
        /// Bytes.
        len: u64,
    },
    /// All that was acknowledged before is on the medium afterwards.
    Flush,
    /// Ask for one stretch; answered by `IoDone::Allocation`.
    Allocation {
        /// Where in the store.
        offset: u64,
        /// Bytes of interest.
        len: u64,
    },
    /// Abort all commands that these nexuses have on this unit, on all loops, but this one; then `IoDone::Done`.
    AbortTasks(Arc<[NexusName]>),
    /// The command is over.
    Done(Outcome),
}

impl Step {
    /// The part of the store that the step reads or changes: where it begins, and how long it is, in bytes.
    #[must_use]
    pub fn range(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Read { offset, len }
            | Self::Write { offset, len, .. }
            | Self::Compare { offset, len, .. }
            | Self::Probe { offset, len }
            | Self::Fill { offset, len, .. }
            | Self::WriteZeroes { offset, len, .. }
            | Self::Discard { offset, len } => Some((offset, len)),
            Self::Allocation { .. } | Self::Flush | Self::AbortTasks(_) | Self::Done(_) => None,
        }
    }
}

/// How a step's I/O ended well.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum IoDone {
    /// All of it was done.
    Done,
    /// `Step::Compare` found a difference.
    Miscompare {
        /// First differing byte, from the front of the range.
        at: u64,
    },
    /// `Step::Allocation`'s answer.
    Allocation {
        /// Bytes from the offset asked that are all of one kind, more than 0.
        len: u64,
        /// A hole.
        hole: bool,
    },
}

/// A step's end, as the transport reports it.
pub type IoResult = Result<IoDone, IoError>;

/// How a command ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Outcome {
    /// The status.
    pub status: Status,
    /// With CHECK CONDITION.
    pub sense: Option<Sense>,
    /// Data-in that is not from the medium: parameter data, cut to the allocation length already.
    pub data_in: Vec<u8>,
}

/// An I_T nexus as a port knows it, dense from 0; the same on all ports of one loop's target.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct NexusIndex(pub u32);

/// Names a nexus in the daemon; never used twice.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct NexusId(pub u64);

/// The two ends of a nexus, to which reservations and registrations belong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nexus {
    /// This nexus.
    pub id: NexusId,
    /// The initiator port's name: for iSCSI, `name,i,0xISID` (RFC 7143 3.4).
    pub initiator_port: Arc<str>,
    /// The target port's relative identifier (SPC-4 4.6).
    pub target_port: u16,
}

impl Nexus {
    /// What outlives it.
    #[must_use]
    pub fn name(&self) -> NexusName {
        NexusName { initiator_port: self.initiator_port.clone(), target_port: self.target_port }
    }
}

/// The two ends of a nexus without the nexus: a session that comes back has the same.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NexusName {
    /// As in [`Nexus`].
    pub initiator_port: Arc<str>,
    /// As in [`Nexus`].
    pub target_port: u16,
}

impl NexusName {
    /// Whether this is the nexus' name.
    #[must_use]
    pub fn is_of(&self, nexus: &Nexus) -> bool {
        self.target_port == nexus.target_port && self.initiator_port == nexus.initiator_port
    }
}

/// What a unit must know of the target it stands in.
pub trait TargetView {
    /// All logical units of the target that the initiator may see, ascending.
    fn luns(&self) -> &[Lun];
}
