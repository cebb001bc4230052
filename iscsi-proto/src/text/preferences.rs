//! What a side of a negotiation wishes for.

use crate::params::SessionParams;

/// One side's wishes, before a negotiation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Preferences {
    /// What the session should have; `task_reporting` is accepted beside RFC3720, which always is.
    pub session: SessionParams,
    /// What we take in one PDU, in bytes: 512 to 2^24-1; what is outside counts as the nearest bound.
    pub max_recv_data_segment_len: u32,
    /// Digests behind headers.
    pub header_digest: DigestChoice,
    /// Digests behind data.
    pub data_digest: DigestChoice,
}

/// Which digests a side offers and accepts, by preference (RFC 7143 13.1).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum DigestChoice {
    /// None, and nothing else.
    None,
    /// CRC32C, and nothing else.
    Crc32c,
    /// Either; None is preferred.
    #[default]
    PreferNone,
    /// Either; CRC32C is preferred.
    PreferCrc32c,
}

impl Default for Preferences {
    /// The standard's defaults, and either digest if the peer wants it.
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
    /// The list to offer.
    pub fn offer(self) -> &'static str {
        match self {
            Self::None => "None",
            Self::Crc32c => "CRC32C",
            Self::PreferNone => "None,CRC32C",
            Self::PreferCrc32c => "CRC32C,None",
        }
    }

    /// Of a value (`None` or `CRC32C`): whether it is CRC32C, if this choice accepts it.
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

    /// Whether CRC32C is the preferred one.
    pub(super) fn prefers(self) -> bool {
        matches!(self, Self::Crc32c | Self::PreferCrc32c)
    }
}
