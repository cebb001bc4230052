//! Rules of `bind`: by the address an initiator comes from, and by its name; at login and in discovery.

use iscsi_proto::login::LoginStatus;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{DISK, Daemon, fail, run, target_name, wait_until};

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

#[test]
fn where_all_must_match_it_takes_an_address_and_a_name() {
    let daemon = closed();
    let (friend, stranger) = ("iqn.2026-01.org.example:friend", "iqn.2026-01.org.example:stranger");
    let update = |value| {
        daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", "acl-match", "-v", value])
    };
    let parameters = || daemon.adm(&["--mode", "target", "--op", "show", "--tid", "1"]);
    let sees = |name| {
        run("iscsi-ls", ["-i", name, &format!("iscsi://{}", daemon.portal)]).text.contains(&target_name(1))
    };
    bind(&daemon, "bind", ["-I", "127.0.0.0/30"]);
    bind(&daemon, "bind", ["-Q", friend]);
    assert!(admits(&daemon, [127, 0, 0, 1], stranger) && admits(&daemon, [127, 0, 1, 1], friend));
    assert!(!parameters().contains("acl-match"));
    update("all");
    assert!(parameters().ends_with("acl-match=all\n"));
    assert!(admits(&daemon, [127, 0, 0, 1], friend) && sees(friend));
    assert!(admits(&daemon, [127, 0, 0, 2], "IQN.2026-01.org.example:Friend"));
    assert!(!admits(&daemon, [127, 0, 0, 1], stranger) && !sees(stranger));
    assert!(!admits(&daemon, [127, 0, 1, 1], friend));
    update("any");
    assert!(admits(&daemon, [127, 0, 0, 1], stranger) && sees(stranger));
    let refused = daemon.try_adm(&[
        "--mode",
        "target",
        "--op",
        "update",
        "--tid",
        "1",
        "-n",
        "acl-match",
        "-v",
        "both",
    ]);
    let complaint = String::from_utf8(refused.stderr).unwrap();
    assert!(complaint.contains("acl-match") && complaint.contains("any, all"), "{complaint}");
}

#[test]
fn what_is_no_address_is_refused_with_what_would_be_one() {
    let daemon = closed();
    for rule in ["10.0.0.1/33", "10.0.0", "all", "*", "fe80::1%lo"] {
        let refused = daemon.try_adm(&["--mode", "target", "--op", "bind", "--tid", "1", "-I", rule]);
        let complaint = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(22), "{rule}: {complaint}");
        assert!(complaint.contains(&format!("--initiator-address {rule:?}: ")), "{complaint}");
    }
    assert!(!daemon.adm(&["--mode", "target", "--op", "show"]).contains("10.0.0"));
}

#[test]
fn rules_that_say_less_than_they_seem_to_are_logged() {
    let daemon = closed();
    bind(&daemon, "bind", ["-Q", "iqn.2026-01.org.example:friend"]);
    let log = daemon.whole_log();
    assert!(!log.contains("target 1: a"), "{log}");
    bind(&daemon, "bind", ["-I", "ALL"]);
    let log = daemon.whole_log();
    assert!(log.contains("target 1: address rule ALL lets everybody in"), "{log}");
    bind(&daemon, "bind", ["-I", "storage.example"]);
    let log = daemon.whole_log();
    assert!(log.contains("\"storage.example\": names of hosts are not looked up"), "{log}");
}

#[test]
fn who_is_refused_is_told_little_and_the_log_more() {
    let daemon = closed();
    assert!(!admits(&daemon, LOCALHOST.octets(), "iqn.2026-01.org.example:stranger"));
    fail("qemu-img", ["info", &daemon.url_of("iqn.2026-01.org.example:none", DISK)]);
    bind(&daemon, "bind", ["-I", "ALL"]);
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", "state", "-v", "offline"]);
    fail("qemu-img", ["info", &daemon.url(1)]);
    for reason in [
        "iqn.2026-01.org.example:stranger to iqn.2026-01.org.example:target1: login refused: NotFound (no rule of access",
        "to iqn.2026-01.org.example:none: login refused: NotFound (there is no such target)",
        "login refused: TargetError (the target is offline)",
    ] {
        wait_until(reason, || daemon.log().contains(reason));
    }
}
