//! The transmit ring of a connection: headers and payloads, offered as slices for one vectored write. Payloads are not
//! copied; their blocks return to the pool once the socket has taken their last byte.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::Bytes;
use iscsi_proto::frame::{self, Digests};
use iscsi_proto::pdu::Bhs;
use scsi_core::store::Block;

use crate::buffers::{Account, Pool};
use crate::limits::SEGMENT_LEN_MAX;

/// The transmit ring of one connection.
#[derive(Debug, Default)]
pub struct Transmit {
    ring: VecDeque<Outgoing>,
    /// Bytes of the first PDU that are sent.
    sent: usize,
    /// Bytes in the ring, sent ones included.
    bytes: usize,
    /// Bytes of the payloads in the ring that are [`Payload::Bytes`].
    text_bytes: usize,
    /// Bytes of memory that the ring held beside blocks when the pool counted them.
    counted: usize,
}

/// The payload of a PDU to be sent.
#[derive(Debug)]
pub enum Payload {
    /// No payload.
    Empty,
    /// A pool block, its whole length in use.
    Block(Block),
    /// So many zeroes, at most [`SEGMENT_LEN_MAX`].
    Zeroes(usize),
    /// Text and parameter data.
    Bytes(Bytes),
}

#[derive(Debug)]
struct Outgoing {
    head: [u8; HEAD_LEN],
    head_len: u8,
    tail_len: u8,
    tail: [u8; 8],
    payload: Payload,
}

/// PDUs that an idle ring keeps space for: the responses of a turn.
const PDUS_KEPT: usize = 256;

/// A basic header and its digest.
const HEAD_LEN: usize = 52;

/// The slices that are offered for one write.
struct Offered<'a, 'b> {
    slices: &'b mut [IoSlice<'a>],
    filled: usize,
    /// Bytes to leave out: they are sent.
    skip: usize,
}

impl<'a> Offered<'a, '_> {
    /// Adds the part of a PDU that is not sent. Returns false if there is no slice for it.
    #[inline(always)]
    fn add(&mut self, part: &'a [u8]) -> bool {
        if self.skip >= part.len() {
            self.skip -= part.len();
            return true;
        }
        let Some(slice) = self.slices.get_mut(self.filled) else { return false };
        *slice = IoSlice::new(&part[self.skip..]);
        self.filled += 1;
        self.skip = 0;
        true
    }
}

static ZEROES: [u8; SEGMENT_LEN_MAX] = [0; SEGMENT_LEN_MAX];

impl Transmit {
    /// Appends a PDU: sets the lengths in `bhs`, and adds digests and padding.
    #[inline]
    pub fn push(&mut self, mut bhs: Bhs, payload: Payload, digests: Digests) {
        let data = payload.as_slice();
        let (data_len, mut tail_len) = (data.len(), 0);
        let mut tail = [0; 8];
        if data_len > 0 {
            iscsi_proto::pdu::set_lengths(&mut bhs, 0, data_len);
            if digests.data || data_len % 4 != 0 {
                (tail, tail_len) = frame::trailer([data], digests);
            }
        }
        let mut head = [0; HEAD_LEN];
        head[..48].copy_from_slice(&bhs);
        let mut head_len = 48;
        if digests.header {
            head[48..].copy_from_slice(&frame::header_digest(&bhs, &[]));
            head_len = HEAD_LEN;
        }
        self.bytes += head_len + data_len + tail_len;
        self.text_bytes += payload.text_len();
        self.ring.push_back(Outgoing {
            head,
            head_len: head_len as u8,
            tail_len: tail_len as u8,
            tail,
            payload,
        });
    }

    /// Gives back the memory of a ring that is much longer than what it holds.
    pub fn shrink(&mut self) {
        self.ring.shrink_to(PDUS_KEPT.max(2 * self.ring.len()));
    }

