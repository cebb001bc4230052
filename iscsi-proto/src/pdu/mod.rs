//! The PDUs' basic header segments (RFC 7143 11), one file per request and its response.
//!
//! `decode` takes what the RFC makes meaningful and ignores what it reserves; `encode` writes all 48 bytes,
//! with both lengths zero: [`set_lengths`] puts them in once the segments behind the header are known.

pub mod ahs;
mod async_message;
mod code;
mod data_in;
mod data_out;
mod login;
mod logout;
mod nop;
mod r2t;
mod reject;
mod scsi_command;
mod scsi_response;
mod snack;
mod task_management;
mod text;

pub use async_message::{AsyncEvent, AsyncMessage};
pub use data_in::{DataIn, DataInStatus};
pub use data_out::DataOut;
pub use login::{LoginRequest, LoginResponse};
pub use logout::{LogoutReason, LogoutRequest, LogoutResponse, LogoutResponseCode};
pub use nop::{NopIn, NopOut};
pub use r2t::R2t;
pub use reject::{Reject, RejectReason};
pub use scsi_command::{ScsiCommand, TaskAttribute};
pub use scsi_response::{Residual, ScsiResponse, ScsiResponseCode};
pub use snack::{SnackRequest, SnackType};
pub use task_management::{TaskFunction, TaskManagementRequest, TaskManagementResponse, TaskResponse};
pub use text::{TextRequest, TextResponse};

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

/// Makes the enum of all PDUs and its dispatch from one list.
macro_rules! pdus {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Any PDU, for slow paths, initiators and analysers; a hot path looks at [`opcode`] and decodes one.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum Pdu {
            $($(#[$doc])* $name($name),)*
        }

        impl Pdu {
            /// Every opcode of RFC 7143 with its PDU's name.
            pub const OPCODES: &[(u8, &str)] = &[$(($name::OPCODE, stringify!($name)),)*];

            /// Decodes by opcode.
            pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
                match opcode(bhs) {
                    $($name::OPCODE => $name::decode(bhs).map(Self::$name),)*
                    unknown => Err(PduError::Opcode(unknown)),
                }
            }

            /// Writes all 48 bytes, with both lengths zero.
            pub fn encode(&self, bhs: &mut Bhs) {
                match self {
                    $(Self::$name(pdu) => pdu.encode(bhs),)*
                }
            }

            /// The PDU's opcode.
            pub fn opcode(&self) -> u8 {
                match self {
                    $(Self::$name(_) => $name::OPCODE,)*
                }
            }
        }

        $(impl From<$name> for Pdu {
            fn from(pdu: $name) -> Self {
                Self::$name(pdu)
            }
        })*
    };
}

pdus! {
    /// RFC 7143 11.18.
    NopOut,
    /// RFC 7143 11.3.
    ScsiCommand,
    /// RFC 7143 11.5.
    TaskManagementRequest,
    /// RFC 7143 11.12.
    LoginRequest,
    /// RFC 7143 11.10.
    TextRequest,
    /// RFC 7143 11.7.
    DataOut,
    /// RFC 7143 11.14.
    LogoutRequest,
    /// RFC 7143 11.16.
    SnackRequest,
    /// RFC 7143 11.19.
    NopIn,
    /// RFC 7143 11.4.
    ScsiResponse,
    /// RFC 7143 11.6.
    TaskManagementResponse,
    /// RFC 7143 11.13.
    LoginResponse,
    /// RFC 7143 11.11.
    TextResponse,
    /// RFC 7143 11.7.
    DataIn,
    /// RFC 7143 11.15.
    LogoutResponse,
    /// RFC 7143 11.8.
    R2t,
    /// RFC 7143 11.9.
    AsyncMessage,
    /// RFC 7143 11.17.
    Reject,
}

const OPCODE_MASK: u8 = 0x3f;
const IMMEDIATE: u8 = 0x40;

/// The F bit of byte 1, in all PDUs that have one; also where the RFC's figure has a fixed 1.
const FINAL: u8 = 0x80;

/// Byte 0 of a request.
#[inline]
fn request(opcode: u8, immediate: bool) -> u8 {
    opcode | u8::from(immediate) << 6
}

#[inline]
fn expect(bhs: &Bhs, expected: u8) -> Result<(), PduError> {
    let found = opcode(bhs);
    if found == expected { Ok(()) } else { Err(PduError::Opcode(found)) }
}

#[inline]
fn task_tag(bhs: &Bhs) -> Result<Itt, PduError> {
    itt(bhs).ok_or(PduError::ReservedItt)
}

#[inline]
fn bytes<const AT: usize, const N: usize>(bhs: &Bhs) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bhs[AT..AT + N]);
    field
}

#[inline]
fn put_bytes<const AT: usize, const N: usize>(bhs: &mut Bhs, field: [u8; N]) {
    bhs[AT..AT + N].copy_from_slice(&field);
}

#[inline]
fn be16<const AT: usize>(bhs: &Bhs) -> u16 {
    u16::from_be_bytes(bytes::<AT, 2>(bhs))
}

#[inline]
fn be32<const AT: usize>(bhs: &Bhs) -> u32 {
    u32::from_be_bytes(bytes::<AT, 4>(bhs))
}

#[inline]
fn put16<const AT: usize>(bhs: &mut Bhs, value: u16) {
    put_bytes::<AT, 2>(bhs, value.to_be_bytes());
}

#[inline]
fn put32<const AT: usize>(bhs: &mut Bhs, value: u32) {
    put_bytes::<AT, 4>(bhs, value.to_be_bytes());
}

#[cfg(test)]
mod tests;
