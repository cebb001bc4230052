//! Every test of libiscsi's iscsi-test-cu, each in its own process, on units of 512- and 4096-byte blocks; `unit_kinds`
//! runs them on other units.
//!
//! The tool counts a skipped test as passed; here it is a skip, and the table `libiscsi-skips.txt` lists the known ones
//! with reasons. A failed test, a skip that is not in the table, and a test of the table that passes all fail.

use std::collections::BTreeMap;
use std::sync::Mutex;

use crate::harness::{run, succeed};
use crate::unit_kinds::UnitKind;

const TABLE: &str = include_str!("libiscsi-skips.txt");
/// Processes at the same time, each with its own daemon.
const WORKERS: usize = 2;
/// Message before many tests: the tool queries the supported commands and continues without them.
const QUERY_SKIPPED: &str = "REPORT_SUPPORTED_OPCODES is not implemented";

/// Result of a test.
#[derive(Clone, Debug, Eq, PartialEq)]
enum Verdict {
    Passed,
    /// Skipped, with the reason.
    Skipped(String),
    /// Failed, with the message.
    Failed(String),
}

/// Each test once: `SUITE.TEST` and the name to run it by.
fn all_tests() -> Vec<(String, String)> {
    let mut tests = BTreeMap::new();
    for line in succeed("iscsi-test-cu", ["-l"]).lines() {
        let words: Vec<&str> = line.trim().split('.').collect();
        if let [family, suite, test] = words[..] {
            tests.entry(format!("{suite}.{test}")).or_insert(format!("{family}.{suite}.{test}"));
        }
    }
    assert!(tests.len() > 200, "iscsi-test-cu -l lists too few tests: {tests:?}");
    tests.into_iter().collect()
}

/// The rows of the table for this kind of unit: tests and the reasons of their skips.
fn known_skips(kind: UnitKind) -> BTreeMap<&'static str, &'static str> {
    let lines = TABLE.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    let rows = lines.filter_map(|line| {
        let (test, reason) = line.split_once(' ').expect("TEST REASON");
        let (words, reason) = match reason.trim().strip_prefix("on ").and_then(|rest| rest.split_once(": ")) {
            Some((words, reason)) => (words, reason),
            None => ("", reason.trim()),
        };
        assert!(reason.len() > 5, "{test}: the table gives no reason");
        let mut words = words.split_whitespace();
        words.all(|word| word.split('|').any(|word| kind.is(word))).then_some((test, reason))
    });
    let table: BTreeMap<_, _> = rows.clone().collect();
    assert_eq!(table.len(), rows.count(), "the table has a test twice for {kind:?}");
    table
}

/// The verdict from the output of one test.
fn verdict(test: &str, output: &str) -> Verdict {
    let marked = |mark: &str| {
        let line = output.lines().filter_map(|line| line.split_once(mark)).map(|(_, rest)| rest.trim());
        line.map(str::to_owned).collect::<Vec<_>>()
    };
    let Some(failed) = summary(output, "tests") else {
        let last = output.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
        return Verdict::Failed(format!("ended early: {last}"));
    };
    if failed > 0 {
        let (mut words, assertion) =
            (marked("[FAILED]"), output.lines().find(|line| line.contains(" - CU_")));
        words.extend(assertion.map(|line| line.trim().to_owned()));
        return Verdict::Failed(words.into_iter().next().unwrap_or_default());
    }
    let skips = marked("[SKIPPED]");
    let skip = skips
        .into_iter()
        .find(|skip| !skip.starts_with(QUERY_SKIPPED) || test.starts_with("ReportSupported"));
    skip.map_or(Verdict::Passed, Verdict::Skipped)
}

/// Number of failures in a row of the tool's summary.
fn summary(output: &str, row: &str) -> Option<u32> {
    let line = output.lines().rfind(|line| line.split_whitespace().next() == Some(row))?;
    line.split_whitespace().nth(4)?.parse().ok()
}

