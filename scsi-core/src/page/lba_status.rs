//! GET LBA STATUS parameter data (SBC-3 5.4.2).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::be_u32;

use super::{PageError, truncated};

/// An LBA status descriptor: consecutive blocks with the same status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LbaStatus {
    /// The first block.
    pub lba: u64,
    /// Number of blocks.
    pub blocks: u32,
    /// Provisioning status of all these blocks.
    pub status: Provisioning,
}

/// PROVISIONING STATUS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Provisioning {
    /// 0: mapped, or unknown.
    Mapped = 0,
    /// 1: deallocated.
    Deallocated = 1,
    /// 2: anchored, with reserved space.
    Anchored = 2,
}

/// Encodes the descriptors; the caller truncates them.
#[must_use]
pub fn encode(descriptors: &[LbaStatus]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + descriptors.len() * 16);
    out.extend((descriptors.len() as u32 * 16 + 4).to_be_bytes());
    out.extend([0; 4]);
    for descriptor in descriptors {
        out.extend(descriptor.lba.to_be_bytes());
        out.extend(descriptor.blocks.to_be_bytes());
        out.extend([descriptor.status as u8, 0, 0, 0]);
    }
    out
}

/// Decodes the complete descriptors. A reserved status decodes as mapped.
///
/// # Errors
/// [`PageError::Truncated`] if the data has less than 8 bytes.
pub fn decode(bytes: &[u8]) -> Result<Vec<LbaStatus>, PageError> {
    let (rest, (len, _)) = (be_u32, take(4usize)).parse(bytes).map_err(truncated)?;
    let len = usize::try_from(len.saturating_sub(4)).unwrap_or(usize::MAX);
    let (raw, _) = rest[..rest.len().min(len)].as_chunks::<16>();
    Ok(raw.iter().map(descriptor).collect())
}

fn descriptor(bytes: &[u8; 16]) -> LbaStatus {
    let [a, b, c, d, e, f, g, h, i, j, k, l, status, ..] = *bytes;
    LbaStatus {
        lba: u64::from_be_bytes([a, b, c, d, e, f, g, h]),
        blocks: u32::from_be_bytes([i, j, k, l]),
        status: match status & 0x0f {
            1 => Provisioning::Deallocated,
            2 => Provisioning::Anchored,
            _ => Provisioning::Mapped,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_bytes_encode_and_decode() {
        let descriptors = [
            LbaStatus { lba: 1 << 32, blocks: 8, status: Provisioning::Deallocated },
            LbaStatus { lba: 0x1_0000_0008, blocks: 0x0102_0304, status: Provisioning::Mapped },
            LbaStatus { lba: 0, blocks: 1, status: Provisioning::Anchored },
        ];
        let bytes = encode(&descriptors);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 52, 0, 0, 0, 0,
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0,
            0, 0, 0, 1, 0, 0, 0, 8, 1, 2, 3, 4, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0,
        ]);
        assert_eq!(decode(&bytes), Ok(descriptors.to_vec()));
        assert_eq!(decode(&bytes[..55]), Ok(descriptors[..2].to_vec()));
        assert_eq!(decode(&bytes[..7]), Err(PageError::Truncated));
        assert_eq!(decode(&[0; 24]), Ok(Vec::new()));
        let mut reserved = bytes;
        reserved[20] = 0xf1;
        assert_eq!(decode(&reserved), Ok(descriptors.to_vec()));
    }
}
