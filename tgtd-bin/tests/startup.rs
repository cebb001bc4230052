//! How the daemon starts and ends: foreground and background, and each failure with its message and exit code.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::fs::OFlags;
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// A directory for one daemon's files.
struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `tgtd` with its control socket here.
    fn tgtd(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tgtd"));
        command.args(words).env("TGT_IPC_SOCKET", self.path("socket")).current_dir(self.directory.path());
        command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Output {
        self.tgtd(words).output().unwrap()
    }
}

/// A daemon in the foreground that serves; killed when dropped.
struct Serving {
    child: Child,
    /// What it printed, up to the line that ends the instructions.
    said: String,
}

impl Serving {
    fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut said = String::new();
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            said.push_str(&line);
            said.push('\n');
            if line.contains("Ctrl-C") {
                return Self { child, said };
            }
        }
        panic!("it ended: {said} {:?}", child.wait());
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
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{complaint}");
    for mention in mentions {
        assert!(complaint.contains(mention), "{mention}: {complaint}");
    }
}

#[test]
fn an_export_makes_its_file_tells_how_to_attach_it_and_ends_on_a_signal() {
    let place = Place::new();
    let mut serving = Serving::start(place.tgtd(EXPORT));
    assert_eq!(std::fs::metadata(place.path("disk.img")).unwrap().len(), 1 << 20);
    let address = serving.said.split_once("iscsi-ls -s iscsi://").unwrap().1.lines().next().unwrap();
    assert!(!address.ends_with(":0"), "the port that was chosen is told: {address}");
    std::net::TcpStream::connect(address).unwrap();

    rustix::process::kill_process(serving.pid(), Signal::TERM).unwrap();
    assert!(serving.child.wait().unwrap().success());
    assert!(std::net::TcpStream::connect(address).is_err());
}

#[test]
fn a_port_that_is_taken_is_named() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = taken.local_addr().unwrap().to_string();
    let output = place.run(&["-f", "--iscsi", &format!("portal={portal}")]);
    assert_fails(&output, 98, &[&portal, "in use"]);
}

#[test]
fn an_address_of_another_machine_is_named() {
    let place = Place::new();
    let output = place.run(&["-f", "--iscsi", "portal=192.0.2.1:3260"]);
    assert_fails(&output, 99, &["192.0.2.1:3260"]);
}

#[test]
fn a_second_daemon_on_the_same_control_socket_is_refused() {
    let place = Place::new();
    let _first = Serving::start(place.tgtd(EXPORT));
    let output = place.run(&["-f", "--iscsi", "portal=127.0.0.1:0"]);
    assert_fails(&output, 1, &["another tgtd is using", "socket.0.lock", "--control-port"]);
}

#[test]
fn a_control_socket_that_cannot_be_made_is_named() {
    let place = Place::new();
    let missing = place.path("no/such/socket");
    let mut command = place.tgtd(&["-f", "--iscsi", "portal=127.0.0.1:0"]);
    let output = command.env("TGT_IPC_SOCKET", &missing).output().unwrap();
    assert_fails(&output, 2, &[missing.to_str().unwrap()]);

    let long = place.path(&"x".repeat(120));
    let mut command = place.tgtd(&["-f", "--iscsi", "portal=127.0.0.1:0"]);
    let output = command.env("TGT_IPC_SOCKET", &long).output().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("107"), "the limit is told: {output:?}");
}

#[test]
fn an_export_that_cannot_be_is_explained() {
    let place = Place::new();
    let export = |what| place.run(&["--export", what, "--iscsi", "portal=127.0.0.1:0"]);
    assert_fails(&export("none.img"), 2, &["none.img", "give a size"]);
    assert_fails(&export("no/disk.img:1M"), 2, &["no/disk.img"]);
    std::fs::write(place.path("other.img"), [0; 512]).unwrap();
    assert_fails(&export("other.img:1M"), 17, &["other.img", "512 bytes"]);
    assert_fails(&export("/dev/null"), 1, &["/dev/null"]);
}

#[test]
fn a_start_that_fails_makes_no_file() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = format!("portal={}", taken.local_addr().unwrap());
    assert_fails(&place.run(&["--export", "disk.img:1M", "--iscsi", &portal]), 98, &["in use"]);
    assert!(!place.path("disk.img").exists());
}

#[test]
fn bad_options_name_the_option() {
    let place = Place::new();
    assert_fails(&place.run(&["--bogus"]), 1, &["--bogus"]);
    assert_fails(&place.run(&["-C", "40000"]), 22, &["--control-port", "0..=32767"]);
    assert_fails(&place.run(&["--iscsi", "portal="]), 22, &["--iscsi", "portal"]);
}

