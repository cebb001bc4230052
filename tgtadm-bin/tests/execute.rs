//! What `tgt-admin -e` asks of a daemon that another process changes at the same time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod scripted;

use scripted::{Answer, Error, Ran, Text, done, run};

const TOOL: &str = env!("CARGO_BIN_EXE_tgt-admin");
const TARGET_EXISTS: Answer = Error(9);
const LUN_EXISTS: Answer = Error(10);
const RULE_EXISTS: Answer = Error(12);

/// What a daemon shows: the targets, no accounts, no settings.
fn shown(targets: &str) -> [Answer; 3] {
    [Text(targets.to_owned()), done(), done()]
}

/// A target with one unit.
fn target(tid: u32, name: &str, lun: u64, path: &str) -> String {
    format!(
        "Target {tid}: {name}\n    System information:\n        Driver: iscsi\n        State: ready\n\
         \u{20}   LUN information:\n        LUN: {lun}\n            Type: disk\n            Size: 1 MB, Block size: 512\n\
         \u{20}           Backing store type: null\n            Backing store path: {path}\n\
         \u{20}           Backing store flags: \n"
    )
}

/// Carries out a file of one target on these answers.
fn execute(inside: &str, answers: &[&[Answer]]) -> Ran {
    let directory = tempfile::tempdir().unwrap();
    let conf = directory.path().join("targets.conf");
    std::fs::write(&conf, format!("default-driver iscsi\n<target iqn.a:b>\n{inside}\n</target>\n")).unwrap();
    run(TOOL, &["-e", "-c", conf.to_str().unwrap()], &answers.concat())
}

/// The requests that change something.
fn changes(ran: &Ran) -> Vec<&str> {
    ran.sent.iter().map(|request| request.trim_end()).filter(|request| !request.contains(" show ")).collect()
}

#[test]
fn a_number_that_another_process_took_is_exchanged_for_the_next() {
    let taken = target(1, "iqn.other", 1, "x");
    let ran = execute("", &[&shown(""), &[TARGET_EXISTS], &shown(&taken), &[done(), done()]]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    let sent = [
        "target new 1 targetname=iqn.a:b",
        "target new 2 targetname=iqn.a:b",
        "target bind 2 initiator-address=ALL",
    ];
    assert_eq!(changes(&ran), sent);
}

#[test]
fn a_number_is_not_taken_that_the_daemon_does_not_show_but_refuses() {
    let ran = execute("", &[&shown(""), &[TARGET_EXISTS], &shown(""), &[done(), done()]]);
    assert_eq!(changes(&ran)[1], "target new 2 targetname=iqn.a:b");
}

#[test]
fn a_target_that_another_process_made_is_there() {
    let made = target(1, "iqn.a:b", 1, "x");
    let ran = execute("", &[&shown(""), &[TARGET_EXISTS], &shown(&made)]);
    assert_eq!((ran.exit, changes(&ran).len()), (Some(0), 1), "{ran:?}");
}

#[test]
fn a_units_number_that_another_process_took_is_exchanged_unless_it_is_the_same_unit() {
    let store = "<backing-store mine>\nbs-type null\n</backing-store>";
    for (path, more) in [("mine", None), ("theirs", Some("logicalunit new 1 2 path=mine,bstype=null"))] {
        let taken = shown(&target(1, "iqn.a:b", 1, path));
        let rest = vec![done(); 1 + usize::from(more.is_some())];
        let ran = execute(store, &[&shown(""), &[done(), LUN_EXISTS], &taken, &rest]);
        assert_eq!(ran.exit, Some(0), "{ran:?}");
        let first = ["target new 1 targetname=iqn.a:b", "logicalunit new 1 1 path=mine,bstype=null"];
        let last = "target bind 1 initiator-address=ALL";
        let sent: Vec<&str> = first.into_iter().chain(more).chain([last]).collect();
        assert_eq!(changes(&ran), sent);
    }
}

#[test]
fn a_units_number_of_the_file_is_not_exchanged() {
    let store = "<backing-store mine>\nlun 1\nbs-type null\n</backing-store>";
    let taken = shown(&target(1, "iqn.a:b", 1, "theirs"));
    let ran = execute(store, &[&shown(""), &[done(), LUN_EXISTS], &taken, &[done()], &shown("")]);
    assert_eq!(
        (ran.exit, changes(&ran).last().copied()),
        (Some(22), Some("target delete 1 force")),
        "{ran:?}"
    );
}

#[test]
fn a_rule_that_another_process_made_is_there_but_twice_in_the_file_it_is_a_failure() {
    let ran = execute("", &[&shown(""), &[done(), RULE_EXISTS]]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    let twice = "initiator-address 192.0.2.1\ninitiator-address 192.0.2.1";
    let ran = execute(twice, &[&shown(""), &[done(), done(), RULE_EXISTS, done()], &shown("")]);
    assert_eq!(ran.exit, Some(22), "as with tgt's: {ran:?}");
    assert!(ran.stdout.ends_with("-I 192.0.2.1\nexited with code: 22.\n"), "{ran:?}");
}
