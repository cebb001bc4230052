//! READ CAPACITY parameter data (SBC-3 5.16.2, 5.17.2).

use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use super::{PageError, flag, is_set, truncated};

/// Parameter data of READ CAPACITY (16). READ CAPACITY (10) has the first two fields.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReadCapacity {
    /// RETURNED LOGICAL BLOCK ADDRESS: LBA of the last block.
    pub last_lba: u64,
    /// LOGICAL BLOCK LENGTH IN BYTES.
    pub block_len: u32,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT, 0 to 15.
    pub physical_exponent: u8,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS, 14 bits.
    pub lowest_aligned_lba: u16,
    /// LBPME: logical block provisioning is supported.
    pub provisioning: bool,
    /// LBPRZ: unmapped blocks read as zeroes.
    pub zeroes: bool,
}

impl ReadCapacity {
    /// Encodes the 8 bytes of READ CAPACITY (10). A last LBA beyond 32 bits is ffffffffh.
    #[must_use]
    pub fn encode_10(&self) -> Vec<u8> {
        let last = u32::try_from(self.last_lba).unwrap_or(u32::MAX);
        [last.to_be_bytes(), self.block_len.to_be_bytes()].concat()
    }

    /// Encodes the 32 bytes of READ CAPACITY (16).
    #[must_use]
    pub fn encode_16(&self) -> Vec<u8> {
        let [aligned_high, aligned_low] = self.lowest_aligned_lba.to_be_bytes();
        let mut out = Vec::with_capacity(32);
        out.extend(self.last_lba.to_be_bytes());
        out.extend(self.block_len.to_be_bytes());
        out.extend([0, self.physical_exponent & 0x0f]);
        out.extend([flag(self.provisioning, 7) | flag(self.zeroes, 6) | aligned_high & 0x3f, aligned_low]);
        out.resize(32, 0);
        out
    }

    /// Decodes READ CAPACITY (10) data.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the data is shorter.
    pub fn decode_10(bytes: &[u8]) -> Result<Self, PageError> {
        let (_, (last_lba, block_len)) = (be_u32, be_u32).parse(bytes).map_err(truncated)?;
        Ok(Self { last_lba: last_lba.into(), block_len, ..Self::default() })
    }

    /// Decodes READ CAPACITY (16) data, of which 16 bytes suffice.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the data is shorter.
    pub fn decode_16(bytes: &[u8]) -> Result<Self, PageError> {
        let (_, (last_lba, block_len, _, exponents, aligned)) =
            (be_u64, be_u32, be_u8, be_u8, be_u16).parse(bytes).map_err(truncated)?;
        let [flags, _] = aligned.to_be_bytes();
        Ok(Self {
            last_lba,
            block_len,
            physical_exponent: exponents & 0x0f,
            lowest_aligned_lba: aligned & 0x3fff,
            provisioning: is_set(flags, 7),
            zeroes: is_set(flags, 6),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DISK: ReadCapacity = ReadCapacity {
        last_lba: 0x0102_0304_0506,
        block_len: 512,
        physical_exponent: 3,
        lowest_aligned_lba: 0x0107,
        provisioning: true,
        zeroes: true,
    };

    #[test]
    fn golden_bytes() {
        let bytes = DISK.encode_16();
        assert_eq!(bytes[..16], [0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 2, 0, 0, 3, 0xc1, 7]);
        assert_eq!(bytes[16..], [0; 16]);
        let wide =
            ReadCapacity { physical_exponent: 0xff, lowest_aligned_lba: 0xffff, ..ReadCapacity::default() };
        assert_eq!(wide.encode_16()[12..16], [0, 0x0f, 0x3f, 0xff]);
        assert_eq!(ReadCapacity { last_lba: 0x1234, ..DISK }.encode_10(), [0, 0, 0x12, 0x34, 0, 0, 2, 0]);
    }

    #[test]
    fn decode_returns_what_was_encoded() {
        assert_eq!(ReadCapacity::decode_16(&DISK.encode_16()), Ok(DISK));
        assert_eq!(ReadCapacity::decode_16(&DISK.encode_16()[..15]), Err(PageError::Truncated));
        let small = ReadCapacity { last_lba: 9, block_len: 4096, ..ReadCapacity::default() };
        assert_eq!(ReadCapacity::decode_10(&small.encode_10()), Ok(small));
        assert_eq!(ReadCapacity::decode_10(&[0; 7]), Err(PageError::Truncated));
    }

    #[test]
    fn large_last_lba_is_all_ones_in_the_short_format() {
        for last_lba in [0xffff_ffff, 0x1_0000_0000, u64::MAX] {
            assert_eq!(ReadCapacity { last_lba, ..DISK }.encode_10()[..4], [0xff; 4]);
        }
    }
}
