//! A daemon for one test: built from this workspace or the stock one, on loopback, with a directory, a control
//! socket and ports of its own, gone when the test ends however it ends; and the tools of other projects.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, RequestHeader};
use tempfile::TempDir;
use tgt_tests::control;

/// So long anything may take that is waited for; nothing is expected to.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);
/// The unit that [`Daemon::disk`] makes.
pub(crate) const DISK: u16 = 1;

/// Waits until something holds.
///
/// # Panics
/// It does not within [`DEADLINE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < DEADLINE, "waited for nothing: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Which daemon, or which administration tool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Brand {
    /// Of this workspace.
    Ours,
    /// Debian's.
    Stock,
}

impl Brand {
    /// The file of one of its programs.
    pub(crate) fn program(self, name: &str) -> PathBuf {
        match self {
            Self::Ours => binaries().join(name),
            Self::Stock => tool(name),
        }
    }
}

/// Where this workspace's binaries are, built by the profile of the tests.
pub(crate) fn binaries() -> &'static Path {
    static BINARIES: OnceLock<PathBuf> = OnceLock::new();
    BINARIES.get_or_init(|| {
        let this = std::env::current_exe().expect("a test knows its file");
        let place = this.parent().and_then(Path::parent).expect("target/PROFILE/deps/daemon-…");
        let profile = match place.file_name().and_then(OsStr::to_str) {
            Some("debug") | None => "dev",
            Some(name) => name,
        };
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp");
        let mut build = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        build.args([
            "build",
            "--quiet",
            "--profile",
            profile,
            "--package",
            "tgtd-bin",
            "--package",
            "tgtadm-bin",
        ]);
        build.arg("--target-dir").arg(target).current_dir(env!("CARGO_MANIFEST_DIR"));
        assert!(build.status().expect("cargo runs").success(), "the daemon is built");
        place.to_owned()
    })
}

/// The file of another project's tool. It is named with its package when it is missing, never skipped.
#[track_caller]
pub(crate) fn tool(name: &str) -> PathBuf {
    let package = match name {
        _ if name.starts_with("tgt") => "tgt",
        _ if name.starts_with("qemu-") => "qemu-utils",
        _ => "libiscsi-bin",
    };
    // A tgtd or tgtadm elsewhere may be ours.
    let found = ["/usr/sbin", "/usr/bin"]
        .map(|place| Path::new(place).join(name))
        .into_iter()
        .find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is missing: install Debian's {package}, or call tests/run"))
}

/// How a tool ended, and all it said.
#[derive(Debug)]
pub(crate) struct Said {
    /// It ended with 0.
    pub(crate) well: bool,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

/// Runs a tool to its end.
///
/// # Panics
/// It is missing, or has no end.
#[track_caller]
pub(crate) fn run<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> Said {
    let mut command = Command::new("timeout");
    command.args(["--kill-after=5", &DEADLINE.as_secs().to_string()]).arg(tool(name)).args(words);
    let output = command.stdin(Stdio::null()).output().expect("timeout (coreutils) runs");
    let text =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(!matches!(output.status.code(), Some(124 | 137)), "{command:?} has no end: {text}");
    assert!(
        !text.contains("Unknown protocol 'iscsi'"),
        "install Debian's qemu-block-extra, of qemu-utils' version"
    );
    Said { well: output.status.success(), text }
}

/// Runs a tool that must succeed; what it said.
#[track_caller]
pub(crate) fn succeed<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> String {
    let said = run(name, words);
    assert!(said.well, "{name}: {}", said.text);
    said.text
}

/// Runs a tool that must fail; what it said.
#[track_caller]
pub(crate) fn fail<S: AsRef<OsStr>>(name: &str, words: impl IntoIterator<Item = S>) -> String {
    let said = run(name, words);
    assert!(!said.well, "{name} succeeds: {}", said.text);
    said.text
}

/// A daemon that runs; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    directory: TempDir,
    /// Where it listens.
    pub(crate) portal: SocketAddr,
    /// The tool it is managed with.
    manager: Brand,
    /// The number of its control socket.
    control_port: &'static str,
}

