//! Additional header segments (RFC 7143 11.2.2).
//!
//! A segment has a length of two bytes, a type of one byte and type-specific content, padded to four bytes.

use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16};
use nom::{IResult, Parser};

use super::header::AHS_LEN_MAX;

/// One additional header segment.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Ahs<'a> {
    /// Bytes of a CDB after its first 16 (RFC 7143 11.2.2.3).
    ExtendedCdb(&'a [u8]),
    /// Expected Bidirectional Read Data Length in bytes (RFC 7143 11.2.2.4).
    BidirectionalReadLength(u32),
    /// An unknown type, with the content after the type byte.
    Other(u8, &'a [u8]),
}

/// Why additional header segments could not be decoded or encoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AhsError {
    /// AHSLength exceeds the remaining bytes, or is too small for the type.
    #[error("additional header segment of a wrong length")]
    Length,
    /// All segments together exceed [`AHS_LEN_MAX`].
    #[error("additional header segments are longer than 1020 bytes")]
    TooLong,
}

/// Iterates over the additional header segments of a PDU. The iterator ends after an error.
pub fn segments(bytes: &[u8]) -> Segments<'_> {
    Segments { rest: bytes }
}

/// Iterator of [`segments`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Segments<'a> {
    type Item = Result<Ahs<'a>, AhsError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Ok((rest, (kind, content))) = segment(self.rest) else {
            self.rest = &[];
            return Some(Err(AhsError::Length));
        };
        self.rest = rest;
        Some(Ahs::from_parts(kind, content))
    }
}

/// Splits off one segment. AHSLength counts neither itself nor the type nor the padding.
fn segment(input: &[u8]) -> IResult<&[u8], (u8, &[u8])> {
    let (input, (len, kind)) = (be_u16, be_u8).parse(input)?;
    let (input, content) = take(len).parse(input)?;
    let padding = (3 + usize::from(len)).wrapping_neg() & 3;
    let (input, _) = take(padding).parse(input)?;
    Ok((input, (kind, content)))
}

impl<'a> Ahs<'a> {
    fn from_parts(kind: u8, content: &'a [u8]) -> Result<Self, AhsError> {
        match (kind, content) {
            // The first byte is reserved. An empty CDB extension is invalid.
            (EXTENDED_CDB, [_, cdb @ ..]) if !cdb.is_empty() => Ok(Self::ExtendedCdb(cdb)),
            (BIDIRECTIONAL_READ_LENGTH, [_, a, b, c, d]) => {
                Ok(Self::BidirectionalReadLength(u32::from_be_bytes([*a, *b, *c, *d])))
            }
            (EXTENDED_CDB | BIDIRECTIONAL_READ_LENGTH, _) => Err(AhsError::Length),
            (other, content) => Ok(Self::Other(other, content)),
        }
    }

    /// Appends the segment with its padding to `out`, which holds the additional header segments of one PDU only.
    ///
    /// # Errors
    /// [`AhsError::TooLong`] if all segments together would exceed [`AHS_LEN_MAX`], [`AhsError::Length`] for an empty
    /// CDB extension. `out` is unchanged.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), AhsError> {
        let number;
        let (kind, reserved, content): (u8, &[u8], &[u8]) = match *self {
            Self::ExtendedCdb([]) => return Err(AhsError::Length),
            Self::ExtendedCdb(cdb) => (EXTENDED_CDB, &[0], cdb),
            Self::BidirectionalReadLength(len) => {
                number = len.to_be_bytes();
                (BIDIRECTIONAL_READ_LENGTH, &[0], &number)
            }
            Self::Other(kind, content) => (kind, &[], content),
        };
        let len = reserved.len() + content.len();
        let wire_len = (3 + len).next_multiple_of(4);
        if out.len() + wire_len > AHS_LEN_MAX {
            return Err(AhsError::TooLong);
        }
        let end = out.len() + wire_len;
        out.extend_from_slice(&(len as u16).to_be_bytes());
        out.push(kind);
        out.extend_from_slice(reserved);
        out.extend_from_slice(content);
        out.resize(end, 0);
        Ok(())
    }
}

const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A CDB of 18 bytes and 256 bytes to read.
    const GOLDEN: [u8; 16] = [
        0, 3, 1, 0, 0xaa, 0xbb, 0, 0, // length, extended CDB, reserved; two bytes, padding
        0, 5, 2, 0, 0, 0, 1, 0, // length, bidirectional read length, reserved; 256
    ];

    #[test]
    fn golden_bytes() {
        let expected = [Ahs::ExtendedCdb(&[0xaa, 0xbb]), Ahs::BidirectionalReadLength(256)];
        let decoded: Result<Vec<_>, _> = segments(&GOLDEN).collect();
        assert_eq!(decoded.unwrap(), expected);
        let mut out = Vec::new();
        expected.iter().for_each(|segment| segment.encode(&mut out).unwrap());
        assert_eq!(out, GOLDEN);
    }

    #[test]
    fn wrong_length_is_an_error_and_ends_the_iterator() {
        let cases: [&[u8]; 6] = [
            &[0, 3, 1, 0, 0xaa, 0xbb, 0],    // padding is missing
            &[0, 9, 1, 0, 0xaa, 0xbb, 0, 0], // longer than there is
            &[0, 1, 1, 0],                   // no CDB in it
            &[0, 0, 1, 0],                   // not even the reserved byte
            &[0, 4, 2, 0, 0, 0, 1, 0],       // a length of three bytes
            &[0, 1],
        ];
        for bytes in cases {
            let mut segments = segments(bytes);
            assert_eq!(segments.next(), Some(Err(AhsError::Length)), "{bytes:?}");
            assert_eq!(segments.next(), None, "{bytes:?}");
        }
    }

    #[test]
    fn unknown_type_keeps_its_content() {
        let bytes = [0, 1, 0x3f, 9];
        assert_eq!(segments(&bytes).next(), Some(Ok(Ahs::Other(0x3f, &[9]))));
    }

    #[test]
    fn segments_are_limited_to_1020_bytes() {
        let mut out = vec![0; AHS_LEN_MAX - 8];
        assert_eq!(Ahs::ExtendedCdb(&[1; 5]).encode(&mut out), Err(AhsError::TooLong));
        assert_eq!(out.len(), AHS_LEN_MAX - 8);
        assert_eq!(Ahs::ExtendedCdb(&[1; 4]).encode(&mut out), Ok(()));
        assert_eq!(out.len(), AHS_LEN_MAX);
    }

    proptest! {
        #[test]
        fn decode_returns_what_was_encoded(
            parts in prop::collection::vec((0u8..=5, prop::collection::vec(any::<u8>(), 1..100)), 0..8),
            len in any::<u32>(),
        ) {
            let segments_in: Vec<Ahs<'_>> = parts.iter().map(|(kind, content)| match kind {
                1 => Ahs::ExtendedCdb(content),
                2 => Ahs::BidirectionalReadLength(len),
                kind => Ahs::Other(*kind, content),
            }).collect();
            let mut out = Vec::new();
            for segment in &segments_in {
                prop_assert_eq!(segment.encode(&mut out), Ok(()));
            }
            let segments_out: Result<Vec<_>, _> = segments(&out).collect();
            prop_assert_eq!(segments_out, Ok(segments_in));
        }

        #[test]
        fn iterator_ends_for_any_input(bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
            prop_assert!(segments(&bytes).count() <= bytes.len() / 4 + 1);
        }
    }
}
