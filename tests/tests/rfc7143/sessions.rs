//! RFC 7143 4.4.3, 6.3.5: sessions, their reinstatement, several connections of one, several initiators.

use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::login::LoginStatus;
use iscsi_proto::pdu::ScsiCommand;
use tgt_tests::initiator::{Initiator, Io, Wish};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};
use tgt_tests::sim_store::Behaviour;

use super::{READ, TEST_UNIT_READY, WRITE};

fn wide() -> Wish {
    let mut wish = Wish::default();
    wish.keys.session.max_connections = 4;
    wish
}

#[test]
fn a_session_is_reinstated_by_the_same_initiator_port() {
    each_chunk(|setup, store| {
        let pair = Pair::new(setup);
        let mut old = Initiator::login(&pair);
        store.behave(Behaviour::HANG);
        let read = old.begin(&READ, Io::Read(2048));
        store.behave(Behaviour::INLINE);
        let mut new = Initiator::try_login(&pair, &Wish::default()).unwrap();
        assert!(old.is_closed() && new.tsih != old.tsih);
        assert_eq!(pair.side().shard.running(), 0, "its commands are gone");
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
fn another_port_or_another_name_is_another_session() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let first = Initiator::login(&pair);
    let isid = Isid([0x00, 0x02, 0x3d, 0, 0, 9]);
    let second = Initiator::login_as(&pair, &Wish { isid, ..Wish::default() });
    let third =
        Initiator::login_as(&pair, &Wish { name: "iqn.2026-01.org.example:x".into(), ..Wish::default() });
    assert!([&first, &second, &third].iter().all(|session| !session.is_closed()));
    assert_eq!(pair.side().shard.session_count(), 3);
}

#[test]
fn commands_of_a_session_keep_their_order_across_connections() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut first = Initiator::login_as(&pair, &wide());
    let mut second = Initiator::login_as(&pair, &Wish { tsih: first.tsih, cid: Cid(1), ..wide() });
    assert_eq!(second.tsih, first.tsih);
    second.itt = 100;
    let one = first.command(&WRITE, Io::Write(&[0; 2048]));
    let two = ScsiCommand { cmd_sn: first.next_cmd_sn(), ..second.command(&WRITE, Io::Write(&[0; 2048])) };
    second.send(two, &[2; 2048]);
    assert_eq!(second.lines(), [""; 0]);
    first.send(one, &[1; 2048]);
    assert_eq!(first.lines(), ["ScsiResponse itt=2 GOOD"]);
    assert_eq!(second.lines(), ["ScsiResponse itt=100 GOOD"], "allegiant to the connection it came on");
    assert_eq!(store.bytes(0, 2048), [2; 2048]);
}

/// RFC 7143 6.3.4: a connection is reinstated by one of the same number.
#[test]
fn a_connection_takes_the_place_of_the_one_with_its_number() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut old = Initiator::login_as(&pair, &Wish::default());
    store.behave(Behaviour::HANG);
    let read = old.begin(&READ, Io::Read(2048));
    store.behave(Behaviour::INLINE);
    for _ in 0..3 {
        let wish = Wish { tsih: old.tsih, ..Wish::default() };
        let mut new = Initiator::login_as(&pair, &wish);
        assert!(old.is_closed());
        assert_eq!(new.tsih, old.tsih);
        assert_eq!(pair.side().shard.session_count(), 1);
        assert_eq!(pair.side().shard.running(), 0, "its commands went with it");
        old.poll();
        assert!(old.take_reply(read).is_none());
        new.cmd_sn = old.next_cmd_sn();
        new.run(&READ, Io::Read(2048)).good();
        old = new;
    }
    let further = Wish { tsih: old.tsih, cid: Cid(1), ..Wish::default() };
    assert_eq!(Initiator::try_login(&pair, &further).err(), Some(LoginStatus::TooManyConnections));
    old.hang_up();
    pair.assert_clean();
}

#[test]
fn a_connection_that_is_lost_takes_only_its_own_commands() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut first = Initiator::login_as(&pair, &wide());
    let mut second = Initiator::login_as(&pair, &Wish { tsih: first.tsih, cid: Cid(1), ..wide() });
    store.behave(Behaviour::HANG);
    let one = first.begin(&READ, Io::Read(2048));
    second.cmd_sn = first.next_cmd_sn();
    second.itt = 100;
    second.begin(&READ, Io::Read(2048));
    second.hang_up();
    assert_eq!(pair.side().shard.running(), 1);
    store.release();
    pair.settle();
    first.wait(one).good();
    first.hang_up();
    pair.assert_clean();
}

#[test]
fn connections_are_limited_and_need_their_session() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let session = Initiator::login(&pair);
    let more = Wish { tsih: session.tsih, cid: Cid(1), ..Wish::default() };
    assert_eq!(Initiator::try_login(&pair, &more).err(), Some(LoginStatus::TooManyConnections));
    let nobody = Wish { tsih: Tsih(999), cid: Cid(1), ..Wish::default() };
    assert_eq!(Initiator::try_login(&pair, &nobody).err(), Some(LoginStatus::SessionDoesNotExist));
    assert!(!session.is_closed());
}

#[test]
fn a_peer_that_breaks_everything_disturbs_nobody() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut good = Initiator::login(&pair);
    for seed in 0..50 {
        let mut bad = Initiator::login_as(&pair, &Wish::of(2));
        let noise = tgt_tests::random::Random::new(seed).bytes(500);
        bad.send_bytes(&noise);
        good.run(&WRITE, Io::Write(&[seed as u8; 2048])).good();
        assert_eq!(good.run(&READ, Io::Read(2048)).good(), [seed as u8; 2048]);
        bad.hang_up();
    }
    good.hang_up();
    pair.assert_clean();
}
