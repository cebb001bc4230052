//! Memory of the daemon, which has CHAP secrets: the kernel writes no core of it and hides it from processes of its user.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::net::UnixListener;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::Signal;

use crate::harness::Daemon;
use crate::service::{NOBODY, Unit};

const SECRET: &str = "the-secret-that-no-core-has";

#[test]
fn daemon_with_secrets_that_is_aborted_dumps_no_core() {
    let mut daemon = Daemon::start_with_cores();
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "alice", "--password", SECRET]);
    daemon.signal(Signal::ABORT);
    let status = daemon.ended();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped());
    for entry in fs::read_dir(daemon.path("")).unwrap() {
        let path = entry.unwrap().path();
        let content = fs::read(&path).unwrap_or_default();
        let found = content.windows(SECRET.len()).any(|window| window == SECRET.as_bytes());
        assert!(!found, "{}", path.display());
    }
}

/// UID to which the files in `/proc` of a process belong: root's if the kernel does not dump the process, otherwise that of
/// the process (proc_pid(5)).
fn owner(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/environ")).unwrap().uid()
}

#[test]
fn memory_of_daemon_and_tools_is_hidden_from_processes_of_their_user() {
    let unit = Unit::unprivileged();
    unit.configure(&["one"]);
    let started = unit.start_daemon();
    assert_eq!(owner(started.pid()), 0);

    // A daemon that answers nothing keeps the tools running.
    let socket = unit.path("silent.0");
    let silent = UnixListener::bind(&socket).unwrap();
    chown(&socket, Some(NOBODY), None).unwrap();
    let run = |program: &Path, words: &[&str]| {
        let mut command = Command::new(program);
        command.args(words).uid(NOBODY).stdin(Stdio::null());
        command.env("TGT_IPC_SOCKET", unit.path("silent")).spawn().unwrap()
    };
    let words = ["--mode", "account", "--op", "new", "--user", "alice", "--password", SECRET];
    for (name, words) in [("tgtadm", &words[..]), ("tgt-admin", &["--show"])] {
        let mut tool = run(&unit.path("programs").join(name), words);
        let _connection = silent.accept().unwrap();
        let found = owner(tool.id());
        tool.kill().unwrap();
        tool.wait().unwrap();
        assert_eq!(found, 0, "{name}");
    }
    let mut other = run(Path::new("sleep"), &["1000"]);
    let found = owner(other.id());
    other.kill().unwrap();
    other.wait().unwrap();
    assert_eq!(found, NOBODY);
}
