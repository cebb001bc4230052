//! Who serves a connection: after its login the thread of its target, and nobody else.
//!
//! What a thread does is told by the kernel's counters. Blocks that were just written are in the page cache, from
//! where the thread that serves a READ reads them itself: these bytes are counted for it.

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, Thread, wait_until};
use crate::load::{LOADED_DISK_LEN, Load, PLACES, WRITE_LEN};

/// Rounds of a load that are looked at.
const ROUNDS: u64 = 200;
/// Bytes read from the file for them; the first read may have been before the counters were.
pub(crate) const SERVED: u64 = (ROUNDS - 1) * WRITE_LEN as u64;
/// A thread that does not serve runs less than this part of the time of one that does.
const IDLE: u64 = 5;

/// What a daemon's threads do while loads go on.
pub(crate) fn watch(daemon: &Daemon, loads: &[Load]) -> Vec<Thread> {
    loads.iter().for_each(|load| load.wait_rounds(PLACES));
    let before = daemon.threads();
    loads.iter().for_each(|load| load.wait_rounds(ROUNDS));
    let after = daemon.threads();
    let of = |number| before.iter().find(|thread| thread.number == number);
    after.iter().filter_map(|thread| Some(thread.since(of(thread.number)?))).collect()
}

#[track_caller]
pub(crate) fn of<'a>(threads: &'a [Thread], name: &str) -> &'a Thread {
    let found = threads.iter().find(|thread| thread.name == name);
    found.unwrap_or_else(|| panic!("no thread {name}: {threads:?}"))
}

#[test]
fn under_load_each_target_is_served_by_its_own_thread_and_the_first_thread_rests() {
    let daemon = Daemon::start();
    let loads = [1, 2, 3].map(|tid| {
        daemon.disk(tid, LOADED_DISK_LEN);
        Load::start(&daemon, tid, 0)
    });
    let threads = watch(&daemon, &loads);
    let first = threads.iter().find(|thread| thread.number == daemon.pid()).unwrap();
    for name in ["tgt/1", "tgt/2", "tgt/3"] {
        let thread = of(&threads, name);
        assert!(thread.bytes_read >= SERVED, "{thread:?}");
        assert!(first.ran < thread.ran / IDLE, "{first:?} and {thread:?}");
    }
    assert!(first.bytes_read < WRITE_LEN as u64, "{first:?}");
    loads.into_iter().for_each(|load| drop(load.finish()));
}

#[test]
fn a_connection_is_served_by_its_targets_thread_after_login() {
    let daemon = Daemon::start();
    let idle = [1, 2, 3].map(|tid| {
        daemon.disk(tid, LOADED_DISK_LEN);
        Client::login(&daemon, tid, DISK)
    });
    let load = Load::start(&daemon, 2, 0);
    let threads = watch(&daemon, std::slice::from_ref(&load));
    let serving = of(&threads, "tgt/2");
    assert!(serving.bytes_read >= SERVED, "{serving:?}");
    let others =
        threads.iter().filter(|thread| thread.number == daemon.pid() || thread.name.starts_with("tgt/"));
    for other in others.filter(|thread| thread.number != serving.number) {
        assert!(other.bytes_read < WRITE_LEN as u64, "{other:?}");
        assert!(other.ran < serving.ran / IDLE, "{other:?} and {serving:?}");
    }
    load.finish();
    drop(idle);
}

#[test]
fn several_loops_of_one_target_share_its_sessions() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--target-loops", "2"]);
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let loads = [0, 1, 2, 3].map(|area| Load::start(&daemon, 1, area));
    let threads = watch(&daemon, &loads);
    for name in ["tgt/1.0", "tgt/1.1"] {
        let thread = of(&threads, name);
        assert!(thread.bytes_read >= SERVED, "{thread:?}");
    }
    for outcome in loads.map(Load::finish) {
        outcome.assert_in(&file);
    }
}

#[test]
fn a_target_that_goes_takes_its_thread_along() {
    let daemon = Daemon::start();
    daemon.disk(1, LOADED_DISK_LEN);
    daemon.disk(2, LOADED_DISK_LEN);
    of(&daemon.threads(), "tgt/1");
    daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1"]);
    wait_until("the thread of target 1 ends", || {
        daemon.threads().iter().all(|thread| thread.name != "tgt/1")
    });
    of(&daemon.threads(), "tgt/2");
}
