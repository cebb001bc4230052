//! Management of our daemon and tgt's by our tgtadm and tgt's: the same arguments print the same texts.

use std::process::Output;

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, succeed, target_name, wait_until};

const LEN: u64 = 64 << 20;

/// Configures units of several kinds, access rules and an account.
fn set_up(daemon: &Daemon) {
    daemon.disk(1, LEN);
    daemon.unit(1, 3, LEN / 2, &["--blocksize", "4096"]);
    daemon.set_unit(1, 3, "thin_provisioning=1");
    daemon.unit(1, 4, LEN, &["--bstype", "aio"]);
    daemon.unit(1, 11, LEN, &["--bsoflags", "sync"]);
    daemon.set_unit(1, 11, "readonly=1");
    daemon.set_unit(1, 11, "removable=1");
    daemon.set_unit(1, 11, "scsi_sn=serial7,vendor_id=ACME");
    daemon.set_unit(1, 4, "online=0");
    daemon.target(12);
    for rule in [["-I", "10.0.0.0/8"], ["-I", "192.0.2.7"], ["-Q", "iqn.2026-01.org.example:friend"]] {
        let words = ["--mode", "target", "--op", "bind", "--tid", "12"];
        daemon.adm(&[&words[..], &rule[..]].concat());
    }
    daemon.adm(&["--mode", "target", "--op", "unbind", "--tid", "12", "-I", "ALL"]);
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "12", "-n", "state", "-v", "offline"]);
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "mike", "--password", "secretpass12"]);
    daemon.adm(&["--mode", "account", "--op", "bind", "--tid", "12", "--user", "mike"]);
}

/// tgt takes 512 for the others, too, but makes blocks of 256 bytes.
#[test]
fn block_length_that_is_not_possible_is_logged_and_512_is_used() {
    let daemon = Daemon::start();
    daemon.target(1);
    for (lun, value) in [(1, "700"), (2, "0"), (3, "abc"), (4, "256"), (5, "4096")] {
        daemon.unit(1, lun, LEN, &["--blocksize", value]);
    }
    let log = daemon.whole_log();
    let lines: Vec<_> = log.lines().filter_map(|line| line.split_once("[WARN] blocksize ")).collect();
    let lines: Vec<_> = lines.into_iter().map(|(_, line)| line).collect();
    let expected = ["700", "0", "abc", "256"]
        .map(|value| format!("{value:?} is not a power of two from 512; using 512"));
    assert_eq!(lines, expected, "{log}");
    let shown = daemon.adm(TARGETS);
    let lens: Vec<_> = shown.lines().filter_map(|line| line.split_once("Block size: ")).collect();
    assert_eq!(lens.iter().filter(|(_, len)| *len == "512").count(), 4, "{shown}");
    assert_eq!(lens.iter().filter(|(_, len)| *len == "4096").count(), 1, "{shown}");
}

/// Output of a tgtadm command, with the directory of the daemon replaced.
fn shown(daemon: &Daemon, words: &[&str]) -> String {
    daemon.adm(words).replace(daemon.path("").to_str().unwrap(), "/directory/")
}

const TARGETS: &[&str] = &["--mode", "target", "--op", "show"];
const PARAMETERS: &[&str] = &["--mode", "target", "--op", "show", "--tid", "1"];
const ACCOUNTS: &[&str] = &["--mode", "account", "--op", "show"];
const CONNECTIONS: &[&str] = &["--mode", "conn", "--op", "show", "--tid", "1"];

/// tgt's daemon and ours, configured by the same tool.
fn pair(manager: Brand) -> [Daemon; 2] {
    [Brand::Tgt, Brand::Ours].map(|brand| {
        let options: &[&str] =
            if brand == Brand::Ours { &["--compat-defaults", "--compat-ids"] } else { &[] };
        let daemon = Daemon::start_as(brand, manager, options);
        set_up(&daemon);
        daemon
    })
}

#[track_caller]
fn assert_same_texts(manager: Brand) {
    let [tgt, ours] = pair(manager);
    for words in [TARGETS, PARAMETERS, ACCOUNTS] {
        assert_eq!(shown(&ours, words), shown(&tgt, words), "{words:?}");
    }
    // With a session the texts have further lines.
    let _sessions =
        [&tgt, &ours].map(|daemon| Client::login_by(daemon, "iqn.2026-01.org.example:seen", 1, DISK));
    for words in [TARGETS, CONNECTIONS] {
        let text = shown(&ours, words);
        assert_eq!(text, shown(&tgt, words), "{words:?}");
        assert!(text.contains("Initiator: iqn.2026-01.org.example:seen"), "{text}");
    }
}

