//! What a running command keeps between its PDUs and its I/O.

use std::time::Instant;

use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::Residual;
use iscsi_proto::sn::DataSn;
use scsi_core::device::Outcome;
use scsi_core::device::fence::FenceId;
use scsi_core::device::task::DeviceTask;
use scsi_core::lun::Lun;
use scsi_core::status::Status;

use super::blocks::Blocks;
use super::functions::WaitIndex;
use super::transfer::Transfer;
use crate::buffers::Pool;
use crate::direction::Direction;
use crate::iscsi::connection::data_out::DataOutProgress;
use crate::iscsi::connection::respond::Segment;
use crate::iscsi::transmit::Payload;
use crate::keys::{ConnectionIndex, SessionIndex, TaskKey};
use crate::limits::STREAM_LEN_MIN;

/// One SCSI command from its PDU to its response.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) key: TaskKey,
    /// The connection of the command and of its response (RFC 7143 4.2.2).
    pub(super) connection: ConnectionIndex,
    pub(super) session: SessionIndex,
    /// The initiator's tag.
    pub(super) itt: Itt,
    /// The unit; `None`: there is no such unit.
    pub(super) lun: Option<Lun>,
    /// The LUN field of the PDU, which R2Ts repeat.
    pub(super) lun_wire: [u8; 8],
    /// The first 16 bytes of the command descriptor block.
    pub(super) cdb: [u8; 16],
    /// The whole command descriptor block if it is longer.
    pub(super) long_cdb: Option<Box<[u8]>>,
    /// The command is outside the command window.
    pub(super) immediate: bool,
    /// R and W of the PDU.
    pub(super) direction: Direction,
    /// Expected Data Transfer Length, in bytes.
    pub(super) expected_len: u32,
    /// Which Data-Out has arrived and which is still to come.
    pub(super) data_out: DataOutProgress,
    /// The Data-Out that has arrived.
    pub(super) blocks: Blocks,
    /// Its turn in the task set has come.
    pub(super) enabled: bool,
    /// It runs while its Data-Out is still arriving.
    pub(super) streaming: bool,
    /// Bytes of the pool's budget that are set aside for the data of its R2Ts.
    pub(super) reserved: u32,
    /// R2Ts sent.
    pub(super) r2ts: u32,
    /// The device server's state of the command.
    pub(super) device: DeviceTask,
    pub(super) state: State,
    /// The present step of the device server.
    pub(super) transfer: Transfer,
    pub(super) data_in: DataIn,
    /// It was at its store when that was found to hang: bytes that do not count against the budget any more.
    pub(super) hung_bytes: Option<u32>,
    /// It was aborted and ends without a response.
    pub(super) aborted: Option<Aborted>,
    /// It ends with this when its store or its initiator has no data of it any more.
    pub(super) pending_end: Option<Box<PendingEnd>>,
}

/// Where a task is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum State {
    /// Data-Out is still to come.
    Collecting,
    /// All Data-Out is there; older tasks of the task set come first.
    Held,
    /// At the device server or its store.
    Running,
    /// A read that waits for space in its connection's transmit ring.
    Paused,
    /// In the middle of a long step; it goes on in another turn.
    Yielded,
    /// It has left its unit; Data-Out that was asked for is still to come.
    Ending,
}

/// An aborted task whose I/O or Data-Out is still out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Aborted {
    /// The functions that wait for its end.
    pub(super) waiters: Vec<WaitIndex>,
    /// It was aborted only because its unit or medium was removed. Its initiator gets a response.
    pub(super) unit_gone: bool,
    /// Covers what its store may still write.
    pub(super) fence: Option<FenceId>,
    /// The session that asked to abort many tasks. Its own tasks end after their Data-Out has arrived.
    pub(super) issuer: Option<SessionIndex>,
}

/// The end of a task that waits for its Data-Out.
#[derive(Debug)]
pub(super) struct PendingEnd {
    /// The outcome of the command; `None`: it was aborted.
    pub(super) outcome: Option<Outcome>,
    /// When waiting for the data ends.
    pub(super) deadline: Instant,
}

/// The Data-In PDUs of a task. The last one waits for the status, which it may carry.
#[derive(Debug)]
pub(super) struct DataIn {
    next_sn: DataSn,
    /// Bytes queued.
    sent: u32,
    last: Option<Payload>,
}

