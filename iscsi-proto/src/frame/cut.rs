//! Finding one header at the start of a buffer.

use super::{DIGEST_LEN, Digests, FrameError, Limits, header_digest};
use crate::pdu::{BHS_LEN, Bhs, ahs_len, data_len};

/// What stands at the start of a buffer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut<'a> {
    /// Less than a whole header; holds how many bytes, from the start of the buffer, are needed to see more.
    More(usize),
    /// A whole header.
    Header(Header<'a>),
}

/// A header with what its lengths mean on the wire. All lengths are in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Header<'a> {
    /// The basic header segment.
    pub bhs: &'a Bhs,
    /// All additional header segments, see [`pdu::ahs`](crate::pdu::ahs).
    pub ahs: &'a [u8],
    /// Where the data starts: behind additional header segments and header digest.
    pub header_len: usize,
    /// The data, without padding.
    pub data_len: usize,
    /// The data with its padding.
    pub padded_len: usize,
    /// The whole PDU, with padding and data digest.
    pub wire_len: usize,
}

/// Finds the header at the start of `bytes` and checks its digest and its lengths.
///
/// Nothing is kept between calls: with too few bytes the answer is [`Cut::More`], and the call is made again
/// when they are there. The data needs not be there yet; its digest is the caller's to check, see
/// [`data_digest`](super::data_digest).
///
/// # Errors
/// The limits are broken or the header digest is wrong. The stream cannot be followed any further.
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

/// The same, for a header with additional segments or a digest.
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
