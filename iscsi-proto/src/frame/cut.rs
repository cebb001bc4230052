//! Locates one PDU at the start of a buffer.

use super::{DIGEST_LEN, Digests, FrameError, Limits, header_digest};
use crate::pdu::{BHS_LEN, Bhs, ahs_len, data_len};

/// The start of a buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut<'a> {
    /// The header is incomplete; the next call needs at least this many bytes from the start of the buffer.
    More(usize),
    /// The header is complete.
    Header(Header<'a>),
}

/// A header, and the lengths of the PDU on the wire, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// The basic header segment.
    pub bhs: &'a Bhs,
    /// All additional header segments; see [`pdu::ahs`](crate::pdu::ahs).
    pub ahs: &'a [u8],
    /// Offset of the data segment: the length of headers and header digest.
    pub header_len: usize,
    /// Length of the data segment, without padding.
    pub data_len: usize,
    /// Length of the data segment with its padding.
    pub padded_len: usize,
    /// Length of the PDU, with padding and data digest.
    pub wire_len: usize,
}

/// Reads the header at the start of `bytes` and checks its digest and its lengths.
///
/// The function keeps no state: after [`Cut::More`] the caller calls it again with more bytes. The data segment need not
/// be complete; the caller checks its digest with [`data_digest`](super::data_digest).
///
/// # Errors
/// A length exceeds its limit or the header digest does not match. The rest of the stream cannot be read.
#[inline]
pub fn cut<'a>(bytes: &'a [u8], digests: Digests, limits: &Limits) -> Result<Cut<'a>, FrameError> {
    let Some((bhs, rest)) = bytes.split_first_chunk::<BHS_LEN>() else {
        return Ok(Cut::More(BHS_LEN));
    };
    let (ahs_len, data_len) = (ahs_len(bhs), data_len(bhs));
    if ahs_len | usize::from(digests.header) != 0 {
        return long_header(bhs, rest, digests, limits);
    }
    if data_len > limits.max_data_len as usize {
        return Err(too_long(data_len, limits));
    }
    Ok(Cut::Header(header(bhs, &[], BHS_LEN, data_len, digests)))
}

/// [`cut`] of a header with additional segments or a digest.
fn long_header<'a>(
    bhs: &'a Bhs,
    rest: &'a [u8],
    digests: Digests,
    limits: &Limits,
) -> Result<Cut<'a>, FrameError> {
    let (ahs_len, data_len) = (ahs_len(bhs), data_len(bhs));
    if ahs_len > limits.max_ahs_len as usize {
        return Err(FrameError::AhsTooLong { len: ahs_len as u32, max: limits.max_ahs_len });
    }
    let header_len = BHS_LEN + ahs_len + if digests.header { DIGEST_LEN } else { 0 };
    let Some((ahs, rest)) = rest.split_at_checked(ahs_len) else {
        return Ok(Cut::More(header_len));
    };
    if digests.header {
        match rest.first_chunk::<DIGEST_LEN>() {
            None => return Ok(Cut::More(header_len)),
            Some(digest) if *digest != header_digest(bhs, ahs) => return Err(FrameError::HeaderDigest),
            Some(_) => {}
        }
    }
    if data_len > limits.max_data_len as usize {
        return Err(too_long(data_len, limits));
    }
    Ok(Cut::Header(header(bhs, ahs, header_len, data_len, digests)))
}

#[inline]
fn header<'a>(
    bhs: &'a Bhs,
    ahs: &'a [u8],
    header_len: usize,
    data_len: usize,
    digests: Digests,
) -> Header<'a> {
    let padded_len = (data_len + 3) & !3;
    let digest_len = DIGEST_LEN * usize::from(digests.data & (data_len != 0));
    Header { bhs, ahs, header_len, data_len, padded_len, wire_len: header_len + padded_len + digest_len }
}

#[cold]
fn too_long(data_len: usize, limits: &Limits) -> FrameError {
    FrameError::DataTooLong { len: data_len as u32, max: limits.max_data_len }
}
