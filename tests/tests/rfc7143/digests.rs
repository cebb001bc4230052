//! RFC 7143 7.7, 7.8 and 13.1: correct and wrong digests.

use iscsi_proto::pdu::{Pdu, ScsiCommand};
use iscsi_proto::sn::DataSn;
use iscsi_proto::text::negotiate::DigestChoice;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::{Setup, each_chunk};

use super::{READ, WRITE};

fn options(header: bool, data: bool) -> LoginOptions {
    let choice = |on| if on { DigestChoice::Crc32c } else { DigestChoice::None };
    let mut options = LoginOptions::default();
    (options.keys.header_digest, options.keys.data_digest) = (choice(header), choice(data));
    options
}

/// Both digests, and all data solicited.
fn solicited_options() -> LoginOptions {
    let mut options = options(true, true);
    (options.keys.session.initial_r2t, options.keys.session.immediate_data) = (true, false);
    options
}

#[test]
fn every_combination_of_digests_transfers_data() {
    for (header, data_digest) in [(true, true), (true, false), (false, true)] {
        each_chunk(|setup, store| {
            let mut session = Initiator::login_as(&Pair::new(setup), &options(header, data_digest));
            assert_eq!((session.digests.header, session.digests.data), (header, data_digest));
            let data = Random::new(6).bytes(2048);
            session.run(&WRITE, Io::Write(&data)).good();
            assert_eq!(store.bytes(0, 2048), data);
            assert_eq!(session.run(&READ, Io::Read(2048)).good(), data);
            // INQUIRY with a length that needs padding.
            assert_eq!(session.run(&[0x12, 0, 0, 0, 37, 0], Io::Read(37)).good().len(), 37);
        });
    }
}

/// The target cannot respond to a corrupt header: it closes the connection (RFC 7143 7.7).
#[test]
fn wrong_header_digest_closes_the_connection() {
    each_chunk(|setup, store| {
        let pair = Pair::new(setup);
        let mut session = Initiator::login_as(&pair, &options(true, true));
        let mut bhs = [0; 48];
        session.command(&WRITE, Io::Write(&[1; 2048])).encode(&mut bhs);
        let mut bytes = session.wire_bytes(&bhs, &[], &[1; 2048]);
        bytes[48] ^= 1;
        session.send_bytes(&bytes);
        assert!(session.is_closed());
        assert_eq!(store.bytes(0, 1), [0]);
        pair.assert_clean();
    });
}

#[test]
fn wrong_data_digest_of_data_out_fails_its_command() {
    each_chunk(|setup, store| {
        let mut session = Initiator::login_as(&Pair::new(setup), &solicited_options());
        let command = session.command(&WRITE, Io::Write(&[1; 2048]));
        session.send(command, &[]);
        let (Pdu::R2t(r2t), _) = session.recv() else { panic!("an R2T") };
        let mut bhs = [0; 48];
        session.data_out(command.itt, Some(r2t.ttt), DataSn(0), 0, true).encode(&mut bhs);
        let mut bytes = session.wire_bytes(&bhs, &[], &[1; 2048]);
        bytes[60] ^= 1;
        session.send_bytes(&bytes);
        let mut lines = session.lines();
        lines.sort();
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert_eq!(lines[0], "Reject DATA_DIGEST_ERROR of DataOut");
        assert!(
            lines[1].starts_with("ScsiResponse itt=2 CHECK") && lines[1].ends_with("b/47/05"),
            "{lines:?}"
        );
        assert_eq!(store.bytes(0, 1), [0]);
        session.run(&WRITE, Io::Write(&[2; 2048])).good();
    });
}

/// At ErrorRecoveryLevel 0 the CmdSN cannot be sent again, so the session has to end.
#[test]
fn wrong_digest_of_immediate_data_is_rejected_and_closes_the_connection() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login_as(&pair, &options(false, true));
    let command: ScsiCommand = session.command(&WRITE, Io::Write(&[1; 2048]));
    let mut bhs = [0; 48];
    command.encode(&mut bhs);
    let mut bytes = session.wire_bytes(&bhs, &[], &[1; 2048]);
    let last = bytes.len() - 1;
    bytes[last] ^= 0x80;
    session.send_bytes(&bytes);
    assert_eq!(session.lines(), ["Reject DATA_DIGEST_ERROR of ScsiCommand"]);
    assert!(session.is_closed());
    assert_eq!(store.bytes(0, 1), [0]);
    pair.assert_clean();
}
