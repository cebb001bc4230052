//! Encodes PDUs, and the trailer of a data segment.

use bytes::{BufMut, BytesMut};

use super::digest::Crc32c;
use super::{DIGEST_LEN, Digests, header_digest};
use crate::pdu::{Bhs, set_lengths};

/// Appends a whole PDU to `out`: the header with its lengths, additional header segments, data, padding and digests.
/// It copies the data, so it is for logins, texts and other small PDUs.
///
/// `ahs` has a multiple of four bytes, at most [`AHS_LEN_MAX`](crate::pdu::AHS_LEN_MAX), as
/// [`Ahs::encode`](crate::pdu::ahs::Ahs::encode) makes it; `data` has at most [`DATA_LEN_MAX`](crate::pdu::DATA_LEN_MAX)
/// bytes.
pub fn encode_pdu(out: &mut BytesMut, bhs: &Bhs, ahs: &[u8], data: &[u8], digests: Digests) {
    let mut bhs = *bhs;
    set_lengths(&mut bhs, ahs.len(), data.len());
    out.reserve(bhs.len() + ahs.len() + data.len() + 3 * DIGEST_LEN);
    out.put_slice(&bhs);
    out.put_slice(ahs);
    if digests.header {
        out.put_slice(&header_digest(&bhs, ahs));
    }
    out.put_slice(data);
    let (trailer, len) = trailer([data], digests);
    out.put_slice(&trailer[..len]);
}

/// The bytes after a data segment: zero to three bytes of padding, and the data digest if it is used and there is data.
/// The second value is the number of valid bytes in the array, at most seven.
#[inline]
pub fn trailer<'a>(chunks: impl IntoIterator<Item = &'a [u8]>, digests: Digests) -> ([u8; 8], usize) {
    let (mut len, mut crc) = (0, Crc32c::new());
    for chunk in chunks {
        len += chunk.len();
        if digests.data {
            crc.update(chunk);
        }
    }
    let mut trailer = [0; 8];
    let padding = len.wrapping_neg() & 3;
    if !digests.data || len == 0 {
        return (trailer, padding);
    }
    crc.update(&[0; 3][..padding]);
    trailer[padding..padding + DIGEST_LEN].copy_from_slice(&crc.to_wire());
    (trailer, padding + DIGEST_LEN)
}
