//! A daemon for one test, ours or tgt's, on loopback, with its own directory, control socket and ports, killed at the
//! end of the test; and the tools of other projects.

mod tools;

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, RequestHeader};
use tempfile::TempDir;
use tgt_tests::control;

use tools::timeout;
pub(crate) use tools::{Brand, binaries, fail, run, succeed};

/// Most time to wait for anything; only a failure takes this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// LUN of the unit of [`Daemon::disk`].
pub(crate) const DISK: u16 = 1;

/// Waits until a condition holds.
///
/// # Panics
/// The condition does not hold within [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
    /// Address of its portal.
    pub(crate) portal: SocketAddr,
    /// The tgtadm that manages it.
    manager: Brand,
    /// The number of its control socket.
    control_port: &'static str,
}

impl Daemon {
    /// Starts our daemon, managed by our tgtadm.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_as(Brand::Ours, Brand::Ours, &[])
    }

    /// Starts a daemon with options.
    #[track_caller]
    pub(crate) fn start_as(daemon: Brand, manager: Brand, options: &[&str]) -> Self {
        Self::start_at(CONTROL_PORT, daemon, manager, options)
    }

    /// [`Self::start_as`] with a control port.
    #[track_caller]
    pub(crate) fn start_at(
        control_port: &'static str,
        daemon: Brand,
        manager: Brand,
        options: &[&str],
    ) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let address = match daemon {
            Brand::Ours => "127.0.0.1:0".to_owned(),
            Brand::Tgt => free_port().to_string(),
        };
        let mut command = Command::new(daemon.program("tgtd"));
        command.args(["-f", "-C", control_port, "--iscsi", &format!("portal={address}")]).args(options);
        command.stdin(Stdio::null());
        Self::run(command, directory, manager, control_port)
    }

    /// Starts `hanging_tgtd`, which has the store `hang`; see [`Daemon::hold`].
    #[track_caller]
    pub(crate) fn start_with_hanging_stores() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hanging_tgtd"));
        command.arg(directory.path().join(format!("control.{CONTROL_PORT}"))).arg("127.0.0.1:0");
        command.stdin(Stdio::piped());
        Self::run(command, directory, Brand::Ours, CONTROL_PORT)
    }

    /// Starts our daemon with the highest permitted limit of core dumps.
    #[track_caller]
    pub(crate) fn start_with_cores() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -S -c $(ulimit -H -c) && exec \"$0\" \"$@\""]);
        command.arg(Brand::Ours.program("tgtd")).args(["-f", "-C", CONTROL_PORT]);
        command.args(["--iscsi", "portal=127.0.0.1:0"]).stdin(Stdio::null());
        Self::run(command, tempfile::tempdir().expect("a directory"), Brand::Ours, CONTROL_PORT)
    }

    /// Starts our daemon with this standard error and `JOURNAL_STREAM`.
    #[track_caller]
    pub(crate) fn start_logging_to(stderr: Stdio, journal_stream: &str, options: &[&str]) -> Self {
        let mut command = Command::new(Brand::Ours.program("tgtd"));
        command.args(["-f", "-C", CONTROL_PORT, "--iscsi", "portal=127.0.0.1:0"]).args(options);
        command
            .env("JOURNAL_STREAM", journal_stream)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr);
        Self::spawn(command, tempfile::tempdir().expect("a directory"), Brand::Ours, CONTROL_PORT)
    }

    /// Starts `bad_tgtd`, whose stores of the kind `bad` have the fault that their path names.
    #[track_caller]
    pub(crate) fn start_with_bad_stores() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_bad_tgtd"));
        command.arg(directory.path().join(format!("control.{CONTROL_PORT}"))).arg("127.0.0.1:0");
        command.stdin(Stdio::null());
        Self::run(command, directory, Brand::Ours, CONTROL_PORT)
    }

    #[track_caller]
    fn run(mut command: Command, directory: TempDir, manager: Brand, control_port: &'static str) -> Self {
        let log = File::create(directory.path().join("tgtd.log")).expect("a log");
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        Self::spawn(command, directory, manager, control_port)
    }

    #[track_caller]
    fn spawn(mut command: Command, directory: TempDir, manager: Brand, control_port: &'static str) -> Self {
        command.current_dir(directory.path()).env("TGT_IPC_SOCKET", directory.path().join("control"));
        command.env_remove("NOTIFY_SOCKET");
        let child = command.spawn().expect("the daemon starts");
        let portal = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut started = Self { child, directory, portal, manager, control_port };
        wait_until("the daemon serves", || {
            let ended = started.child.try_wait().expect("a child");
            assert!(ended.is_none(), "the daemon ended: {ended:?}");
            started.try_adm(&["--mode", "sys", "--op", "show"]).status.success()
        });
        let portals = started.adm(&["--mode", "portal", "--op", "show"]);
        let line = portals.lines().find_map(|line| line.strip_prefix("Portal: ")).expect("a portal");
        started.portal = line.strip_suffix(",1").expect("a tag").parse().expect("an address");
        started
    }

    /// Makes the operations of all stores of the kind `hang` hang, or lets them complete.
    #[track_caller]
    pub(crate) fn hold(&self, held: bool) {
        self.send_command(if held { "hold" } else { "release" }, "held", held);
    }

    /// Makes closing of the stores of the kind `hang` hang, or lets it complete.
    #[track_caller]
    pub(crate) fn hold_close(&self, held: bool) {
        self.send_command(if held { "hold-close" } else { "release-close" }, "close-held", held);
    }

    #[track_caller]
    fn send_command(&self, word: &str, file: &str, held: bool) {
        let mut stdin = self.child.stdin.as_ref().expect("a running daemon");
        stdin.write_all(format!("{word}\n").as_bytes()).expect("a running daemon");
        wait_until("the daemon handles the command", || self.path(file).exists() == held);
    }

    /// Sends a request without a tool and returns the reply; it must succeed.
    #[track_caller]
    pub(crate) fn ask(&self, mode: Mode, op: Op, header: &RequestHeader, strings: &Strings) -> String {
        let socket = self.path(&format!("control.{}", self.control_port));
        control::ask(&socket, mode, op, header, strings).expect("a successful request")
    }

    /// Path of a file in its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A tool that uses the control socket of this daemon, without arguments.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = timeout(program);
        command.env("TGT_IPC_SOCKET", self.path("control"));
        command
    }

    /// Runs tgtadm with these arguments.
    pub(crate) fn try_adm(&self, words: &[&str]) -> Output {
        self.adm_by(self.manager, words)
    }

    /// Runs the tgtadm of this origin.
    pub(crate) fn adm_by(&self, tool: Brand, words: &[&str]) -> Output {
        let mut command = self.command(tool.program("tgtadm"));
        command.args(["-C", self.control_port, "--lld", "iscsi"]).args(words);
        command.output().expect("cannot run timeout (coreutils)")
    }

    /// Runs the tgtadm of this origin with these arguments only, under the name `tgtadm`.
    pub(crate) fn plain_adm(&self, tool: Brand, words: &[String]) -> Output {
        let directory = tool.program("tgtadm").parent().expect("a directory").display().to_string();
        let mut command = self.command("tgtadm");
        command.args(words).env("PATH", format!("{directory}:/usr/bin:/bin")).env("LC_ALL", "C");
        command.output().expect("cannot run timeout (coreutils)")
    }

    /// Runs tgtadm, which must succeed, and returns its output.
    #[track_caller]
    pub(crate) fn adm(&self, words: &[&str]) -> String {
        let output = self.try_adm(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Creates a target without units that admits all initiators; returns its name.
    #[track_caller]
    pub(crate) fn target(&self, tid: u32) -> String {
        let name = target_name(tid);
        self.adm(&["--mode", "target", "--op", "new", "--tid", &tid.to_string(), "-T", &name]);
        self.adm(&["--mode", "target", "--op", "bind", "--tid", &tid.to_string(), "-I", "ALL"]);
        name
    }

    /// Creates a unit on a file of zeroes; returns the path.
    #[track_caller]
    pub(crate) fn unit(&self, tid: u32, lun: u16, len: u64, words: &[&str]) -> PathBuf {
        let file = self.path(&format!("{tid}-{lun}.img"));
        File::create(&file).expect("a file").set_len(len).expect("a length");
        self.unit_on(tid, lun, &file, words);
        file
    }

    /// Creates a unit on an existing path.
    #[track_caller]
    pub(crate) fn unit_on(&self, tid: u32, lun: u16, path: &Path, words: &[&str]) {
        let (tid, lun) = (tid.to_string(), lun.to_string());
        let path = path.to_str().expect("text");
        let mut all = vec!["--mode", "logicalunit", "--op", "new", "--tid", &tid, "--lun", &lun, "-b", path];
        all.extend_from_slice(words);
        self.adm(&all);
    }

    /// Sets parameters of a unit, for example `thin_provisioning=1`.
    #[track_caller]
    pub(crate) fn set_unit(&self, tid: u32, lun: u16, parameter: &str) {
        let (tid, lun) = (tid.to_string(), lun.to_string());
        self.adm(&["--mode", "logicalunit", "--op", "update", "--tid", &tid, "--lun", &lun, "-P", parameter]);
    }

    /// Creates a target that admits all initiators, with one disk at [`DISK`]; returns the path of its file.
    #[track_caller]
    pub(crate) fn disk(&self, tid: u32, len: u64) -> PathBuf {
        self.target(tid);
        self.unit(tid, DISK, len, &[])
    }

    /// [`Self::disk`] with thin provisioning and this block length.
    #[track_caller]
    pub(crate) fn thin_disk(&self, tid: u32, len: u64, block_len: u32) -> PathBuf {
        self.target(tid);
        let file = self.unit(tid, DISK, len, &["--blocksize", &block_len.to_string()]);
        self.set_unit(tid, DISK, "thin_provisioning=1");
        file
    }

    /// URL of the disk for libiscsi and QEMU.
    pub(crate) fn url(&self, tid: u32) -> String {
        self.url_of(&target_name(tid), DISK)
    }

    /// URL of any unit.
    pub(crate) fn url_of(&self, target: &str, lun: u16) -> String {
        format!("iscsi://{}/{target}/{lun}", self.portal)
    }

    /// Sends a signal to the daemon.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("a running daemon");
    }

    /// Waits until the daemon has exited.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon exits", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("an exit status")
    }

    /// Its threads.
    pub(crate) fn threads(&self) -> Vec<Thread> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("a running daemon");
        let threads = tasks.filter_map(|task| Thread::read(&task.ok()?.path()));
        threads.collect()
    }

    /// Sorted names of the threads of its loops.
    pub(crate) fn loops(&self) -> Vec<String> {
        let names = self.threads().into_iter().map(|thread| thread.name);
        let is_loop = |name: &String| {
            let rest = name.strip_prefix("tgt/");
            rest.is_some_and(|rest| rest.trim_start_matches('s').starts_with(|c: char| c.is_ascii_digit()))
        };
        let mut names: Vec<_> = names.filter(is_loop).collect();
        names.sort_unstable();
        names
    }

    /// Number of sessions of a target.
    pub(crate) fn session_count(&self, tid: u32) -> usize {
        let header = RequestHeader { tid: tid.cast_signed(), ..RequestHeader::default() };
        let text = self.ask(Mode::Connection, Op::Show, &header, &Strings::default());
        text.lines().filter(|line| line.starts_with("Session:")).count()
    }

    /// Number of open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a running daemon").count()
    }

    /// Text of its log with the lines of everything that has happened: a thread writes them later than it happens.
    #[track_caller]
    pub(crate) fn whole_log(&self) -> String {
        static MARKS: AtomicU32 = AtomicU32::new(77_000_000);
        let tid = MARKS.fetch_add(1, Ordering::Relaxed).to_string();
        let refused = self.adm_by(Brand::Ours, &["--mode", "target", "--op", "delete", "--tid", &tid]);
        assert!(!refused.status.success(), "the target does not exist: {refused:?}");
        let mark = format!(" tid={tid} ");
        wait_until(&mark, || self.log().contains(&mark));
        let log = self.log();
        let lines = log.lines().filter(|line| !line.contains(" tid=770"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// Text of its log up to now.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.path("tgtd.log")).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!(
                "last lines of the daemon's log:\n{}",
                lines[lines.len().saturating_sub(20)..].join("\n")
            );
        }
    }
}

