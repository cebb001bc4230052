//! Management by the stock tool and ours, of our daemon and the stock one: the same words, the same texts.

use std::process::Output;

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, succeed, target_name, wait_until};

const LEN: u64 = 64 << 20;

/// A set-up with something of everything.
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
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "mike", "--password", "twelve-letters"]);
    daemon.adm(&["--mode", "account", "--op", "bind", "--tid", "12", "--user", "mike"]);
}

/// What a daemon shows, without the name of its directory.
fn shown(daemon: &Daemon, words: &[&str]) -> String {
    daemon.adm(words).replace(daemon.path("").to_str().unwrap(), "/directory/")
}

const TARGETS: &[&str] = &["--mode", "target", "--op", "show"];
const PARAMETERS: &[&str] = &["--mode", "target", "--op", "show", "--tid", "1"];
const ACCOUNTS: &[&str] = &["--mode", "account", "--op", "show"];
const CONNECTIONS: &[&str] = &["--mode", "conn", "--op", "show", "--tid", "1"];

/// Both daemons, set up by the same tool.
fn pair(manager: Brand) -> [Daemon; 2] {
    [Brand::Stock, Brand::Ours].map(|brand| {
        let options: &[&str] =
            if brand == Brand::Ours { &["--compat-defaults", "--compat-ids"] } else { &[] };
        let daemon = Daemon::start_as(brand, manager, options);
        set_up(&daemon);
        daemon
    })
}

#[track_caller]
fn assert_same_texts(manager: Brand) {
    let [stock, ours] = pair(manager);
    for words in [TARGETS, PARAMETERS, ACCOUNTS] {
        assert_eq!(shown(&ours, words), shown(&stock, words), "{words:?}");
    }
    // With a session the texts have more to tell.
    let _sessions =
        [&stock, &ours].map(|daemon| Client::login_by(daemon, "iqn.2026-01.org.example:seen", 1, DISK));
    for words in [TARGETS, CONNECTIONS] {
        let text = shown(&ours, words);
        assert_eq!(text, shown(&stock, words), "{words:?}");
        assert!(text.contains("Initiator: iqn.2026-01.org.example:seen"), "{text}");
    }
}

#[test]
fn a_stock_tgtadm_shows_of_our_daemon_what_it_shows_of_a_stock_one() {
    assert_same_texts(Brand::Stock);
}

#[test]
fn our_tgtadm_drives_a_stock_daemon_as_it_does_ours() {
    assert_same_texts(Brand::Ours);
}

/// From nothing to a disk that is used, and back to nothing.
fn whole_life(manager: Brand) {
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
    assert_eq!(after.status.code(), Some(107), "nobody is there: {after:?}");
}

#[track_caller]
fn assert_refused(output: &Output, text: &str) {
    assert_eq!(output.status.code(), Some(22), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(text), "{output:?}");
}

#[test]
fn a_stock_tgtadm_sets_up_our_daemon_and_ends_it() {
    whole_life(Brand::Stock);
}

#[test]
fn our_tgtadm_sets_up_our_daemon_and_ends_it() {
    whole_life(Brand::Ours);
}

#[test]
fn a_disk_that_our_tgtadm_made_on_a_stock_daemon_is_used() {
    let daemon = Daemon::start_as(Brand::Stock, Brand::Ours, &[]);
    daemon.disk(1, LEN);
    let commands = ["-f", "raw", "-c", "write -P 5 0 1M", "-c", "read -P 5 0 1M"];
    succeed("qemu-io", commands.into_iter().chain([daemon.url_of(&target_name(1), DISK).as_str()]));
}

#[test]
fn a_target_in_use_is_not_deleted_without_force() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let client = Client::login(&daemon, 1, DISK);
    let refused = daemon.try_adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
    assert_refused(&refused, "this target is still active");
    drop(client);
    wait_until("the session is gone", || !daemon.adm(TARGETS).contains("Initiator:"));
    daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
}

/// The first line is stock's whoever asks; the reason is there for a client that prints it.
#[test]
fn a_refusal_has_stocks_line_and_then_its_reason() {
    let words = ["--mode", "target", "--op", "new", "--tid", "1", "-T", "iqn.2026-01.org.example:a_b"];
    let stderr = |client| {
        let daemon = Daemon::start_as(Brand::Ours, client, &[]);
        let output = daemon.try_adm(&words);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(22), &b""[..]));
        String::from_utf8(output.stderr).expect("text")
    };
    let line = "tgtadm: invalid request\n";
    assert_eq!(stderr(Brand::Stock), line);
    let reason =
        "  --targetname \"iqn.2026-01.org.example:a_b\": '_' is not allowed; accepted: A-Z a-z 0-9 : . -\n";
    assert_eq!(stderr(Brand::Ours), [line, reason].concat());
}
