//! GET LBA STATUS parameter data (SBC-3 5.4.2).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::be_u32;

use super::{PageError, truncated};

/// A stretch of blocks of one status.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct LbaStatus {
    /// The first block.
    pub lba: u64,
    /// How many.
    pub blocks: u32,
    /// What they are.
    pub status: Provisioning,
}

/// PROVISIONING STATUS.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Provisioning {
    /// 0: mapped, or nothing is known.
    Mapped = 0,
    /// 1: takes no space.
    Deallocated = 1,
    /// 2: takes reserved space.
    Anchored = 2,
}

/// The descriptors, whole.
#[must_use]
pub fn encode(stretches: &[LbaStatus]) -> Vec<u8> {
    let mut out = Vec::with_capacity(8 + stretches.len() * 16);
    out.extend((stretches.len() as u32 * 16 + 4).to_be_bytes());
    out.extend([0; 4]);
    for stretch in stretches {
        out.extend(stretch.lba.to_be_bytes());
        out.extend(stretch.blocks.to_be_bytes());
        out.extend([stretch.status as u8, 0, 0, 0]);
    }
    out
}

/// The descriptors, as far as they were sent; a reserved status is read as mapped.
///
/// # Errors
/// [`PageError::Truncated`] below 8 bytes.
pub fn decode(bytes: &[u8]) -> Result<Vec<LbaStatus>, PageError> {
    let (rest, (len, _)) = (be_u32, take(4usize)).parse(bytes).map_err(truncated)?;
    let len = usize::try_from(len.saturating_sub(4)).unwrap_or(usize::MAX);
    let (descriptors, _) = rest[..rest.len().min(len)].as_chunks::<16>();
    Ok(descriptors.iter().map(descriptor).collect())
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
    fn golden_bytes_and_back() {
        let stretches = [
            LbaStatus { lba: 1 << 32, blocks: 8, status: Provisioning::Deallocated },
            LbaStatus { lba: 0x1_0000_0008, blocks: 0x0102_0304, status: Provisioning::Mapped },
            LbaStatus { lba: 0, blocks: 1, status: Provisioning::Anchored },
        ];
        let bytes = encode(&stretches);
        #[rustfmt::skip]
        assert_eq!(bytes, [
            0, 0, 0, 52, 0, 0, 0, 0,
            0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 8, 1, 0, 0, 0,
            0, 0, 0, 1, 0, 0, 0, 8, 1, 2, 3, 4, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 0, 0,
        ]);
        assert_eq!(decode(&bytes), Ok(stretches.to_vec()));
        assert_eq!(decode(&bytes[..55]), Ok(stretches[..2].to_vec()));
        assert_eq!(decode(&bytes[..7]), Err(PageError::Truncated));
        assert_eq!(decode(&[0; 24]), Ok(Vec::new()));
        let mut reserved = bytes;
        reserved[20] = 0xf1;
        assert_eq!(decode(&reserved), Ok(stretches.to_vec()));
    }
}
