//! Servers of other projects as processes, which end with the thread that started them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};

/// A running server; killed when dropped.
pub(super) struct Server(Child);

impl Server {
    /// Starts a program that stays in the foreground; its output goes to a file.
    ///
    /// # Panics
    /// It cannot be started.
    pub(super) fn start(program: &str, arguments: &[impl AsRef<OsStr>], log: &Path) -> Self {
        let log = File::create(log).expect("a log");
        // If the test is killed, so is the server.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "--", program]).args(arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        Self(command.spawn().expect("cannot run setpriv (util-linux)"))
    }

    /// [`send`].
    ///
    /// # Panics
    /// The server has ended.
    pub(super) fn signal(&self, signal: Signal) {
        send(Pid::from_child(&self.0), signal);
    }

    /// Waits for the end.
    pub(super) fn wait(&mut self) {
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends a signal to a server. After SIGSTOP, waits until all its threads have stopped: on a busy machine some serve for
/// a while.
///
/// # Panics
/// The server has ended.
pub(super) fn send(server: Pid, signal: Signal) {
    rustix::process::kill_process(server, signal).expect("a running server");
    if signal == Signal::STOP {
        wait_until("the server is stopped", || is_stopped(server));
    }
}

fn is_stopped(server: Pid) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{}/task", server.as_raw_nonzero())).expect("a process");
    threads.map_while(Result::ok).all(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // The name of the thread, in parentheses, may contain anything.
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('T'))
    })
}

/// Runs a tool and returns its output.
///
/// # Panics
/// It fails or takes too long.
#[track_caller]
pub(super) fn run(program: &str, arguments: &[&str]) -> String {
    match try_run(program, arguments) {
        Ok(output) => output,
        Err(error) => panic!("{program} {arguments:?}: {error}"),
    }
}

/// [`run`] of a tool that may fail.
pub(super) fn try_run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new("timeout");
    command.args(["-k", "1", "60", program]).args(arguments).stdin(Stdio::null());
    let output = command.output().expect("cannot run timeout (coreutils)");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}

/// Fails if a program is missing.
///
/// # Panics
/// The message names its Debian package.
pub(super) fn require(program: &str, package: &str) {
    let found = ["/usr/bin", "/usr/sbin"].iter().any(|directory| Path::new(directory).join(program).exists());
    assert!(found, "{program} is missing: install the Debian package {package}, or call tests/run");
}

/// Waits until a condition holds.
///
/// # Panics
/// It does not hold for a minute.
#[track_caller]
pub(super) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(60), "timed out waiting: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A loopback address of this process, on which only its servers listen, so that their ports are free and no connection
/// of another test has one of them.
pub(super) fn own_address(network: u8) -> String {
    let [.., high, low] = std::process::id().to_be_bytes();
    format!("127.{network}.{high}.{low}")
}
