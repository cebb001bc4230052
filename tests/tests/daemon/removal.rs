//! Deletion of targets, units and connections in use, and the end of the daemon: other sessions continue.

use rustix::process::Signal;
use scsi_core::sense::AdditionalSense;

use crate::client::{Client, End};
use crate::harness::{Brand, DISK, Daemon, wait_until};
use crate::load::{LOADED_DISK_LEN, Load, OnLogoutRequest};

/// Rounds after which a load is running.
const ROUNDS: u64 = 50;
/// LUN of a second unit.
const SECOND: u16 = 2;

/// Deletes a target under load three times. Its sessions, loops and descriptors are released, and a session of another
/// target continues.
pub(crate) fn delete_target_under_load(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let neighbour = Load::start(&daemon, 1, 0);
    let before = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]);
    neighbour.wait_rounds(ROUNDS);
    let (descriptors, loops) = (daemon.descriptors(), daemon.loops());
    for _ in 0..3 {
        let deleted_file = daemon.disk(2, LOADED_DISK_LEN);
        let deleted = [0, 1, 2].map(|area| Load::start(&daemon, 2, area));
        deleted.iter().for_each(|load| load.wait_rounds(ROUNDS));
        daemon.adm(&["--mode", "target", "--op", "delete", "--tid", "2", "--force"]);
        for outcome in deleted.map(Load::join) {
            assert!(matches!(outcome.end, Some(End::Closed(_))), "{:?}", outcome.end);
            outcome.assert_in(&deleted_file);
        }
        wait_until("the loops of the target end", || daemon.loops() == loops);
        wait_until("the descriptors of the target are closed", || daemon.descriptors() <= descriptors);
        neighbour.wait_rounds(ROUNDS);
    }
    let now = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]);
    assert_eq!(now, before, "the other session is the same");
    neighbour.finish().assert_in(&file);
    daemon
}

#[test]
fn target_deleted_under_load_releases_sessions_loop_and_descriptors() {
    delete_target_under_load(&[]);
}

#[test]
fn target_of_several_loops_deleted_under_load_releases_all() {
    delete_target_under_load(&["--target-loops", "2"]);
}

#[test]
fn unit_deleted_under_load_keeps_the_sessions() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let second = daemon.unit(1, SECOND, LOADED_DISK_LEN, &[]);
    let neighbour = Load::start(&daemon, 1, 0);
    let deleted = Load::start_by(Client::login(&daemon, 1, SECOND), 0, OnLogoutRequest::Stay);
    neighbour.wait_rounds(ROUNDS);
    deleted.wait_rounds(ROUNDS);
    let words = ["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "2"];
    // As in tgt, a unit with running commands is not deleted; the load pauses between commands.
    wait_until("the unit is deleted", || daemon.try_adm(&words).status.success());
    let outcome = deleted.join();
    let Some(End::Status(_, Some(sense))) = &outcome.end else { panic!("{:?}", outcome.end) };
    assert_eq!(sense.code, AdditionalSense::LOGICAL_UNIT_NOT_SUPPORTED);
    outcome.assert_in(&second);
    neighbour.wait_rounds(ROUNDS);
    neighbour.finish().assert_in(&file);
}

#[test]
fn deleted_connection_leaves_other_sessions() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let deleted = Load::start(&daemon, 1, 0);
    let text = daemon.adm(&["--mode", "conn", "--op", "show", "--tid", "1"]);
    let sid = text.lines().find_map(|line| line.strip_prefix("Session: ")).expect("a session").to_owned();
    let neighbour = Load::start(&daemon, 1, 1);
    deleted.wait_rounds(ROUNDS);
    daemon.adm(&["--mode", "conn", "--op", "delete", "--tid", "1", "--sid", &sid, "--cid", "0"]);
    let outcome = deleted.join();
    assert!(matches!(outcome.end, Some(End::Closed(_))), "{:?}", outcome.end);
    outcome.assert_in(&file);
    wait_until("one session remains", || daemon.session_count(1) == 1);
    neighbour.wait_rounds(ROUNDS);
    neighbour.finish().assert_in(&file);
}

#[test]
fn sigterm_requests_logouts_and_keeps_acknowledged_writes() {
    let mut daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let leaving = Load::start_by(Client::login(&daemon, 1, DISK), 0, OnLogoutRequest::Leave);
    let staying = Load::start(&daemon, 1, 1);
    leaving.wait_rounds(ROUNDS);
    staying.wait_rounds(ROUNDS);
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
    let (leaving, staying) = (leaving.join(), staying.join());
    assert!(leaving.logout_requested && leaving.end.is_none(), "{:?}", leaving.end);
    assert!(staying.logout_requested);
    assert!(matches!(staying.end, Some(End::Closed(_))), "{:?}", staying.end);
    leaving.assert_in(&file);
    staying.assert_in(&file);
}

#[test]
fn sigint_ends_an_idle_daemon() {
    let mut daemon = Daemon::start();
    daemon.disk(1, LOADED_DISK_LEN);
    daemon.signal(Signal::INT);
    assert!(daemon.ended().success());
}

#[test]
fn delete_with_drain_completes_running_commands() {
    let daemon = Daemon::start();
    let file = daemon.disk(1, LOADED_DISK_LEN);
    let second = daemon.unit(1, SECOND, LOADED_DISK_LEN, &[]);
    let deleted = Load::start_by(Client::login(&daemon, 1, SECOND), 0, OnLogoutRequest::Stay);
    let neighbour = Load::start(&daemon, 1, 0);
    deleted.wait_rounds(ROUNDS);
    let unit = ["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "2", "--drain", "30"];
    daemon.adm(&unit);
    let outcome = deleted.join();
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

/// tgt ignores the drain time in the request.
#[test]
fn delete_with_drain_on_tgts_daemon_deletes_without_drain() {
    let daemon = Daemon::start_as(Brand::Tgt, Brand::Ours, &[]);
    daemon.disk(1, LOADED_DISK_LEN);
    let session = Client::login(&daemon, 1, DISK);
    let target = ["--mode", "target", "--op", "delete", "--tid", "1", "--drain", "5"];
    assert_eq!(daemon.try_adm(&target).status.code(), Some(22), "the target is in use");
    daemon.adm(&["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1", "--drain", "5"]);
    drop(session);
    wait_until("the target is deleted", || daemon.try_adm(&target).status.success());
}