#[test]
fn tgts_tgtadm_prints_the_same_for_both_daemons() {
    assert_same_texts(Brand::Tgt);
}

#[test]
fn our_tgtadm_prints_the_same_for_both_daemons() {
    assert_same_texts(Brand::Ours);
}

/// Creates, uses and deletes a disk, and ends the daemon.
fn assert_life_cycle(manager: Brand) {
    let mut daemon = Daemon::start_as(Brand::Ours, manager, &[]);
    assert_eq!(daemon.adm(TARGETS), "");
    daemon.disk(1, LEN);
    daemon.unit(1, 2, LEN, &[]);
    let commands = ["-f", "raw", "-c", "write -P 5 0 1M", "-c", "read -P 5 0 1M"];
    succeed("qemu-io", commands.into_iter().chain([daemon.url(1).as_str()]));
    assert!(daemon.adm(&["--mode", "sys", "--op", "show"]).contains(" rdwr"));
    assert!(daemon.adm(&["--mode", "lld", "--op", "show"]).contains(&target_name(1)));

    daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "2"]);
    assert!(!daemon.adm(TARGETS).contains("LUN: 2"));
    assert_refused(&daemon.try_adm(&["--mode", "sys", "--op", "delete"]), "invalid request");
    let missing = daemon.try_adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "2"]);
    assert_refused(&missing, "can't find the logical unit");
    let same = daemon.try_adm(&["--mode", "target", "--op", "new", "--tid", "1", "-T", &target_name(9)]);
    assert_refused(&same, "this target already exists");
    daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
    assert_eq!(daemon.adm(TARGETS), "");
    daemon.adm(&["--mode", "sys", "--op", "delete"]);
    assert!(daemon.ended().success());
    let after = daemon.try_adm(TARGETS);
    assert_eq!(after.status.code(), Some(107), "no daemon is running: {after:?}");
}

#[track_caller]
fn assert_refused(output: &Output, text: &str) {
    assert_eq!(output.status.code(), Some(22), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
}

#[test]
fn tgts_tgtadm_configures_and_ends_our_daemon() {
    assert_life_cycle(Brand::Tgt);
}

#[test]
fn our_tgtadm_configures_and_ends_our_daemon() {
    assert_life_cycle(Brand::Ours);
}

#[test]
fn disk_created_by_our_tgtadm_on_tgts_daemon_serves() {
    let daemon = Daemon::start_as(Brand::Tgt, Brand::Ours, &[]);
    daemon.disk(1, LEN);
    let commands = ["-f", "raw", "-c", "write -P 5 0 1M", "-c", "read -P 5 0 1M"];
    succeed("qemu-io", commands.into_iter().chain([daemon.url_of(&target_name(1), DISK).as_str()]));
}

#[test]
fn target_with_sessions_is_deleted_only_by_force() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let client = Client::login(&daemon, 1, DISK);
    let refused = daemon.try_adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
    assert_refused(&refused, "this target is still active");
    drop(client);
    wait_until("the session has ended", || !daemon.adm(TARGETS).contains("Initiator:"));
    daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
}

/// The first line is tgt's for every client; our tgtadm also prints the reason.
#[test]
fn refusal_has_tgts_line_and_then_the_reason() {
    let words = ["--mode", "target", "--op", "new", "--tid", "1", "-T", "iqn.2026-01.org.example:a_b"];
    let stderr = |client| {
        let daemon = Daemon::start_as(Brand::Ours, client, &[]);
        let output = daemon.try_adm(&words);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(22), &b""[..]));
        String::from_utf8(output.stderr).expect("text")
    };
    let line = "tgtadm: invalid request\n";
    assert_eq!(stderr(Brand::Tgt), line);
    let reason =
        "  --targetname \"iqn.2026-01.org.example:a_b\": '_' is not allowed; accepted: A-Z a-z 0-9 : . -\n";
    assert_eq!(stderr(Brand::Ours), [line, reason].concat());
}
