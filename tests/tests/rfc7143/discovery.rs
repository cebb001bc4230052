//! RFC 7143 4.3 and appendix C: discovery sessions.

use std::time::Duration;

use iscsi_proto::pdu::{LogoutReason, Pdu};
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, TARGET, each_chunk};

use super::TEST_UNIT_READY;

fn discover(pair: &Pair) -> Initiator {
    Initiator::login_as(pair, &LoginOptions { target: None, ..LoginOptions::default() })
}

#[track_caller]
fn send_targets(session: &mut Initiator, value: &str) -> String {
    let request = session.text();
    session.send(request, format!("SendTargets={value}\0").as_bytes());
    let (pdu, data) = session.recv();
    assert!(matches!(pdu, Pdu::TextResponse(_)), "{pdu:?}");
    String::from_utf8_lossy(&data).replace('\0', " ")
}

#[test]
fn send_targets_lists_targets_with_addresses() {
    each_chunk(|setup, _| {
        let pair = Pair::new(setup);
        let mut session = discover(&pair);
        let all = format!("TargetName={TARGET} TargetAddress=192.0.2.1:3260,1 ");
        assert_eq!(send_targets(&mut session, "All"), all);
        assert_eq!(send_targets(&mut session, TARGET), all);
        assert_eq!(send_targets(&mut session, "iqn.2026-01.org.example:other"), "");
        let nop = session.nop();
        session.send(nop, b"ping");
        let logout = session.logout(LogoutReason::CLOSE_SESSION);
        session.send(logout, &[]);
        assert_eq!(session.lines(), ["NopIn itt=4 len=4", "LogoutResponse itt=5 CLOSED"]);
        assert!(session.is_closed());
        assert_eq!(pair.side().session_count(), 0, "a discovery session is not a session of the target");
    });
}

#[test]
fn discovery_session_rejects_scsi_commands() {
    let (setup, _) = Setup::sim();
    let mut session = discover(&Pair::new(setup));
    let command = session.command(&TEST_UNIT_READY, Io::None);
    session.send(command, &[]);
    session.cmd_sn = command.cmd_sn;
    assert_eq!(session.lines(), ["Reject PROTOCOL_ERROR of ScsiCommand"]);
    assert!(send_targets(&mut session, "All").contains(TARGET));
}

#[test]
fn idle_discovery_session_is_closed() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = discover(&pair);
    let _ = send_targets(&mut session, "All");
    pair.advance(Duration::from_secs(599));
    assert!(!session.is_closed());
    pair.advance(Duration::from_secs(2));
    assert!(session.is_closed());
}
