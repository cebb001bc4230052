//! Every test of libiscsi's iscsi-test-cu, each as a process of its own, on two kinds of unit.
//!
//! The tool counts a test that skipped itself as passed; here its skip is a skip, and `libiscsi-skips.txt` says which
//! ones are known and why. A failure fails, a skip that is not in the table fails, and so does a line of the table whose
//! test passes now.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::harness::{Daemon, run, succeed};

const TABLE: &str = include_str!("libiscsi-skips.txt");
/// Processes at a time; each with a daemon of its own.
const WORKERS: usize = 2;
const DISK_LEN: u64 = 256 << 20;
/// The tool asks for the supported commands before many tests and goes on without them.
const ASKED_ASIDE: &str = "REPORT_SUPPORTED_OPCODES is not implemented";

/// How a test ended.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Verdict {
    Passed,
    /// By its own will, and why.
    Skipped(String),
    /// By its own words.
    Failed(String),
}

/// The tests once each, `SUITE.TEST`, with the name to call them by.
fn all_tests() -> Vec<(String, String)> {
    let mut tests = BTreeMap::new();
    for line in succeed("iscsi-test-cu", ["-l"]).lines() {
        let words: Vec<&str> = line.trim().split('.').collect();
        if let [family, suite, test] = words[..] {
            tests.entry(format!("{suite}.{test}")).or_insert(format!("{family}.{suite}.{test}"));
        }
    }
    assert!(tests.len() > 200, "the tool lists its tests: {tests:?}");
    tests.into_iter().collect()
}

/// The table for blocks of this length: tests and what their skip says, each with a reason.
fn known_skips(block_len: u32) -> BTreeMap<&'static str, &'static str> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines.map(|line| {
        let (test, reason) = line.split_once(' ').expect("TEST REASON");
        let (only, reason) = match reason.trim().strip_prefix("on ").and_then(|rest| rest.split_once(": ")) {
            Some((len, reason)) => (Some(len.parse::<u32>().expect("on BYTES:")), reason),
            None => (None, reason.trim()),
        };
        assert!(reason.len() > 5, "{test}: a reason");
        (test, only, reason)
    });
    let rows = rows.filter(|(_, only, _)| only.is_none_or(|len| len == block_len));
    let table: BTreeMap<_, _> = rows.clone().map(|(test, _, reason)| (test, reason)).collect();
    assert_eq!(table.len(), rows.count(), "each test once");
    table
}

/// What the tool said of its one test.
fn verdict(test: &str, said: &str) -> Verdict {
    let marked = |mark: &str| {
        let line = said.lines().filter_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
        line.map(str::to_owned).collect::<Vec<_>>()
    };
    let Some(failed) = summary(said, "tests") else {
        let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Verdict::Failed(format!("no end: {last}"));
    };
    if failed > 0 {
        let (mut words, assertion) = (marked("[FAILED]"), said.lines().find(|line| line.contains(" - CU_")));
        words.extend(assertion.map(|line| line.trim().to_owned()));
        return Verdict::Failed(words.into_iter().next().unwrap_or_default());
    }
    let skips = marked("[SKIPPED]");
    let skip =
        skips.into_iter().find(|skip| !skip.starts_with(ASKED_ASIDE) || test.starts_with("ReportSupported"));
    skip.map_or(Verdict::Passed, Verdict::Skipped)
}

/// How many failed, of the row of the tool's closing table.
fn summary(said: &str, row: &str) -> Option<u32> {
    let line = said.lines().rfind(|line| line.split_whitespace().next() == Some(row))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// Runs tests one after another; a fresh daemon after each that failed, so that it fails alone.
fn work(queue: &Mutex<Vec<(String, String)>>, block_len: u32, verdicts: &Mutex<BTreeMap<String, Verdict>>) {
    let fresh = || {
        let daemon = Daemon::start();
        daemon.thin_disk(1, DISK_LEN, block_len);
        daemon
    };
    let mut daemon = fresh();
    loop {
        let Some((test, name)) = queue.lock().unwrap().pop() else { return };
        let said = run("iscsi-test-cu", ["-d", "-S", "-t", &name, &daemon.url(1)]).text;
        let verdict = verdict(&test, &said);
        if matches!(verdict, Verdict::Failed(_)) {
            daemon = fresh();
        }
        verdicts.lock().unwrap().insert(test, verdict);
    }
}

#[track_caller]
fn assert_conforms(block_len: u32) {
    let mut tests = all_tests();
    let (table, number) = (known_skips(block_len), tests.len());
    let strangers: Vec<_> = table.keys().filter(|key| !tests.iter().any(|(test, _)| test == *key)).collect();
    assert!(strangers.is_empty(), "the tool has no such tests: {strangers:?}");
    tests.reverse();
    let (queue, verdicts) = (Mutex::new(tests), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&queue, block_len, &verdicts));
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    assert_eq!(verdicts.len(), number);
    let mut complaints = Vec::new();
    for (test, verdict) in &verdicts {
        match (verdict, table.get(test.as_str())) {
            (Verdict::Passed, None) | (Verdict::Skipped(_), Some(_)) => {}
            (Verdict::Failed(_), Some(reason)) if reason.starts_with(UNSOUND) => {}
            (Verdict::Passed, Some(_)) => {
                complaints.push(format!("{test} passes; the table says it does not"))
            }
            (Verdict::Skipped(why), None) => complaints.push(format!("{test} skips itself: {why}")),
            (Verdict::Failed(why), _) => complaints.push(format!("{test} FAILS: {why}")),
        }
    }
    assert!(complaints.is_empty(), "with blocks of {block_len} bytes:\n{}", complaints.join("\n"));
}

/// Of a test that fails whatever the target does.
const UNSOUND: &str = "unsound:";

#[test]
fn every_test_of_libiscsi_passes_or_is_a_known_skip_on_blocks_of_512_bytes() {
    assert_conforms(512);
}

#[test]
fn every_test_of_libiscsi_passes_or_is_a_known_skip_on_blocks_of_4096_bytes() {
    assert_conforms(4096);
}

#[test]
fn the_tools_words_are_understood() {
    let said = |middle: &str, failed: u32| {
        format!(
            "Suite: A\n  Test: B ...{middle}\nRun Summary: Type Total\n  suites 1 1 n/a 0 0\n  tests 1 1 1 {failed} 0\n  asserts 9 9 9 0 n/a\n"
        )
    };
    let aside = format!("[SKIPPED] {ASKED_ASIDE}.");
    assert_eq!(verdict("A.B", &said("passed", 0)), Verdict::Passed);
    assert_eq!(verdict("A.B", &said("[SKIPPED] no disk", 0)), Verdict::Skipped("no disk".to_owned()));
    assert_eq!(verdict("A.B", &said(&aside, 0)), Verdict::Passed);
    assert!(matches!(verdict("ReportSupportedOpcodes.B", &said(&aside, 0)), Verdict::Skipped(_)));
    assert_eq!(
        verdict("A.B", &said("[SKIPPED] x\n[FAILED] broken", 1)),
        Verdict::Failed("broken".to_owned())
    );
    assert!(matches!(verdict("A.B", "  Test: B ..."), Verdict::Failed(why) if why.contains("no end")));
}
