//! A daemon under measurement: starts it, configures it with its own tgtadm, pins, stops and continues it.

use std::error::Error;
use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tgt_tests::load::{Plan, UnitName};

use super::site::{Backing, Site, UNITS};
use super::workload::Workload;

/// Most time until a daemon listens.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Most time until a daemon exits after SIGTERM; then it is killed.
const EXIT_TIMEOUT: Duration = Duration::from_secs(3);

/// A daemon and its admin tool.
#[derive(Clone)]
pub(super) struct Programs {
    pub(super) name: &'static str,
    pub(super) tgtd: PathBuf,
    pub(super) tgtadm: PathBuf,
}

/// Builds our daemon and its admin tool.
pub(super) fn build() -> Result<Programs, Box<dyn Error>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
    let status = Command::new(cargo)
        .args(["build", "--release", "-p", "tgtd-bin", "-p", "tgtadm-bin", "--manifest-path"])
        .arg(manifest)
        .stdout(Stdio::null())
        .status()?;
    if !status.success() {
        return Err("cannot build our tgtd".into());
    }
    let this = std::env::current_exe()?;
    let target = this.ancestors().nth(2).ok_or("the bench is not in a target directory of cargo")?;
    let release = target.join("release");
    Ok(Programs { name: "ours", tgtd: release.join("tgtd"), tgtadm: release.join("tgtadm") })
}

/// A running daemon; terminated when dropped.
pub(super) struct Peer {
    programs: Programs,
    daemon: Child,
    portal: SocketAddr,
    control_port: u16,
    socket: PathBuf,
}

impl Peer {
    /// Starts the daemon and configures the targets of all workloads.
    pub(super) fn start(programs: Programs, site: &Site) -> Result<Self, Box<dyn Error>> {
        let folder = site.folder(programs.name)?;
        let portal = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        // tgt takes control ports up to 32767.
        let control_port = portal.port() / 2;
        let socket = folder.join("socket");
        let log = File::create(folder.join("log"))?;
        let daemon = Command::new(&programs.tgtd)
            .args(["-f", "-C", &control_port.to_string(), "--iscsi", &format!("portal={portal}")])
            .env("TGT_IPC_SOCKET", &socket)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", programs.tgtd.display()))?;
        let mut peer = Self { programs, daemon, portal, control_port, socket };
        if let Err(error) = peer.wait_until_listening().and_then(|()| peer.set_up(site)) {
            let log = fs::read_to_string(folder.join("log")).unwrap_or_default();
            return Err(format!("{}: {error}\n{log}", peer.name()).into());
        }
        Ok(peer)
    }

