//! The requests of `tgt-setup-lun` to a daemon with prepared answers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod scripted;

use std::process::Command;

use scripted::{Answer, Error, Ran, Text, done};

const TOOL: &str = env!("CARGO_BIN_EXE_tgt-setup-lun");

fn run(words: &[&str], answers: &[Answer]) -> Ran {
    scripted::run(TOOL, words, answers)
}

const WORDS: &[&str] = &["-n", "iqn.a:b", "-d", "/nowhere/x"];

/// The report of targets 1 to `count`.
fn listed(count: u32) -> Answer {
    Text((1..=count).map(|tid| format!("Target {tid}: iqn.t:{tid}\n    LUN information:\n")).collect())
}

#[test]
fn first_free_number_is_used_also_above_255() {
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
fn taken_target_number_is_skipped() {
    let ran = run(WORDS, &[listed(0), Error(9), listed(1), done(), done(), done()]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    assert_eq!(ran.sent[3], "target new 2 targetname=iqn.a:b");
}

#[test]
fn existing_name_is_refused_and_nothing_is_created() {
    let ran = run(WORDS, &[Text("Target 7: iqn.a:b\n".to_owned())]);
    assert_eq!((ran.exit, ran.sent.len()), (Some(1), 1));
    assert!(ran.stdout.ends_with("Error: target named iqn.a:b already exists\n"), "{ran:?}");
}

/// Only the daemon's error says that a number is taken, not that another target has it afterwards.
#[test]
fn other_error_is_a_failure() {
    let ran = run(WORDS, &[listed(0), Error(17)]);
    assert_eq!((ran.exit, ran.sent.len()), (Some(1), 2), "{ran:?}");
}

#[test]
fn name_created_by_another_process_is_an_error() {
    let ran = run(WORDS, &[listed(0), Error(9), Text("Target 1: iqn.a:b\n".to_owned())]);
    assert_eq!((ran.exit, ran.sent.len()), (Some(1), 3), "{ran:?}");
    assert!(ran.stdout.ends_with("Error: target named iqn.a:b already exists\n"), "{ran:?}");
}

#[test]
fn taken_lun_is_skipped() {
    let ran = run(WORDS, &[listed(0), done(), Error(10), done(), done()]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    assert_eq!(ran.sent[3], "logicalunit new 1 2 path=/nowhere/x");
}

#[test]
fn target_is_deleted_after_failed_step() {
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
fn target_that_cannot_be_deleted_is_reported() {
    let ran = run(WORDS, &[listed(0), done(), Error(17), Error(20)]);
    assert_eq!(ran.exit, Some(2));
    assert!(ran.stdout.ends_with("Error: target tid=1 could not be deleted\n"), "{ran:?}");
}

#[test]
fn relative_path_in_directory_with_comma_is_refused_and_nothing_is_sent() {
    let directory = tempfile::tempdir().unwrap();
    let here = directory.path().join("a,b");
    std::fs::create_dir(&here).unwrap();
    std::fs::write(here.join("disk"), "").unwrap();
    let mut tool = Command::new(TOOL);
    tool.args(["-n", "iqn.a:b", "-d", "disk"]).current_dir(&here).env("TGT_IPC_SOCKET", here.join("none"));
    let output = tool.output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "not 107, the daemon is not asked: {said}");
    assert!(said.contains("a,b/disk: a path with a comma"), "{said}");
}

#[test]
fn absent_daemon_exits_with_107() {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_tgt-setup-lun"));
    let directory = tempfile::tempdir().unwrap();
    let output = tool.args(WORDS).env("TGT_IPC_SOCKET", directory.path().join("none")).output().unwrap();
    assert_eq!(output.status.code(), Some(107));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("tgtadm: failed to send request"));
}
