//! How many instructions a warm command takes in the engine, counted by valgrind and held against what is recorded in
//! `instructions.toml`: a regression is seen without a clock.
//!
//! Counted is the whole way of a command through a shard, from the bytes of its PDU to the bytes of its answer, in a
//! release build; two runs of different length are subtracted, so that what comes before the commands falls out.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tgt_tests::bare::BATCH;

/// A figure may be so much above what is recorded, in percent.
const MARGIN: u64 = 10;
/// Batches of the shorter run; the longer has twice as many.
const BATCHES: u64 = 100;
/// Set to anything, the figures are recorded instead of checked.
const RECORD: &str = "TGT_RECORD_INSTRUCTIONS";

const KINDS: [(&str, &str); 4] =
    [("read", "null"), ("write", "null"), ("read", "memory"), ("write", "memory")];

#[test]
fn a_warm_command_takes_no_more_instructions_than_recorded() {
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
            above.push(format!("{kind} takes {now} instructions, {before} are recorded"));
        }
    }
    assert!(
        above.is_empty(),
        "{}\nIf that has a good reason: {RECORD}=1 cargo test -p tgt-tests --test instructions",
        above.join("\n")
    );
}

/// Builds what is counted, in release, in the target folder that this test lies in.
fn build() -> PathBuf {
    let this = env::current_exe().expect("a test knows its own path");
    let target = this.ancestors().nth(3).expect("a test lies in target/PROFILE/deps");
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
        .expect("cargo runs");
    assert!(status.success(), "the example warm_commands does not build");
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
            .expect("valgrind runs (Debian: apt-get install valgrind)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        collected(&said).unwrap_or_else(|| panic!("valgrind tells no count:\n{said}"))
    };
    (of(2 * BATCHES) - of(BATCHES)) / (BATCHES * u64::from(BATCH))
}

/// The number in callgrind's line `==1234== Collected : 5678`.
fn collected(said: &str) -> Option<u64> {
    said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
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
fn what_is_recorded_is_read_back() {
    let counted = BTreeMap::from([("read".to_owned(), 7), ("write".to_owned(), 9)]);
    assert_eq!(parse(&record(&counted)), counted);
}

#[test]
fn the_count_is_found_in_what_callgrind_says() {
    assert_eq!(collected("==1== Events    : Ir\n==1== Collected : 1234\n"), Some(1234));
    assert_eq!(collected("==1== Command: x\n"), None);
}
