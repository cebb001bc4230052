//! Loops that all targets share: their number is that of `--loops`, for any number of targets.

use rustix::process::Signal;

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, wait_until};
use crate::load::{LOADED_DISK_LEN, Load, WRITE_LEN};
use crate::removal::delete_target_under_load;
use crate::threads::{SERVED, of, watch};

/// Rounds after which a load is running.
const ROUNDS: u64 = 50;

fn start(options: &[&str]) -> Daemon {
    Daemon::start_as(Brand::Ours, Brand::Ours, options)
}

/// Waits until the loops have these names; a thread sets its name after its start.
#[track_caller]
fn assert_loops(daemon: &Daemon, expected: &[&str]) {
    wait_until("the loops have the expected names", || daemon.loops() == expected);
}

#[test]
fn targets_share_the_loops() {
    let daemon = start(&["--loops", "2"]);
    assert_loops(&daemon, &["tgt/s0", "tgt/s1"]);
    let mut files = Vec::new();
    let loads = [1, 2, 3, 4].map(|tid| {
        files.push(daemon.disk(tid, LOADED_DISK_LEN));
        Load::start(&daemon, tid, 0)
    });
    (5..25).for_each(|tid| drop(daemon.target(tid)));
    let threads = watch(&daemon, &loads);
    for name in ["tgt/s0", "tgt/s1"] {
        let thread = of(&threads, name);
        assert!(thread.bytes_read >= 2 * SERVED, "{thread:?}");
    }
    let first = threads.iter().find(|thread| thread.number == daemon.pid()).unwrap();
    assert!(first.bytes_read < WRITE_LEN as u64, "{first:?}");
    assert_loops(&daemon, &["tgt/s0", "tgt/s1"]);
    for (load, file) in loads.into_iter().zip(files) {
        load.finish().assert_in(&file);
    }
}

#[test]
fn target_deleted_under_load_keeps_the_shared_loop() {
    let daemon = delete_target_under_load(&["--loops", "1"]);
    assert_loops(&daemon, &["tgt/s0"]);
}

#[test]
fn enabled_pings_apply_to_existing_sessions() {
    let daemon = start(&["--loops", "1"]);
    daemon.disk(1, LOADED_DISK_LEN);
    daemon.disk(2, LOADED_DISK_LEN);
    let silent = Client::login(&daemon, 1, DISK);
    let neighbour = Load::start(&daemon, 2, 0);
    neighbour.wait_rounds(ROUNDS);
    for (name, value) in [("nop_count", "1"), ("nop_interval", "1")] {
        daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", name, "-v", value]);
    }
    wait_until("the session that does not answer pings is closed", || {
        daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]).is_empty()
    });
    neighbour.wait_rounds(ROUNDS);
    neighbour.finish();
    drop(silent);
}

#[test]
fn target_may_use_several_shared_loops() {
    let mut daemon = start(&["--loops", "3"]);
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let other = daemon.disk(2, LOADED_DISK_LEN);
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "--name", "loops", "--value", "3"]);
    let more =
        daemon.try_adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", "loops", "-v", "4"]);
    assert!(!more.status.success(), "the daemon has three loops");
    let loads = [0, 1, 2].map(|area| Load::start(&daemon, 1, area));
    let threads = watch(&daemon, &loads);
    for name in ["tgt/s0", "tgt/s1", "tgt/s2"] {
        let thread = of(&threads, name);
        assert!(thread.bytes_read >= SERVED, "{thread:?}");
    }
    let neighbour = Load::start(&daemon, 2, 0);
    neighbour.wait_rounds(ROUNDS);
    // The end of the daemon ends all loops.
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
    for load in loads {
        load.join().assert_in(&file);
    }
    neighbour.join().assert_in(&other);
}
