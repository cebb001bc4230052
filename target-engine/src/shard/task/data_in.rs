//! The Data-In PDUs of one task and their numbers.

use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::Residual;
use iscsi_proto::sn::DataSn;
use scsi_core::status::Status;

use crate::buffers::Pool;
use crate::iscsi::connection::respond::Segment;
use crate::iscsi::transmit::Payload;

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

    /// Keeps the last segment until the status is known.
    #[inline]
    pub(super) fn hold_last(&mut self, payload: Payload) {
        self.last = Some(payload);
    }

    /// Bytes queued so far and those of the last segment.
    pub(super) fn len(&self) -> u64 {
        u64::from(self.sent) + self.last.as_ref().map_or(0, Payload::len) as u64
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
