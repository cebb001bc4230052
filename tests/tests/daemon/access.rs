//! Access rules of `bind`, by address and name of the initiator, at login and in discovery.

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
    let listed = run("iscsi-ls", [&format!("iscsi://{}", daemon.portal)]);
    listed.text.contains(&target_name(1))
}

/// A target with a disk and without access rules.
fn without_rules() -> Daemon {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    bind(&daemon, "unbind", ["-I", "ALL"]);
    daemon
}

#[test]
fn target_without_rules_refuses_all_initiators() {
    let daemon = without_rules();
    assert!(!admits(&daemon, LOCALHOST.octets(), &next_name()));
    assert!(!is_listed(&daemon));
    fail("qemu-img", ["info", &daemon.url(1)]);
    bind(&daemon, "bind", ["-I", "ALL"]);
    assert!(admits(&daemon, LOCALHOST.octets(), &next_name()));
    assert!(is_listed(&daemon));
}

#[test]
fn address_rule_admits_only_its_address() {
    let daemon = without_rules();
    bind(&daemon, "bind", ["-I", "127.0.0.2"]);
    assert!(admits(&daemon, [127, 0, 0, 2], &next_name()));
    assert!(!admits(&daemon, [127, 0, 0, 1], &next_name()));
    assert!(!is_listed(&daemon), "the address of discovery is 127.0.0.1");
    bind(&daemon, "bind", ["-I", "127.0.0.1"]);
    assert!(is_listed(&daemon));
    bind(&daemon, "unbind", ["-I", "127.0.0.2"]);
    assert!(!admits(&daemon, [127, 0, 0, 2], &next_name()));
}

#[test]
fn network_rule_admits_its_addresses() {
    let daemon = without_rules();
    bind(&daemon, "bind", ["-I", "10.0.0.0/8"]);
    assert!(!admits(&daemon, [127, 0, 0, 1], &next_name()));
    assert!(!is_listed(&daemon));
    bind(&daemon, "bind", ["-I", "127.0.1.0/24"]);
    assert!(admits(&daemon, [127, 0, 1, 9], &next_name()));
    assert!(!admits(&daemon, [127, 0, 2, 9], &next_name()));
}

#[test]
fn name_rule_admits_its_name_from_any_address() {
    let daemon = without_rules();
    bind(&daemon, "bind", ["-Q", "iqn.2026-01.org.example:friend"]);
    assert!(admits(&daemon, [127, 0, 0, 1], "iqn.2026-01.org.example:friend"));
    assert!(!admits(&daemon, [127, 0, 0, 1], "iqn.2026-01.org.example:stranger"));
}

#[test]
fn acl_match_all_requires_address_and_name() {
    let daemon = without_rules();
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
    let stderr = String::from_utf8(refused.stderr).unwrap();
    assert!(stderr.contains("acl-match") && stderr.contains("any, all"), "{stderr}");
}

#[test]
fn invalid_address_rule_is_refused_with_a_reason() {
    let daemon = without_rules();
    for rule in ["10.0.0.1/33", "10.0.0", "all", "*", "fe80::1%lo"] {
        let refused = daemon.try_adm(&["--mode", "target", "--op", "bind", "--tid", "1", "-I", rule]);
        let stderr = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(22), "{rule}: {stderr}");
        assert!(stderr.contains(&format!("--initiator-address {rule:?}: ")), "{stderr}");
    }
    assert!(!daemon.adm(&["--mode", "target", "--op", "show"]).contains("10.0.0"));
}

#[test]
fn shadowed_and_unresolved_rules_are_logged() {
    let daemon = without_rules();
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
fn reason_of_a_refused_login_is_in_the_log() {
    let daemon = without_rules();
    assert!(!admits(&daemon, LOCALHOST.octets(), "iqn.2026-01.org.example:stranger"));
    fail("qemu-img", ["info", &daemon.url_of("iqn.2026-01.org.example:none", DISK)]);
    bind(&daemon, "bind", ["-I", "ALL"]);
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", "state", "-v", "offline"]);
    fail("qemu-img", ["info", &daemon.url(1)]);
    for reason in [
        "iqn.2026-01.org.example:stranger to iqn.2026-01.org.example:target1: login refused: not found (no rule of access",
        "to iqn.2026-01.org.example:none: login refused: not found (there is no such target)",
        "login refused: target error (the target is offline)",
    ] {
        wait_until(reason, || daemon.log().contains(reason));
    }
}
