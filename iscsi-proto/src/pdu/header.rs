//! The basic header segment: its fields that all PDUs share, and access to the others by their offset.

use crate::ids::Itt;
use crate::sn::CmdSn;

/// Length of the basic header segment in bytes.
pub const BHS_LEN: usize = 48;

/// A basic header segment in wire format.
pub type Bhs = [u8; BHS_LEN];

/// Maximum of DataSegmentLength, in bytes (RFC 7143 11.2.1.6).
pub const DATA_LEN_MAX: usize = 0x00ff_ffff;

/// Maximum length of all additional header segments, in bytes (RFC 7143 11.2.1.5).
pub const AHS_LEN_MAX: usize = 255 * 4;

/// Why a header was not decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PduError {
    /// The opcode is not defined by RFC 7143, or is not that of the requested PDU. Vendor-specific opcodes count as
    /// undefined.
    #[error("unknown or unexpected opcode {0:#04x}")]
    Opcode(u8),
    /// The SCSI Command's ATTR field is 5, 6 or 7 (RFC 7143 11.3.1).
    #[error("reserved task attribute {0}")]
    TaskAttribute(u8),
    /// The Initiator Task Tag is 0xffffffff in a PDU that requires one.
    #[error("reserved initiator task tag")]
    ReservedItt,
    /// The Target Transfer Tag is 0xffffffff in a PDU that requires one.
    #[error("reserved target transfer tag")]
    ReservedTtt,
    /// Both the overflow and the underflow bit are set (RFC 7143 11.4.1).
    #[error("residual overflow and underflow at once")]
    Residual,
    /// A Data-In PDU has the S bit but not the F bit (RFC 7143 11.7.3).
    #[error("status in a Data-In that is not the last")]
    StatusNotLast,
    /// The C bit is set together with the F or T bit (RFC 7143 11.10.1, 11.12.3).
    #[error("continue bit together with final or transit bit")]
    ContinuedAndFinal,
    /// CSG or NSG is 2 (RFC 7143 11.12.3).
    #[error("reserved login stage")]
    Stage,
}

/// The opcode of a header: six bits, without the immediate bit.
#[inline]
pub fn opcode(bhs: &Bhs) -> u8 {
    bhs[0] & OPCODE_MASK
}

/// Whether the I bit requests immediate delivery (RFC 7143 11.2.1.1).
#[inline]
pub fn is_immediate(bhs: &Bhs) -> bool {
    bhs[0] & IMMEDIATE != 0
}

/// DataSegmentLength: length of the data segment in bytes, without padding.
#[inline]
pub fn data_len(bhs: &Bhs) -> usize {
    (be32::<4>(bhs) & 0x00ff_ffff) as usize
}

/// Length of all additional header segments in bytes, with padding (TotalAHSLength times 4).
#[inline]
pub fn ahs_len(bhs: &Bhs) -> usize {
    usize::from(bhs[4]) * 4
}

/// The Initiator Task Tag, at the same offset in all PDUs, also in a header that cannot be decoded. `None` if it is
/// the reserved 0xffffffff.
#[inline]
pub fn itt(bhs: &Bhs) -> Option<Itt> {
    Itt::from_wire(be32::<16>(bhs))
}

/// CmdSN, at the same offset in all requests but SCSI Data-Out and SNACK Request, which have none.
#[inline]
pub fn cmd_sn(bhs: &Bhs) -> CmdSn {
    CmdSn(be32::<24>(bhs))
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

/// The F bit of byte 1. PDUs without it have a fixed 1 there.
pub(super) const FINAL: u8 = 0x80;

/// Encodes byte 0 of a request: I bit and opcode.
#[inline]
pub(super) fn request(opcode: u8, immediate: bool) -> u8 {
    opcode | u8::from(immediate) << 6
}

/// Checks the opcode.
#[inline]
pub(super) fn expect(bhs: &Bhs, expected: u8) -> Result<(), PduError> {
    let found = opcode(bhs);
    if found == expected { Ok(()) } else { Err(PduError::Opcode(found)) }
}

/// The Initiator Task Tag of a PDU that requires one.
#[inline]
pub(super) fn task_tag(bhs: &Bhs) -> Result<Itt, PduError> {
    itt(bhs).ok_or(PduError::ReservedItt)
}

/// Copies `N` bytes from offset `AT`.
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
