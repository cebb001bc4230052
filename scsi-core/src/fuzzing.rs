//! Fuzz targets, one for each decoder. They accept any bytes. What decodes is encoded, where an encoder exists, and must
//! decode to the same again.

use crate::cdb::{self, encode::encode};
use crate::page::ParameterError;
use crate::page::mode::select::ModeSelectList;
use crate::page::mode::{Control, ModeData};
use crate::page::persist::out::{BasicList, MoveList};
use crate::page::unmap::{self, UnmapDescriptor, UnmapList};
use crate::sense::Sense;
use crate::tape_image::{HEADER_LEN, MAM_LEN, Mam, ObjectHeader};

/// Decodes a command descriptor block.
///
/// # Panics
/// If the encoded CDB does not decode to the same.
pub fn cdb(bytes: &[u8]) {
    if let Ok(decoded) = cdb::decode(bytes) {
        let again = encode(&decoded).map(|built| cdb::decode(&built));
        assert_eq!(again, Some(Ok(decoded)), "a decoded CDB can be encoded");
    }
}

/// Decodes a parameter list of MODE SELECT; the first byte selects the 6- or the 10-byte form.
///
/// # Panics
/// If a page is accepted that changes bits which are not changeable.
pub fn mode_parameter_list(bytes: &[u8]) {
    let Some((form, list)) = bytes.split_first() else {
        return;
    };
    let long = form & 1 != 0;
    let _ = ModeData::decode(list, long);
    let current = Control::default().to_page();
    for page in ModeSelectList::parse(list, long).map(|list| list.pages).unwrap_or_default() {
        match page.apply(&current, &[]) {
            Ok(body) => assert_eq!(body, current.body, "no bit is changeable"),
            Err(error) => assert_ne!(error, ParameterError::Length, "the page is complete"),
        }
    }
}

/// Decodes a parameter list of UNMAP.
///
/// # Panics
/// If the encoded list has other descriptors.
pub fn unmap_list(bytes: &[u8]) {
    if let Ok(list) = UnmapList::parse(bytes) {
        let descriptors: Vec<UnmapDescriptor> = list.iter().collect();
        let again = unmap::encode(&descriptors);
        assert!(UnmapList::parse(&again).is_ok_and(|again| again.iter().eq(list.iter())));
    }
}

/// Decodes a parameter list of PERSISTENT RESERVE OUT, in both formats.
///
/// # Panics
/// If the encoded list does not decode to the same.
pub fn persistent_reserve_list(bytes: &[u8]) {
    if let Ok(list) = BasicList::parse(bytes) {
        assert_eq!(BasicList::parse(&list.encode()), Ok(list));
    }
    if let Ok(list) = MoveList::parse(bytes) {
        assert_eq!(MoveList::parse(&list.encode()), Ok(list));
    }
}

/// Decodes sense data.
///
/// # Panics
/// If the encoded sense data does not decode to the same.
pub fn sense(bytes: &[u8]) {
    if let Ok(sense) = Sense::decode(bytes) {
        assert_eq!(Sense::decode(&sense.to_bytes()), Ok(sense));
    }
}

/// Decodes a tape image, without its checksums, so that random bytes reach the code after them.
///
/// # Panics
/// If an encoded header does not decode to the same, or the chain of headers does not end.
pub fn tape_image(bytes: &[u8]) {
    if let Some(mam) = bytes.get(HEADER_LEN..).and_then(<[u8]>::first_chunk::<MAM_LEN>)
        && let Ok(mam) = Mam::decode(mam)
    {
        let _ = (mam.barcode(), mam.made_at(), mam.kind(), mam.cleanings(), mam.capacity(), mam.remaining());
        assert_eq!(Mam::decode(mam.encode()).as_ref(), Ok(&mam));
    }
    let (mut at, mut steps) = (0_u64, 0);
    while let Some(raw) = usize::try_from(at).ok().and_then(|at| bytes.get(at..)?.first_chunk::<HEADER_LEN>())
    {
        let _ = ObjectHeader::decode(raw);
        let header = ObjectHeader::from_fields(raw);
        assert_eq!(ObjectHeader::decode(&header.encode()), Ok(header));
        steps += 1;
        assert!(steps <= bytes.len() / HEADER_LEN + 1, "each step advances by the length of a header");
        match header.next_at(at) {
            Ok(Some(next)) => at = next,
            Ok(None) | Err(_) => break,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn targets_accept_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            for entry in [super::cdb, super::mode_parameter_list, super::persistent_reserve_list, super::unmap_list, super::sense] {
                entry(&bytes);
            }
        }
    }
}
