//! Stores that violate their contract affect no other unit, not the shared loop and not management; a loop that panics
//! ends the daemon.

use scsi_core::sense::SenseKey;
use target_engine::limits::WARNINGS_MAX;
use tgt_tests::bad_store::EDGE;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{Daemon, wait_until};

const BAD: u16 = 1;
const GOOD: u16 = 2;
const EDGE_LBA: u32 = (EDGE / 512) as u32;

/// A daemon with two targets on one shared loop, each with a unit in memory.
fn daemon() -> Daemon {
    let daemon = Daemon::start_with_bad_stores();
    for tid in [1, 2] {
        daemon.target(tid);
        daemon.adm(&new_unit(&tid.to_string(), GOOD, "memory", "x"));
    }
    daemon
}

fn new_unit<'a>(tid: &'a str, lun: u16, kind: &'a str, path: &'a str) -> [&'a str; 12] {
    let lun = if lun == BAD { "1" } else { "2" };
    ["--mode", "logicalunit", "--op", "new", "--tid", tid, "--lun", lun, "--bstype", kind, "-b", path]
}

const DELETE: [&str; 8] = ["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1"];

/// Asserts that the units in memory of both targets and management work.
fn assert_others_work(daemon: &Daemon, what: &str) {
    for tid in [1, 2] {
        let mut client = Client::login(daemon, tid, GOOD);
        client.write(0, &[7; 4096]).unwrap();
        assert_eq!(client.read(0, 8).unwrap(), [7; 4096], "{what}");
    }
    assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains("LUN: 2"), "{what}");
}

fn is_failure(result: &Result<Vec<u8>, End>) -> bool {
    matches!(result, Err(End::Status(_, Some(sense))) if sense.key == SenseKey::HardwareError)
}

#[test]
fn panic_in_a_store_fails_its_units_until_they_are_opened_again() {
    for fault in ["PanicTryNow", "PanicTwice", "PanicSubmit", "PanicKick", "PanicReap"] {
        let daemon = daemon();
        daemon.adm(&new_unit("1", BAD, "bad", fault));
        let mut client = Client::login(&daemon, 1, BAD);
        client.read(0, 8).unwrap();
        for lba in [EDGE_LBA, 0] {
            let result = client.read(lba, 8);
            assert!(is_failure(&result), "{fault}: {result:?}");
        }
        assert_others_work(&daemon, fault);
        let line = format!("target 1 LUN 1: {fault}: its store or one of the same kind panicked (");
        assert!(daemon.log().contains(&line), "{}", daemon.log());
        daemon.set_unit(1, BAD, "online=0");
        daemon.set_unit(1, BAD, "online=1");
        client.read(0, 8).unwrap();
        drop(client);
        daemon.adm(&[&DELETE[..], &["--force"]].concat());
        assert_others_work(&daemon, fault);
    }
}

#[test]
fn store_with_invalid_geometry_or_attach_is_refused() {
    let daemon = daemon();
    for (fault, reason) in [
        ("NoAlignment", "alignment 0"),
        ("OddSize", "size 700"),
        ("HugeSize", "size 18446744073709551615"),
        ("PanicOpen", "panicked"),
        ("PanicAttach", "abandoned"),
        ("NoEngine", "misbehaves"),
    ] {
        let output = daemon.try_adm(&new_unit("1", BAD, "bad", fault));
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(reason), "{fault}: {output:?}");
        assert_others_work(&daemon, fault);
    }
}

#[test]
fn panic_in_open_or_close_of_a_store_affects_no_other_unit() {
    let daemon = daemon();
    for fault in [
        "PanicGeometry",
        "PanicCapabilities",
        "PanicRefresh",
        "PanicEvent",
        "PanicDetach",
        "PanicDrop",
        "PanicEngineDrop",
        "UnknownShard",
    ] {
        daemon.adm(&new_unit("1", BAD, "bad", fault));
        daemon.adm(&["--mode", "target", "--op", "show"]);
        let parameters =
            ["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "-P", "disksize=auto"];
        assert_eq!(daemon.try_adm(&parameters).status.success(), fault != "PanicRefresh", "{fault}");
        let _ = Client::login(&daemon, 1, BAD).read(EDGE_LBA, 8);
        daemon.adm(&[&DELETE[..], &["--force"]].concat());
        assert_others_work(&daemon, fault);
    }
    let log = daemon.log();
    for line in ["PanicDrop: the store panicked: a store panics when it is dropped", "unknown operation"] {
        assert!(log.contains(line), "{line}: {log}");
    }
    let mut daemon = daemon;
    for tid in ["1", "2"] {
        daemon.adm(&["--mode", "target", "--op", "delete", "--tid", tid, "--force"]);
    }
    daemon.adm(&["--mode", "system", "--op", "delete"]);
    assert!(daemon.ended().success(), "{}", daemon.log());
}

/// Without a further event of the same kind.
#[test]
fn lines_that_the_control_thread_and_a_loop_leave_out_are_counted_after_the_period() {
    const EVENTS: u32 = 5 * WARNINGS_MAX;
    let daemon = daemon();
    daemon.adm(&new_unit("1", BAD, "bad", "UnknownShard"));
    let mut client = Client::login(&daemon, 1, BAD);
    for _ in 0..EVENTS {
        client.read(EDGE_LBA, 8).unwrap();
        assert!(Client::try_login(daemon.portal, LOCALHOST, &next_name(), "iqn.x:none", 0).is_err());
    }
    for level in ["ERROR", "WARN"] {
        let is_count =
            |line: &str| line.contains(level) && line.ends_with("lines like the last ones were left out");
        wait_until(level, || daemon.log().lines().any(is_count));
    }
}

#[test]
fn panicked_loop_ends_the_daemon_with_an_error() {
    let mut daemon = daemon();
    daemon.adm(&new_unit("1", BAD, "bad", "Error"));
    let mut client = Client::login(&daemon, 1, BAD);
    // The logger panics on the loop.
    let result = client.read(EDGE_LBA, 8);
    assert!(matches!(result, Err(End::Closed(_))), "{result:?}");
    assert_eq!(daemon.ended().code(), Some(1));
    wait_until("the reason is logged", || daemon.log().contains("bad_tgtd: loop 1 failed"));
}
