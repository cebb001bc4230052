//! From received bytes to complete PDUs. A PDU that is complete in the loop's scratch buffer is borrowed from there; the
//! payload of another is collected in a block of its own, straight from the socket. An idle connection owns no buffer.

use bytes::Bytes;
use iscsi_proto::frame::{self, Crc32c, Cut, Digests, FrameError, Limits};
use iscsi_proto::pdu::Bhs;
use scsi_core::store::Block;

use crate::buffers::{Account, Pool};

/// The receiving side of one connection.
#[derive(Debug)]
pub struct Receiver {
    digests: Digests,
    limits: Limits,
    /// The first bytes of an incomplete header.
    held: Vec<u8>,
    payload: Option<Collecting>,
    /// The last PDU had a long payload. The next one probably has, too, and is received into its block.
    bulk: bool,
}

/// A PDU whose payload is incomplete.
#[derive(Debug)]
struct Collecting {
    bhs: Bhs,
    ahs: Bytes,
    block: Block,
    got: usize,
    /// Padding and data digest.
    tail: [u8; TAIL_MAX],
    tail_len: usize,
    tail_got: usize,
}

/// One complete PDU.
#[derive(Debug)]
pub struct Incoming<'a> {
    /// The basic header segment.
    pub bhs: Bhs,
    /// Additional header segments; nearly always empty.
    pub ahs: Bytes,
    /// The data segment.
    pub data: Data<'a>,
    /// The data digest is right, or there is none.
    pub intact: bool,
}

/// A data segment.
#[derive(Debug)]
pub enum Data<'a> {
    /// In the loop's scratch buffer.
    Borrowed(&'a [u8]),
    /// In a block of its own.
    Owned(Block),
}

const TAIL_MAX: usize = 8;

/// Payloads from this length on are received in place where possible, in bytes.
const BULK_LEN: usize = 32 * 1024;

impl Receiver {
    /// A connection that has logged in.
    #[must_use]
    pub fn new(digests: Digests, limits: Limits) -> Self {
        Self { digests, limits, held: Vec::new(), payload: None, bulk: false }
    }

    /// Where the driver may put the next bytes of the socket: the rest of a payload.
    #[inline]
    pub fn space(&mut self) -> Option<&mut [u8]> {
        let collecting = self.payload.as_mut()?;
        let rest = &mut collecting.block[collecting.got..];
        if rest.is_empty() { None } else { Some(rest) }
    }

    /// Whether the driver should read only little beyond `space`, because the next payload gets a block of its own, too.
    #[inline]
    #[must_use]
    pub fn expects_bulk(&self) -> bool {
        self.bulk
    }

    /// The driver has put so many bytes at the beginning of `space`.
    #[inline]
    pub fn filled(&mut self, count: usize) {
        if let Some(collecting) = &mut self.payload {
            collecting.got = (collecting.got + count).min(collecting.block.len());
        }
    }

    /// Takes the next complete PDU from the beginning of `input`. `None`: all of `input` is taken and more is needed. Call
    /// it after `filled`, also with an empty `input`.
    ///
    /// # Errors
    /// The header is malformed: the connection must be closed.
    #[inline]
    pub fn next<'a>(
        &mut self,
        input: &mut &'a [u8],
        pool: &mut Pool,
    ) -> Result<Option<Incoming<'a>>, FrameError> {
        if self.payload.is_some() {
            return Ok(self.collect(input));
        }
        if !self.held.is_empty() {
            return self.complete_header(input, pool);
        }
        match frame::cut(input, self.digests, &self.limits)? {
            Cut::More(_) => {
                self.held.extend_from_slice(input);
                *input = &[];
                Ok(None)
            }
            Cut::Header(header) if input.len() >= header.wire_len => {
                let (start, len) = (header.header_len, header.data_len);
                let pdu = &input[..header.wire_len];
                *input = &input[header.wire_len..];
                let data = &pdu[start..start + len];
                let intact = len == 0 || !self.digests.data || digest_fits(data, &pdu[start + len..]);
                self.bulk = len >= BULK_LEN;
                let ahs =
                    if header.ahs.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(header.ahs) };
                Ok(Some(Incoming { bhs: *header.bhs, ahs, data: Data::Borrowed(data), intact }))
            }
            Cut::Header(header) => {
                self.begin(&header, pool);
                *input = &input[header.header_len..];
                Ok(self.collect(input))
            }
        }
    }

    /// Whether a PDU has begun and is not complete.
    #[inline]
    #[must_use]
    pub fn is_incomplete(&self) -> bool {
        self.payload.is_some() || !self.held.is_empty()
    }

    /// Gives the block back to the pool: the connection ends.
    pub fn clear(&mut self, pool: &mut Pool) {
        if let Some(collecting) = self.payload.take() {
            pool.give(collecting.block);
        }
        self.held = Vec::new();
    }

    fn complete_header<'a>(
        &mut self,
        input: &mut &'a [u8],
        pool: &mut Pool,
    ) -> Result<Option<Incoming<'a>>, FrameError> {
        loop {
            let held = std::mem::take(&mut self.held);
            match frame::cut(&held, self.digests, &self.limits)? {
                Cut::More(wanted) => {
                    let count = wanted.saturating_sub(held.len()).min(input.len());
                    self.held = held;
                    self.held.extend_from_slice(&input[..count]);
                    *input = &input[count..];
                    if self.held.len() < wanted {
                        return Ok(None);
                    }
                }
                Cut::Header(header) => {
                    self.begin(&header, pool);
                    self.held = held;
                    self.held.clear();
                    return Ok(self.collect(input));
                }
            }
        }
    }

    fn begin(&mut self, header: &frame::Header<'_>, pool: &mut Pool) {
        let tail_len = header.wire_len - header.header_len - header.data_len;
        self.bulk = header.data_len >= BULK_LEN;
        self.payload = Some(Collecting {
            bhs: *header.bhs,
            ahs: if header.ahs.is_empty() { Bytes::new() } else { Bytes::copy_from_slice(header.ahs) },
            block: pool.take(header.data_len, Account::NONE),
            got: 0,
            tail: [0; TAIL_MAX],
            tail_len,
            tail_got: 0,
        });
    }

    fn collect<'a>(&mut self, input: &mut &'a [u8]) -> Option<Incoming<'a>> {
        let collecting = self.payload.as_mut()?;
        let count = input.len().min(collecting.block.len() - collecting.got);
        collecting.block[collecting.got..collecting.got + count].copy_from_slice(&input[..count]);
        collecting.got += count;
        *input = &input[count..];
        if collecting.got < collecting.block.len() {
            return None;
        }
        let count = input.len().min(collecting.tail_len - collecting.tail_got);
        collecting.tail[collecting.tail_got..collecting.tail_got + count].copy_from_slice(&input[..count]);
        collecting.tail_got += count;
        *input = &input[count..];
        if collecting.tail_got < collecting.tail_len {
            return None;
        }
        let Collecting { bhs, ahs, block, tail, tail_len, .. } = self.payload.take()?;
        let intact = block.is_empty() || !self.digests.data || digest_fits(&block, &tail[..tail_len]);
        Some(Incoming { bhs, ahs, data: Data::Owned(block), intact })
    }
}

