//! Opening and closing: options, the lock file, heartbeats.

use std::sync::Arc;

use backstores::waiting::Waiting;
use scsi_core::store::BlockOp;

use super::{SIZE, Site, VOLUME, block};
use crate::harness::wait_until;

#[test]
fn options_that_are_unknown_or_wrong_are_refused_with_what_is_accepted() {
    let site = Site::with_volume();
    for (name, more, text) in [
        (
            VOLUME,
            "speed=9",
            "it accepts: nebd-conf, socket, lock-dir, conf, exclusive, timeout, open-timeout",
        ),
        (VOLUME, "exclusive=yes", "'exclusive' in bsopts has the value 'yes': expected 0 or 1"),
        (VOLUME, "timeout=soon", "expected a number of seconds"),
        (VOLUME, "open-timeout=0", "expected more than 0 seconds"),
        (VOLUME, "conf=client.conf", "expected an absolute path"),
        (VOLUME, "nebd-conf=/nowhere", "/nowhere: No such file"),
        ("cbd:pool/vol_user_", "", "cbd:pool/vol_user_: expected cbd:POOL//VOLUME_USER_"),
        ("cbd:pool//other_user_", "", "does not open the volume cbd:pool//other_user_: no such volume"),
        (VOLUME, "socket=/nowhere", "/nowhere: cannot connect: No such file"),
        (
            VOLUME,
            "lock-dir=/nowhere",
            "cannot take the lock file /nowhere/cbd:pool++dir+vol_user_: No such file",
        ),
    ] {
        let refusal = site.refusal(name, more);
        assert!(refusal.contains(text), "{refusal}");
    }
    assert_eq!(site.server.seen().heartbeat, [], "nothing is open");
    site.open(VOLUME, 4096);
}

#[test]
fn volume_is_opened_shared_unless_exclusive_is_1() {
    let site = Site::with_volume();
    for (more, exclusive) in [("", false), ("exclusive=0", false), ("exclusive=1", true)] {
        drop(site.try_open(VOLUME, 4096, more).unwrap_or_else(|error| panic!("{error}")));
        assert_eq!(site.server.seen().exclusive, exclusive, "{more}");
    }
}

#[test]
fn socket_and_lock_directory_come_from_the_configuration_of_nebd() {
    let site = Site::with_volume();
    let (directory, conf) = (site.directory.path().display(), site.directory.path().join("client.conf"));
    let text = format!(
        "nebdserver.serverAddress={directory}/nebd.sock # comment\nmetacache.fileLockPath={directory}/lock\n"
    );
    std::fs::write(&conf, text).unwrap();
    let mut options = site.options(VOLUME, 4096, "");
    options.bsopts = format!("nebd-conf={}", conf.display());
    let store = site.registry.open("curve", &options).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(store.geometry().size, SIZE);
    assert!(site.directory.path().join("lock/cbd:pool++dir+vol_user_").exists());
}

#[test]
fn configuration_of_curve_becomes_part_of_the_name() {
    let site = Site::new();
    let name = format!("{VOLUME}:/etc/curve/client.conf");
    site.server.volume(&name, SIZE, 4096);
    let store = site.try_open(VOLUME, 4096, "conf=/etc/curve/client.conf");
    assert_eq!(store.unwrap_or_else(|error| panic!("{error}")).name(), name);
}

#[test]
fn lock_file_excludes_other_programs_and_is_released_at_the_end() {
    let site = Site::with_volume();
    let path = site.directory.path().join("lock/cbd:pool++dir+vol_user_");
    let other = std::fs::File::create(&path).unwrap();
    other.lock().unwrap();
    let refusal = site.refusal(VOLUME, "");
    assert!(refusal.contains("another program on this host has the volume open"), "{refusal}");
    drop(other);
    let store = site.open(VOLUME, 4096);
    let other = std::fs::File::open(&path).unwrap();
    assert!(other.try_lock().is_err());
    drop(store);
    assert!(!path.exists());
}

#[test]
fn units_share_a_volume_and_the_last_one_closes_it() {
    let site = Site::with_volume();
    let first = site.open(VOLUME, 4096);
    let second = site.open(VOLUME, 4096);
    let refusal = site.refusal(VOLUME, "exclusive=1");
    assert!(refusal.contains("another unit has the volume open with other values"), "{refusal}");
    drop(first);
    assert_eq!(site.server.seen().closed, 0);
    let mut waiting = Waiting::new(&*second).unwrap();
    waiting.write(0, &[1; 4096], false).unwrap();
    drop(waiting);
    drop(second);
    assert_eq!(site.server.seen().closed, 1);
}

/// A server that did not answer a request never answers the close of its volume.
#[test]
fn close_that_is_not_answered_ends_and_a_new_opening_waits_for_it() {
    let site = Arc::new(Site::with_volume());
    site.server.set(|switches| switches.unanswered = Some((0..4096, u32::MAX)));
    let (store, mut waiting) = site.attached("");
    waiting.submit(BlockOp::Read { offset: 0, into: block(4096, 0) });
    waiting.read(8192, 4096).unwrap();
    drop(waiting);
    std::thread::scope(|scope| {
        scope.spawn(move || drop(store));
        let again = site.open(VOLUME, 4096);
        assert_eq!(Waiting::new(&*again).unwrap().read(8192, 4096).map(drop), Ok(()));
    });
}

#[test]
fn heartbeats_name_all_open_volumes_and_end_with_them() {
    let site = Site::with_volume();
    site.server.volume("cbd:p//b_u_", SIZE, 4096);
    let stores = [site.open(VOLUME, 4096), site.open("cbd:p//b_u_", 512)];
    let names = || {
        let mut names: Vec<String> = site.server.seen().heartbeat.into_iter().map(|(_, name)| name).collect();
        names.sort();
        names
    };
    wait_until("a heartbeat with both", || names() == ["cbd:p//b_u_", VOLUME]);
    drop(stores);
    let store = site.open(VOLUME, 4096);
    wait_until("a heartbeat with one", || names() == [VOLUME]);
    drop(store);
}

/// After 30 seconds without heartbeat the server closes a volume, and the next request opens it again.
#[test]
fn volume_that_the_server_closed_is_used_on() {
    let site = Site::with_volume();
    site.server.set(|switches| switches.forget_heartbeats = true);
    let (_store, mut waiting) = site.attached("");
    wait_until("a heartbeat", || site.server.seen().heartbeats > 0);
    waiting.write(0, &[1; 4096], false).unwrap();
    assert_eq!(site.server.seen().reopened, 1);
}
