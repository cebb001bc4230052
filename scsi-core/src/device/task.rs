//! A running command's memory between its steps. The transport keeps it in its own table of tasks.

use super::disk::lba_status::LbaStatus;
use super::disk::unmap::Ranges;
use super::error::Access;

/// One command at its unit; `Default` before `UnitPort::start`. Reads, writes and flushes keep nothing on the heap.
#[derive(Debug, Default)]
pub struct DeviceTask {
    /// Bytes the CDB asks to be transferred.
    pub(super) transfer_len: u64,
    /// What the running step does to the store.
    pub(super) access: Access,
    pub(super) then: Then,
}

/// What follows the running step.
#[derive(Debug, Default)]
pub(super) enum Then {
    /// GOOD.
    #[default]
    Finish,
    /// A flush, then GOOD.
    Flush,
    /// A flush, then this check, then GOOD.
    FlushAndCheck(Check),
    /// This check, then GOOD.
    Check(Check),
    /// The next range, then GOOD.
    Unmap(Box<Ranges>),
    /// The next stretch, then the list.
    LbaStatus(Box<LbaStatus>),
}

/// A look at what the medium has. Bytes of the store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Check {
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) against: Against,
}

/// What a check compares the medium with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Against {
    /// Nothing; it must be readable.
    Nothing,
    /// The data-out.
    DataOut,
    /// The first bytes of the data-out, again and again.
    Pattern(u32),
}

impl DeviceTask {
    /// Bytes that the CDB itself asks to be transferred in either direction, whatever the transport was told to
    /// expect: the residual is the difference (SAM-5 5.4.2). For parameter data to the initiator it is the length
    /// of `Outcome::data_in` that counts, and this is 0; it is 0 as well when the command was refused.
    #[must_use]
    pub fn transfer_len(&self) -> u64 {
        self.transfer_len
    }
}
