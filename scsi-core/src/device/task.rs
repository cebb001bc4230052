//! A running command's memory between its steps. The transport keeps it in its own table of tasks.

use super::NexusIndex;

/// One command at its unit; `Default` before `UnitPort::start`. Reads, writes and flushes keep nothing on the heap.
#[derive(Debug)]
pub struct DeviceTask {
    pub(super) nexus: NexusIndex,
    /// Bytes the CDB asks to be transferred.
    pub(super) transfer_len: u64,
}

impl Default for DeviceTask {
    fn default() -> Self {
        Self { nexus: NexusIndex(0), transfer_len: 0 }
    }
}

impl DeviceTask {
    /// Bytes of medium or parameter data that the CDB itself asks to be sent in either direction, whatever the
    /// transport was told to expect: the residual is the difference (SAM-5 5.4.2). 0 when the command was refused
    /// before its CDB was read. For data-in of an [`Outcome`](super::Outcome) it is `data_in.len()`.
    #[must_use]
    pub fn transfer_len(&self) -> u64 {
        self.transfer_len
    }
}
