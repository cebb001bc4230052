//! Tests of framing in both directions.

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::pdu::{BHS_LEN, Bhs, set_lengths};

const LIMITS: Limits = Limits { max_data_len: 600, max_ahs_len: 40 };
const ALL_DIGESTS: [Digests; 4] = [
    Digests { header: false, data: false },
    Digests { header: true, data: false },
    Digests { header: false, data: true },
    Digests { header: true, data: true },
];
const BOTH: Digests = ALL_DIGESTS[3];

fn wire(ahs: &[u8], data: &[u8], digests: Digests) -> BytesMut {
    let mut out = BytesMut::new();
    encode_pdu(&mut out, &[0x5a; BHS_LEN], ahs, data, digests);
    out
}

fn header(bytes: &[u8], digests: Digests) -> Header<'_> {
    match cut(bytes, digests, &LIMITS) {
        Ok(Cut::Header(header)) => header,
        other => panic!("no header but {other:?}"),
    }
}

#[test]
fn digests_count_in_the_lengths() {
    // Header and wire lengths for 5 bytes of data after 8 bytes of additional header.
    for (digests, header_len, wire_len) in
        ALL_DIGESTS.into_iter().zip([(56, 64), (60, 68), (56, 68), (60, 72)]).map(|(d, (h, w))| (d, h, w))
    {
        let bytes = wire(&[7; 8], b"hello", digests);
        assert_eq!(bytes.len(), wire_len, "{digests:?}");
        let header = header(&bytes, digests);
        assert_eq!((header.header_len, header.data_len), (header_len, 5));
        assert_eq!((header.padded_len, header.wire_len), (8, wire_len));
        assert_eq!(header.ahs, [7; 8]);
        assert_eq!(&bytes[header.header_len..][..8], b"hello\0\0\0");
    }
}

#[test]
fn empty_data_segment_has_no_digest() {
    let bytes = wire(&[], &[], BOTH);
    assert_eq!(bytes.len(), BHS_LEN + 4);
    assert_eq!(header(&bytes, BOTH).wire_len, BHS_LEN + 4);
    assert_eq!(trailer([&[][..], &[]], BOTH).1, 0);
}

#[test]
fn incomplete_header_reports_the_bytes_needed() {
    let bytes = wire(&[7; 8], b"hello", BOTH);
    for len in 0..bytes.len() {
        let expected = match len {
            0..48 => Some(48),
            48..60 => Some(60),
            _ => None,
        };
        match cut(&bytes[..len], BOTH, &LIMITS) {
            Ok(Cut::More(needed)) => assert_eq!(Some(needed), expected, "{len}"),
            Ok(Cut::Header(_)) => assert_eq!(None, expected, "{len}"),
            Err(error) => panic!("{error} at {len}"),
        }
    }
}

#[test]
fn header_digest_detects_any_flipped_bit() {
    let bytes = wire(&[7; 8], b"hello", BOTH);
    for at in (0..60).filter(|at| *at != 4) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x10;
        assert_eq!(cut(&bytes, BOTH, &LIMITS), Err(FrameError::HeaderDigest), "byte {at}");
    }
}

#[test]
fn limits_are_exact_and_checked_before_data_arrives() {
    let mut bhs: Bhs = [0; BHS_LEN];
    set_lengths(&mut bhs, 40, 600);
    let bytes = [&bhs[..], &[0; 40]].concat();
    assert_eq!(header(&bytes, Digests::NONE).wire_len, 48 + 40 + 600);

    set_lengths(&mut bhs, 44, 0);
    assert_eq!(cut(&bhs, Digests::NONE, &LIMITS), Err(FrameError::AhsTooLong { len: 44, max: 40 }));
    for ahs_len in [0, 4] {
        set_lengths(&mut bhs, ahs_len, 601);
        let bytes = [&bhs[..], &[0; 4]].concat();
        let error = FrameError::DataTooLong { len: 601, max: 600 };
        assert_eq!(cut(&bytes, Digests::NONE, &LIMITS), Err(error));
    }
}

