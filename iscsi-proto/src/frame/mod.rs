//! Framing of PDUs in a byte stream (RFC 7143 11.1, 13.1): lengths, padding, digests.
//!
//! A PDU on the wire consists of the basic header segment (48 bytes), additional header segments, the header digest if
//! negotiated, the data segment, zero to three bytes of padding, and the data digest if negotiated and there is data.
//!
//! [`cut`] and [`trailer`] are for hot paths: they keep no state, allocate nothing and copy no data. [`PduReader`] and
//! [`encode_pdu`] are for logins, texts and small initiators.

mod cut;
mod digest;
mod encode;
mod reader;

pub use cut::{Cut, Header, cut};
pub use digest::{Crc32c, data_digest, header_digest};
pub use encode::{encode_pdu, trailer};
pub use reader::{PduReader, RawPdu};

/// The digests (CRC32C) that a connection uses.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Digests {
    /// HeaderDigest, over the header and its additional segments.
    pub header: bool,
    /// DataDigest, over the data and its padding.
    pub data: bool,
}

impl Digests {
    /// No digests, as during a login.
    pub const NONE: Self = Self { header: false, data: false };
}

/// Maximum lengths of the segments of a PDU, in bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Data segment without padding: the MaxRecvDataSegmentLength of the receiver.
    pub max_data_len: u32,
    /// All additional header segments together; a header can announce at most 1020.
    pub max_ahs_len: u32,
}

impl Default for Limits {
    /// The default MaxRecvDataSegmentLength (RFC 7143 13.12), and additional header segments of any length.
    fn default() -> Self {
        Self { max_data_len: 8192, max_ahs_len: 1020 }
    }
}

/// Why the stream cannot be split into PDUs any further. At ErrorRecoveryLevel 0 the connection must be closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The header digest does not match, so the lengths are unreliable.
    #[error("wrong header digest")]
    HeaderDigest,
    /// The data digest does not match.
    #[error("wrong data digest")]
    DataDigest,
    /// The additional header segments exceed the limit.
    #[error("{len} bytes of additional header, above the limit of {max}")]
    AhsTooLong {
        /// TotalAHSLength in bytes.
        len: u32,
        /// The limit in bytes.
        max: u32,
    },
    /// The data segment exceeds the limit.
    #[error("{len} bytes of data, above the limit of {max}")]
    DataTooLong {
        /// DataSegmentLength in bytes.
        len: u32,
        /// The limit in bytes.
        max: u32,
    },
}

/// Length of a header or data digest in bytes.
const DIGEST_LEN: usize = 4;

#[cfg(test)]
mod tests;
