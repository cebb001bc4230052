//! The settings of the unit file that confine the daemon: how much `systemd-analyze` says they permit, and that the daemon,
//! its tools and its callbacks work under them. The tests need root.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use iscsi_proto::login::LoginStatus;

use crate::client::End;
use crate::harness::wait_until;
use crate::service::{NOBODY, Started, UNIT, UNPRIVILEGED, Unit, full_name};

/// Runs `systemd-analyze security` for the unit with drop-ins; fails if the exposure exceeds tenths of `most`.
#[track_caller]
fn assert_exposure(drop_ins: &[&str], most: u32) {
    let root = tempfile::tempdir().unwrap();
    let units = root.path().join("etc/systemd/system");
    fs::create_dir_all(units.join("tgt.service.d")).unwrap();
    fs::copy(UNIT, units.join("tgt.service")).unwrap();
    for drop_in in drop_ins {
        fs::copy(drop_in, units.join("tgt.service.d").join(Path::new(drop_in).file_name().unwrap())).unwrap();
    }
    let mut analyze = Command::new("systemd-analyze");
    analyze.args(["security", "--offline=yes", "--no-pager", &format!("--threshold={most}")]);
    let output = analyze.arg(format!("--root={}", root.path().display())).arg("tgt.service").output();
    let output = output.expect("systemd-analyze is missing: install the Debian package systemd");
    assert!(output.status.success(), "{}", text(&output));
}

fn text(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned()).concat()
}

#[test]
fn exposure_is_at_most_4_as_root_and_3_as_a_user() {
    assert_exposure(&[], 40);
    assert_exposure(&[UNPRIVILEGED], 30);
}

/// Names of the settings of the unit and its drop-in.
fn settings() -> Vec<String> {
    let texts = [UNIT, UNPRIVILEGED].map(|path| fs::read_to_string(path).unwrap());
    let lines = texts.iter().flat_map(|text| text.lines()).filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| Some(line.split_once('=')?.0.to_owned())).collect()
}

#[test]
fn unit_restricts_neither_devices_nor_paths_nor_memory() {
    let settings = settings();
    for name in [
        "DeviceAllow",
        "DevicePolicy",
        "MemoryHigh",
        "MemoryMax",
        "PrivateDevices",
        "PrivateTmp",
        "ProtectClock",
        "ProtectHome",
        "ProtectProc",
        "ProtectSystem",
    ] {
        assert!(!settings.iter().any(|setting| setting == name), "{name}");
    }
}

/// The configuration of a target `name` with one store.
fn target(name: &str, store: &Path) -> String {
    format!("<target {}>\n  backing-store {}\n</target>\n", full_name(name), store.display())
}

/// Writes and reads the first block of the unit of a target.
#[track_caller]
fn assert_serves(started: &Started<'_>, name: &str) {
    let mut session = started.login(name).unwrap();
    session.write(0, &[7; 512]).unwrap();
    assert_eq!(session.read(0, 1).unwrap(), [7; 512], "{name}");
}

#[test]
fn confined_process_has_no_privileges_beside_those_of_the_unit() {
    let unit = Unit::new();
    let file = unit.path("file");
    fs::write(&file, "").unwrap();
    let file = file.to_str().unwrap();
    for words in [
        &["chown", "1", file][..],
        &["chroot", "/", "true"],
        &["unshare", "--mount", "true"],
        &["mount", "-t", "tmpfs", "none", "/mnt"],
        &["mknod", &format!("{file}.node"), "c", "1", "3"],
    ] {
        let output = unit.confined(words[0]).args(&words[1..]).output().unwrap();
        let text = text(&output);
        assert!(!output.status.success(), "{words:?}: {text}");
        assert!(["not permitted", "denied"].iter().any(|reason| text.contains(reason)), "{words:?}: {text}");
    }
    let output = unit.confined("sh").args(["-c", "umask; ulimit -c"]).output().unwrap();
    assert_eq!(text(&output), "0077\n0\n");
}

/// A directory with a disk, both of another user and closed to others.
fn private_disk(parent: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir_in(parent).unwrap();
    let disk = directory.path().join("disk.img");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    for (path, mode) in [(&disk, 0o600), (&directory.path().to_owned(), 0o700)] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    (directory, disk)
}