#[test]
fn the_background_daemon_serves_when_its_starter_returns() {
    let place = Place::new();
    let output = place.run(&["-p", "tgtd.pid", "--iscsi", "portal=127.0.0.1:0"]);
    assert!(output.status.success(), "{output:?}");
    assert!(output.stdout.is_empty(), "nothing to say: {output:?}");
    let text = std::fs::read_to_string(place.path("tgtd.pid")).unwrap();
    let pid = Pid::from_raw(text.parse().unwrap()).unwrap();
    std::os::unix::net::UnixStream::connect(place.path("socket.0")).unwrap();
    assert_eq!(session_of(&text), text, "it leads a session of its own");
    assert_eq!(std::fs::read_link(format!("/proc/{text}/cwd")).unwrap(), Path::new("/"));
    assert_eq!(std::fs::read_to_string(format!("/proc/{text}/comm")).unwrap(), "tgtd\n");

    rustix::process::kill_process(pid, Signal::TERM).unwrap();
    while rustix::process::test_kill_process(pid).is_ok() && !is_zombie(&text) {
        std::thread::yield_now();
    }
    assert!(!place.path("tgtd.pid").exists());
}

/// The session of a process, by `/proc`: one that lies outside a container's process table reads as 0 there, and is
/// no number that [`Pid`] takes.
fn session_of(pid: &str) -> String {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit(") ").next().and_then(|rest| rest.split(' ').nth(3)).unwrap_or_default().to_owned()
}

/// In a container nobody may reap an orphan.
fn is_zombie(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z') || rest.is_empty())
}

#[test]
fn the_starter_hands_on_complaint_and_exit_code() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let portal = format!("portal={}", taken.local_addr().unwrap());
    let output = place.run(&["-p", "tgtd.pid", "--iscsi", &portal]);
    assert_fails(&output, 98, &["in use"]);
    assert!(!place.path("tgtd.pid").exists());
}

#[test]
fn a_supervisor_is_told_when_it_serves_and_when_it_ends() {
    let place = Place::new();
    let supervisor = std::os::unix::net::UnixDatagram::bind(place.path("notify")).unwrap();
    let mut command = place.tgtd(EXPORT);
    command.env("NOTIFY_SOCKET", place.path("notify"));
    let mut serving = Serving::start(command);
    let told = || {
        let mut message = [0; 1024];
        let len = supervisor.recv(&mut message).unwrap();
        String::from_utf8_lossy(&message[..len]).into_owned()
    };
    assert!(told().contains("READY=1"));
    rustix::process::kill_process(serving.pid(), Signal::INT).unwrap();
    assert!(told().contains("STOPPING=1"));
    assert!(serving.child.wait().unwrap().success());
}

#[test]
fn version_and_help_go_to_standard_output() {
    let place = Place::new();
    let version = place.run(&["-V"]);
    assert!(version.status.success());
    assert_eq!(String::from_utf8(version.stdout).unwrap(), concat!(env!("CARGO_PKG_VERSION"), "\n"));
    let mut help = String::new();
    place.run(&["--help"]).stdout.as_slice().read_to_string(&mut help).unwrap();
    assert!(help.contains("--export") && help.contains("TGT_IPC_SOCKET"));
}

/// A pipe that takes no byte more, and its reader.
fn full_pipe() -> (OwnedFd, OwnedFd) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, b"x").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn standard_error_that_nobody_reads_delays_no_failure_and_no_start() {
    let place = Place::new();
    let (_reader, writer) = full_pipe();
    let ends = |words: &[&str]| {
        let mut command = place.tgtd(words);
        command.stdout(Stdio::null()).stderr(writer.try_clone().unwrap());
        command.status().unwrap().code()
    };
    assert_eq!(ends(&["--bogus"]), Some(1));
    assert_eq!(ends(&["-f", "--iscsi", "portal=192.0.2.1:3260"]), Some(99));
    assert_eq!(ends(&["--export", "none.img"]), Some(2));
    let pid_file = place.path("tgtd.pid");
    let words = ["--pid-file", pid_file.to_str().unwrap(), "--iscsi", "portal=127.0.0.1:0"];
    assert_eq!(ends(&words), Some(0), "it serves in the background");
    let pid = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    rustix::process::kill_process(Pid::from_raw(pid).unwrap(), Signal::TERM).unwrap();
    while pid_file.exists() {
        std::thread::yield_now();
    }
}

#[test]
fn failure_has_a_priority_in_the_journal() {
    let place = Place::new();
    let journal = std::fs::File::create(place.path("journal")).unwrap();
    let found = rustix::fs::fstat(&journal).unwrap();
    let mut command = place.tgtd(&["-f", "--iscsi", "portal=192.0.2.1:3260"]);
    command.env("JOURNAL_STREAM", format!("{}:{}", found.st_dev, found.st_ino));
    assert_eq!(command.stderr(journal).status().unwrap().code(), Some(99));
    let text = std::fs::read_to_string(place.path("journal")).unwrap();
    assert!(text.lines().all(|line| line.starts_with('<') && line.as_bytes()[2] == b'>'), "{text}");
    assert!(text.contains("<3>tgtd: cannot listen on the portal 192.0.2.1:3260"), "{text}");
}