    pub(super) fn name(&self) -> &'static str {
        self.programs.name
    }

    /// Address of its iSCSI portal.
    pub(super) fn portal(&self) -> SocketAddr {
        self.portal
    }

    /// Path of its control socket.
    pub(super) fn control_socket(&self) -> PathBuf {
        target_engine::runtime::server::socket_path(Some(self.socket.as_os_str()), self.control_port)
    }

    fn wait_until_listening(&mut self) -> Result<(), Box<dyn Error>> {
        let begin = Instant::now();
        while TcpStream::connect(self.portal).is_err() {
            if let Some(status) = self.daemon.try_wait()? {
                return Err(format!("exited before it listened: {status}").into());
            }
            if begin.elapsed() > START_TIMEOUT {
                return Err(format!("nothing listens on {}", self.portal).into());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn set_up(&self, site: &Site) -> Result<(), Box<dyn Error>> {
        for backing in Backing::ALL {
            for unit in 0..UNITS {
                let (tid, name) = (tid(backing, unit).to_string(), target_name(backing, unit));
                let image = site.image(backing, unit);
                let image = image.to_str().ok_or("path is not UTF-8")?;
                self.admin(&["--op", "new", "--mode", "target", "--tid", &tid, "-T", &name])?;
                let mut unit =
                    vec!["--op", "new", "--mode", "logicalunit", "--tid", &tid, "--lun", "1", "-b", image];
                if backing == Backing::Null {
                    unit.extend(["--bstype", "null"]);
                }
                self.admin(&unit)?;
                for digest in ["HeaderDigest", "DataDigest"] {
                    let either = ["-n", digest, "-v", "None,CRC32C"];
                    self.admin(
                        &[&["--op", "update", "--mode", "target", "--tid", &tid][..], &either].concat(),
                    )?;
                }
                self.admin(&["--op", "bind", "--mode", "target", "--tid", &tid, "-I", "ALL"])?;
            }
        }
        Ok(())
    }

    /// The tid of a target that [`Self::start`] has made.
    pub(super) fn tid_of(&self, backing: Backing, unit: usize) -> i32 {
        tid(backing, unit) as i32
    }

    /// Its process.
    pub(super) fn process(&self) -> u32 {
        self.daemon.id()
    }

    /// Adds a unit to the first target.
    pub(super) fn add_unit(&self, lun: usize, image: &Path) -> Result<(), Box<dyn Error>> {
        let (tid, lun) = (tid(Backing::ALL[0], 0).to_string(), lun.to_string());
        let image = image.to_str().ok_or("path is not UTF-8")?;
        self.admin(&["--op", "new", "--mode", "logicalunit", "--tid", &tid, "--lun", &lun, "-b", image])
    }

    fn admin(&self, arguments: &[&str]) -> Result<(), Box<dyn Error>> {
        let output = Command::new(&self.programs.tgtadm)
            .args(["-C", &self.control_port.to_string(), "--lld", "iscsi"])
            .args(arguments)
            .env("TGT_IPC_SOCKET", &self.socket)
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{}: {error}", self.programs.tgtadm.display()))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("tgtadm {}: {}", arguments.join(" "), said.trim()).into())
    }

    /// The plan of a workload on this daemon.
    pub(super) fn plan(&self, workload: &Workload) -> Plan {
        let units = (0..workload.targets)
            .map(|unit| UnitName { target: target_name(workload.backing, unit), lun: 1 })
            .collect();
        Plan {
            portal: self.portal,
            units,
            sessions: workload.sessions,
            first_port: 0,
            depth: workload.depth,
            transfer_len: workload.transfer_len,
            mix: workload.mix,
            work: workload.work,
            random: workload.random,
            range: 256 << 20,
            digests: workload.digests(),
            verify: false,
            warm_up: Duration::ZERO,
            time: Duration::from_secs(1),
            processes: vec![self.daemon.id()],
            seed: 1,
        }
    }

    /// Pins all of its threads to these CPUs.
    pub(super) fn pin(&self, cpus: &Cpus) -> io::Result<()> {
        for task in fs::read_dir(format!("/proc/{}/task", self.daemon.id()))? {
            let task = task?.file_name().to_str().and_then(|task| task.parse().ok()).and_then(Pid::from_raw);
            if let Some(task) = task {
                sched_setaffinity(Some(task), &cpus.0)?;
            }
        }
        Ok(())
    }

    /// Stops the process.
    pub(super) fn freeze(&self) -> io::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Continues the stopped process.
    pub(super) fn thaw(&self) -> io::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.daemon), signal)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.thaw();
        let _ = self.signal(Signal::TERM);
        let begin = Instant::now();
        while begin.elapsed() < EXIT_TIMEOUT {
            if self.daemon.try_wait().is_ok_and(|status| status.is_some()) {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        // tgt ignores SIGTERM while it has targets.
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

fn tid(backing: Backing, unit: usize) -> usize {
    let kind = Backing::ALL.iter().position(|other| *other == backing).unwrap_or(0);
    1 + kind * UNITS + unit
}

fn target_name(backing: Backing, unit: usize) -> String {
    format!("iqn.2001-04.com.example:bench-{}", tid(backing, unit))
}

/// A set of CPUs.
#[derive(Clone)]
pub(super) struct Cpus(CpuSet);

impl Cpus {
    /// The CPUs that this process may use.
    pub(super) fn allowed() -> io::Result<Self> {
        Ok(Self(sched_getaffinity(None)?))
    }

    pub(super) fn one(cpu: usize) -> Self {
        let mut set = CpuSet::new();
        set.set(cpu);
        Self(set)
    }

    /// The lowest and the highest CPU.
    pub(super) fn ends(&self) -> (usize, usize) {
        let mut members = (0..CpuSet::MAX_CPU).filter(|&cpu| self.0.is_set(cpu));
        let first = members.next().unwrap_or(0);
        (first, members.next_back().unwrap_or(first))
    }

    pub(super) fn pin_this_thread(&self) -> io::Result<()> {
        Ok(sched_setaffinity(None, &self.0)?)
    }
}

impl FromStr for Cpus {
    type Err = String;

    /// Parses numbers and ranges, for example `0,2-3`.
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| match text.trim().parse() {
            Ok(cpu) if cpu < CpuSet::MAX_CPU => Ok(cpu),
            _ => Err(format!("{text} is not a CPU number")),
        };
        let mut set = CpuSet::new();
        for part in text.split(',') {
            let (from, to) = part.split_once('-').unwrap_or((part, part));
            (number(from)?..=number(to)?).for_each(|cpu| set.set(cpu));
        }
        if set.count() == 0 { Err(format!("{text} is not a set of CPUs")) } else { Ok(Self(set)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpus_parse_numbers_and_ranges() {
        let cpus: Cpus = "0,2-4".parse().unwrap();
        let members: Vec<_> = (0..8).filter(|&cpu| cpus.0.is_set(cpu)).collect();
        assert_eq!((members, cpus.ends()), (vec![0, 2, 3, 4], (0, 4)));
        for wrong in ["", "x", "3-2", "99999"] {
            assert!(wrong.parse::<Cpus>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_unit_has_its_own_target() {
        let mut tids: Vec<_> =
            Backing::ALL.iter().flat_map(|&backing| (0..UNITS).map(move |unit| tid(backing, unit))).collect();
        tids.dedup();
        assert_eq!(tids, (1..=Backing::ALL.len() * UNITS).collect::<Vec<_>>());
    }
}
