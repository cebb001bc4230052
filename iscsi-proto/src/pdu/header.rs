//! The basic header segment: its fields that all PDUs share, and access to the others by their offset.

use crate::ids::Itt;

/// Length of the basic header segment in bytes.
pub const BHS_LEN: usize = 48;

/// A basic header segment as it travels.
pub type Bhs = [u8; BHS_LEN];

/// The largest data segment a header can announce, in bytes (RFC 7143 11.2.1.6).
pub const DATA_LEN_MAX: usize = 0x00ff_ffff;

/// The longest additional header segments a header can announce, in bytes (RFC 7143 11.2.1.5).
pub const AHS_LEN_MAX: usize = 255 * 4;

/// A header that says what the standard forbids.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PduError {
    /// The opcode is none of RFC 7143's (vendor opcodes count among these), or not that of the PDU asked for.
    #[error("unknown or unexpected opcode {0:#04x}")]
    Opcode(u8),
    /// The SCSI Command's ATTR field is 5, 6 or 7 (RFC 7143 11.3.1).
    #[error("reserved task attribute {0}")]
    TaskAttribute(u8),
    /// The Initiator Task Tag is 0xffffffff where a task must be named.
    #[error("reserved initiator task tag")]
    ReservedItt,
    /// The Target Transfer Tag is 0xffffffff where a transfer must be named.
    #[error("reserved target transfer tag")]
    ReservedTtt,
    /// Both the overflow and the underflow bit are set (RFC 7143 11.4.1).
    #[error("residual overflow and underflow at once")]
    Residual,
    /// A Data-In PDU has status without being its sequence's last (RFC 7143 11.7.3).
    #[error("status in a Data-In that is not the last")]
    StatusNotLast,
    /// A text that is continued claims to be the last (RFC 7143 11.10.1, 11.12.3).
    #[error("continue bit together with final or transit bit")]
    ContinuedAndFinal,
    /// CSG or NSG is 2 (RFC 7143 11.12.3).
    #[error("reserved login stage")]
    Stage,
}

/// The opcode: six bits, without the immediate bit.
#[inline]
pub fn opcode(bhs: &Bhs) -> u8 {
    bhs[0] & OPCODE_MASK
}

/// Whether the request is marked for immediate delivery (RFC 7143 11.2.1.1).
#[inline]
pub fn is_immediate(bhs: &Bhs) -> bool {
    bhs[0] & IMMEDIATE != 0
}

/// Length of the data segment in bytes, without padding.
#[inline]
pub fn data_len(bhs: &Bhs) -> usize {
    (be32::<4>(bhs) & 0x00ff_ffff) as usize
}

/// Length of all additional header segments in bytes, padding included.
#[inline]
pub fn ahs_len(bhs: &Bhs) -> usize {
    usize::from(bhs[4]) * 4
}

/// The Initiator Task Tag, which has one place in all PDUs: for an answer to a header that does not decode.
#[inline]
pub fn itt(bhs: &Bhs) -> Option<Itt> {
    Itt::from_wire(be32::<16>(bhs))
}

/// Writes TotalAHSLength and DataSegmentLength, both given in bytes.
///
/// `ahs_len` is a multiple of four up to [`AHS_LEN_MAX`]; `data_len` is at most [`DATA_LEN_MAX`].
#[inline]
pub fn set_lengths(bhs: &mut Bhs, ahs_len: usize, data_len: usize) {
    debug_assert!(ahs_len.is_multiple_of(4) && ahs_len <= AHS_LEN_MAX, "AHS of {ahs_len} bytes");
    debug_assert!(data_len <= DATA_LEN_MAX, "data segment of {data_len} bytes");
    put32::<4>(bhs, ((ahs_len / 4) as u32) << 24 | (data_len as u32 & 0x00ff_ffff));
}

const OPCODE_MASK: u8 = 0x3f;
const IMMEDIATE: u8 = 0x40;

/// The F bit of byte 1, in all PDUs that have one; also where the RFC's figure has a fixed 1.
pub(super) const FINAL: u8 = 0x80;

/// Byte 0 of a request.
#[inline]
pub(super) fn request(opcode: u8, immediate: bool) -> u8 {
    opcode | u8::from(immediate) << 6
}

#[inline]
pub(super) fn expect(bhs: &Bhs, expected: u8) -> Result<(), PduError> {
    let found = opcode(bhs);
    if found == expected { Ok(()) } else { Err(PduError::Opcode(found)) }
}

#[inline]
pub(super) fn task_tag(bhs: &Bhs) -> Result<Itt, PduError> {
    itt(bhs).ok_or(PduError::ReservedItt)
}

#[inline]
pub(super) fn bytes<const AT: usize, const N: usize>(bhs: &Bhs) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bhs[AT..AT + N]);
    field
}

#[inline]
pub(super) fn put_bytes<const AT: usize, const N: usize>(bhs: &mut Bhs, field: [u8; N]) {
    bhs[AT..AT + N].copy_from_slice(&field);
}

#[inline]
pub(super) fn be16<const AT: usize>(bhs: &Bhs) -> u16 {
    u16::from_be_bytes(bytes::<AT, 2>(bhs))
}

#[inline]
pub(super) fn be32<const AT: usize>(bhs: &Bhs) -> u32 {
    u32::from_be_bytes(bytes::<AT, 4>(bhs))
}

#[inline]
pub(super) fn put16<const AT: usize>(bhs: &mut Bhs, value: u16) {
    put_bytes::<AT, 2>(bhs, value.to_be_bytes());
}

#[inline]
pub(super) fn put32<const AT: usize>(bhs: &mut Bhs, value: u32) {
    put_bytes::<AT, 4>(bhs, value.to_be_bytes());
}
