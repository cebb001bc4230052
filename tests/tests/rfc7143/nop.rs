//! RFC 7143 11.18 and 11.19: NOP-Out and NOP-In pings.

use std::time::Duration;

use iscsi_proto::ids::Ttt;
use iscsi_proto::pdu::{NopOut, Pdu};
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};

use super::READ;

fn pinging() -> Setup {
    let (mut setup, _) = Setup::sim();
    (setup.settings.nop_interval, setup.settings.nop_count) = (Duration::from_secs(5), 2);
    setup
}

#[test]
fn nop_out_is_answered_with_its_data() {
    each_chunk(|setup, _| {
        let mut session = Initiator::login(&Pair::new(setup));
        for len in [0, 1, 3, 4, 500] {
            let data = vec![0x5a; len];
            let ping = session.nop();
            session.send(ping, &data);
            let (pdu, echo) = session.recv();
            assert!(matches!(pdu, Pdu::NopIn(nop) if nop.itt == ping.itt && nop.ttt.is_none()));
            assert_eq!(echo, data);
        }
    });
}

#[test]
fn nop_out_without_itt_is_not_answered() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let ping = NopOut { immediate: true, itt: None, ..session.nop() };
    session.cmd_sn = ping.cmd_sn;
    session.send(ping, &[]);
    session.send(NopOut { ttt: Some(Ttt(1234)), ..ping }, &[]);
    assert_eq!(session.lines(), [""; 0]);
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn silent_initiator_is_pinged_and_then_closed() {
    let pair = Pair::new(pinging());
    let mut session = Initiator::login(&pair);
    pair.advance(Duration::from_secs(4));
    assert_eq!(session.lines(), [""; 0]);
    pair.advance(Duration::from_secs(2));
    assert_eq!(session.lines(), ["NopIn asks"]);
    pair.advance(Duration::from_secs(5));
    assert_eq!(session.lines(), ["NopIn asks"]);
    assert!(!session.is_closed());
    pair.advance(Duration::from_secs(6));
    assert!(session.is_closed());
    pair.assert_clean();
}

#[test]
fn initiator_that_answers_pings_is_kept() {
    let pair = Pair::new(pinging());
    let mut session = Initiator::login(&pair);
    for _ in 0..100 {
        pair.advance(Duration::from_secs(5));
        session.poll();
    }
    assert!(!session.is_closed());
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn traffic_postpones_pings() {
    let pair = Pair::new(pinging());
    let mut session = Initiator::login(&pair);
    for _ in 0..10 {
        pair.advance(Duration::from_secs(4));
        assert_eq!(session.lines(), [""; 0]);
        session.run(&READ, Io::Read(2048)).good();
    }
}