/// Runs tests from the queue; starts a new daemon after each failure, so that it does not affect other tests.
fn work(queue: &Mutex<Vec<(String, String)>>, kind: UnitKind, verdicts: &Mutex<BTreeMap<String, Verdict>>) {
    let mut unit = kind.serve();
    loop {
        let Some((test, name)) = queue.lock().unwrap().pop() else { return };
        let output = run("iscsi-test-cu", ["-d", "-S", "-t", &name, &unit.daemon.url(1)]).text;
        let verdict = verdict(&test, &output);
        if matches!(verdict, Verdict::Failed(_)) {
            unit = kind.serve();
        }
        verdicts.lock().unwrap().insert(test, verdict);
    }
}

/// Runs all tests on a unit of this kind and returns how the verdicts differ from the table.
#[track_caller]
pub(crate) fn nonconformities(kind: UnitKind) -> Vec<String> {
    let mut tests = all_tests();
    let (table, number) = (known_skips(kind), tests.len());
    let unknown: Vec<_> = table.keys().filter(|key| !tests.iter().any(|(test, _)| test == *key)).collect();
    assert!(unknown.is_empty(), "iscsi-test-cu does not have these tests: {unknown:?}");
    tests.reverse();
    let (queue, verdicts) = (Mutex::new(tests), Mutex::new(BTreeMap::new()));
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| work(&queue, kind, &verdicts));
        }
    });
    let verdicts = verdicts.into_inner().unwrap();
    assert_eq!(verdicts.len(), number);
    let mut errors = Vec::new();
    for (test, verdict) in &verdicts {
        let reason = table.get(test.as_str());
        let fails = reason.is_some_and(|reason| reason.starts_with(FAILS));
        match (verdict, reason) {
            (Verdict::Passed, None) => {}
            (Verdict::Skipped(_), Some(_)) if !fails => {}
            (Verdict::Failed(_), Some(reason)) if fails || reason.starts_with(UNSOUND) => {}
            (Verdict::Passed, Some(_)) => errors.push(format!("{test} passes; remove it from the table")),
            (Verdict::Skipped(why), _) => errors.push(format!("{test} is skipped: {why}")),
            (Verdict::Failed(why), _) => errors.push(format!("{test} failed: {why}")),
        }
    }
    errors
}

#[track_caller]
fn assert_conforms(block_len: u32) {
    let errors = nonconformities(UnitKind::thin(block_len));
    assert!(errors.is_empty(), "with blocks of {block_len} bytes:\n{}", errors.join("\n"));
}

/// Start of the reason of a test that fails on such a unit, because it expects what the unit refuses or does not keep.
const FAILS: &str = "fails:";
/// Start of the reason of a test that fails for every target.
const UNSOUND: &str = "unsound:";

#[test]
fn libiscsi_tests_pass_or_are_known_skips_with_512_byte_blocks() {
    assert_conforms(512);
}

#[test]
fn libiscsi_tests_pass_or_are_known_skips_with_4096_byte_blocks() {
    assert_conforms(4096);
}

#[test]
fn verdicts_are_parsed_from_the_output() {
    let output = |middle: &str, failed: u32| {
        format!(
            "Suite: A\n  Test: B ...{middle}\nRun Summary: Type Total\n  suites 1 1 n/a 0 0\n  tests 1 1 1 {failed} 0\n  asserts 9 9 9 0 n/a\n"
        )
    };
    let query = format!("[SKIPPED] {QUERY_SKIPPED}.");
    assert_eq!(verdict("A.B", &output("passed", 0)), Verdict::Passed);
    assert_eq!(verdict("A.B", &output("[SKIPPED] no disk", 0)), Verdict::Skipped("no disk".to_owned()));
    assert_eq!(verdict("A.B", &output(&query, 0)), Verdict::Passed);
    assert!(matches!(verdict("ReportSupportedOpcodes.B", &output(&query, 0)), Verdict::Skipped(_)));
    assert_eq!(
        verdict("A.B", &output("[SKIPPED] x\n[FAILED] broken", 1)),
        Verdict::Failed("broken".to_owned())
    );
    assert!(matches!(verdict("A.B", "  Test: B ..."), Verdict::Failed(why) if why.contains("ended early")));
}
