//! Golden bytes of the records, and lengths that no record has.

use super::*;

/// Every field has its own value, at the offsets that a C compiler gives on x86_64.
fn golden() -> (RequestHeader, [u8; REQUEST_HEADER_LEN]) {
    let header = RequestHeader {
        mode: 2,
        op: 5,
        lld: "iscsi".to_owned(),
        len: 0x7a,
        tid: -1,
        sid: 0x0102_0304_0506_0708,
        lun: 0x1112_1314_1516_1718,
        cid: 0x2122_2324,
        host_no: 0x3132_3334,
        device_type: 0xff,
        ac_dir: 1,
        pack: 0x4142_4344,
        force: 1,
    };
    let mut bytes = [0; REQUEST_HEADER_LEN];
    bytes[0] = 2;
    bytes[4] = 5;
    bytes[8..13].copy_from_slice(b"iscsi");
    bytes[72] = 0x7a;
    bytes[76..80].copy_from_slice(&[0xff; 4]);
    bytes[80..88].copy_from_slice(&[8, 7, 6, 5, 4, 3, 2, 1]);
    bytes[88..96].copy_from_slice(&[0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11]);
    bytes[96..100].copy_from_slice(&[0x24, 0x23, 0x22, 0x21]);
    bytes[100..104].copy_from_slice(&[0x34, 0x33, 0x32, 0x31]);
    bytes[104] = 0xff;
    bytes[108] = 1;
    bytes[112..116].copy_from_slice(&[0x44, 0x43, 0x42, 0x41]);
    bytes[116] = 1;
    (header, bytes)
}

#[test]
fn golden_bytes_decode_and_encode_to_themselves() {
    let (header, bytes) = golden();
    assert_eq!(RequestHeader::decode(&bytes), header);
    assert_eq!(header.encode(), bytes);
}

#[test]
fn a_driver_name_without_an_end_is_cut_at_63_bytes() {
    let (mut header, mut bytes) = golden();
    bytes[8..72].fill(b'x');
    assert_eq!(RequestHeader::decode(&bytes).lld.len(), 63);
    header.lld = "x".repeat(99);
    assert_eq!(header.encode()[71], 0);
}

#[test]
fn a_request_is_read_in_any_chunks() {
    let record = Record::new(golden().0, b"targetname=iqn.x\0".to_vec());
    let bytes = record.encode();
    for chunk in [1, 7, 119, 120, 121, bytes.len()] {
        let mut reader = RecordReader::default();
        let mut records = Vec::new();
        for piece in bytes.chunks(chunk) {
            records.extend(reader.receive(piece).unwrap());
        }
        assert_eq!(records, std::slice::from_ref(&record), "chunks of {chunk}");
    }
}

#[test]
fn impossible_lengths_are_refused() {
    let with_len = |len: u32| {
        let mut bytes = golden().1;
        bytes[72..76].copy_from_slice(&len.to_le_bytes());
        RecordReader::default().receive(&bytes)
    };
    assert_eq!(with_len(0), Err(WireError::TooShort(0)));
    assert_eq!(with_len(119), Err(WireError::TooShort(119)));
    assert!(matches!(with_len(120), Ok(Some(_))));
    assert_eq!(with_len(120 + 8192), Ok(None));
    assert_eq!(with_len(120 + 8193), Err(WireError::TooLong(120 + 8193)));
    assert_eq!(with_len(u32::MAX), Err(WireError::TooLong(u32::MAX)));
}

#[test]
fn replies_end_with_a_counted_nul_unless_they_are_empty() {
    assert_eq!(encode_reply(0, ""), [0, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(encode_reply(0, "ab"), [0, 0, 0, 0, 11, 0, 0, 0, b'a', b'b', 0]);
    assert_eq!(encode_reply(17, ""), [17, 0, 0, 0, 8, 0, 0, 0]);
    assert_eq!(encode_reply(17, "no"), [17, 0, 0, 0, 11, 0, 0, 0, b'n', b'o', 0]);
    assert_eq!(ReplyHeader::decode(&[17, 0, 0, 0, 8, 0, 0, 0]), ReplyHeader { error: 17, len: 8 });
    assert_eq!(ReplyHeader { error: 0, len: 11 }.text_len(), 3);
}

#[test]
fn a_drivers_name_asks_for_a_form() {
    assert_eq!(Form::of(""), (Form::Text, ""));
    assert_eq!(Form::of("iscsi"), (Form::Text, "iscsi"));
    assert_eq!(Form::of("json.1"), (Form::Json, ""));
    assert_eq!(Form::of("json.1/iscsi"), (Form::Json, "iscsi"));
    assert_eq!(Form::of("json.10"), (Form::Text, "json.10"));
}

#[test]
fn words_and_numbers_agree() {
    for (number, mode) in (0..).zip(Mode::ALL) {
        assert_eq!((mode as u32, Mode::from_number(number)), (number, Some(mode)));
        assert_eq!(Mode::from_word(mode.word()), Some(mode));
    }
    for (number, op) in (0..).zip(Op::ALL) {
        assert_eq!((op as u32, Op::from_number(number)), (number, Some(op)));
        assert_eq!(Op::from_word(op.word()), Some(op));
    }
    assert_eq!((Mode::from_number(8), Op::from_number(9)), (None, None));
    assert_eq!(Mode::from_word("lu"), Some(Mode::LogicalUnit));
    assert_eq!((Mode::from_word("pool"), Op::from_word("stats")), (None, None));
}

#[test]
fn no_strings_are_printed() {
    let payload = b"user=mike,password=hush\0";
    let record = Record::new(RequestHeader { tid: 5, ..RequestHeader::default() }, payload.to_vec());
    let shown = format!("{record:?}");
    assert!(shown.contains("tid: 5") && !shown.contains("payload"), "{shown}");
    let mut reader = RecordReader::default();
    assert_eq!(reader.receive(payload), Ok(None));
    assert_eq!(format!("{reader:?}"), format!("RecordReader {{ received: {} }}", payload.len()));
}
