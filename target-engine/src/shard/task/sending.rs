//! The Data-In of a task (RFC 7143 11.7): parameter data or data of the store, in segments; and its residual.

use bytes::Bytes;
use iscsi_proto::pdu::Residual;
use scsi_core::status::Status;

use super::Task;
use crate::buffers::Pool;
use crate::direction::Direction;
use crate::iscsi::connection::respond::Segment;
use crate::iscsi::transmit::Payload;
use crate::shard::transfer::Transfer;
use crate::shard::transfer::kind::TransferKind;

impl Task {
    /// Begins to send parameter data. Returns as much of it as the initiator expects; `None`: it expects no Data-In.
    pub(in crate::shard) fn begin_parameter_data(&mut self, data: Vec<u8>) -> Option<Bytes> {
        if self.direction != Direction::Read {
            return None;
        }
        let mut data = Bytes::from(data);
        data.truncate(self.expected_len as usize);
        self.transfer = Transfer::of_parameter_data(data.len() as u64);
        Some(data)
    }

    /// Bytes of Data-In queued so far.
    #[inline]
    pub(in crate::shard) fn data_in_sent(&self) -> u32 {
        self.data_in.sent()
    }

    /// Counts `len` bytes of Data-In. Keeps the last segment until the status is known; returns any other.
    #[inline]
    pub(in crate::shard) fn hold_last_segment(&mut self, len: usize, payload: Payload) -> Option<Payload> {
        if self.transfer.sends(len) {
            self.data_in.hold_last(payload);
            return None;
        }
        Some(payload)
    }

    /// The header of the next segment of `len` bytes; F is set where it ends a burst.
    #[inline]
    pub(in crate::shard) fn next_segment(&mut self, len: usize, max_burst: u32) -> Segment {
        self.data_in.next(self.itt, len, max_burst)
    }

    /// The last segment if there is one, with the status if it is given.
    #[inline(always)]
    pub(in crate::shard) fn take_last_segment(
        &mut self,
        status: Option<(Status, Residual)>,
    ) -> Option<(Segment, Payload)> {
        self.data_in.take_last(self.itt, status)
    }

    /// Gives Data-In that was not sent back to the pool.
    pub(in crate::shard) fn clear_data_in(&mut self, pool: &mut Pool) {
        self.data_in.clear(pool);
    }

    /// DataSNs and R2TSNs used, for ExpDataSN of the response.
    #[inline]
    pub(in crate::shard) fn exp_data_sn(&self) -> u32 {
        self.data_in.pdus() + self.r2ts
    }

    /// What the initiator expected against what was transferred (RFC 7143 11.4.5). A command that ends with GOOD has
    /// transferred all that it is about, `parameter_len` bytes of parameter data included; one that fails, what it
    /// transferred before the error.
    #[inline]
    pub(in crate::shard) fn residual(&self, status: Status, parameter_len: u64) -> Residual {
        let transferred = match status {
            Status::Good if self.direction == Direction::Write && self.sends(parameter_len) => 0,
            Status::Good if parameter_len > 0 => parameter_len,
            Status::Good => self.device.transfer_len(),
            _ if self.direction == Direction::Read => self.data_in.len(),
            Status::CheckCondition => self.device.transfer_len().min(self.data_out.received().into()),
            _ => 0,
        };
        Residual::of(self.expected_len, transferred)
    }

    /// Whether it has data for an initiator that expects to send some itself.
    fn sends(&self, parameter_len: u64) -> bool {
        self.expected_len > 0 && (parameter_len > 0 || self.transfer.kind() == TransferKind::Read)
    }
}
