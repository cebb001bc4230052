//! The Data-Out of a task: what has arrived, what is asked for, and the memory for it.

use iscsi_proto::ids::Itt;
use iscsi_proto::pdu::DataOut;

use super::{State, Task, has_medium_data, is_plain_write};
use crate::buffers::Pool;
use crate::iscsi::connection::data_out::{DataOutError, DataOutRules, R2tRequest};
use crate::iscsi::connection::receive::Data;
use crate::keys::ConnectionIndex;
use crate::limits::STREAM_LEN_MIN;

/// Pieces from this length on are kept as they came instead of being copied together, in bytes.
const KEEP_LEN: usize = 32 * 1024;

impl Task {
    /// Whether it is a long write that older commands hold back. No data is asked for before its turn, and then only
    /// as much as goes on to the store. So it needs no memory while it waits, however long it is.
    #[inline]
    pub(in crate::shard) fn is_put_off(&self) -> bool {
        self.state == State::Collecting && !self.streaming && self.is_long()
    }

    /// Whether its Data-Out goes to the store while it arrives.
    #[inline]
    pub(in crate::shard) fn is_long(&self) -> bool {
        is_plain_write(self.cdb[0]) && self.data_out.expected() >= STREAM_LEN_MIN
    }

    /// Whether all its Data-Out has arrived.
    #[inline]
    pub(in crate::shard) fn has_all_data(&self) -> bool {
        self.data_out.is_complete()
    }

    /// Whether Data-Out is outstanding: unsolicited, or for an R2T.
    #[inline]
    pub(in crate::shard) fn awaits_data(&self) -> bool {
        self.data_out.is_outstanding()
    }

    /// Whether unsolicited Data-Out is outstanding.
    #[inline]
    pub(in crate::shard) fn awaits_unsolicited(&self) -> bool {
        self.data_out.is_unsolicited()
    }

    /// Whether it runs while its Data-Out is still arriving.
    #[inline]
    pub(in crate::shard) fn is_streaming(&self) -> bool {
        self.streaming
    }

    /// Whether more Data-Out follows for the step that is running.
    #[inline]
    pub(in crate::shard) fn awaits_stream(&self) -> bool {
        self.streaming && !self.data_out.is_complete()
    }

    /// Its turn in the task set has come; its Data-Out goes to the store as it arrives.
    pub(in crate::shard) fn stream(&mut self) {
        (self.enabled, self.streaming) = (true, true);
    }

    /// Its turn in the task set has come. Returns whether it goes on now; if not, its Data-Out is to come first.
    pub(in crate::shard) fn enable(&mut self) -> bool {
        self.enabled = true;
        self.state == State::Held || self.is_put_off()
    }

    /// Whether its turn in the task set has come.
    #[inline]
    pub(in crate::shard) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// All Data-Out is there; it waits for its turn in the task set.
    pub(in crate::shard) fn hold(&mut self) {
        self.state = State::Held;
    }

    /// Whether a Data-Out with this tag on this connection may be for it.
    #[inline]
    pub(in crate::shard) fn receives(&self, connection: ConnectionIndex, itt: Itt) -> bool {
        let receives = self.state == State::Collecting || self.awaits_stream();
        let receives = receives && self.aborted.is_none() || self.data_out.is_outstanding();
        self.itt == itt && self.connection == connection && receives
    }

    /// Counts a Data-Out of `len` bytes, which must be the next one. Returns how much of the memory set aside for it is
    /// free again, in bytes.
    ///
    /// # Errors
    /// It is not the next one; the command fails.
    pub(in crate::shard) fn receive(
        &mut self,
        pdu: &DataOut,
        len: u32,
        rules: &DataOutRules,
    ) -> Result<u32, DataOutError> {
        let solicited = !self.data_out.is_unsolicited();
        self.data_out.accept(pdu.data_sn, pdu.buffer_offset, len, pdu.last, rules)?;
        let released = if solicited { len.min(self.reserved) } else { 0 };
        self.reserved -= released;
        Ok(released)
    }

    /// Whether it keeps Data-Out.
    #[inline]
    pub(in crate::shard) fn has_blocks(&self) -> bool {
        !self.blocks.is_empty()
    }

    /// Keeps data that has arrived.
    pub(in crate::shard) fn keep(&mut self, data: Data<'_>, pool: &mut Pool) {
        let len = data.as_slice().len();
        if len == 0 {
            return data.discard(pool);
        }
        let aligned = len.is_multiple_of(4096) || self.data_out.left() == 0;
        match data {
            Data::Owned(block)
                if len >= KEEP_LEN
                    && aligned
                    && self.blocks.ends_aligned()
                    && has_medium_data(self.cdb[0]) =>
            {
                self.blocks.push(block);
            }
            data => {
                let to_come = if self.is_put_off() { 0 } else { self.data_out.left() };
                self.blocks.append(data.as_slice(), len + to_come as usize, self.account, pool);
                data.discard(pool);
            }
        }
    }

    /// Keeps the last Data-Out of a command that starts now. Returns data that the store can take from the loop's
    /// scratch buffer instead.
    #[inline(always)]
    pub(in crate::shard) fn keep_or_borrow<'a>(&mut self, data: Data<'a>, pool: &mut Pool) -> &'a [u8] {
        match data {
            Data::Borrowed(bytes) if is_plain_write(self.cdb[0]) || bytes.is_empty() => return bytes,
            Data::Owned(block) if !block.is_empty() => self.blocks.push(block),
            data => {
                self.blocks.append(data.as_slice(), data.as_slice().len(), self.account, pool);
                data.discard(pool);
            }
        }
        &[]
    }

    /// Bytes of memory to set aside for the next R2T; `None`: no R2T is sent now. A task whose data goes on to the store
    /// sets memory aside for each burst, others for all their data at once.
    pub(in crate::shard) fn memory_for_r2t(&self, rules: &DataOutRules) -> Option<u32> {
        let next = self.data_out.peek_r2t(rules)?;
        Some(match (self.streaming, self.r2ts) {
            (true, _) => next.len,
            (false, 0) => self.data_out.left(),
            (false, _) => 0,
        })
    }

    /// Counts the next R2T as sent; `reserved` bytes of memory are set aside for it.
    pub(in crate::shard) fn next_r2t(&mut self, rules: &DataOutRules, reserved: u32) -> Option<R2tRequest> {
        self.reserved += reserved;
        let r2t = self.data_out.next_r2t(rules)?;
        self.r2ts += 1;
        Some(r2t)
    }

    /// Whether an R2T was sent.
    #[inline]
    pub(in crate::shard) fn has_sent_r2t(&self) -> bool {
        self.r2ts > 0
    }

    /// Whether it has memory: set aside, or lent to its store.
    pub(in crate::shard) fn has_memory(&self) -> bool {
        self.reserved > 0 || self.transfer.is_out()
    }

    /// The LUN field of the PDU, which R2Ts repeat.
    pub(in crate::shard) fn lun_field(&self) -> [u8; 8] {
        self.lun_wire
    }

    /// Gives back its memory.
    #[inline(always)]
    pub(in crate::shard) fn give_back(&mut self, pool: &mut Pool) {
        self.blocks.clear(pool);
        self.transfer.clear(pool);
        if self.reserved > 0 {
            pool.release(std::mem::take(&mut self.reserved) as usize, self.account);
        }
    }
}
