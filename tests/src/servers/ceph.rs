//! A Ceph cluster of one monitor and one OSD with its data in a file (BlueStore).

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tempfile::TempDir;

use super::process::{Server, own_address, require, run, try_run, wait_until};

/// A cluster with the pool `rbd`; killed when dropped.
pub struct Ceph {
    osd: Server,
    _monitor: Server,
    directory: TempDir,
}

impl Ceph {
    /// Starts a cluster.
    ///
    /// # Panics
    /// A program is missing, or the cluster does not start.
    #[must_use]
    pub fn start() -> Self {
        for (program, package) in [("ceph-mon", "ceph-mon"), ("ceph-osd", "ceph-osd"), ("rbd", "ceph-common")]
        {
            require(program, package);
        }
        // The paths of its unix sockets must be short.
        let directory = tempfile::Builder::new().prefix("ceph").tempdir_in("/tmp").expect("a directory");
        let path = directory.path();
        for name in ["mon", "osd", "run"] {
            std::fs::create_dir(path.join(name)).expect("a directory");
        }
        let fsid = run("uuidgen", &[]).trim().to_owned();
        let host = own_address(101);
        std::fs::write(path.join("ceph.conf"), configuration(path, &fsid, &host)).expect("a file");
        let monitor = start_monitor(path, &fsid, &host);
        let osd = start_first_osd(path);
        let cluster = Self { osd, _monitor: monitor, directory };
        wait_until("the OSD is up", || cluster.ceph(&["osd", "stat"]).contains("1 up"));
        cluster.ceph(&["osd", "pool", "create", "rbd", "8", "8", "replicated"]);
        cluster
    }

    /// Path of a file of the cluster.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Path of the configuration.
    #[must_use]
    pub fn conf(&self) -> String {
        self.path("ceph.conf").display().to_string()
    }

    /// Runs `ceph` and returns its output.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn ceph(&self, arguments: &[&str]) -> String {
        run("ceph", &[&["-c", &self.conf()], arguments].concat())
    }

    /// Runs `rbd` and returns its output.
    ///
    /// # Panics
    /// It fails.
    #[track_caller]
    pub fn rbd(&self, arguments: &[&str]) -> String {
        run("rbd", &[&["-c", &self.conf()], arguments].concat())
    }

    /// [`Ceph::rbd`] that may fail.
    ///
    /// # Errors
    /// Returns what it writes to standard error.
    pub fn try_rbd(&self, arguments: &[&str]) -> Result<String, String> {
        try_run("rbd", &[&["-c", &self.conf()], arguments].concat())
    }

    /// Name of an image for QEMU's rbd driver.
    #[must_use]
    pub fn qemu_name(&self, image: &str) -> String {
        format!("rbd:rbd/{image}:id=admin:conf={}", self.conf())
    }

    /// Stops the OSD, or lets it go on. Connections to it stay open, and nothing is answered. It must go on within 20 seconds:
    /// after a third of the grace for heartbeats its lease for reads may have ended, and a single OSD then delays all requests
    /// for ever.
    pub fn pause_osd(&self, paused: bool) {
        self.osd.signal(if paused { Signal::STOP } else { Signal::CONT });
    }

    /// Kills the OSD.
    pub fn kill_osd(&mut self) {
        self.osd.signal(Signal::KILL);
        self.osd.wait();
    }

    /// Starts the OSD again.
    pub fn restart_osd(&mut self) {
        self.osd = osd(self.directory.path());
    }
}

/// Shows the ends of the logs of a cluster whose test fails.
impl Drop for Ceph {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        for name in ["mon.a.log", "osd.0.log", "client.admin.log"] {
            let log = std::fs::read_to_string(self.path(name)).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("last lines of {name}:\n{}", lines[lines.len().saturating_sub(LOG_LINES)..].join("\n"));
        }
    }
}

/// Lines of a log that are shown.
const LOG_LINES: usize = 30;

fn configuration(path: &Path, fsid: &str, host: &str) -> String {
    let path = path.display();
    format!(
        "[global]
fsid = {fsid}
mon host = [v2:{host}:3300/0,v1:{host}:6789/0]
keyring = {path}/keyring
ms bind ipv6 = false
public addr = {host}
cluster addr = {host}
run dir = {path}/run
admin socket = {path}/run/$name.$pid.asok
log file = {path}/$type.$id.log
pid file =
crash dir = {path}/run
ms async op threads = 1
osd pool default size = 1
osd pool default min size = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd heartbeat grace = 60
mon allow pool size one = true
[mon]
mon data = {path}/mon
mon data avail warn = 1
mon data avail crit = 0
auth allow insecure global id reclaim = false
[osd]
osd data = {path}/osd
osd objectstore = bluestore
bluestore block create = true
bluestore block size = 2147483648
bluestore block preallocate file = false
bluestore fsck on mount = false
bluestore cache autotune = false
bluestore cache size = 67108864
osd memory target = 939524096
osd class load list = *
osd class default list = *
osd op num shards = 2
osd op num threads per shard = 1
"
    )
}

fn start_monitor(path: &Path, fsid: &str, host: &str) -> Server {
    let text = |name: &str| path.join(name).display().to_string();
    let (keyring, map, conf) = (text("keyring"), text("monmap"), text("ceph.conf"));
    let allow = |service: &'static str| ["--cap", service, "allow *"];
    let admin = [allow("mon"), allow("osd"), allow("mgr")].concat();
    run(
        "ceph-authtool",
        &["--create-keyring", &keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *"],
    );
    run("ceph-authtool", &[&[&keyring, "--gen-key", "-n", "client.admin"], &admin[..]].concat());
    let osd = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"];
    run("ceph-authtool", &[&[&keyring, "--gen-key", "-n", "osd.0"], &osd[..]].concat());
    let address = format!("[v2:{host}:3300,v1:{host}:6789]");
    run("monmaptool", &["--create", "--clobber", "--fsid", fsid, "--addv", "a", &address, &map]);
    run("ceph-mon", &["-i", "a", "-c", &conf, "--mkfs", "--monmap", &map, "--keyring", &keyring]);
    let server = Server::start("ceph-mon", &["-f", "-i", "a", "-c", &conf], &path.join("mon.out"));
    wait_until("the monitor listens", || TcpStream::connect((host, 3300)).is_ok());
    server
}

fn start_first_osd(path: &Path) -> Server {
    let text = |name: &str| path.join(name).display().to_string();
    let (conf, map) = (text("ceph.conf"), text("monmap"));
    let uuid = run("uuidgen", &[]).trim().to_owned();
    assert_eq!(run("ceph", &["-c", &conf, "osd", "new", &uuid]).trim(), "0");
    let arguments =
        ["-i", "0", "-c", &conf, "--mkfs", "--osd-uuid", &uuid, "--monmap", &map, "--no-mon-config"];
    run("ceph-osd", &arguments);
    osd(path)
}

fn osd(path: &Path) -> Server {
    let conf = path.join("ceph.conf").display().to_string();
    Server::start("ceph-osd", &["-f", "-i", "0", "-c", &conf], &path.join("osd.out"))
}