/// A loop device; detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn over(file: &Path) -> Self {
        let made = Command::new("losetup").args(["--find", "--show"]).arg(file).output().unwrap();
        assert!(made.status.success(), "this test needs root and loop devices: {}", text(&made));
        Self(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()))
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn confined_daemon_serves_files_of_other_users_and_block_devices_by_io_uring() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    let (home, temporary) = (private_disk("/home"), private_disk("/tmp"));
    let behind = unit.path("behind.img");
    File::create(&behind).unwrap().set_len(1 << 20).unwrap();
    let device = LoopDevice::over(&behind);
    let stores = [("home", &home.1), ("tmp", &temporary.1), ("device", &device.0)];
    let targets: String = stores.iter().map(|(name, store)| target(name, store)).collect();
    unit.include("stores.conf", &targets);

    let started = unit.start();
    for (name, _) in stores {
        assert_serves(&started, name);
    }
    let descriptors = fs::read_dir(format!("/proc/{}/fd", started.pid())).unwrap();
    let mut links = descriptors.filter_map(|entry| fs::read_link(entry.unwrap().path()).ok());
    assert!(links.any(|link| link.to_string_lossy().contains("io_uring")), "{}", started.log());
    started.stop();
}

/// SCSI generic devices have this major number. A minor number without a device gives ENXIO if the open is permitted.
#[test]
fn confined_process_opens_scsi_generic_devices_and_keeps_the_privilege_for_their_commands() {
    let unit = Unit::new();
    let node = unit.path("sg");
    let made = Command::new("mknod").arg(&node).args(["c", "21", "250"]).output().unwrap();
    assert!(made.status.success(), "this test needs root: {}", text(&made));
    let output = unit.confined("cat").arg(&node).output().unwrap();
    assert!(text(&output).contains("No such device or address"), "{}", text(&output));

    // CAP_SYS_RAWIO (17) lets SG_IO send every command; capabilities(7).
    let status = unit.confined("cat").arg("/proc/self/status").output().unwrap();
    let line = text(&status).lines().find_map(|line| Some(line.strip_prefix("CapEff:\t")?.to_owned()));
    let effective = u64::from_str_radix(&line.unwrap(), 16).unwrap();
    assert_ne!(effective & 1 << 17, 0, "{effective:x}");
}

#[test]
fn tgt_admin_of_the_unit_finds_the_processes_that_have_a_file_open() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    let disk = unit.path("used.img");
    File::create(&disk).unwrap().set_len(1 << 20).unwrap();
    unit.include("used.conf", &target("used", &disk));
    // Another process, with privileges that the unit does not have.
    let mut other = Command::new("sleep").arg("1000").stdin(File::open(&disk).unwrap()).spawn().unwrap();
    let started = unit.start();
    other.kill().unwrap();
    other.wait().unwrap();
    let shown = text(&unit.adm(&["--mode", "target", "--op", "show"]));
    assert!(shown.contains("one.img") && !shown.contains("used.img"), "{shown}");
    started.stop();
}

/// Sets a parameter of a target.
#[track_caller]
fn set(unit: &Unit, target: &str, name: &str, value: &str) {
    let shown = text(&unit.adm(&["--mode", "target", "--op", "show"]));
    let end = format!(": {}", full_name(target));
    let tid = shown.lines().find_map(|line| line.strip_prefix("Target ")?.strip_suffix(&end)).unwrap();
    let update = ["--mode", "target", "--op", "update", "--tid", tid, "-n", name, "-v", value];
    let output = unit.adm(&update);
    assert!(output.status.success(), "{}", text(&output));
}

fn is_redirected(started: &Started<'_>, target: &str) -> bool {
    matches!(started.login(target), Err(End::Refused(LoginStatus::TargetMovedTemporarily)))
}

#[test]
fn confined_daemon_resolves_names_and_runs_redirect_callbacks() {
    for unit in [Unit::new(), Unit::unprivileged()] {
        unit.configure(&["one", "two"]);
        let started = unit.start();
        let portal = unit.adm(&["--mode", "portal", "--op", "new", "--param", "portal=localhost:0"]);
        assert!(portal.status.success(), "{}", text(&portal));

        set(&unit, "one", "RedirectAddress", "localhost");
        set(&unit, "one", "RedirectPort", "1");
        set(&unit, "one", "RedirectReason", "Temporary");
        wait_until("the address is resolved", || is_redirected(&started, "one"));

        let (file, script) = (unit.path("ran"), unit.path("callback"));
        let lines = format!("#!/bin/sh\ntouch {}\necho localhost:1:Temporary\n", file.display());
        fs::write(&script, lines).unwrap();
        fs::set_permissions(&script, Permissions::from_mode(0o755)).unwrap();
        set(&unit, "two", "RedirectCallback", script.to_str().unwrap());
        wait_until("the callback redirects", || is_redirected(&started, "two"));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o777, 0o600, "umask of the unit");
        started.stop();
    }
}

/// QEMU loads its driver for iSCSI, a library, when it runs: under the settings of the unit it can, as libraries of stores in
/// the daemon can.
#[test]
fn confined_process_loads_libraries_at_run_time() {
    let unit = Unit::new();
    unit.configure(&["one"]);
    let started = unit.start();
    let output = unit.confined("qemu-img").args(["info", "-f", "raw", &started.url("one")]).output().unwrap();
    assert!(output.status.success() && text(&output).contains("1 MiB"), "{}", text(&output));
    started.stop();
}