/// Name, ID and counters of a thread.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// Bytes read by system calls, those from files included.
    pub(crate) bytes_read: u64,
    /// CPU time in nanoseconds.
    pub(crate) ran: u64,
}

impl Thread {
    fn read(task: &Path) -> Option<Self> {
        let name = std::fs::read_to_string(task.join("comm")).ok()?.trim_end().to_owned();
        let number = task.file_name()?.to_str()?.parse().ok()?;
        let counters = std::fs::read_to_string(task.join("io")).ok()?;
        let line = counters.lines().find_map(|line| line.strip_prefix("rchar: "))?;
        let schedule = std::fs::read_to_string(task.join("schedstat")).ok()?;
        let ran = schedule.split(' ').next()?.parse().ok()?;
        Some(Self { name, number, bytes_read: line.parse().ok()?, ran })
    }

    /// The counters since `before`.
    pub(crate) fn since(&self, before: &Self) -> Self {
        assert_eq!(self.number, before.number);
        let (bytes_read, ran) = (self.bytes_read - before.bytes_read, self.ran - before.ran);
        Self { bytes_read, ran, ..self.clone() }
    }
}

/// Name of the target with this tid.
pub(crate) fn target_name(tid: u32) -> String {
    format!("iqn.2026-01.org.example:target{tid}")
}

/// A free port for daemons that cannot bind port 0. It is below the kernel's ephemeral range, so that no other socket gets
/// it before the daemon binds; each process starts at another number.
pub(crate) fn free_port() -> SocketAddr {
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    static TAKEN: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() % PORTS * 101 + TAKEN.fetch_add(1, Ordering::Relaxed);
        let port = FIRST + number % PORTS;
        let address = SocketAddr::from(([127, 0, 0, 1], u16::try_from(port).expect("below 65536")));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

/// Number of the control socket; each daemon has its own directory.
pub(crate) const CONTROL_PORT: &str = "7";
