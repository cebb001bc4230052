//! When the daemon replies to a deletion or an exchange of a medium, it has flushed and closed the file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{UnmountFlags, unmount};
use rustix::process::Signal;

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, wait_until};

const LEN: u64 = 4 << 20;
const DELETE_UNIT: &[&str] = &["--mode", "logicalunit", "--op", "delete", "--tid", "1", "--lun", "1"];
const DELETE_TARGET: &[&str] = &["--mode", "target", "--op", "delete", "--tid", "1"];
const FORCE: &[&str] = &["--mode", "target", "--op", "delete", "--tid", "1", "--force"];
const OFFLINE: &[&str] =
    &["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "-P", "online=0"];

/// Runs a program that must succeed.
#[track_caller]
fn succeed(words: &[&str]) -> String {
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{} is missing: {error}", words[0]));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "needs root, loop devices and mounts: {words:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Number of descriptors of the daemon for a file.
fn descriptors_of(daemon: &Daemon, path: &Path) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap();
    let links = descriptors.filter_map(|descriptor| fs::read_link(descriptor.ok()?.path()).ok());
    links.filter(|link| link == path).count()
}

fn new_unit(daemon: &Daemon, path: &Path) {
    daemon.adm(&["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", text(path)]);
}

fn change_medium(daemon: &Daemon, path: &Path) -> std::process::Output {
    let path = format!("path={}", text(path));
    daemon.try_adm(&["--mode", "logicalunit", "--op", "update", "--tid", "1", "--lun", "1", "-P", &path])
}

/// A file system in a file; unmounted when dropped.
struct FileSystem {
    image: PathBuf,
    mount_point: PathBuf,
}

impl FileSystem {
    fn new(daemon: &Daemon) -> Self {
        let (image, mount_point) = (daemon.path("fs.img"), daemon.path("mounted"));
        File::create(&image).unwrap().set_len(8 * LEN).unwrap();
        fs::create_dir(&mount_point).unwrap();
        succeed(&["mkfs.ext4", "-q", text(&image)]);
        let new = Self { image, mount_point };
        new.mount();
        new
    }

    fn mount(&self) {
        succeed(&["mount", "-o", "loop", text(&self.image), text(&self.mount_point)]);
    }

    fn unmount(&self) -> rustix::io::Result<()> {
        unmount(&self.mount_point, UnmountFlags::empty())
    }
}

impl Drop for FileSystem {
    fn drop(&mut self) {
        let _ = unmount(&self.mount_point, UnmountFlags::DETACH);
    }
}

#[test]
fn file_system_unmounts_after_each_deletion() {
    let daemon = Daemon::start();
    let mounted = FileSystem::new(&daemon);
    let file = mounted.mount_point.join("disk.img");
    File::create(&file).unwrap().set_len(LEN).unwrap();
    let mut busy = Vec::new();
    for round in 0..200 {
        daemon.target(1);
        new_unit(&daemon, &file);
        let session = (round % 2 == 1).then(|| {
            let mut client = Client::login(&daemon, 1, DISK);
            client.write(0, &[round as u8; 4096]).unwrap();
            client
        });
        let deletion = [DELETE_TARGET, FORCE, DELETE_UNIT, DELETE_UNIT][round % 4];
        daemon.adm(deletion);
        assert_eq!(descriptors_of(&daemon, &file), 0, "round {round}: {deletion:?}");
        if let Err(error) = mounted.unmount() {
            busy.push((round, deletion, error));
        } else {
            mounted.mount();
        }
        drop(session);
        if deletion == DELETE_UNIT {
            daemon.adm(FORCE);
        }
    }
    assert!(busy.is_empty(), "{} of 200: {busy:?}", busy.len());
}

/// If the new medium cannot be opened, the drive is empty.
#[test]
fn replaced_medium_is_closed_before_the_reply() {
    for (loops, other) in [("1", "other.img"), ("3", "other.img"), ("1", "missing.img")] {
        let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--target-loops", loops]);
        File::create(daemon.path("other.img")).unwrap().set_len(LEN).unwrap();
        let file = daemon.disk(1, LEN);
        let mut clients = [(); 3].map(|()| Client::login(&daemon, 1, DISK));
        clients.iter_mut().for_each(|client| assert_eq!(client.read(0, 8).unwrap(), [0; 4096]));
        daemon.adm(OFFLINE);
        assert!(descriptors_of(&daemon, &file) > 0, "an offline unit keeps its medium open");
        assert_eq!(change_medium(&daemon, &daemon.path(other)).status.success(), other == "other.img");
        assert_eq!(descriptors_of(&daemon, &file), 0, "closed without a command of an initiator");
        drop(clients);
    }
}

/// A loop device over a file; detached when dropped.
struct LoopDevice(PathBuf);

impl LoopDevice {
    fn new(daemon: &Daemon) -> Self {
        let image = daemon.path("device.img");
        File::create(&image).unwrap().set_len(LEN).unwrap();
        Self(succeed(&["losetup", "--find", "--show", text(&image)]).into())
    }

    /// Number of flushes that the device got (Documentation/block/stat.rst).
    fn flushes(&self) -> u64 {
        let name = self.0.file_name().unwrap().to_str().unwrap();
        let stat = fs::read_to_string(format!("/sys/block/{name}/stat")).unwrap();
        stat.split_whitespace().nth(15).expect("Linux 5.5 or later").parse().unwrap()
    }
}

impl Drop for LoopDevice {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn written_device_is_flushed_when_it_is_closed_or_goes_offline() {
    const TERM: &[&str] = &["SIGTERM"];
    for end in [OFFLINE, DELETE_UNIT, DELETE_TARGET, FORCE, TERM] {
        let mut daemon = Daemon::start();
        let device = LoopDevice::new(&daemon);
        daemon.target(1);
        new_unit(&daemon, &device.0);
        let mut client = Client::login(&daemon, 1, DISK);
        client.write(0, &[7; 4096]).unwrap();
        if end == DELETE_TARGET {
            drop(client);
            wait_until("the session ends", || daemon.session_count(1) == 0);
        }
        let before = device.flushes();
        if end == TERM {
            daemon.signal(Signal::TERM);
            daemon.ended();
        } else {
            daemon.adm(end);
        }
        assert!(device.flushes() > before, "{end:?}");
    }
}