impl Default for DataIn {
    fn default() -> Self {
        Self { next_sn: DataSn(0), sent: 0, last: None }
    }
}

impl DataIn {
    /// Bytes queued so far.
    #[inline]
    pub(super) fn sent(&self) -> u32 {
        self.sent
    }

    /// Bytes queued so far and those of the last segment.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.sent) + self.last.as_ref().map_or(0, Payload::len)
    }

    /// PDUs queued so far.
    #[inline]
    pub(super) fn pdus(&self) -> u32 {
        self.next_sn.0
    }

    /// The header of the next segment of `len` bytes; F is set where it ends a burst.
    #[inline]
    pub(super) fn next(&mut self, itt: Itt, len: usize, max_burst: u32) -> Segment {
        let last = (self.sent + len as u32).is_multiple_of(max_burst);
        let segment = Segment { itt, data_sn: self.next_sn, offset: self.sent, last, status: None };
        self.sent += len as u32;
        self.next_sn = self.next_sn.next();
        segment
    }

    /// Keeps the last segment until the status is known.
    #[inline]
    pub(super) fn hold_last(&mut self, payload: Payload) {
        self.last = Some(payload);
    }

    /// The last segment if there is one, with the status if it is given.
    #[inline(always)]
    pub(super) fn take_last(
        &mut self,
        itt: Itt,
        status: Option<(Status, Residual)>,
    ) -> Option<(Segment, Payload)> {
        let payload = self.last.take()?;
        let status = status.map(|(status, residual)| (status as u8, residual));
        let segment = Segment { itt, data_sn: self.next_sn, offset: self.sent, last: true, status };
        self.next_sn = self.next_sn.next();
        Some((segment, payload))
    }

    /// Gives the last segment back to the pool.
    pub(super) fn clear(&mut self, pool: &mut Pool) {
        if let Some(Payload::Block(block)) = self.last.take() {
            pool.give(block);
        }
    }
}

impl Task {
    /// Data-Out that a step may count on: all that has arrived, and all that is still to come.
    #[inline]
    pub(super) fn data_out_len(&self) -> u32 {
        self.data_out.expected()
    }

    /// The unit in whose counters it is counted. A command without a unit counts at LUN 0, as with tgt.
    #[inline]
    pub(super) fn counted_at(&self) -> Lun {
        self.lun.unwrap_or(Lun::ZERO)
    }

    /// The whole command descriptor block.
    #[inline]
    pub(super) fn cdb(&self) -> &[u8] {
        self.long_cdb.as_deref().unwrap_or(&self.cdb)
    }

    /// Whether it is a long write that older commands hold back. No data is asked for before its turn, and then only
    /// as much as goes on to the store. So it needs no memory while it waits, however long it is.
    #[inline]
    pub(super) fn is_put_off(&self) -> bool {
        self.state == State::Collecting && !self.streaming && self.is_long()
    }

    /// Whether its Data-Out goes to the store while it arrives.
    #[inline]
    pub(super) fn is_long(&self) -> bool {
        is_plain_write(self.cdb[0]) && self.data_out.expected() >= STREAM_LEN_MIN
    }

    /// Whether it ends as soon as its store and its initiator have no data of it any more.
    #[inline]
    pub(super) fn is_ending(&self) -> bool {
        self.aborted.is_some() || self.pending_end.is_some()
    }
}

/// WRITE (6), (10), (12), (16): their Data-Out goes to the store and nowhere else.
#[inline]
pub(super) fn is_plain_write(opcode: u8) -> bool {
    matches!(opcode, 0x0a | 0x2a | 0x8a | 0xaa)
}

/// WRITE AND VERIFY (10), (12), (16): their Data-Out is needed after it was written.
#[inline]
pub(super) fn is_write_and_verify(opcode: u8) -> bool {
    matches!(opcode, 0x2e | 0x8e | 0xae)
}

/// Writes and VERIFY: their Data-Out may be long, and no step needs all of it at once.
pub(super) fn has_medium_data(opcode: u8) -> bool {
    is_plain_write(opcode) || is_write_and_verify(opcode) || matches!(opcode, 0x2f | 0x8f | 0xaf)
}
