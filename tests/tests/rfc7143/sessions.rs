//! RFC 7143 4.4.3, 6.3.5: sessions, reinstatement, several connections and several initiators.

use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::pdu::ScsiCommand;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};
use tgt_tests::sim_store::Behaviour;

use super::{READ, TEST_UNIT_READY, WRITE};

/// Options for a session of up to four connections.
fn several_connections() -> LoginOptions {
    let mut options = LoginOptions::default();
    options.keys.session.max_connections = 4;
    options
}

#[test]
fn login_of_the_same_port_reinstates_the_session() {
    each_chunk(|setup, store| {
        let pair = Pair::new(setup);
        let mut old = Initiator::login(&pair);
        store.behave(Behaviour::HANG);
        let read = old.begin(&READ, Io::Read(2048));
        store.behave(Behaviour::INLINE);
        let mut new = Initiator::try_login(&pair, &LoginOptions::default()).unwrap();
        assert!(old.is_closed() && new.tsih != old.tsih);
        assert_eq!(pair.side().running(), 0, "its commands ended");
        old.poll();
        assert!(old.take_reply(read).is_none());
        let first = new.run(&TEST_UNIT_READY, Io::None);
        assert_eq!(first.check().map(|(key, code)| (key, code.asc)), Some((6, 0x29)), "a new nexus");
        new.run(&READ, Io::Read(2048)).good();
        new.hang_up();
        pair.assert_clean();
    });
}

#[test]
fn other_isid_or_name_is_another_session() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let first = Initiator::login(&pair);
    let isid = Isid([0x00, 0x02, 0x3d, 0, 0, 9]);
    let second = Initiator::login_as(&pair, &LoginOptions { isid, ..LoginOptions::default() });
    let third = Initiator::login_as(
        &pair,
        &LoginOptions { name: "iqn.2026-01.org.example:x".into(), ..LoginOptions::default() },
    );
    assert!([&first, &second, &third].iter().all(|session| !session.is_closed()));
    assert_eq!(pair.side().session_count(), 3);
}

#[test]
fn commands_keep_cmd_sn_order_across_connections() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut first = Initiator::login_as(&pair, &several_connections());
    let mut second =
        Initiator::login_as(&pair, &LoginOptions { tsih: first.tsih, cid: Cid(1), ..several_connections() });
    assert_eq!(second.tsih, first.tsih);
    second.itt = 100;
    let one = first.command(&WRITE, Io::Write(&[0; 2048]));
    let two = ScsiCommand { cmd_sn: first.next_cmd_sn(), ..second.command(&WRITE, Io::Write(&[0; 2048])) };
    second.send(two, &[2; 2048]);
    assert_eq!(second.lines(), [""; 0]);
    first.send(one, &[1; 2048]);
    assert_eq!(first.lines(), ["ScsiResponse itt=2 GOOD"]);
    assert_eq!(second.lines(), ["ScsiResponse itt=100 GOOD"], "connection allegiance");
    assert_eq!(store.bytes(0, 2048), [2; 2048]);
}

/// RFC 7143 6.3.4: a login with the same CID reinstates the connection.
#[test]
fn login_with_the_same_cid_reinstates_the_connection() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut old = Initiator::login_as(&pair, &LoginOptions::default());
    store.behave(Behaviour::HANG);
    let read = old.begin(&READ, Io::Read(2048));
    store.behave(Behaviour::INLINE);
    for _ in 0..3 {
        let options = LoginOptions { tsih: old.tsih, ..LoginOptions::default() };
        let mut new = Initiator::login_as(&pair, &options);
        assert!(old.is_closed());
        assert_eq!(new.tsih, old.tsih);
        assert_eq!(pair.side().session_count(), 1);
        assert_eq!(pair.side().running(), 0, "its commands ended");
        old.poll();
        assert!(old.take_reply(read).is_none());
        new.cmd_sn = old.next_cmd_sn();
        new.run(&READ, Io::Read(2048)).good();
        old = new;
    }
    let further = LoginOptions { tsih: old.tsih, cid: Cid(1), ..LoginOptions::default() };
    assert_eq!(Initiator::try_login(&pair, &further).err(), Some(LoginStatus::TooManyConnections));
    old.hang_up();
    pair.assert_clean();
}

#[test]
fn lost_connection_ends_only_its_commands() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut first = Initiator::login_as(&pair, &several_connections());
    let mut second =
        Initiator::login_as(&pair, &LoginOptions { tsih: first.tsih, cid: Cid(1), ..several_connections() });
    store.behave(Behaviour::HANG);
    let one = first.begin(&READ, Io::Read(2048));
    second.cmd_sn = first.next_cmd_sn();
    second.itt = 100;
    second.begin(&READ, Io::Read(2048));
    second.hang_up();
    assert_eq!(pair.side().running(), 1);
    store.release();
    pair.settle();
    first.wait(one).good();
    first.hang_up();
    pair.assert_clean();
}

#[test]
fn connections_are_limited_and_need_an_existing_session() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let session = Initiator::login(&pair);
    let more = LoginOptions { tsih: session.tsih, cid: Cid(1), ..LoginOptions::default() };
    assert_eq!(Initiator::try_login(&pair, &more).err(), Some(LoginStatus::TooManyConnections));
    let unknown = LoginOptions { tsih: Tsih(999), cid: Cid(1), ..LoginOptions::default() };
    assert_eq!(Initiator::try_login(&pair, &unknown).err(), Some(LoginStatus::SessionDoesNotExist));
    assert!(!session.is_closed());
}

#[test]
fn invalid_bytes_of_one_session_do_not_affect_another() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut good = Initiator::login(&pair);
    for seed in 0..50 {
        let mut bad = Initiator::login_as(&pair, &LoginOptions::of_host(2));
        let noise = tgt_tests::random::Random::new(seed).bytes(500);
        bad.send_bytes(&noise);
        good.run(&WRITE, Io::Write(&[seed as u8; 2048])).good();
        assert_eq!(good.run(&READ, Io::Read(2048)).good(), [seed as u8; 2048]);
        bad.hang_up();
    }
    good.hang_up();
    pair.assert_clean();
}
