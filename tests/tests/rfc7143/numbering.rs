//! RFC 7143 4.2.2: command order, window, duplicates, wrap of CmdSN.

use iscsi_proto::pdu::{NopOut, ScsiCommand};
use iscsi_proto::sn::CmdSn;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};
use tgt_tests::sim_store::Behaviour;

use super::{READ, TEST_UNIT_READY, WRITE};

#[test]
fn commands_run_in_cmd_sn_order() {
    each_chunk(|setup, store| {
        let mut session = Initiator::login(&Pair::new(setup));
        let write = |session: &mut Initiator| session.command(&WRITE, Io::Write(&[0; 2048]));
        let commands = [write(&mut session), write(&mut session), write(&mut session)];
        session.send(commands[2], &[3; 2048]);
        session.send(commands[1], &[2; 2048]);
        assert_eq!(session.lines(), [""; 0]);
        session.send(commands[0], &[1; 2048]);
        let ends = ["ScsiResponse itt=2 GOOD", "ScsiResponse itt=3 GOOD", "ScsiResponse itt=4 GOOD"];
        assert_eq!(session.lines(), ends);
        assert_eq!(store.bytes(0, 2048), [3; 2048]);
    });
}

#[test]
fn duplicate_cmd_sn_is_ignored() {
    let (setup, store) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let command = session.command(&WRITE, Io::Write(&[0; 2048]));
    session.send(command, &[1; 2048]);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
    session.send(command, &[2; 2048]);
    assert_eq!(session.lines(), [""; 0]);
    assert_eq!(store.bytes(0, 1), [1]);
    // A duplicate of a command that waits for an earlier CmdSN.
    let (first, second) =
        (session.command(&TEST_UNIT_READY, Io::None), session.command(&TEST_UNIT_READY, Io::None));
    session.send(second, &[]);
    session.send(second, &[]);
    session.send(first, &[]);
    assert_eq!(session.lines(), ["ScsiResponse itt=3 GOOD", "ScsiResponse itt=4 GOOD"]);
}

#[test]
fn commands_outside_the_window_are_ignored() {
    let (mut setup, _) = Setup::sim();
    setup.settings.max_queue_cmd = 4;
    let mut session = Initiator::login(&Pair::new(setup));
    let command = session.command(&TEST_UNIT_READY, Io::None);
    let (expected, max) = session.window.unwrap();
    assert_eq!((expected, max), (command.cmd_sn, command.cmd_sn.plus(3)));
    for cmd_sn in [max.next(), max.plus(1000), expected.minus(1), expected.minus(1000)] {
        session.send(ScsiCommand { cmd_sn, ..command }, &[]);
    }
    assert_eq!(session.lines(), [""; 0]);
    session.send(command, &[]);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD"]);
}

#[test]
fn window_closes_with_outstanding_commands_and_opens_again() {
    let (mut setup, store) = Setup::sim();
    setup.settings.max_queue_cmd = 4;
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    store.behave(Behaviour::HANG);
    let tags: Vec<_> = (0..4).map(|_| session.begin(&READ, Io::Read(2048))).collect();
    let beyond = session.command(&READ, Io::Read(2048));
    session.send(beyond, &[]);
    // An immediate request is answered with a closed window as well.
    let ping = NopOut { immediate: true, cmd_sn: beyond.cmd_sn, ..session.nop() };
    session.cmd_sn = beyond.cmd_sn;
    session.send(ping, &[]);
    assert_eq!(session.lines(), ["NopIn itt=7 len=0"]);
    let (expected, max) = session.window.unwrap();
    assert_eq!(max.next(), expected, "RFC 7143 4.2.2.1: closed");
    store.behave(Behaviour::INLINE);
    store.release();
    pair.settle();
    tags.into_iter().for_each(|itt| assert_eq!(session.wait(itt).good().len(), 2048));
    session.run(&READ, Io::Read(2048)).good();
    let (expected, max) = session.window.unwrap();
    assert_eq!(max, expected.plus(3));
}

#[test]
fn cmd_sn_wraps() {
    let (setup, _) = Setup::sim();
    let options = LoginOptions { cmd_sn: CmdSn(u32::MAX - 2), ..LoginOptions::default() };
    let mut session = Initiator::login_as(&Pair::new(setup), &options);
    for _ in 0..8 {
        session.run(&READ, Io::Read(2048)).good();
    }
    assert_eq!(session.cmd_sn, CmdSn(6));
}

#[test]
fn immediate_commands_do_not_advance_cmd_sn() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let immediate = session.command(&TEST_UNIT_READY, Io::None);
    session.cmd_sn = immediate.cmd_sn;
    session.send(ScsiCommand { immediate: true, ..immediate }, &[]);
    let numbered = session.command(&TEST_UNIT_READY, Io::None);
    assert_eq!(numbered.cmd_sn, immediate.cmd_sn);
    session.send(numbered, &[]);
    assert_eq!(session.lines(), ["ScsiResponse itt=2 GOOD", "ScsiResponse itt=3 GOOD"]);
}

#[test]
fn immediate_commands_beyond_the_limit_are_rejected() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    store.behave(Behaviour::HANG);
    for _ in 0..9 {
        let command = session.command(&READ, Io::Read(2048));
        session.cmd_sn = command.cmd_sn;
        session.send(ScsiCommand { immediate: true, ..command }, &[]);
    }
    assert_eq!(session.lines(), ["Reject IMMEDIATE_COMMAND_REJECT of ScsiCommand"]);
    store.release();
    pair.settle();
    assert_eq!(session.lines().len(), 8);
}