#[test]
fn corrupt_length_is_a_digest_error() {
    let mut bytes = wire(&[], b"hello", BOTH);
    bytes[5] = 0xff;
    assert_eq!(cut(&bytes, BOTH, &LIMITS), Err(FrameError::HeaderDigest));
}

#[test]
fn trailer_is_padding_and_digest_of_data_and_padding() {
    let (padding, digest) = ([0; 3], data_digest([b"hello".as_slice(), &[0; 3]]));
    let data_only = Digests { header: false, data: true };
    let (bytes, len) = trailer([b"he".as_slice(), b"llo"], data_only);
    assert_eq!(bytes[..len], [&padding[..], &digest].concat());
    let (bytes, len) = trailer([b"hello".as_slice()], Digests { header: true, data: false });
    assert_eq!(bytes[..len], padding);
    assert_eq!(trailer([b"four".as_slice()], Digests::NONE).1, 0);
}

#[test]
fn reader_stays_failed_after_a_wrong_data_digest() {
    let mut bytes = wire(&[], b"hello", BOTH);
    bytes[52] ^= 1;
    let mut reader = PduReader::new(LIMITS);
    reader.configure(LIMITS, BOTH);
    reader.push(&[&bytes[..], b"what follows"].concat());
    assert_eq!(reader.next_pdu(), Some(Err(FrameError::DataDigest)));
    reader.push(&wire(&[], b"hello", BOTH));
    assert_eq!(reader.next_pdu(), Some(Err(FrameError::DataDigest)));
    assert!(reader.into_unread().is_empty());
}

#[test]
fn reader_checks_padding_against_the_digest() {
    let mut bytes = wire(&[], b"hello", BOTH);
    bytes[52 + 6] = 1;
    let mut reader = PduReader::new(LIMITS);
    reader.configure(LIMITS, BOTH);
    reader.push(&bytes);
    assert_eq!(reader.next_pdu(), Some(Err(FrameError::DataDigest)));
}

#[test]
fn reader_returns_unread_bytes() {
    let mut reader = PduReader::new(LIMITS);
    let bytes = wire(&[], b"hello", Digests::NONE);
    reader.push(&[&bytes[..], b"rest"].concat());
    assert_eq!(reader.next_pdu().unwrap().unwrap().data, "hello");
    assert_eq!(reader.next_pdu(), None);
    assert_eq!(reader.into_unread(), "rest");
}

proptest! {
    #[test]
    fn reader_accepts_chunks_of_any_size(
        pdus in prop::collection::vec((0usize..=10, prop::collection::vec(any::<u8>(), 0..=600)), 0..5),
        digests in prop::sample::select(ALL_DIGESTS.to_vec()),
        chunk in 1usize..200,
    ) {
        let mut stream = BytesMut::new();
        for (index, (words, data)) in pdus.iter().enumerate() {
            encode_pdu(&mut stream, &[index as u8; BHS_LEN], &vec![0xa5; words * 4], data, digests);
        }
        let mut reader = PduReader::new(LIMITS);
        reader.configure(LIMITS, digests);
        let mut read = Vec::new();
        for piece in stream.chunks(chunk) {
            reader.push(piece);
            while let Some(pdu) = reader.next_pdu() {
                read.push(pdu.unwrap());
            }
        }
        prop_assert_eq!(read.len(), pdus.len());
        for (index, (pdu, (words, data))) in read.iter().zip(&pdus).enumerate() {
            prop_assert_eq!(pdu.bhs[0], index as u8);
            prop_assert_eq!(&pdu.ahs[..], &vec![0xa5; words * 4][..]);
            prop_assert_eq!(&pdu.data[..], &data[..]);
        }
        prop_assert!(reader.into_unread().is_empty());
    }

    #[test]
    fn cut_accepts_any_bytes_without_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..200),
        digests in prop::sample::select(ALL_DIGESTS.to_vec()),
    ) {
        match cut(&bytes, digests, &LIMITS) {
            Ok(Cut::More(needed)) => prop_assert!(needed > bytes.len()),
            Ok(Cut::Header(header)) => prop_assert!(header.header_len <= bytes.len()),
            Err(_) => {}
        }
    }
}
