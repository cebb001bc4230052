//! RFC 7143 4.2.5, 11.7 and 11.8: immediate, unsolicited and solicited data, and R2Ts.

use iscsi_proto::ids::{Itt, Ttt};
use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{Pdu, ScsiCommand};
use iscsi_proto::sn::DataSn;
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::{Setup, each_chunk};

use super::{READ, WRITE, login_with};

/// Small bursts, no unsolicited data, one R2T at a time.
fn solicited(session: &mut SessionParams) {
    session.initial_r2t = true;
    session.immediate_data = false;
    session.max_burst_len = 1024;
    session.first_burst_len = 1024;
    session.max_outstanding_r2t = 1;
}

/// Bursts of 1024 bytes, unsolicited data of 512 bytes, one R2T at a time.
fn unsolicited(session: &mut SessionParams) {
    session.max_burst_len = 1024;
    session.first_burst_len = 512;
    session.max_outstanding_r2t = 1;
}

/// Receives an R2T with this R2TSN and range, and returns its tag.
#[track_caller]
fn r2t(initiator: &mut Initiator, sn: u32, offset: u32, len: u32) -> Ttt {
    match initiator.recv().0 {
        Pdu::R2t(r2t) => {
            assert_eq!((r2t.r2t_sn.0, r2t.buffer_offset, r2t.desired_len), (sn, offset, len));
            r2t.ttt
        }
        other => panic!("not an R2T: {other:?}"),
    }
}

fn send(
    initiator: &mut Initiator,
    tags: (Itt, Option<Ttt>),
    sn: u32,
    data: &[u8],
    range: (usize, usize),
    last: bool,
) {
    let pdu = initiator.data_out(tags.0, tags.1, DataSn(sn), range.0 as u32, last);
    initiator.send(pdu, &data[range.0..range.1]);
}

#[test]
fn second_burst_has_its_own_r2t() {
    each_chunk(|setup, store| {
        let mut session = login_with(&Pair::new(setup), solicited);
        let data = Random::new(2).bytes(2048);
        let command = session.command(&WRITE, Io::Write(&data));
        session.send(command, &[]);
        let ttt = r2t(&mut session, 0, 0, 1024);
        assert_eq!(session.lines(), [""; 0]);
        send(&mut session, (command.itt, Some(ttt)), 0, &data, (0, 512), false);
        assert_eq!(session.lines(), [""; 0]);
        send(&mut session, (command.itt, Some(ttt)), 1, &data, (512, 1024), true);
        let ttt = r2t(&mut session, 1, 1024, 1024);
        send(&mut session, (command.itt, Some(ttt)), 0, &data, (1024, 2048), true);
        assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
        assert_eq!(store.bytes(0, 2048), data);
    });
}

#[test]
fn immediate_unsolicited_and_solicited_data_follow_each_other() {
    each_chunk(|setup, store| {
        let mut session = login_with(&Pair::new(setup), unsolicited);
        let data = Random::new(3).bytes(2048);
        let command = session.command(&WRITE, Io::Write(&data));
        session.send(ScsiCommand { last: false, ..command }, &data[..100]);
        assert_eq!(session.lines(), [""; 0], "no R2T before the unsolicited data");
        send(&mut session, (command.itt, None), 0, &data, (100, 300), false);
        send(&mut session, (command.itt, None), 1, &data, (300, 512), true);
        let ttt = r2t(&mut session, 0, 512, 1024);
        send(&mut session, (command.itt, Some(ttt)), 0, &data, (512, 1536), true);
        let ttt = r2t(&mut session, 1, 1536, 512);
        send(&mut session, (command.itt, Some(ttt)), 0, &data, (1536, 2048), true);
        assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
        assert_eq!(store.bytes(0, 2048), data);
    });
}

#[test]
fn r2ts_are_outstanding_up_to_the_negotiated_number() {
    let (setup, store) = Setup::sim();
    let mut session = login_with(&Pair::new(setup), |session| {
        solicited(session);
        session.max_outstanding_r2t = 2;
    });
    let data = Random::new(4).bytes(2048 + 1024);
    let cdb = [0x2a, 0, 0, 0, 0, 0, 0, 0, 6, 0];
    let command = session.command(&cdb, Io::Write(&data));
    session.send(command, &[]);
    let first = r2t(&mut session, 0, 0, 1024);
    let second = r2t(&mut session, 1, 1024, 1024);
    assert_eq!(session.lines(), [""; 0]);
    send(&mut session, (command.itt, Some(first)), 0, &data, (0, 1024), true);
    let third = r2t(&mut session, 2, 2048, 1024);
    send(&mut session, (command.itt, Some(second)), 0, &data, (1024, 2048), true);
    send(&mut session, (command.itt, Some(third)), 0, &data, (2048, 3072), true);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
    assert_eq!(store.bytes(0, 3072), data);
}

