//! Bounds on the connections of a target, an address and an initiator name.

use std::net::Ipv4Addr;

use iscsi_proto::login::LoginStatus;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{Brand, DISK, Daemon, target_name, wait_until};

const LEN: u64 = 1 << 20;
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

fn daemon(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    for tid in 1..=2 {
        daemon.disk(tid, LEN);
    }
    daemon
}

#[track_caller]
fn assert_full(login: Result<Client, End>) {
    match login {
        Err(End::Refused(LoginStatus::OutOfResources)) => {}
        Err(end) => panic!("{end:?}"),
        Ok(_) => panic!("logged in"),
    }
}

#[test]
fn initiator_name_at_its_bound_reconnects_and_leaves_others_alone() {
    let daemon = daemon(&["--max-connections-per-initiator", "2"]);
    let name = next_name();
    let login = |tid| Client::try_login(daemon.portal, LOCALHOST, &name, &target_name(tid), DISK);
    let mut first = login(1).unwrap();
    let mut second = login(2).unwrap();
    // The same initiator port logs in again.
    let mut next = login(1).unwrap();
    assert!(first.read(0, 1).is_err());
    next.read(0, 1).unwrap();
    second.read(0, 1).unwrap();
    Client::login(&daemon, 1, DISK).read(0, 1).unwrap();

    daemon.disk(3, LEN);
    assert_full(login(3));
    let why = "the initiator name has 2 connections, see --max-connections-per-initiator";
    wait_until("the refusal is logged", || daemon.log().contains(why));
    drop(second);
    wait_until("its session is gone", || login(3).is_ok());
    let counted: serde_json::Value =
        serde_json::from_str(&daemon.adm(&["--json", "--mode", "system", "--op", "stat"])).unwrap();
    assert!(counted["login_counters"]["refused_per_initiator"].as_u64().unwrap() >= 1, "{counted}");
}

#[test]
fn address_and_target_have_bounds_of_their_own() {
    let by_address = daemon(&["--max-connections-per-address", "1"]);
    let login = |daemon: &Daemon, from, tid| {
        Client::try_login(daemon.portal, from, &next_name(), &target_name(tid), DISK)
    };
    let _one = login(&by_address, LOCALHOST, 1).unwrap();
    assert_full(login(&by_address, LOCALHOST, 2));
    let _other = login(&by_address, ELSEWHERE, 1).unwrap();

    let by_target = daemon(&["--max-connections-per-target", "1"]);
    let _one = login(&by_target, LOCALHOST, 1).unwrap();
    assert_full(login(&by_target, ELSEWHERE, 1));
    let _other = login(&by_target, LOCALHOST, 2).unwrap();
}
