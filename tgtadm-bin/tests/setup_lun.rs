//! `tgt-setup-lun` and a daemon that answers from a list: which requests it sends, and what it undoes.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::Command;
use std::thread;

use target_engine::control::wire::{Mode, Op, RequestHeader};

/// What the daemon says to one request: a text, or the number of an error.
#[derive(Clone, Debug)]
enum Answer {
    Text(String),
    Error(u32),
}
use Answer::{Error, Text};

fn done() -> Answer {
    Text(String::new())
}

/// A run that is over.
#[derive(Debug)]
struct Ran {
    /// The requests: mode, operation, target, unit, strings.
    sent: Vec<String>,
    exit: Option<i32>,
    stdout: String,
}

/// Runs the tool with `words`, one answer to each request.
fn run(words: &[&str], answers: &[Answer]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("socket.0");
    let listener = UnixListener::bind(&path).unwrap();
    let answers = answers.to_vec();
    let daemon = thread::spawn(move || {
        let mut sent = Vec::new();
        for (mut socket, _) in std::iter::from_fn(|| listener.accept().ok()) {
            let Some(request) = request(&mut socket) else { break };
            match answers.get(sent.len()) {
                None => panic!("{request} comes unexpected"),
                Some(Error(number)) => socket.write_all(&reply(*number, &[])).unwrap(),
                Some(Text(text)) if text.is_empty() => socket.write_all(&reply(0, &[])).unwrap(),
                Some(Text(text)) => socket.write_all(&reply(0, format!("{text}\0").as_bytes())).unwrap(),
            }
            sent.push(request);
        }
        sent
    });
    let mut tool = Command::new(env!("CARGO_BIN_EXE_tgt-setup-lun"));
    let output = tool.args(words).env("TGT_IPC_SOCKET", directory.path().join("socket")).output().unwrap();
    drop(UnixStream::connect(&path));
    let sent = daemon.join().unwrap();
    Ran { sent, exit: output.status.code(), stdout: String::from_utf8(output.stdout).unwrap() }
}

fn reply(error: u32, text: &[u8]) -> Vec<u8> {
    [&error.to_le_bytes(), &(8 + text.len() as u32).to_le_bytes(), text].concat()
}

fn request(socket: &mut UnixStream) -> Option<String> {
    let mut bytes = [0; 120];
    socket.read_exact(&mut bytes).ok()?;
    let header = RequestHeader::decode(&bytes);
    let mut strings = vec![0; header.len as usize - bytes.len()];
    socket.read_exact(&mut strings).unwrap();
    let (mode, op) = (Mode::from_number(header.mode).unwrap(), Op::from_number(header.op).unwrap());
    let strings = String::from_utf8(strings).unwrap();
    let force = if header.force == 1 { " force" } else { "" };
    let lun = if header.lun == u64::MAX { String::new() } else { format!(" {}", header.lun) };
    Some(format!(
        "{} {} {}{lun}{force} {}",
        mode.word(),
        op.word(),
        header.tid,
        strings.trim_end_matches('\0')
    ))
}

const WORDS: &[&str] = &["-n", "iqn.a:b", "-d", "/nowhere/x"];

/// Targets 1 to `count`.
fn listed(count: u32) -> Answer {
    Text((1..=count).map(|tid| format!("Target {tid}: iqn.t:{tid}\n    LUN information:\n")).collect())
}

#[test]
fn the_first_free_number_is_taken_also_above_255() {
    let ran = run(WORDS, &[listed(299), done(), done(), done()]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    #[rustfmt::skip]
    assert_eq!(ran.sent, [
        "target show -1 ",
        "target new 300 targetname=iqn.a:b",
        "logicalunit new 300 1 path=/nowhere/x",
        "target bind 300 initiator-address=ALL",
    ]);

    let gap = Text("Target 1: iqn.t:1\nTarget 3: iqn.t:3\n".to_owned());
    let words = [WORDS, &["-b", "aio", "-B", "4096", "10.0.0.1", "10.0.0.1", "10.0.0.2"]].concat();
    let ran = run(&words, &[gap, done(), done(), done(), done()]);
    #[rustfmt::skip]
    assert_eq!(ran.sent[2..], [
        "logicalunit new 2 1 path=/nowhere/x,bstype=aio,blocksize=4096",
        "target bind 2 initiator-address=10.0.0.1",
        "target bind 2 initiator-address=10.0.0.2",
    ]);
}

#[test]
fn a_number_that_somebody_else_took_meanwhile_is_passed_over() {
    let ran = run(WORDS, &[listed(0), Error(9), listed(1), done(), done(), done()]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    assert_eq!(ran.sent[3], "target new 2 targetname=iqn.a:b");
}

#[test]
fn a_name_that_exists_is_refused_before_anything_is_made() {
    let ran = run(WORDS, &[Text("Target 7: iqn.a:b\n".to_owned())]);
    assert_eq!((ran.exit, ran.sent.len()), (Some(1), 1));
    assert!(ran.stdout.ends_with("Error: target named iqn.a:b already exists\n"), "{ran:?}");
}

/// Only the daemon's word that a number is taken counts, not that another target has it afterwards.
#[test]
fn another_refusal_is_a_failure_whoever_has_the_number() {
    let ran = run(WORDS, &[listed(0), Error(17)]);
    assert_eq!((ran.exit, ran.sent.len()), (Some(1), 2), "{ran:?}");
}

#[test]
fn a_name_that_somebody_else_made_meanwhile_exists() {
    let ran = run(WORDS, &[listed(0), Error(9), Text("Target 1: iqn.a:b\n".to_owned())]);
    assert_eq!((ran.exit, ran.sent.len()), (Some(1), 3), "{ran:?}");
    assert!(ran.stdout.ends_with("Error: target named iqn.a:b already exists\n"), "{ran:?}");
}

#[test]
fn a_units_number_that_somebody_else_took_meanwhile_is_passed_over() {
    let ran = run(WORDS, &[listed(0), done(), Error(10), done(), done()]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    assert_eq!(ran.sent[3], "logicalunit new 1 2 path=/nowhere/x");
}

#[test]
fn what_was_made_is_deleted_where_a_step_fails() {
    let steps = [listed(0), done(), done(), done()];
    for failing in 1..steps.len() {
        let mut answers = steps[..failing].to_vec();
        answers.push(Error(17));
        if failing > 1 {
            answers.push(done());
        }
        let ran = run(WORDS, &answers);
        assert_eq!((ran.exit, ran.sent.len()), (Some(1), answers.len()), "{ran:?}");
        if failing > 1 {
            assert_eq!(ran.sent.last().unwrap(), "target delete 1 force ");
        }
    }
}

#[test]
fn a_target_that_could_not_be_deleted_is_told() {
    let ran = run(WORDS, &[listed(0), done(), Error(17), Error(20)]);
    assert_eq!(ran.exit, Some(2));
    assert!(ran.stdout.ends_with("Error: target tid=1 could not be deleted\n"), "{ran:?}");
}

#[test]
fn no_daemon_is_107() {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_tgt-setup-lun"));
    let directory = tempfile::tempdir().unwrap();
    let output = tool.args(WORDS).env("TGT_IPC_SOCKET", directory.path().join("none")).output().unwrap();
    assert_eq!(output.status.code(), Some(107));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("tgtadm: failed to send request"));
}
