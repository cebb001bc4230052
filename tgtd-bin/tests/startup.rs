//! Start and end of the daemon, in foreground and background, with the message and exit code of each failure.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// The directory for the files of one daemon.
struct Workspace {
    directory: TempDir,
}

impl Workspace {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The command that runs `tgtd` with its control socket in this directory.
    fn tgtd(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tgtd"));
        command.args(arguments).env("TGT_IPC_SOCKET", self.path("socket")).current_dir(self.directory.path());
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.tgtd(arguments).output().unwrap()
    }
}

/// A serving daemon in the foreground, killed on drop.
struct Serving {
    child: Child,
    /// The instructions that it printed.
    instructions: String,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut instructions = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            instructions.push_str(&line);
            instructions.push('\n');
            if line.contains("Ctrl-C") {
                return Self { child, instructions };
            }
        }
        panic!("tgtd ended: {instructions} {:?}", child.wait());
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const EXPORT: &[&str] = &["--export", "disk.img:1M", "--iscsi", "portal=127.0.0.1:0"];

#[track_caller]
fn assert_fails(output: &Output, exit: i32, mentions: &[&str]) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{error}");
    for mention in mentions {
        assert!(error.contains(mention), "{mention}: {error}");
    }
}

#[test]
fn export_creates_its_file_prints_instructions_and_ends_on_a_signal() {
    let workspace = Workspace::new();
    let mut serving = Serving::start(workspace.tgtd(EXPORT));
    assert_eq!(std::fs::metadata(workspace.path("disk.img")).unwrap().len(), 1 << 20);
    let address = serving.instructions.split_once("iscsi-ls -s iscsi://").unwrap().1.lines().next().unwrap();
    assert!(!address.ends_with(":0"), "the instructions have the chosen port: {address}");
    std::net::TcpStream::connect(address).unwrap();

    rustix::process::kill_process(serving.pid(), Signal::TERM).unwrap();
    assert!(serving.child.wait().unwrap().success());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn error_names_a_portal_that_is_in_use() {
    let workspace = Workspace::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    let output = workspace.run(&["-f", "--iscsi", &format!("portal={portal}")]);
    assert_fails(&output, 98, &[&portal, "in use"]);
}

#[test]
fn error_names_a_portal_with_an_address_of_another_machine() {
    let workspace = Workspace::new();
    let output = workspace.run(&["-f", "--iscsi", "portal=192.0.2.1:3260"]);
    assert_fails(&output, 99, &["192.0.2.1:3260"]);
}

#[test]
fn second_daemon_on_the_same_control_socket_is_refused() {
    let workspace = Workspace::new();
    let _first = Serving::start(workspace.tgtd(EXPORT));
    let output = workspace.run(&["-f", "--iscsi", "portal=127.0.0.1:0"]);
    assert_fails(&output, 1, &["another tgtd is using", "socket.0.lock", "--control-port"]);
}

#[test]
fn error_names_a_control_socket_that_cannot_be_created() {
    let workspace = Workspace::new();
    let missing = workspace.path("no/such/socket");
    let mut command = workspace.tgtd(&["-f", "--iscsi", "portal=127.0.0.1:0"]);
    let output = command.env("TGT_IPC_SOCKET", &missing).output().unwrap();
    assert_fails(&output, 2, &[missing.to_str().unwrap()]);

    let long = workspace.path(&"x".repeat(120));
    let mut command = workspace.tgtd(&["-f", "--iscsi", "portal=127.0.0.1:0"]);
    let output = command.env("TGT_IPC_SOCKET", &long).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("107"), "the error has the limit: {output:?}");
}

#[test]
fn error_of_an_export_has_path_and_reason() {
    let workspace = Workspace::new();
    let export = |what| workspace.run(&["--export", what, "--iscsi", "portal=127.0.0.1:0"]);
    assert_fails(&export("none.img"), 2, &["none.img", "give a size"]);
    assert_fails(&export("no/disk.img:1M"), 2, &["no/disk.img: No such file or directory\n"]);
    std::fs::write(workspace.path("other.img"), [0; 512]).unwrap();
    assert_fails(&export("other.img:1M"), 17, &["other.img", "512 bytes"]);
    assert_fails(&export("/dev/null"), 1, &["/dev/null"]);
}

#[test]
fn failed_start_creates_no_file() {
    let workspace = Workspace::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = format!("portal={}", taken.local_addr().unwrap());
    assert_fails(&workspace.run(&["--export", "disk.img:1M", "--iscsi", &portal]), 98, &["in use"]);
    assert!(!workspace.path("disk.img").exists());
}

