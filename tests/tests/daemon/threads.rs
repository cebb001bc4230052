//! After login only the thread of its target serves a connection.
//!
//! The test uses the kernel's counters of each thread. Blocks just written are in the page cache, and the thread that
//! serves a READ reads them from there itself, so its counter includes their bytes.

use crate::client::{Client, LOCALHOST, next_name};
use crate::harness::{Brand, DISK, Daemon, Thread, target_name, wait_until};
use crate::load::{LOADED_DISK_LEN, Load, SLOTS, WRITE_LEN};

/// Rounds of a load during a measurement.
const ROUNDS: u64 = 200;
/// Least bytes read from the file during the measurement; the first read may have preceded it.
pub(crate) const SERVED: u64 = (ROUNDS - 1) * WRITE_LEN as u64;
/// A thread that does not serve uses less than this fraction of the CPU time of one that does.
const IDLE: u64 = 5;

/// Counters of the threads of a daemon during [`ROUNDS`] rounds of loads.
pub(crate) fn watch(daemon: &Daemon, loads: &[Load]) -> Vec<Thread> {
    loads.iter().for_each(|load| load.wait_rounds(SLOTS));
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
fn each_target_is_served_by_its_own_thread() {
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
fn idle_targets_threads_do_not_serve() {
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
fn loops_of_one_target_share_its_sessions() {
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
fn threads_for_blocking_jobs_are_named_by_their_work() {
    let daemon = Daemon::start();
    daemon.disk(1, LOADED_DISK_LEN);
    let has = |name: &str| daemon.threads().iter().any(|thread| thread.name == name);
    assert!(has("tgt/opener") && !has("tgt/closer") && !has("tgt/redirector"));
    daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1"]);
    assert!(has("tgt/closer") && !has("tgt/redirector"));
    let callback = ["-n", "RedirectCallback", "-v", "/bin/false"];
    daemon.adm(&[&["--mode", "target", "--op", "update", "--tid", "1"][..], &callback].concat());
    assert!(Client::try_login(daemon.portal, LOCALHOST, &next_name(), &target_name(1), DISK).is_err());
    assert!(has("tgt/redirector"));
}

#[test]
fn deleted_target_ends_its_thread() {
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
