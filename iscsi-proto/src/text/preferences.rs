//! The preferences of one side of a negotiation.

use crate::params::SessionParams;

/// The parameters that one side prefers before a negotiation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preferences {
    /// Parameters of the session. Of TaskReporting this value and RFC3720 are accepted.
    pub session: SessionParams,
    /// Our MaxRecvDataSegmentLength in bytes: 512 to 2^24-1; other values are clamped to that range.
    pub max_recv_data_segment_len: u32,
    /// HeaderDigest.
    pub header_digest: DigestChoice,
    /// DataDigest.
    pub data_digest: DigestChoice,
}

/// The digests that a side offers and accepts, in order of preference (RFC 7143 13.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DigestChoice {
    /// Only None.
    None,
    /// Only CRC32C.
    Crc32c,
    /// None, then CRC32C.
    #[default]
    PreferNone,
    /// CRC32C, then None.
    PreferCrc32c,
}

impl Default for Preferences {
    /// The defaults of the standard; digests are off unless the peer prefers them.
    fn default() -> Self {
        Self {
            session: SessionParams::default(),
            max_recv_data_segment_len: 8192,
            header_digest: DigestChoice::PreferNone,
            data_digest: DigestChoice::PreferNone,
        }
    }
}

impl DigestChoice {
    /// The value to offer.
    pub fn offer(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Crc32c => "CRC32C",
            Self::PreferNone => "None,CRC32C",
            Self::PreferCrc32c => "CRC32C,None",
        }
    }

    /// Parses `None` or `CRC32C`, if this choice accepts it. Returns whether it is CRC32C.
    pub(super) fn accept(self, value: &str) -> Option<bool> {
        let crc32c = match value {
            "None" => false,
            "CRC32C" => true,
            _ => return None,
        };
        match self {
            Self::None if crc32c => None,
            Self::Crc32c if !crc32c => None,
            _ => Some(crc32c),
        }
    }

    /// Whether CRC32C is preferred.
    pub(super) fn prefers_crc32c(self) -> bool {
        matches!(self, Self::Crc32c | Self::PreferCrc32c)
    }
}
