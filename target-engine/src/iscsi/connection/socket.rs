//! The socket of a connection, as its driver serves it: bytes that it receives, and bytes that it sends.

use std::io::IoSlice;

use iscsi_proto::frame::FrameError;

use super::Connection;
use super::receive::Incoming;
use super::unread::Unread;
use crate::buffers::Pool;
use crate::limits::{TRANSMIT_BYTES_LOW, TRANSMIT_BYTES_MAX};

impl Connection {
    /// Whether the driver must not read from its socket now: it is not open, or too many responses wait to be sent.
    #[must_use]
    pub fn is_receive_paused(&self, pool: &Pool) -> bool {
        !self.is_open() || self.has_too_much_to_send(pool)
    }

    /// Whether so many responses wait to be sent that no further request is executed: [`TRANSMIT_BYTES_MAX`], or more than
    /// [`TRANSMIT_BYTES_LOW`] if its session may hold no more.
    #[inline]
    fn has_too_much_to_send(&self, pool: &Pool) -> bool {
        let held = self.transmit.held_bytes();
        held > TRANSMIT_BYTES_LOW && (held > TRANSMIT_BYTES_MAX || !pool.may_take(self.account, 0))
    }

    /// Counts what waits to be sent if that is much. Returns whether no further request is executed now.
    #[inline]
    pub(crate) fn must_send_first(&mut self, pool: &mut Pool) -> bool {
        if self.transmit.held_bytes() <= TRANSMIT_BYTES_LOW {
            return false;
        }
        self.count_queued(pool);
        self.has_too_much_to_send(pool)
    }

    /// Counts what waits to be sent for the account of its session.
    #[inline]
    pub(crate) fn count_queued(&mut self, pool: &mut Pool) {
        self.transmit.count(self.account, pool);
    }

    /// See [`Receiver::expects_bulk`](super::receive::Receiver::expects_bulk).
    #[inline]
    #[must_use]
    pub fn expects_bulk(&self) -> bool {
        self.receiver.expects_bulk()
    }

    /// Where the driver may put the next bytes of the socket, see [`Receiver::space`](super::receive::Receiver::space).
    #[inline]
    pub fn space(&mut self) -> Option<&mut [u8]> {
        self.receiver.space()
    }

    /// The driver has received so many bytes, and has put the first `in_space` of them into `space`.
    #[inline]
    pub fn received(&mut self, count: usize, in_space: usize) {
        self.stats.received(count);
        self.receiver.filled(in_space);
    }

    /// Whether received bytes wait for a later turn. Nothing is read from the socket meanwhile.
    #[inline]
    #[must_use]
    pub fn has_unread(&self) -> bool {
        self.unread.is_some()
    }

    /// Keeps received bytes for a later turn, at most [`SEGMENT_LEN_MAX`](crate::limits::SEGMENT_LEN_MAX).
    pub(crate) fn keep_unread(&mut self, bytes: &[u8], pool: &mut Pool) {
        self.unread = Some(Unread::copy(bytes, pool));
    }

    /// Takes out the bytes that waited.
    pub(crate) fn take_unread(&mut self) -> Option<Unread> {
        self.unread.take()
    }

    /// Keeps the last `len` of the bytes that were taken out.
    pub(crate) fn put_back_unread(&mut self, unread: Unread, len: usize) {
        self.unread = Some(unread.last(len));
    }

    /// Takes the next complete PDU from the beginning of `input`, see [`Receiver::next`].
    ///
    /// # Errors
    /// The header is malformed: the connection must be closed.
    #[inline]
    pub(crate) fn next_pdu<'a>(
        &mut self,
        input: &mut &'a [u8],
        pool: &mut Pool,
    ) -> Result<Option<Incoming<'a>>, FrameError> {
        self.receiver.next(input, pool)
    }

    /// Bytes that wait to be sent.
    #[inline]
    #[must_use]
    pub fn unsent(&self) -> usize {
        self.transmit.len()
    }

    /// PDUs that wait to be sent.
    #[inline]
    #[must_use]
    pub fn unsent_pdus(&self) -> usize {
        self.transmit.pdus()
    }

    /// Fills `slices` with what is to be sent next, see [`Transmit::slices`](crate::iscsi::transmit::Transmit::slices).
    #[inline]
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.transmit.slices(slices)
    }

    /// The driver has sent so many bytes of `slices`.
    #[inline]
    pub fn sent(&mut self, count: usize, pool: &mut Pool) {
        self.stats.sent(count);
        self.transmit.advance(count, pool);
        self.count_queued(pool);
    }

    /// Sets how many bytes, a multiple of 4 KiB, may wait to be sent before reads have to wait.
    #[inline]
    pub fn set_ring_len(&mut self, len: usize) {
        self.ring_len = len;
    }
}
