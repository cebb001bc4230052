//! Loops that all targets share: as many threads as were asked for, whatever comes and goes.

use rustix::process::Signal;

use crate::client::{Client, End};
use crate::harness::{Brand, DISK, Daemon, wait_until};
use crate::load::{LOADED_DISK_LEN, Load, WRITE_LEN};
use crate::threads::{SERVED, of, watch};

/// Rounds that show that a load is under way.
const ROUNDS: u64 = 50;

fn start(options: &[&str]) -> Daemon {
    Daemon::start_as(Brand::Ours, Brand::Ours, options)
}

/// The loops' threads are these; a thread takes its name after it was started.
#[track_caller]
fn assert_loops(daemon: &Daemon, expected: &[&str]) {
    wait_until("the loops are as many", || {
        let names = daemon.threads().into_iter().map(|thread| thread.name);
        let mut names: Vec<_> =
            names.filter(|name| name.starts_with("tgt/") && name != "tgt/opener").collect();
        names.sort_unstable();
        names == expected
    });
}

#[test]
fn many_targets_cost_no_thread_each() {
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
fn a_target_that_is_deleted_under_load_leaves_its_thread_to_the_others() {
    let daemon = start(&["--loops", "1"]);
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let neighbour = Load::start(&daemon, 1, 0);
    neighbour.wait_rounds(ROUNDS);
    let descriptors = daemon.descriptors();
    for _ in 0..3 {
        let doomed_file = daemon.disk(2, LOADED_DISK_LEN);
        let doomed = [0, 1, 2].map(|area| Load::start(&daemon, 2, area));
        doomed.iter().for_each(|load| load.wait_rounds(ROUNDS));
        daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "2", "--force"]);
        for outcome in doomed.map(Load::join) {
            assert!(matches!(outcome.end, Some(End::Closed(_))), "{:?}", outcome.end);
            outcome.assert_in(&doomed_file);
        }
        wait_until("its descriptors are closed", || daemon.descriptors() <= descriptors);
        neighbour.wait_rounds(ROUNDS);
    }
    assert_loops(&daemon, &["tgt/s0"]);
    neighbour.finish().assert_in(&file);
}

#[test]
fn sessions_that_are_there_are_pinged_once_that_is_asked_for() {
    let daemon = start(&["--loops", "1"]);
    daemon.disk(1, LOADED_DISK_LEN);
    daemon.disk(2, LOADED_DISK_LEN);
    let silent = Client::login(&daemon, 1, DISK);
    let neighbour = Load::start(&daemon, 2, 0);
    neighbour.wait_rounds(ROUNDS);
    for (name, value) in [("nop_count", "1"), ("nop_interval", "1")] {
        daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", name, "-v", value]);
    }
    wait_until("who answers no ping is gone", || {
        daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]).is_empty()
    });
    neighbour.wait_rounds(ROUNDS);
    neighbour.finish();
    drop(silent);
}

#[test]
fn a_target_may_be_served_by_several_of_them() {
    let mut daemon = start(&["--loops", "3"]);
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let other = daemon.disk(2, LOADED_DISK_LEN);
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "--name", "loops", "--value", "3"]);
    let more =
        daemon.try_adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", "loops", "-v", "4"]);
    assert!(!more.status.success(), "there are three");
    let loads = [0, 1, 2].map(|area| Load::start(&daemon, 1, area));
    let threads = watch(&daemon, &loads);
    for name in ["tgt/s0", "tgt/s1", "tgt/s2"] {
        let thread = of(&threads, name);
        assert!(thread.bytes_read >= SERVED, "{thread:?}");
    }
    let neighbour = Load::start(&daemon, 2, 0);
    neighbour.wait_rounds(ROUNDS);
    // The end of the daemon is the end of them all.
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
    for load in loads {
        load.join().assert_in(&file);
    }
    neighbour.join().assert_in(&other);
}