#[test]
fn usage_errors_name_the_option() {
    let workspace = Workspace::new();
    assert_fails(&workspace.run(&["--bogus"]), 1, &["--bogus"]);
    assert_fails(
        &workspace.run(&["-C", "40000"]),
        22,
        &["--control-port", "expected a number from 0 to 32767"],
    );
    assert_fails(&workspace.run(&["--iscsi", "portal="]), 22, &["--iscsi", "portal"]);
}

#[test]
fn background_daemon_serves_when_the_starting_process_exits() {
    let workspace = Workspace::new();
    let output = workspace.run(&["-p", "tgtd.pid", "--iscsi", "portal=127.0.0.1:0"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
    let text = std::fs::read_to_string(workspace.path("tgtd.pid")).unwrap();
    let pid = Pid::from_raw(text.parse().unwrap()).unwrap();
    std::os::unix::net::UnixStream::connect(workspace.path("socket.0")).unwrap();
    assert_eq!(session_of(&text), text, "it leads a session");
    assert_eq!(std::fs::read_link(format!("/proc/{text}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(std::fs::read_to_string(format!("/proc/{text}/comm")).unwrap(), "tgtd\n");

    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(&text) {
        std::thread::yield_now();
    }
    assert!(!workspace.path("tgtd.pid").exists());
}

/// The session ID of a process in `/proc`. It is 0, which [`Pid`] cannot represent, if the leader is outside the
/// container.
fn session_of(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)).unwrap_or_default().to_owned()
}

/// Whether a process has ended. In a container there may be no init process that reaps orphans.
fn is_zombie(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z') || rest.is_empty())
}

#[test]
fn starting_process_passes_on_error_and_exit_code() {
    let workspace = Workspace::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = format!("portal={}", taken.local_addr().unwrap());
    let output = workspace.run(&["-p", "tgtd.pid", "--iscsi", &portal]);
    assert_fails(&output, 98, &["in use"]);
    assert!(!workspace.path("tgtd.pid").exists());
}

#[test]
fn systemd_is_notified_when_the_daemon_serves_and_when_it_ends() {
    let workspace = Workspace::new();
    let supervisor = std::os::unix::net::UnixDatagram::bind(workspace.path("notify")).unwrap();
    let mut command = workspace.tgtd(EXPORT);
    command.env("NOTIFY_SOCKET", workspace.path("notify"));
    let mut serving = Serving::start(command);
    let notification = || {
        let mut message = [0; 1024];
        let len = supervisor.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..len]).into_owned()
    };
    assert!(notification().contains("READY=1"));
    rustix::process::kill_process(serving.pid(), Signal::INT).unwrap();
    assert!(notification().contains("STOPPING=1"));
    assert!(serving.child.wait().unwrap().success());
}

#[test]
fn version_and_help_go_to_standard_output() {
    let workspace = Workspace::new();
    let version = workspace.run(&["-V"]);
    assert!(version.status.success());
    assert_eq!(String::from_utf8(version.stdout).unwrap(), concat!(env!("CARGO_PKG_VERSION"), "\n"));
    let mut help = String::new();
    workspace.run(&["--help"]).stdout.as_slice().read_to_string(&mut help).unwrap();
    assert!(help.contains("--export") && help.contains("TGT_IPC_SOCKET"));
}

/// The reader and the writer of a full pipe.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn full_standard_error_delays_neither_failure_nor_start() {
    let workspace = Workspace::new();
    let (_reader, writer) = full_pipe();
    let exit_code = |arguments: &[&str]| {
        let mut command = workspace.tgtd(arguments);
        command.stdout(Stdio::null()).stderr(writer.try_clone().unwrap());
        command.status().unwrap().code()
    };
    assert_eq!(exit_code(&["--bogus"]), Some(1));
    assert_eq!(exit_code(&["-f", "--iscsi", "portal=192.0.2.1:3260"]), Some(99));
    assert_eq!(exit_code(&["--export", "none.img"]), Some(2));
    let pid_file = workspace.path("tgtd.pid");
    let arguments = ["--pid-file", pid_file.to_str().unwrap(), "--iscsi", "portal=127.0.0.1:0"];
    assert_eq!(exit_code(&arguments), Some(0), "the daemon serves in the background");
    let pid = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    while pid_file.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn errors_have_a_priority_in_the_journal() {
    let workspace = Workspace::new();
    let journal = std::fs::File::create(workspace.path("journal")).unwrap();
    let stat = rustix::fs::fstat(&journal).unwrap();
    let mut command = workspace.tgtd(&["-f", "--iscsi", "portal=192.0.2.1:3260"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    assert_eq!(command.stderr(journal).status().unwrap().code(), Some(99));
    let text = std::fs::read_to_string(workspace.path("journal")).unwrap();
    assert!(text.lines().all(|line| line.starts_with('<') && line.as_bytes()[2] == b'>'), "{text}");
    assert!(text.contains("<3>tgtd: cannot listen on the portal 192.0.2.1:3260"), "{text}");
}
