//! Logging to a standard error that is not read, and to journald.

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::process::Stdio;
use std::sync::mpsc;
use std::thread;

use rustix::fs::OFlags;
use rustix::process::Signal;
use target_engine::control::request::Strings;
use target_engine::control::wire::{Mode, Op, RequestHeader};
use tgt_tests::control;

use crate::client::Client;
use crate::harness::{CONTROL_PORT, DEADLINE, DISK, Daemon, succeed};

const LEN: u64 = 1 << 20;
const REPORT: &str = "lines were lost: standard error did not take them";

/// Reader and writer of a full pipe.
fn full_pipe() -> (File, File) {
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    let flags = rustix::fs::fcntl_getfl(&writer).unwrap();
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    while rustix::io::write(&writer, b"\n").is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).unwrap();
    (reader.into(), writer.into())
}

/// Sends requests whose log lines exceed the queue of the log.
fn overflow_log_queue(daemon: &Daemon) {
    let socket = daemon.path(&format!("control.{CONTROL_PORT}"));
    let path = format!("/nonexistent/{}", "x".repeat(900));
    let strings = Strings { path: Some(path), ..Strings::default() };
    let header = RequestHeader { tid: 1, lun: 9, ..RequestHeader::default() };
    for _ in 0..1500 {
        let refused = control::ask(&socket, Mode::LogicalUnit, Op::New, &header, &strings);
        assert_eq!(refused.map_err(|error| error.kind()), Err(ErrorKind::Other), "an answer");
    }
}

/// The lines that a daemon writes, until none comes within [`DEADLINE`].
fn lines_of(reader: File) -> impl Iterator<Item = String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    std::iter::from_fn(move || lines.recv_timeout(DEADLINE).ok())
}

#[test]
fn unread_standard_error_does_not_stop_management_discovery_or_logins() {
    let (reader, writer) = full_pipe();
    let mut daemon = Daemon::start_logging_to(Stdio::from(writer), "", &["--debug", "1"]);
    daemon.disk(1, LEN);
    overflow_log_queue(&daemon);
    assert!(daemon.adm(&["--mode", "sys", "--op", "show"]).contains("State: ready"));
    succeed("iscsi-ls", [format!("iscsi://{}", daemon.portal)]);
    succeed("iscsi-inq", [daemon.url(1)]);
    let mut client = Client::login(&daemon, 1, DISK);
    client.write(0, &[7; 512]).unwrap();

    let mut lines = lines_of(reader);
    assert!(lines.any(|line| line.contains("portal 127.0.0.1:")), "the first lines are kept");
    assert!(
        lines.any(|line| line.contains("[WARN]") && line.contains(REPORT)),
        "the number of lost lines is logged"
    );
    daemon.signal(Signal::TERM);
    assert!(lines.any(|line| line.ends_with("[INFO] ended")), "the end is logged");
    drop(client);
    assert!(daemon.ended().success());
}

#[test]
fn daemon_ends_with_an_unread_standard_error() {
    let (_reader, writer) = full_pipe();
    let mut daemon = Daemon::start_logging_to(Stdio::from(writer), "", &[]);
    daemon.disk(1, LEN);
    daemon.signal(Signal::TERM);
    assert!(daemon.ended().success());
}

#[test]
fn log_lines_have_priorities_only_if_standard_error_is_the_journal() {
    let directory = tempfile::tempdir().unwrap();
    for is_journal in [true, false] {
        let path = directory.path().join("stderr");
        let stderr = File::create(&path).unwrap();
        let found = rustix::fs::fstat(&stderr).unwrap();
        let inode = if is_journal { found.st_ino } else { found.st_ino + 1 };
        let stream = format!("{}:{inode}", found.st_dev);
        let mut daemon = Daemon::start_logging_to(Stdio::from(stderr), &stream, &["--debug", "1"]);
        daemon.disk(1, LEN);
        daemon.signal(Signal::TERM);
        assert!(daemon.ended().success());
        let mut text = String::new();
        File::open(&path).unwrap().read_to_string(&mut text).unwrap();
        let begins =
            |line: &str| line.starts_with("<4>") || line.starts_with("<6>") || line.starts_with("<7>");
        assert_eq!(text.lines().all(begins), is_journal, "{text}");
        assert_eq!(text.lines().any(begins), is_journal, "{text}");
        let target = "target 1: iqn.2026-01.org.example:target1 made";
        let line = if is_journal { format!("\n<6>{target}\n") } else { format!(" [INFO] {target}\n") };
        assert!(text.contains(&line), "{text}");
    }
}
