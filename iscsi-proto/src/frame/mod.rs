//! PDUs out of a byte stream and into it (RFC 7143 11.1, 13.1): lengths, padding, digests.
//!
//! On the wire a PDU is: header (48 bytes), additional header segments, header digest if negotiated, data,
//! zero to three bytes of padding, data digest if negotiated and there is data.
//!
//! [`cut`] and [`trailer`] serve hot paths: no state, no allocation, no copy of a payload. [`PduReader`] and
//! [`encode_pdu`] serve logins, texts and small initiators.

mod cut;
mod digest;
mod encode;
mod reader;

pub use cut::{Cut, Header, cut};
pub use digest::{Crc32c, data_digest, header_digest};
pub use encode::{encode_pdu, trailer};
pub use reader::{PduReader, RawPdu};

/// Which digests (CRC32C) a connection uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Digests {
    /// Behind the header and its additional segments.
    pub header: bool,
    /// Behind the data and its padding.
    pub data: bool,
}

impl Digests {
    /// As during a login.
    pub const NONE: Self = Self { header: false, data: false };
}

/// How long a PDU's segments may be, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// The data segment, without padding; our MaxRecvDataSegmentLength.
    pub max_data_len: u32,
    /// All additional header segments together; at most 1020 travel.
    pub max_ahs_len: u32,
}

impl Default for Limits {
    /// What holds before anything is negotiated (RFC 7143 13.12), and any additional header.
    fn default() -> Self {
        Self { max_data_len: 8192, max_ahs_len: 1020 }
    }
}

/// A stream that is not, or is no more, a sequence of PDUs: the connection is lost (at ErrorRecoveryLevel 0).
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header digest does not match: lengths cannot be trusted.
    #[error("wrong header digest")]
    HeaderDigest,
    /// The data digest does not match.
    #[error("wrong data digest")]
    DataDigest,
    /// More additional header than the limit.
    #[error("{len} bytes of additional header, above the limit of {max}")]
    AhsTooLong {
        /// TotalAHSLength in bytes.
        len: u32,
        /// The limit.
        max: u32,
    },
    /// More data than the limit.
    #[error("{len} bytes of data, above the limit of {max}")]
    DataTooLong {
        /// DataSegmentLength in bytes.
        len: u32,
        /// The limit.
        max: u32,
    },
}

/// Length of either digest in bytes.
const DIGEST_LEN: usize = 4;

#[cfg(test)]
mod tests;
