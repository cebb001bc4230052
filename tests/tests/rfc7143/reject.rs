//! RFC 7143 7 and 11.17: invalid PDUs are rejected in every state, without a panic and without effect on other sessions.

use iscsi_proto::ids::Itt;
use iscsi_proto::login::Stage;
use iscsi_proto::pdu::{Bhs, LoginRequest, Pdu, SnackRequest, SnackType, set_lengths};
use iscsi_proto::sn::CmdSn;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::{Setup, TARGET};
use tgt_tests::sim_store::{Behaviour, SimStore};

use super::{READ, WRITE};

/// Opcodes that an initiator may send (RFC 7143 11.2.1.2).
const OURS: [u8; 8] = [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10];

#[test]
fn other_opcodes_are_rejected_with_their_header() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for opcode in (0..0x40).filter(|opcode| !OURS.contains(opcode)) {
        let mut bhs = [0; 48];
        bhs[0] = opcode;
        bhs[1] = 0x80;
        bhs[19] = 9;
        session.send_bytes(&bhs);
        let (pdu, data) = session.recv();
        let Pdu::Reject(reject) = pdu else { panic!("{opcode:#x}: {pdu:?}") };
        assert_eq!(reject.reason, iscsi_proto::pdu::RejectReason::COMMAND_NOT_SUPPORTED);
        assert_eq!(data[..], bhs);
    }
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn login_request_in_a_session_is_a_protocol_error() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    session.send(login_request(), &[]);
    assert_eq!(session.lines(), ["Reject PROTOCOL_ERROR of LoginRequest"]);
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn snack_requests_are_rejected() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for kind in [SnackType::DATA_R2T, SnackType::STATUS, SnackType::DATA_ACK, SnackType::R_DATA] {
        let snack = SnackRequest {
            kind,
            lun: [0; 8],
            itt: Some(Itt(1)),
            tag: 0xffff_ffff,
            exp_stat_sn: session.exp_stat_sn,
            beg_run: 0,
            run_length: 0,
        };
        session.send(snack, &[]);
        assert_eq!(session.lines(), ["Reject SNACK_REJECT of SnackRequest"]);
    }
}

#[test]
fn pdu_with_invalid_field_is_rejected() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    for (opcode, flags, itt) in
        [(0x01, 0x87, 5), (0x01, 0x80, u32::MAX), (0x06, 0x80, u32::MAX), (0x04, 0xc0, 5)]
    {
        let mut bhs: Bhs = [0; 48];
        (bhs[0], bhs[1]) = (opcode | 0x40, flags);
        bhs[16..20].copy_from_slice(&itt.to_be_bytes());
        bhs[20..24].fill(0xff);
        bhs[24..28].copy_from_slice(&session.cmd_sn.0.to_be_bytes());
        session.send_bytes(&bhs);
        let lines = session.lines();
        assert!(lines.len() == 1 && lines[0].starts_with("Reject"), "{opcode:#x} {flags:#x}: {lines:?}");
    }
    session.run(&READ, Io::Read(2048)).good();
}

fn login_request() -> LoginRequest {
    LoginRequest {
        next: Some(Stage::OperationalNegotiation),
        stage: Stage::SecurityNegotiation,
        ..super::login::REQUEST
    }
}

/// A connection in each state.
fn states(pair: &Pair, store: &SimStore) -> Vec<(&'static str, Initiator)> {
    let fresh = Initiator::raw(pair);
    let mut in_login = Initiator::raw(pair);
    in_login.send(
        login_request(),
        format!("InitiatorName=iqn.2026-01.org.example:h\0TargetName={TARGET}\0AuthMethod=None\0").as_bytes(),
    );
    let mut mid_header = Initiator::login_as(pair, &LoginOptions::of_host(3));
    mid_header.send_bytes(&[0x01, 0xc1, 0]);
    let discovery = Initiator::login_as(pair, &LoginOptions { target: None, ..LoginOptions::of_host(4) });
    let session = Initiator::login_as(pair, &LoginOptions::of_host(5));
    let mut busy = Initiator::login_as(pair, &LoginOptions::of_host(6));
    store.behave(Behaviour::HANG);
    busy.begin(&READ, Io::Read(2048));
    store.behave(Behaviour::INLINE);
    let mut options = LoginOptions::of_host(7);
    (options.keys.session.initial_r2t, options.keys.session.immediate_data) = (true, false);
    let mut collecting = Initiator::login_as(pair, &options);
    let command = collecting.command(&WRITE, Io::Write(&[0; 2048]));
    collecting.send(command, &[]);
    vec![
        ("fresh", fresh),
        ("in login", in_login),
        ("in the middle of a header", mid_header),
        ("discovery", discovery),
        ("session", session),
        ("session with a command at the store", busy),
        ("session with a command that waits for data", collecting),
    ]
}

/// Sends each opcode with random flags, tags and lengths in each state: no panic, no leak, no effect on other sessions.
#[test]
fn random_pdus_in_every_state_affect_no_other_session() {
    let mut random = Random::new(11);
    for opcode in 0..=0xffu8 {
        let (setup, store) = Setup::sim();
        let pair = Pair::new(setup);
        let mut witness = Initiator::login(&pair);
        for (name, mut initiator) in states(&pair, &store) {
            for _ in 0..4 {
                let mut bhs = random_bhs(&mut random, opcode, initiator.cmd_sn);
                let data_len = [0, 0, 5, 512][random.below(4) as usize];
                set_lengths(&mut bhs, 0, data_len);
                let mut bytes = bhs.to_vec();
                bytes.extend(random.bytes(data_len.next_multiple_of(4)));
                initiator.send_bytes(&bytes);
            }
            witness.run(&READ, Io::Read(2048)).good();
            let before_login = matches!(name, "fresh");
            if before_login && opcode & 0x3f != LoginRequest::OPCODE {
                assert!(initiator.is_closed(), "{name} {opcode:#x}");
            }
            initiator.hang_up();
        }
        store.release();
        pair.settle();
        witness.hang_up();
        pair.assert_clean();
    }
}

/// Sends lengths beyond the data that follows, or beyond the limits.
#[test]
fn wrong_lengths_in_every_state_leave_nothing() {
    let mut random = Random::new(12);
    let lens = [(255, 0), (0, 0xff_ffff), (255, 0xff_ffff), (1, 8192), (3, 65_536), (0, 65_537), (0, 1)];
    for opcode in [0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x10, 0x1c, 0x3f] {
        for (ahs, len) in lens {
            let (setup, store) = Setup::sim();
            let pair = Pair::new(setup);
            for (_, mut initiator) in states(&pair, &store) {
                let mut bhs = random_bhs(&mut random, opcode, initiator.cmd_sn);
                set_lengths(&mut bhs, ahs * 4, len);
                initiator.send_bytes(&bhs);
                initiator.send_bytes(&random.bytes(3000));
                initiator.hang_up();
            }
            store.release();
            pair.settle();
            pair.assert_clean();
        }
    }
}

fn random_bhs(random: &mut Random, opcode: u8, cmd_sn: CmdSn) -> Bhs {
    let mut bhs: Bhs = [0; 48];
    bhs.copy_from_slice(&random.bytes(48));
    bhs[0] = opcode;
    if random.below(2) == 0 {
        bhs[24..28].copy_from_slice(&cmd_sn.0.to_be_bytes());
    }
    match random.below(3) {
        0 => bhs[16..24].fill(0xff),
        1 => bhs[8..24].fill(0),
        _ => {}
    }
    // LUN 1 exists.
    if random.below(2) == 0 {
        bhs[8..16].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    }
    bhs
}
