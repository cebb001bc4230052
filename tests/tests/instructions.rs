//! Counts the instructions of a warm command in the engine with valgrind and compares them with `instructions.toml`, which
//! detects regressions without a clock.
//!
//! A command is counted in a release build from the bytes of its PDU to the bytes of its response. The difference of two
//! runs of different length excludes the setup.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tgt_tests::bare::BATCH;

/// Most percent by which a count may exceed the recorded one.
const MARGIN: u64 = 2;
/// Batches of the shorter run; the longer run has twice as many.
const BATCHES: u64 = 100;
/// Environment variable that makes the test record the counts instead of checking them.
const RECORD: &str = "TGT_RECORD_INSTRUCTIONS";

const KINDS: [(&str, &str); 4] =
    [("read", "null"), ("write", "null"), ("read", "memory"), ("write", "memory")];

#[test]
fn warm_commands_take_no_more_instructions_than_recorded() {
    let program = build();
    let counted: BTreeMap<String, u64> = KINDS
        .iter()
        .map(|(work, store)| (format!("{work}_4k_{store}"), count(&program, work, store)))
        .collect();
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    if env::var_os(RECORD).is_some() {
        fs::write(&file, record(&counted)).unwrap();
    }
    let recorded = parse(&fs::read_to_string(&file).unwrap());
    let mut above = Vec::new();
    for (kind, &now) in &counted {
        let before = recorded.get(kind).copied().unwrap_or_default();
        println!("{kind}: {now} instructions, {before} recorded");
        if now > before + before * MARGIN / 100 {
            above.push(format!("{kind} takes {now} instructions, recorded are {before}"));
        }
    }
    assert!(
        above.is_empty(),
        "{}\nTo record new counts: {RECORD}=1 cargo test -p tgt-tests --test instructions",
        above.join("\n")
    );
}

/// Builds the example to count, in release, in the target directory of this test.
fn build() -> PathBuf {
    let this = env::current_exe().expect("path of the test binary");
    let target = this.ancestors().nth(3).expect("the test binary is in target/PROFILE/deps");
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "tgt-tests",
            "--example",
            "warm_commands",
            "--target-dir",
        ])
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cannot run cargo");
    assert!(status.success(), "cannot build the example warm_commands");
    target.join("release/examples/warm_commands")
}

/// Instructions of one command.
fn count(program: &Path, work: &str, store: &str) -> u64 {
    let of = |batches: u64| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(program)
            .args([work, store, &batches.to_string()])
            .output()
            .expect("cannot run valgrind (Debian package valgrind)");
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{text}");
        collected(&text).unwrap_or_else(|| panic!("no count in the output of valgrind:\n{text}"))
    };
    (of(2 * BATCHES) - of(BATCHES)) / (BATCHES * u64::from(BATCH))
}

/// The number in callgrind's line `==1234== Collected : 5678`.
fn collected(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

fn record(counted: &BTreeMap<String, u64>) -> String {
    let mut text = format!(
        "# Instructions of one warm command; tests/instructions.rs fails {MARGIN} % above.\n\
         # Recorded by {RECORD}=1 cargo test -p tgt-tests --test instructions\n"
    );
    for (kind, count) in counted {
        text += &format!("{kind} = {count}\n");
    }
    text
}

fn parse(text: &str) -> BTreeMap<String, u64> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let pairs = lines.filter_map(|line| line.split_once(" = "));
    pairs.map(|(kind, count)| (kind.to_owned(), count.parse().expect("a number"))).collect()
}

#[test]
fn recorded_counts_parse_back() {
    let counted = BTreeMap::from([("read".to_owned(), 7), ("write".to_owned(), 9)]);
    assert_eq!(parse(&record(&counted)), counted);
}

#[test]
fn count_is_parsed_from_callgrind_output() {
    assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 1234\n"), Some(1234));
    assert_eq!(collected("==1== Command: x\n"), None);
}
