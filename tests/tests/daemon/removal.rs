//! What is taken away while it is used: a target, a unit, the daemon. Who uses something else notices nothing.

use rustix::process::Signal;
use scsi_core::sense::AdditionalSense;

use crate::client::{Client, End};
use crate::harness::{Brand, DISK, Daemon, wait_until};
use crate::load::{LOADED_DISK_LEN, Load, Manners};

/// Rounds that show that a load is under way.
const ROUNDS: u64 = 50;
/// The number of another unit than the disk.
const SECOND: u16 = 2;

fn sessions(daemon: &Daemon, tid: u32) -> usize {
    let text = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", &tid.to_string()]);
    text.lines().filter(|line| line.starts_with("Session:")).count()
}

fn delete_under_load(options: &[&str]) {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let neighbour = Load::start(&daemon, 1, 0);
    let begun = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]);
    neighbour.wait_rounds(ROUNDS);
    let (descriptors, threads) = (daemon.descriptors(), target_threads(&daemon));
    for _ in 0..3 {
        let doomed_file = daemon.disk(2, LOADED_DISK_LEN);
        let doomed = [0, 1, 2].map(|area| Load::start(&daemon, 2, area));
        doomed.iter().for_each(|load| load.wait_rounds(ROUNDS));
        daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "2", "--force"]);
        for outcome in doomed.map(Load::join) {
            assert!(matches!(outcome.end, Some(End::Closed(_))), "{:?}", outcome.end);
            outcome.assert_in(&doomed_file);
        }
        wait_until("the target's threads end", || target_threads(&daemon) == threads);
        wait_until("its descriptors are closed", || daemon.descriptors() <= descriptors);
        neighbour.wait_rounds(ROUNDS);
    }
    let now = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]);
    assert_eq!(now, begun, "the neighbour's session is the same");
    neighbour.finish().assert_in(&file);
}

fn target_threads(daemon: &Daemon) -> usize {
    let threads = daemon.threads();
    let number =
        |name: &str| name.strip_prefix("tgt/").is_some_and(|rest| rest.starts_with(char::is_numeric));
    threads.iter().filter(|thread| number(&thread.name)).count()
}

#[test]
fn a_target_that_is_deleted_under_load_takes_its_sessions_thread_and_descriptors_along() {
    delete_under_load(&[]);
}

#[test]
fn a_target_of_several_loops_is_deleted_under_load_as_well() {
    delete_under_load(&["--target-loops", "2"]);
}

#[test]
fn a_unit_that_is_deleted_under_load_ends_its_commands_and_no_session() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let second = daemon.unit(1, SECOND, LOADED_DISK_LEN, &[]);
    let neighbour = Load::start(&daemon, 1, 0);
    let doomed = Load::start_by(Client::login(&daemon, 1, SECOND), 0, Manners::Stubborn);
    neighbour.wait_rounds(ROUNDS);
    doomed.wait_rounds(ROUNDS);
    let words = ["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "2"];
    // As in stock a unit with commands on their way is refused; the load leaves gaps.
    wait_until("the unit is deleted", || daemon.try_adm(&words).status.success());
    let outcome = doomed.join();
    let Some(End::Status(_, Some(sense))) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!(sense.code, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    outcome.assert_in(&second);
    neighbour.wait_rounds(ROUNDS);
    neighbour.finish().assert_in(&file);
}

#[test]
fn a_connection_that_is_deleted_ends_alone() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let doomed = Load::start(&daemon, 1, 0);
    let text = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]);
    let sid = text.lines().find_map(|line| line.strip_prefix("Session: ")).expect("a session").to_owned();
    let neighbour = Load::start(&daemon, 1, 1);
    doomed.wait_rounds(ROUNDS);
    daemon.adm(&["--mode", "conn", "--op", "delete", "--tid", "1", "--sid", &sid, "--cid", "0"]);
    let outcome = doomed.join();
    assert!(matches!(outcome.end, Some(End::Closed(_))), "{:?}", outcome.end);
    outcome.assert_in(&file);
    wait_until("one session is left", || sessions(&daemon, 1) == 1);
    neighbour.wait_rounds(ROUNDS);
    neighbour.finish().assert_in(&file);
}

#[test]
fn a_daemon_that_is_told_to_end_asks_for_logouts_and_keeps_every_acknowledged_write() {
    let mut daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let polite = Load::start_by(Client::login(&daemon, 1, DISK), 0, Manners::Polite);
    let stubborn = Load::start(&daemon, 1, 1);
    polite.wait_rounds(ROUNDS);
    stubborn.wait_rounds(ROUNDS);
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
    let (polite, stubborn) = (polite.join(), stubborn.join());
    assert!(polite.asked_to_leave && polite.end.is_none(), "{:?}", polite.end);
    assert!(stubborn.asked_to_leave);
    assert!(matches!(stubborn.end, Some(End::Closed(_))), "{:?}", stubborn.end);
    polite.assert_in(&file);
    stubborn.assert_in(&file);
}

#[test]
fn an_interrupt_ends_an_idle_daemon() {
    let mut daemon = Daemon::start();
    daemon.disk(1, LOADED_DISK_LEN);
    daemon.signal(Signal::INT);
    assert!(daemon.ended().success());
}

#[test]
fn a_deletion_that_gives_commands_time_ends_none_of_them() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let second = daemon.unit(1, SECOND, LOADED_DISK_LEN, &[]);
    let doomed = Load::start_by(Client::login(&daemon, 1, SECOND), 0, Manners::Stubborn);
    let neighbour = Load::start(&daemon, 1, 0);
    doomed.wait_rounds(ROUNDS);
    let unit = ["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "2", "--drain", "30"];
    daemon.adm(&unit);
    let outcome = doomed.join();
    let Some(End::Status(_, Some(sense))) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!(sense.code, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    outcome.assert_in(&second);

    neighbour.wait_rounds(ROUNDS);
    daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "1", "--drain", "30"]);
    let outcome = neighbour.join();
    assert!(matches!(outcome.end, Some(End::Closed(_) | End::Status(..))), "{:?}", outcome.end);
    outcome.assert_in(&file);
    assert_eq!(daemon.adm(&["--mode", "target", "--op", "show"]), "");
}

/// It does not look at what it is told beside the number.
#[test]
fn a_stock_daemon_deletes_as_it_always_does_when_it_is_asked_to_give_time() {
    let daemon = Daemon::start_as(Brand::Stock, Brand::Ours, &[]);
    daemon.disk(1, LOADED_DISK_LEN);
    let session = Client::login(&daemon, 1, DISK);
    let target = ["--mode", "target", "--op", "delete", "--tid", "1", "--drain", "5"];
    assert_eq!(daemon.try_adm(&target).status.code(), Some(22), "it is in use");
    daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1", "--drain", "5"]);
    drop(session);
    wait_until("the target is deleted", || daemon.try_adm(&target).status.success());
}
