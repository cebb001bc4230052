//! RFC 7143 11.2: additional header segments, wrong lengths, connections that end within a PDU.

use iscsi_proto::frame::{Digests, encode_pdu};
use iscsi_proto::pdu::ahs::Ahs;
use iscsi_proto::pdu::set_lengths;
use scsi_core::sense::AdditionalSense;
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};

use super::{READ, WRITE, login_with};

/// A command encoded with this additional header segment.
fn with_ahs(session: &mut Initiator, cdb: &[u8], io: Io<'_>, ahs: &[u8]) -> Vec<u8> {
    let mut bhs = [0; 48];
    session.command(cdb, io).encode(&mut bhs);
    session.wire_bytes(&bhs, ahs, &[]).to_vec()
}

#[test]
fn extended_cdb_reaches_the_device() {
    each_chunk(|setup, _| {
        let mut session = Initiator::login(&Pair::new(setup));
        let mut ahs = Vec::new();
        Ahs::ExtendedCdb(&[0; 16]).encode(&mut ahs).unwrap();
        // READ (32) is not supported: the device refuses it.
        let bytes = with_ahs(&mut session, &[0x7f, 0, 0, 0, 0, 0, 0, 0x18, 0, 0x09], Io::None, &ahs);
        session.send_bytes(&bytes);
        let lines = session.lines();
        assert!(lines.len() == 1 && lines[0].starts_with("ScsiResponse itt=2 CHECK"), "{lines:?}");
        session.run(&READ, Io::Read(2048)).good();
    });
}

#[test]
fn unknown_additional_headers_are_ignored() {
    each_chunk(|setup, _| {
        let mut session = Initiator::login(&Pair::new(setup));
        let bytes = with_ahs(&mut session, &READ, Io::Read(2048), &[0, 5, 0x3f, 0, 1, 2, 3, 4]);
        session.send_bytes(&bytes);
        assert_eq!(session.lines(), ["DataIn itt=2 sn=0 offset=0 len=2048 F GOOD"]);
    });
}

#[test]
fn longest_additional_header_is_received() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for filler in [0, 0xff] {
        let itt = session.itt;
        let bytes = with_ahs(&mut session, &READ, Io::Read(2048), &[filler; 1020]);
        session.send_bytes(&bytes);
        let lines = session.lines();
        assert!(lines[0].contains(&format!("itt={itt} ")) || lines[0].starts_with("Reject"), "{lines:?}");
    }
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn segment_longer_than_declared_closes_the_connection() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    for len in [65_537, 1 << 20, 0xff_ffff] {
        let mut session = Initiator::login(&pair);
        let mut bhs = [0; 48];
        session.command(&WRITE, Io::Write(&[0; 2048])).encode(&mut bhs);
        set_lengths(&mut bhs, 0, len);
        session.send_bytes(&bhs);
        assert!(session.is_closed(), "{len}");
        pair.assert_clean();
    }
}

#[test]
fn longest_declared_segment_is_received() {
    let (setup, store) = Setup::sim();
    let mut session = login_with(&Pair::new(setup), |session| {
        (session.first_burst_len, session.max_burst_len) = (65_536, 65_536);
    });
    let data = tgt_tests::random::Random::new(8).bytes(65_536);
    let command = session.command(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 128, 0], Io::Write(&data));
    session.send(command, &data);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
    assert_eq!(store.bytes(0, data.len()), data);
}

#[test]
fn connection_closed_at_any_byte_leaves_nothing() {
    for digests in [Digests::NONE, Digests { header: true, data: true }] {
        let (setup, store) = Setup::sim();
        let pair = Pair::new(setup);
        let mut whole = bytes::BytesMut::new();
        let mut probe = Initiator::login(&pair);
        let mut bhs = [0; 48];
        probe.command(&WRITE, Io::Write(&[0; 70])).encode(&mut bhs);
        encode_pdu(&mut whole, &bhs, &[], &[1; 70], digests);
        for end in (0..whole.len()).chain([whole.len() - 1]) {
            let mut options = tgt_tests::initiator::LoginOptions::of_host(3);
            if digests.header {
                options.keys.header_digest = iscsi_proto::text::negotiate::DigestChoice::Crc32c;
                options.keys.data_digest = options.keys.header_digest;
            }
            let mut session = Initiator::login_as(&pair, &options);
            session.send_bytes(&whole[..end]);
            assert!(!session.is_closed(), "{end}");
            session.hang_up();
            assert_eq!(pair.side().pool().used_bytes(), 0, "{end}");
            assert_eq!(pair.side().running(), 0, "{end}");
        }
        assert_eq!(store.bytes(0, 1), [0]);
        probe.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn unknown_lun_is_not_supported() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    session.lun = 77;
    let reply = session.run(&READ, Io::Read(2048));
    assert_eq!(reply.check(), Some((5, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED)));
    let inquiry = session.run(&[0x12, 0, 0, 0, 36, 0], Io::Read(36)).good();
    assert_eq!(inquiry[0], 0x7f);
}

#[test]
fn luns_of_unknown_formats_are_not_supported() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for first in [0x80, 0xc1, 0xff] {
        let command = session.command(&READ, Io::Read(2048));
        let lun = [first, 0xff, 0xff, 0, 1, 0, 0, 0];
        session.send(iscsi_proto::pdu::ScsiCommand { lun, ..command }, &[]);
        let lines = session.lines();
        assert!(lines[0].ends_with("5/25/00"), "{lines:?}");
    }
}
