//! RFC 7143 11.14, 11.15: logout of a session and of a connection, and logout requests of the target.

use std::time::Duration;

use iscsi_proto::ids::Cid;
use iscsi_proto::pdu::{LogoutReason, LogoutRequest, Pdu};
use target_engine::control::messages::ToLoop;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, each_chunk};
use tgt_tests::sim_store::Behaviour;

use super::READ;

#[test]
fn logout_closes_the_session_after_the_response() {
    each_chunk(|setup, _| {
        let pair = Pair::new(setup);
        let mut session = Initiator::login(&pair);
        let logout = session.logout(LogoutReason::CLOSE_SESSION);
        session.send(logout, &[]);
        let (Pdu::LogoutResponse(response), _) = session.recv() else { panic!("a logout response") };
        assert_eq!((response.time2wait, response.time2retain), (2, 20));
        assert!(session.is_closed());
        pair.assert_clean();
    });
}

#[test]
fn logout_ends_running_commands() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    store.behave(Behaviour::HANG);
    session.begin(&READ, Io::Read(2048));
    let logout = session.logout(LogoutReason::CLOSE_SESSION);
    session.send(logout, &[]);
    assert_eq!(session.lines(), ["LogoutResponse itt=3 CLOSED"]);
    assert!(session.is_closed());
    pair.assert_clean();
}

#[test]
fn logout_closes_one_connection_of_two() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut options = LoginOptions::default();
    options.keys.session.max_connections = 2;
    let mut first = Initiator::login_as(&pair, &options);
    let mut second = Initiator::login_as(&pair, &LoginOptions { tsih: first.tsih, cid: Cid(1), ..options });
    second.cmd_sn = first.cmd_sn;
    let logout = LogoutRequest { cid: Cid(1), ..first.logout(LogoutReason::CLOSE_CONNECTION) };
    first.send(logout, &[]);
    assert_eq!(first.lines(), ["LogoutResponse itt=2 CLOSED"]);
    assert!(second.is_closed() && !first.is_closed());
    first.run(&READ, Io::Read(2048)).good();
    let own = first.logout(LogoutReason::CLOSE_CONNECTION);
    first.send(own, &[]);
    assert_eq!(first.lines(), ["LogoutResponse itt=4 CLOSED"]);
    assert!(first.is_closed());
    pair.assert_clean();
}

#[test]
fn logout_of_unknown_cid_or_for_recovery_is_refused() {
    let (setup, _) = Setup::sim();
    let mut session = Initiator::login(&Pair::new(setup));
    let other = LogoutRequest { cid: Cid(7), ..session.logout(LogoutReason::CLOSE_CONNECTION) };
    session.send(other, &[]);
    assert_eq!(session.lines(), ["LogoutResponse itt=2 CID_NOT_FOUND"]);
    let recovery = session.logout(LogoutReason::RECOVERY);
    session.send(recovery, &[]);
    assert_eq!(session.lines(), ["LogoutResponse itt=3 RECOVERY_NOT_SUPPORTED"]);
    session.run(&READ, Io::Read(2048)).good();
}

#[test]
fn target_requests_a_logout() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    pair.side().send(|_, _| ToLoop::End(Duration::from_secs(7)));
    assert_eq!(session.lines(), ["AsyncMessage LOGOUT_REQUEST 0 0 7"]);
    session.run(&READ, Io::Read(2048)).good();
    let logout = session.logout(LogoutReason::CLOSE_SESSION);
    session.send(logout, &[]);
    assert!(session.is_closed());
}
