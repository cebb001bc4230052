//! The requests of `tgt-admin -e` to a daemon that another process changes at the same time.

#![allow(clippy::unwrap_used, reason = "tests")]

mod scripted;

use scripted::{Answer, Error, Ran, Text, done, run};

const TOOL: &str = env!("CARGO_BIN_EXE_tgt-admin");
const TARGET_EXISTS: Answer = Error(9);
const LUN_EXISTS: Answer = Error(10);
const RULE_EXISTS: Answer = Error(12);

/// The reports of a daemon: the targets, no accounts, no settings.
fn shown(targets: &str) -> [Answer; 3] {
    [Text(targets.to_owned()), done(), done()]
}

/// The report of a target with one unit.
fn target(tid: u32, name: &str, lun: u64, path: &str) -> String {
    format!(
        "Target {tid}: {name}\n    System information:\n        Driver: iscsi\n        State: ready\n\
         \u{20}   LUN information:\n        LUN: {lun}\n            Type: disk\n            Size: 1 MB, Block size: 512\n\
         \u{20}           Backing store type: null\n            Backing store path: {path}\n\
         \u{20}           Backing store flags: \n"
    )
}

/// Runs `tgt-admin -e` with a file of one target and these answers.
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
fn taken_target_number_is_replaced_by_the_next() {
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
fn number_that_is_taken_but_not_listed_is_skipped() {
    let ran = execute("", &[&shown(""), &[TARGET_EXISTS], &shown(""), &[done(), done()]]);
    assert_eq!(changes(&ran)[1], "target new 2 targetname=iqn.a:b");
}

#[test]
fn target_created_by_another_process_is_no_failure() {
    let made = target(1, "iqn.a:b", 1, "x");
    let ran = execute("", &[&shown(""), &[TARGET_EXISTS], &shown(&made)]);
    assert_eq!((ran.exit, changes(&ran).len()), (Some(0), 1), "{ran:?}");
}

#[test]
fn taken_lun_is_replaced_unless_it_is_the_same_unit() {
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
fn lun_in_the_file_is_not_replaced() {
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
fn rule_created_by_another_process_is_no_failure_but_repeated_rule_is() {
    let ran = execute("", &[&shown(""), &[done(), RULE_EXISTS]]);
    assert_eq!(ran.exit, Some(0), "{ran:?}");
    let twice = "initiator-address 192.0.2.1\ninitiator-address 192.0.2.1";
    let ran = execute(twice, &[&shown(""), &[done(), done(), RULE_EXISTS, done()], &shown("")]);
    assert_eq!(ran.exit, Some(22), "as with tgt: {ran:?}");
    assert!(ran.stdout.ends_with("-I 192.0.2.1\nexited with code: 22.\n"), "{ran:?}");
}