impl Data<'_> {
    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Owned(block) => block,
        }
    }

    /// Gives the block back to the pool, if there is one.
    #[inline]
    pub fn discard(self, pool: &mut Pool) {
        if let Self::Owned(block) = self {
            pool.give(block);
        }
    }
}

/// `tail` is the padding and, last, the digest of `data` and padding.
fn digest_fits(data: &[u8], tail: &[u8]) -> bool {
    let Some((padding, digest)) = tail.split_last_chunk::<4>() else { return false };
    let mut crc = Crc32c::new();
    crc.update(data);
    crc.update(padding);
    crc.finish().to_le_bytes() == *digest
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use iscsi_proto::pdu::NopOut;

    use super::*;

    const LIMITS: Limits = Limits { max_data_len: 65536, max_ahs_len: 1020 };

    fn stream(digests: Digests, lens: &[usize]) -> BytesMut {
        let mut out = BytesMut::new();
        for len in lens {
            let mut bhs = [0; 48];
            bhs[0] = NopOut::OPCODE;
            bhs[16..20].copy_from_slice(&(*len as u32).to_be_bytes());
            let data: Vec<u8> = (0..*len).map(|n| (n % 253) as u8).collect();
            frame::encode_pdu(&mut out, &bhs, &[], &data, digests);
        }
        out
    }

    /// Feeds `bytes` in pieces of `step`, through `space` where it is offered.
    fn received(bytes: &[u8], step: usize, digests: Digests) -> Vec<(usize, bool)> {
        let mut pool = Pool::default();
        let mut receiver = Receiver::new(digests, LIMITS);
        let mut got = Vec::new();
        for piece in bytes.chunks(step) {
            let mut input = piece;
            if let Some(space) = receiver.space() {
                let count = space.len().min(input.len());
                space[..count].copy_from_slice(&input[..count]);
                input = &input[count..];
                receiver.filled(count);
            }
            while let Some(pdu) = receiver.next(&mut input, &mut pool).unwrap() {
                let expected: Vec<u8> = (0..pdu.data.as_slice().len()).map(|n| (n % 253) as u8).collect();
                assert_eq!(pdu.data.as_slice(), expected);
                got.push((pdu.data.as_slice().len(), pdu.intact));
                pdu.data.discard(&mut pool);
            }
            assert!(input.is_empty());
        }
        receiver.clear(&mut pool);
        assert_eq!(pool.used_bytes(), 0);
        got
    }

    #[test]
    fn pdus_are_complete_however_their_bytes_arrive() {
        for digests in [(false, false), (true, false), (false, true), (true, true)] {
            let digests = Digests { header: digests.0, data: digests.1 };
            let bytes = stream(digests, &[0, 5, 4096, 1, 40000, 0]);
            for step in [1, 3, 47, 48, 49, 52, 4096, 50000, usize::MAX] {
                let got = received(&bytes, step, digests);
                assert_eq!(got, [0, 5, 4096, 1, 40000, 0].map(|len| (len, true)), "step {step}, {digests:?}");
            }
        }
    }

    #[test]
    fn a_wrong_data_digest_is_detected() {
        let digests = Digests { header: false, data: true };
        let mut bytes = stream(digests, &[5]);
        bytes[50] ^= 1;
        let mut pool = Pool::default();
        for step in [1, usize::MAX] {
            let mut receiver = Receiver::new(digests, LIMITS);
            let mut intact = None;
            for piece in bytes.chunks(step) {
                let mut input = piece;
                if let Some(pdu) = receiver.next(&mut input, &mut pool).unwrap() {
                    intact = Some(pdu.intact);
                }
            }
            assert_eq!(intact, Some(false));
        }
    }

    #[test]
    fn a_segment_above_the_limit_is_refused_before_it_is_received() {
        let mut bhs = [0; 48];
        iscsi_proto::pdu::set_lengths(&mut bhs, 0, 65537);
        let mut pool = Pool::default();
        let mut receiver = Receiver::new(Digests::default(), LIMITS);
        assert!(receiver.next(&mut &bhs[..], &mut pool).is_err());
        assert_eq!(pool.used_bytes(), 0);
    }
}
