//! The parameter list of UNMAP (SBC-3 5.28.2).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::be_u16;

use super::{ParameterError, length_error};

/// An UNMAP block descriptor: a range to unmap.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct UnmapDescriptor {
    /// The first block.
    pub lba: u64,
    /// Number of blocks, which may be 0.
    pub blocks: u32,
}

/// The descriptors of a list, decoded on access.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct UnmapList<'a> {
    descriptors: &'a [[u8; 16]],
}

impl<'a> UnmapList<'a> {
    /// Decodes a parameter list; an empty one has no descriptors. An incomplete last descriptor is ignored, as the
    /// standard requires.
    ///
    /// # Errors
    /// [`ParameterError::Length`] if the list is shorter than the header or than the descriptors that the header counts;
    /// [`ParameterError::InvalidField`] if UNMAP DATA LENGTH is too small for the descriptors.
    pub fn parse(list: &'a [u8]) -> Result<Self, ParameterError> {
        if list.is_empty() {
            return Ok(Self::default());
        }
        let (rest, (data_len, descriptors_len, _)) =
            (be_u16, be_u16, take(4usize)).parse(list).map_err(length_error)?;
        if descriptors_len > 0 && u32::from(data_len) < u32::from(descriptors_len) + HEADER_AFTER_LENGTH {
            return Err(ParameterError::InvalidField { byte: 0, bit: None });
        }
        let descriptors = rest.get(..usize::from(descriptors_len)).ok_or(ParameterError::Length)?;
        Ok(Self { descriptors: descriptors.as_chunks().0 })
    }

    /// Number of descriptors.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.descriptors.len()
    }

    /// Whether the list has no descriptors.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.descriptors.is_empty()
    }

    /// The descriptor at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<UnmapDescriptor> {
        self.descriptors.get(index).map(UnmapDescriptor::from_bytes)
    }

    /// Iterates over the descriptors in the order of the list.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = UnmapDescriptor> + use<'a> {
        self.descriptors.iter().map(UnmapDescriptor::from_bytes)
    }

    /// Offset in bytes of a descriptor in the list, for the field pointer.
    #[must_use]
    pub const fn byte_of(index: usize) -> u16 {
        8 + index as u16 * 16
    }
}

impl UnmapDescriptor {
    fn from_bytes(bytes: &[u8; 16]) -> Self {
        let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = *bytes;
        Self { lba: u64::from_be_bytes([a, b, c, d, e, f, g, h]), blocks: u32::from_be_bytes([i, j, k, l]) }
    }
}

/// Encodes a list. Descriptors beyond the first 4095, which a 16-bit length cannot count, are omitted.
#[must_use]
pub fn encode(descriptors: &[UnmapDescriptor]) -> Vec<u8> {
    let descriptors = &descriptors[..descriptors.len().min(DESCRIPTORS_MAX)];
    let len = descriptors.len() as u16 * 16;
    let mut out = Vec::with_capacity(8 + usize::from(len));
    out.extend((len + HEADER_AFTER_LENGTH as u16).to_be_bytes());
    out.extend(len.to_be_bytes());
    out.extend([0; 4]);
    for descriptor in descriptors {
        out.extend(descriptor.lba.to_be_bytes());
        out.extend(descriptor.blocks.to_be_bytes());
        out.extend([0; 4]);
    }
    out
}

/// Bytes of the header after UNMAP DATA LENGTH, which that field counts.
const HEADER_AFTER_LENGTH: u32 = 6;
/// Maximum number of descriptors in a parameter list of 65535 bytes.
const DESCRIPTORS_MAX: usize = 4095;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn golden_bytes() {
        #[rustfmt::skip]
        let bytes = [
            0, 38, 0, 32, 0, 0, 0, 0,
            0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0, 0, 0,
            0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0,
        ];
        let descriptors =
            [UnmapDescriptor { lba: 0x1_0000_0002, blocks: 8 }, UnmapDescriptor { lba: 5, blocks: 0 }];
        assert_eq!(encode(&descriptors), bytes);

        let list = UnmapList::parse(&bytes).unwrap();
        assert_eq!(list.iter().collect::<Vec<_>>(), descriptors);
        assert_eq!((list.len(), list.get(1), list.get(2)), (2, Some(descriptors[1]), None));
        assert_eq!(UnmapList::byte_of(1), 24);
    }

    #[test]
    fn lengths_are_checked() {
        let invalid = |byte| Err(ParameterError::InvalidField { byte, bit: None });
        let whole = encode(&[UnmapDescriptor { lba: 1, blocks: 1 }]);
        let with_lengths = |data: u8, descriptors: u8| {
            let mut list = whole.clone();
            (list[1], list[3]) = (data, descriptors);
            list
        };
        #[rustfmt::skip]
        let cases: &[(Vec<u8>, Result<usize, ParameterError>)] = &[
            (vec![],                   Ok(0)),
            (vec![0; 7],               Err(ParameterError::Length)),
            (vec![0; 8],               Ok(0)),
            (vec![0, 6, 0, 0, 0, 0, 0, 0], Ok(0)),
            (whole[..23].to_vec(),     Err(ParameterError::Length)),
            (with_lengths(22, 16),     Ok(1)),
            (with_lengths(22, 15),     Ok(0)),
            (with_lengths(21, 16),     invalid(0)),
            (with_lengths(38, 16),     Ok(1)),
            (with_lengths(38, 32),     Err(ParameterError::Length)),
        ];
        for (list, expected) in cases {
            assert_eq!(UnmapList::parse(list).map(|list| list.len()), *expected, "{list:02x?}");
        }
    }

    #[test]
    fn encode_limits_the_number_of_descriptors() {
        let list = encode(&[UnmapDescriptor { lba: 1, blocks: 1 }; 5000]);
        assert_eq!(list.len(), 8 + 4095 * 16);
        assert_eq!(UnmapList::parse(&list).map(|list| list.len()), Ok(4095));
    }

    proptest! {
        #[test]
        fn decode_returns_what_was_encoded(ranges in proptest::collection::vec(any::<(u64, u32)>(), 0..100)) {
            let descriptors: Vec<_> = ranges.iter().map(|&(lba, blocks)| UnmapDescriptor { lba, blocks }).collect();
            let bytes = encode(&descriptors);
            prop_assert_eq!(UnmapList::parse(&bytes).unwrap().iter().collect::<Vec<_>>(), descriptors);
        }

        #[test]
        fn no_input_panics(list in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(list) = UnmapList::parse(&list) {
                prop_assert_eq!(list.iter().count(), list.len());
            }
        }
    }
}