    /// Bytes still to be sent.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes - self.sent
    }

    /// Whether all is sent.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ring.is_empty()
    }

    /// PDUs that are not completely sent.
    #[must_use]
    pub fn pdus(&self) -> usize {
        self.ring.len()
    }

    /// Fills `slices` with the first bytes to be sent. Returns how many slices are filled.
    #[inline]
    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut offered = Offered { slices, filled: 0, skip: self.sent };
        for pdu in &self.ring {
            let fits = offered.add(&pdu.head[..pdu.head_len.into()])
                && offered.add(pdu.payload.as_slice())
                && (pdu.tail_len == 0 || offered.add(&pdu.tail[..pdu.tail_len.into()]));
            if !fits {
                break;
            }
        }
        offered.filled
    }

    /// Bytes of memory that it holds: payloads and headers.
    #[inline]
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes + self.ring.len() * size_of::<Outgoing>()
    }

    /// Counts what it holds beside blocks for this account.
    #[inline]
    pub fn count(&mut self, account: Account, pool: &mut Pool) {
        let held = self.text_bytes + self.ring.len() * size_of::<Outgoing>();
        if held != self.counted {
            pool.count_queued(self.counted, held, account);
            self.counted = held;
        }
    }

    /// The socket took `count` bytes.
    #[inline]
    pub fn advance(&mut self, count: usize, pool: &mut Pool) {
        self.sent += count;
        while let Some(front) = self.ring.front() {
            let len = front.len();
            if self.sent < len {
                return;
            }
            self.sent -= len;
            self.bytes -= len;
            self.text_bytes -= front.payload.text_len();
            if let Some(Outgoing { payload: Payload::Block(block), .. }) = self.ring.pop_front() {
                pool.give(block);
            }
        }
    }

    /// Drops everything and gives the blocks back to the pool.
    pub fn clear(&mut self, pool: &mut Pool) {
        while let Some(pdu) = self.ring.pop_front() {
            if let Payload::Block(block) = pdu.payload {
                pool.give(block);
            }
        }
        (self.sent, self.bytes, self.text_bytes) = (0, 0, 0);
        self.ring = VecDeque::new();
    }
}

impl Payload {
    /// Its length in bytes.
    #[inline]
    #[must_use]
    #[allow(clippy::len_without_is_empty)] // An empty one is `Empty`.
    pub fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Block(block) => block.len(),
            Self::Zeroes(len) => *len,
            Self::Bytes(bytes) => bytes.len(),
        }
    }

    /// Bytes of memory that it takes beside its PDU and blocks.
    #[inline]
    fn text_len(&self) -> usize {
        if let Self::Bytes(bytes) = self { bytes.len() } else { 0 }
    }

    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Empty => &[],
            Self::Block(block) => block,
            Self::Zeroes(len) => &ZEROES[..*len],
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl Outgoing {
    fn len(&self) -> usize {
        usize::from(self.head_len) + self.payload.len() + usize::from(self.tail_len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(pool: &mut Pool, fill: u8, len: usize) -> Payload {
        let mut block = pool.take(len, Account::NONE);
        block.fill(fill);
        Payload::Block(block)
    }

    fn drained(transmit: &mut Transmit, pool: &mut Pool, step: usize) -> Vec<u8> {
        let mut out = Vec::new();
        while !transmit.is_empty() {
            let mut slices = [IoSlice::new(&[]); 4];
            let filled = transmit.slices(&mut slices);
            let all: Vec<u8> = slices[..filled].iter().flat_map(|slice| slice.to_vec()).collect();
            let taken = step.min(all.len());
            out.extend_from_slice(&all[..taken]);
            transmit.advance(taken, pool);
        }
        out
    }

    #[test]
    fn the_bytes_are_the_same_however_little_the_socket_takes() {
        let mut pool = Pool::default();
        let mut outputs = Vec::new();
        for step in [1, 47, 49, 1000, usize::MAX] {
            let mut transmit = Transmit::default();
            let digests = Digests { header: true, data: true };
            transmit.push([1; 48], block(&mut pool, 7, 5), digests);
            transmit.push([2; 48], Payload::Zeroes(8), digests);
            transmit.push([3; 48], Payload::Empty, digests);
            assert_eq!(transmit.len(), (52 + 8 + 4) + (52 + 8 + 4) + 52);
            outputs.push(drained(&mut transmit, &mut pool, step));
            assert_eq!((transmit.len(), pool.used_bytes()), (0, 0));
        }
        assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]));
        assert_eq!(outputs[0][5..8], [0, 0, 5], "the length is in the header");
        assert_eq!(outputs[0][52..60], [7, 7, 7, 7, 7, 0, 0, 0], "padded with zeroes");
    }

    #[test]
    fn clearing_returns_the_blocks() {
        let mut pool = Pool::default();
        let mut transmit = Transmit::default();
        let payload = block(&mut pool, 0, 4096);
        transmit.push([0; 48], payload, Digests { header: false, data: false });
        transmit.advance(10, &mut pool);
        transmit.clear(&mut pool);
        assert_eq!((transmit.len(), pool.used_bytes()), (0, 0));
    }
}
