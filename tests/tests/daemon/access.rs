//! Rules of `bind`: by the address an initiator comes from, and by its name; at login and in discovery.

use iscsi_proto::login::LoginStatus;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{DISK, Daemon, fail, run, target_name};

const LEN: u64 = 1 << 20;

fn bind(daemon: &Daemon, operation: &str, rule: [&str; 2]) {
    daemon.adm(&[&["--mode", "target", "--op", operation, "--tid", "1"][..], &rule[..]].concat());
}

fn admits(daemon: &Daemon, from: [u8; 4], name: &str) -> bool {
    match Client::try_login(daemon.portal, from.into(), name, &target_name(1), DISK) {
        Ok(_) => true,
        Err(End::Refused(LoginStatus::NotFound | LoginStatus::AuthorizationFailure)) => false,
        Err(end) => panic!("{end:?}"),
    }
}

fn is_listed(daemon: &Daemon) -> bool {
    let said = run("iscsi-ls", [&format!("iscsi://{}", daemon.portal)]);
    said.text.contains(&target_name(1))
}

/// A target with a disk that nobody may use yet.
fn closed() -> Daemon {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    bind(&daemon, "unbind", ["-I", "ALL"]);
    daemon
}

#[test]
fn a_target_without_rules_is_for_nobody() {
    let daemon = closed();
    assert!(!admits(&daemon, LOCALHOST.octets(), &next_name()));
    assert!(!is_listed(&daemon));
    fail("qemu-img", ["info", &daemon.url(1)]);
    bind(&daemon, "bind", ["-I", "ALL"]);
    assert!(admits(&daemon, LOCALHOST.octets(), &next_name()));
    assert!(is_listed(&daemon));
}

#[test]
fn an_address_admits_itself_and_nobody_else() {
    let daemon = closed();
    bind(&daemon, "bind", ["-I", "127.0.0.2"]);
    assert!(admits(&daemon, [127, 0, 0, 2], &next_name()));
    assert!(!admits(&daemon, [127, 0, 0, 1], &next_name()));
    assert!(!is_listed(&daemon), "discovery comes from 127.0.0.1");
    bind(&daemon, "bind", ["-I", "127.0.0.1"]);
    assert!(is_listed(&daemon));
    bind(&daemon, "unbind", ["-I", "127.0.0.2"]);
    assert!(!admits(&daemon, [127, 0, 0, 2], &next_name()));
}

#[test]
fn a_network_admits_its_addresses() {
    let daemon = closed();
    bind(&daemon, "bind", ["-I", "10.0.0.0/8"]);
    assert!(!admits(&daemon, [127, 0, 0, 1], &next_name()));
    assert!(!is_listed(&daemon));
    bind(&daemon, "bind", ["-I", "127.0.1.0/24"]);
    assert!(admits(&daemon, [127, 0, 1, 9], &next_name()));
    assert!(!admits(&daemon, [127, 0, 2, 9], &next_name()));
}

#[test]
fn a_name_admits_itself_from_anywhere() {
    let daemon = closed();
    bind(&daemon, "bind", ["-Q", "iqn.2026-01.org.example:friend"]);
    assert!(admits(&daemon, [127, 0, 0, 1], "iqn.2026-01.org.example:friend"));
    assert!(!admits(&daemon, [127, 0, 0, 1], "iqn.2026-01.org.example:stranger"));
}