impl Daemon {
    /// Ours, managed by our tool.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::start_as(Brand::Ours, Brand::Ours, &[])
    }

    /// Any, managed by any, with further options.
    #[track_caller]
    pub(crate) fn start_as(daemon: Brand, manager: Brand, options: &[&str]) -> Self {
        Self::start_at(CONTROL_PORT, daemon, manager, options)
    }

    /// The same at a control port of choice.
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
            Brand::Stock => free_port().to_string(),
        };
        let mut command = Command::new(daemon.program("tgtd"));
        command.args(["-f", "-C", control_port, "--iscsi", &format!("portal={address}")]).args(options);
        command.stdin(Stdio::null());
        Self::run(command, directory, manager, control_port)
    }

    /// Ours, with a further kind of store, `hang`, that hangs when [`Daemon::hold`] says so.
    #[track_caller]
    pub(crate) fn start_with_hanging_stores() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hanging_tgtd"));
        command.arg(directory.path().join(format!("control.{CONTROL_PORT}"))).arg("127.0.0.1:0");
        command.stdin(Stdio::piped());
        Self::run(command, directory, Brand::Ours, CONTROL_PORT)
    }

    /// Ours, with a standard error of choice; `JOURNAL_STREAM` as given.
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

    /// Ours, with stores of the kind `bad`, whose path says how they are.
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

    /// Lets all stores of the kind `hang` hang, or ends that.
    #[track_caller]
    pub(crate) fn hold(&self, held: bool) {
        self.say(if held { "hold" } else { "release" }, "held", held);
    }

    /// Lets no store of the kind `hang` be closed, or ends that.
    #[track_caller]
    pub(crate) fn hold_close(&self, held: bool) {
        self.say(if held { "hold-close" } else { "release-close" }, "close-held", held);
    }

    #[track_caller]
    fn say(&self, word: &str, file: &str, held: bool) {
        let mut stdin = self.child.stdin.as_ref().expect("it listens");
        stdin.write_all(format!("{word}\n").as_bytes()).expect("it listens");
        wait_until("the stores hang, or do not", || self.path(file).exists() == held);
    }

    /// A request without a tool, that must succeed; what it answers.
    #[track_caller]
    pub(crate) fn ask(&self, mode: Mode, op: Op, header: &RequestHeader, strings: &Strings) -> String {
        let socket = self.path(&format!("control.{}", self.control_port));
        control::ask(&socket, mode, op, header, strings).expect("an answer")
    }

    /// Its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A request of its manager, whatever comes of it.
    pub(crate) fn try_adm(&self, words: &[&str]) -> Output {
        self.adm_by(self.manager, words)
    }

    /// The same by a tool of choice.
    pub(crate) fn adm_by(&self, tool: Brand, words: &[&str]) -> Output {
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &DEADLINE.as_secs().to_string()]).arg(tool.program("tgtadm"));
        command.args(["-C", self.control_port, "--lld", "iscsi"]).args(words).stdin(Stdio::null());
        command.env("TGT_IPC_SOCKET", self.path("control")).output().expect("timeout (coreutils) runs")
    }

    /// Exactly these words by a tool of choice, under the name `tgtadm`.
    pub(crate) fn plain_adm(&self, tool: Brand, words: &[String]) -> Output {
        let place = tool.program("tgtadm").parent().expect("a folder").display().to_string();
        let mut command = Command::new("timeout");
        command.args(["--kill-after=5", &DEADLINE.as_secs().to_string(), "tgtadm"]).args(words);
        command.env("PATH", format!("{place}:/usr/bin:/bin")).env("LC_ALL", "C").stdin(Stdio::null());
        command.env("TGT_IPC_SOCKET", self.path("control")).output().expect("timeout (coreutils) runs")
    }

    /// A request that must succeed; what it printed.
    #[track_caller]
    pub(crate) fn adm(&self, words: &[&str]) -> String {
        let output = self.try_adm(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A target without units that anybody may use; its name.
    #[track_caller]
    pub(crate) fn target(&self, tid: u32) -> String {
        let name = target_name(tid);
        self.adm(&["--mode", "target", "--op", "new", "--tid", &tid.to_string(), "-T", &name]);
        self.adm(&["--mode", "target", "--op", "bind", "--tid", &tid.to_string(), "-I", "ALL"]);
        name
    }

    /// A unit on a file of zeroes; the file.
    #[track_caller]
    pub(crate) fn unit(&self, tid: u32, lun: u16, len: u64, words: &[&str]) -> PathBuf {
        let file = self.path(&format!("{tid}-{lun}.img"));
        File::create(&file).expect("a file").set_len(len).expect("a length");
        let (tid, lun) = (tid.to_string(), lun.to_string());
        let path = file.to_str().expect("text");
        let mut all = vec!["--mode", "logicalunit", "--op", "new", "--tid", &tid, "--lun", &lun, "-b", path];
        all.extend_from_slice(words);
        self.adm(&all);
        file
    }

    /// A parameter of a unit, as `thin_provisioning=1`.
    #[track_caller]
    pub(crate) fn set_unit(&self, tid: u32, lun: u16, parameter: &str) {
        let (tid, lun) = (tid.to_string(), lun.to_string());
        self.adm(&["--mode", "logicalunit", "--op", "update", "--tid", &tid, "--lun", &lun, "-P", parameter]);
    }

    /// A target that anybody may use with one disk, number [`DISK`]; the disk's file.
    #[track_caller]
    pub(crate) fn disk(&self, tid: u32, len: u64) -> PathBuf {
        self.target(tid);
        self.unit(tid, DISK, len, &[])
    }

    /// The same with a unit that gives back what is discarded.
    #[track_caller]
    pub(crate) fn thin_disk(&self, tid: u32, len: u64, block_len: u32) -> PathBuf {
        self.target(tid);
        let file = self.unit(tid, DISK, len, &["--blocksize", &block_len.to_string()]);
        self.set_unit(tid, DISK, "thin_provisioning=1");
        file
    }

    /// The disk as libiscsi and qemu name it.
    pub(crate) fn url(&self, tid: u32) -> String {
        self.url_of(&target_name(tid), DISK)
    }

    /// Any unit, also one that is not there.
    pub(crate) fn url_of(&self, target: &str, lun: u16) -> String {
        format!("iscsi://{}/{target}/{lun}", self.portal)
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        rustix::process::kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the daemon's end", || {
            status = self.child.try_wait().expect("a child");
            status.is_some()
        });
        status.expect("it ended")
    }

    /// Its threads: name, number and counters.
    pub(crate) fn threads(&self) -> Vec<Thread> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).expect("it runs");
        let threads = tasks.filter_map(|task| Thread::read(&task.ok()?.path()));
        threads.collect()
    }

    /// Descriptors it has open.
    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("it runs").count()
    }

    /// What it has logged of all that has happened: lines are written by a thread of their own.
    #[track_caller]
    pub(crate) fn whole_log(&self) -> String {
        static MARKS: AtomicU32 = AtomicU32::new(77_000_000);
        let tid = MARKS.fetch_add(1, Ordering::Relaxed).to_string();
        let refused = self.adm_by(Brand::Ours, &["--mode", "target", "--op", "delete", "--tid", &tid]);
        assert!(!refused.status.success(), "there is no such target: {refused:?}");
        let mark = format!(" tid={tid} ");
        wait_until(&mark, || self.log().contains(&mark));
        let log = self.log();
        let lines = log.lines().filter(|line| !line.contains(" tid=770"));
        lines.collect::<Vec<_>>().join("\n")
    }

    /// What it has logged and written until now.
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
            eprintln!("the daemon's last words:\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
        }
    }
}

/// A thread of a daemon at a moment.
#[derive(Clone, Debug)]
pub(crate) struct Thread {
    pub(crate) name: String,
    pub(crate) number: u32,
    /// Bytes it has read by calls of the read family: what it served from files is among them.
    pub(crate) bytes_read: u64,
    /// Time it has run, in nanoseconds.
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

    /// What has happened on it since.
    pub(crate) fn since(&self, before: &Self) -> Self {
        assert_eq!(self.number, before.number);
        let (bytes_read, ran) = (self.bytes_read - before.bytes_read, self.ran - before.ran);
        Self { bytes_read, ran, ..self.clone() }
    }
}

/// The name of each test target.
pub(crate) fn target_name(tid: u32) -> String {
    format!("iqn.2026-01.org.example:target{tid}")
}

/// For daemons that cannot choose themselves. Below what the kernel gives to those that ask for any, so that none of
/// them takes it before the daemon does; each process begins elsewhere.
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

/// The number of the control socket; its directory makes it the test's own.
pub(crate) const CONTROL_PORT: &str = "7";