#[test]
fn every_combination_of_data_parameters_transfers_the_same_bytes() {
    for (initial_r2t, immediate_data) in [(false, false), (false, true), (true, false), (true, true)] {
        for first_burst_len in [512, 1000, 8192] {
            let (setup, store) = Setup::sim();
            let mut session = login_with(&Pair::new(setup), |session| {
                (session.initial_r2t, session.immediate_data) = (initial_r2t, immediate_data);
                (session.first_burst_len, session.max_burst_len) = (first_burst_len, 8192);
            });
            assert_eq!(session.session.initial_r2t, initial_r2t);
            let data = Random::new(5).bytes(64 << 10);
            let cdb = [0x2a, 0, 0, 0, 0, 16, 0, 0, 128, 0];
            session.run(&cdb, Io::Write(&data)).good();
            assert_eq!(store.bytes(8192, data.len()), data);
            assert_eq!(session.run(&[0x28, 0, 0, 0, 0, 16, 0, 0, 128, 0], Io::Read(64 << 10)).good(), data);
        }
    }
}

#[test]
fn concurrent_writes_collect_their_data() {
    let (setup, store) = Setup::sim();
    let mut session = login_with(&Pair::new(setup), solicited);
    let (one, two) = (vec![1; 1024], vec![2; 1024]);
    let first = session.command(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 2, 0], Io::Write(&one));
    session.send(first, &[]);
    let second = session.command(&[0x2a, 0, 0, 0, 0, 2, 0, 0, 2, 0], Io::Write(&two));
    session.send(second, &[]);
    let ttt_1 = r2t(&mut session, 0, 0, 1024);
    let ttt_2 = r2t(&mut session, 0, 0, 1024);
    assert_ne!(ttt_1, ttt_2);
    send(&mut session, (second.itt, Some(ttt_2)), 0, &two, (0, 1024), true);
    assert_eq!(session.lines(), ["ScsiResponse itt=3 GOOD"]);
    send(&mut session, (first.itt, Some(ttt_1)), 0, &one, (0, 1024), true);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
    assert_eq!(store.bytes(0, 2048), [one, two].concat());
}

