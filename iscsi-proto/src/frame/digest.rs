//! CRC32C digests (RFC 7143 13.1), computed by the `crc-fast` crate. It uses carry-less multiplication beside the CRC
//! instructions of the processor, which makes it the fastest one.

use crc_fast::CrcAlgorithm::Crc32Iscsi;

use super::DIGEST_LEN;
use crate::pdu::Bhs;

/// An incremental CRC32C.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Crc32c(u32);

impl Default for Crc32c {
    fn default() -> Self {
        Self::new()
    }
}

impl Crc32c {
    /// The CRC of no bytes.
    #[inline]
    pub fn new() -> Self {
        Self(u32::MAX)
    }

    /// Appends bytes.
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        let mut digest = crc_fast::Digest::new_with_init_state(Crc32Iscsi, self.0.into());
        digest.update(bytes);
        self.0 = digest.get_state() as u32;
    }

    /// The CRC as a number; [`Self::to_wire`] returns it in wire format.
    #[inline]
    pub fn finish(self) -> u32 {
        !self.0
    }

    /// The digest in wire format: least significant byte first (RFC 7143 13.1, examples in RFC 3720 B.4).
    #[inline]
    pub fn to_wire(self) -> [u8; DIGEST_LEN] {
        self.finish().to_le_bytes()
    }
}

/// The digest of a header and its additional segments, in wire format.
#[inline]
pub fn header_digest(bhs: &Bhs, ahs: &[u8]) -> [u8; DIGEST_LEN] {
    let mut crc = Crc32c::new();
    crc.update(bhs);
    if !ahs.is_empty() {
        crc.update(ahs);
    }
    crc.to_wire()
}

/// The digest of a data segment, in wire format. The chunks must include the padding.
#[inline]
pub fn data_digest<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> [u8; DIGEST_LEN] {
    let mut crc = Crc32c::new();
    chunks.into_iter().for_each(|chunk| crc.update(chunk));
    crc.to_wire()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of RFC 3720 B.4 and RFC 7143 A.4.
    #[test]
    fn digests_match_the_examples_of_the_standard() {
        let ascending: Vec<u8> = (0..32).collect();
        let descending: Vec<u8> = (0..32).rev().collect();
        let mut read_10 = [0; 48];
        read_10[..2].copy_from_slice(&[0x01, 0xc0]);
        read_10[16] = 0x14;
        read_10[22] = 0x04;
        read_10[27] = 0x14;
        read_10[31] = 0x18;
        read_10[32] = 0x28;
        read_10[40] = 0x02;
        let cases: [(&[u8], [u8; 4]); 5] = [
            (&[0; 32], [0xaa, 0x36, 0x91, 0x8a]),
            (&[0xff; 32], [0x43, 0xab, 0xa8, 0x62]),
            (&ascending, [0x4e, 0x79, 0xdd, 0x46]),
            (&descending, [0x5c, 0xdb, 0x3f, 0x11]),
            (&read_10, [0x56, 0x3a, 0x96, 0xd9]),
        ];
        for (bytes, digest) in cases {
            assert_eq!(data_digest([bytes]), digest, "{bytes:x?}");
        }
        assert_eq!(header_digest(&read_10, &[]), [0x56, 0x3a, 0x96, 0xd9]);
    }

    #[test]
    fn digest_does_not_depend_on_the_chunks() {
        let bytes: Vec<u8> = (0..=255).collect();
        for at in [0, 1, 48, 255] {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(data_digest([head, tail]), data_digest([&bytes[..]]));
        }
        let (bhs, ahs) = bytes.split_first_chunk::<48>().unwrap();
        assert_eq!(header_digest(bhs, ahs), data_digest([&bytes[..]]));
    }
}