/// Data-Out that violates the protocol fails its command only, with the sense codes of RFC 7143 11.4.7.2.
#[test]
fn invalid_data_out_fails_its_command() {
    type Break = fn(&mut Initiator, ScsiCommand, Ttt, &[u8]);
    #[rustfmt::skip]
    let cases: [(&str, &str, Break); 5] = [
        ("a gap", "b/47/05", |s, c, t, d| send(s, (c.itt, Some(t)), 0, d, (512, 1024), true)),
        ("a skipped DataSN", "b/47/05", |s, c, t, d| send(s, (c.itt, Some(t)), 1, d, (0, 512), false)),
        ("more data than requested", "b/0c/0d", |s, c, t, d| send(s, (c.itt, Some(t)), 0, d, (0, 1536), true)),
        ("less data than requested", "b/0c/0d", |s, c, t, d| send(s, (c.itt, Some(t)), 0, d, (0, 512), true)),
        ("repeated data", "b/47/05", |s, c, t, d| {
            send(s, (c.itt, Some(t)), 0, d, (0, 512), false);
            send(s, (c.itt, Some(t)), 1, d, (0, 512), false);
        }),
    ];
    for (name, sense, broken) in cases {
        let (setup, store) = Setup::sim();
        let pair = Pair::new(setup);
        let mut session = login_with(&pair, solicited);
        let data = vec![7; 2048];
        let command = session.command(&WRITE, Io::Write(&data));
        session.send(command, &[]);
        let ttt = r2t(&mut session, 0, 0, 1024);
        broken(&mut session, command, ttt, &data);
        let mut lines = session.lines();
        if lines.is_empty() {
            // It waits for the end of what it asked for.
            send(&mut session, (command.itt, Some(ttt)), 2, &data, (512, 1024), true);
            lines = session.lines();
        }
        assert_eq!(lines.len(), 1, "{name}: {lines:?}");
        assert!(
            lines[0].starts_with("ScsiResponse itt=2 CHECK") && lines[0].ends_with(sense),
            "{name}: {lines:?}"
        );
        assert_eq!(store.bytes(0, 2048), [0; 2048], "{name}");
        session.run(&READ, Io::Read(2048)).good();
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn immediate_data_that_was_not_negotiated_fails_the_command() {
    let (setup, store) = Setup::sim();
    let mut session = login_with(&Pair::new(setup), solicited);
    let command = session.command(&WRITE, Io::Write(&[7; 2048]));
    session.send(command, &[7; 512]);
    let lines = session.lines();
    assert!(lines[0].ends_with("b/0c/0c"), "{lines:?}");
    assert_eq!(store.bytes(0, 512), [0; 512]);
}

#[test]
fn data_out_of_unknown_tasks_is_ignored() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for ttt in [None, Some(Ttt(0)), Some(Ttt(0x1234_5678))] {
        send(&mut session, (Itt(77), ttt), 0, &[1; 512], (0, 512), true);
    }
    assert_eq!(session.lines(), [""; 0]);
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn write_beyond_the_expected_length_transfers_the_expected_length() {
    // EDTL of 512 for four blocks: the residual is an overflow of the rest (RFC 7143 11.4.5.1).
    let (setup, store) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let reply = session.run(&WRITE, Io::Write(&[7; 512]));
    assert_eq!((reply.status, reply.residual), (0, iscsi_proto::pdu::Residual::Overflow(1536)));
    assert_eq!(store.bytes(512, 512), [0; 512]);
}

#[test]
fn direction_that_contradicts_the_command_is_refused_without_effect() {
    const REFUSED: Option<(u8, (u8, u8))> = Some((5, (0x0e, 0x03)));
    const INQUIRY: [u8; 10] = [0x12, 0, 0, 0, 36, 0, 0, 0, 0, 0];
    const NOTHING: [u8; 10] = [0; 10];
    #[rustfmt::skip]
    let cases = [
        // CDB,   R,     W,     expected, verdict
        (READ,    true,  true,  2048, REFUSED),
        (WRITE,   true,  true,  2048, REFUSED),
        (INQUIRY, true,  true,  36,   REFUSED),
        (WRITE,   true,  false, 2048, REFUSED),
        (READ,    false, false, 2048, REFUSED),
        (NOTHING, false, false, 512,  REFUSED),
        // A read with the W bit sends no data.
        (READ,    false, true,  2048, None),
        (INQUIRY, false, true,  36,   None),
        // With an expected length of 0 the bits are ignored, and the residual is an overflow.
        (NOTHING, true,  true,  0,    None),
        (READ,    true,  true,  0,    None),
        (READ,    false, true,  0,    None),
        (WRITE,   true,  false, 0,    None),
        // A command without data may have an expected length.
        (NOTHING, true,  false, 512,  None),
        (NOTHING, false, true,  512,  None),
    ];
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    let _ = session.run(&NOTHING, Io::None);
    for (cdb, read, write, expected_len, verdict) in cases {
        let what = format!("{:02x} R={read} W={write} {expected_len}", cdb[0]);
        let data = vec![7; if write { expected_len as usize } else { 0 }];
        let command = session.command(&cdb, Io::Write(&data));
        let itt = session.begin_with(ScsiCommand { read, write, expected_len, ..command }, &data);
        let reply = session.wait(itt);
        assert_eq!(reply.check().map(|(key, code)| (key, (code.asc, code.ascq))), verdict, "{what}");
        assert_eq!(reply.data, [0; 0], "{what}");
        assert_eq!(store.log(), [""; 0], "{what}");
    }
    session.run(&READ, Io::Read(2048)).good();
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn bidirectional_read_length_is_refused() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let _ = session.run(&[0; 6], Io::None);
    let command = session.command(&READ, Io::None);
    let mut bhs = [0; 48];
    ScsiCommand { read: true, write: true, ..command }.encode(&mut bhs);
    // One segment of 8 bytes: length 5, type 2, reserved, the length (RFC 7143 11.2.2.4).
    bhs[4] = 2;
    let bytes = session.wire_bytes(&bhs, &[0, 5, 2, 0, 0, 0, 8, 0], &[]);
    session.send_bytes(&bytes);
    let lines = session.lines();
    assert!(lines[0].contains("5/0e/03"), "{lines:?}");
}
