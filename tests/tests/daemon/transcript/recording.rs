//! Files of answers: the recording, which is written by running tgt, and the list of intended differences, which is
//! written by hand. Both consist of blocks of lines, separated by empty lines.
//!
//! ```text
//! [section] tgtadm WORDS...
//! by our tgtd                    only in a list of differences: or `by our tgtadm`, or `by our tgtd and our tgtadm`
//! because REASON                 only in a list of differences
//! exit 0
//! out a line of standard output
//! err a line of standard error
//! ```
//!
//! A line without a line feed ends with `…`. In a list of differences, `out *` and `err *` match any lines. A block that
//! starts with `every tgtadm WORDS...` applies to all commands with these first words: its answers lack the lines of
//! `less out LINE`, and may have further lines that start as in `more out START`.

use std::fmt::{self, Write};
use std::fs;
use std::path::PathBuf;

use crate::harness::Brand;

/// The answer to a command or record, as lines of the recording.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Answer(pub(super) Vec<String>);

impl Answer {
    /// Appends a line.
    pub(super) fn line(&mut self, line: impl fmt::Display) {
        self.0.push(line.to_string());
    }

    /// Appends the lines of a text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        for line in text.split_inclusive('\n') {
            self.line(match line.strip_suffix('\n') {
                Some(line) => format!("{name} {line}"),
                None => format!("{name} {line}…"),
            });
        }
    }

    /// Whether the answer equals the expected one, whose `*` lines match any lines.
    fn is(&self, expected: &Self) -> bool {
        let anything: Vec<&str> = expected.0.iter().filter_map(|line| line.strip_suffix('*')).collect();
        let compared = |answer: &Self| answer.without(&anything);
        compared(self) == compared(expected)
    }

    /// The answer without the lines that start with one of `beginnings`.
    fn without(&self, beginnings: &[&str]) -> Self {
        let left = self.0.iter().filter(|line| !beginnings.iter().any(|begin| line.starts_with(begin)));
        Self(left.cloned().collect())
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// A request, as `[section] line`, and its answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) request: String,
    pub(super) answer: Answer,
}

/// An intended difference.
#[derive(Debug)]
struct Difference {
    request: String,
    by: Brands,
    lines: Vec<String>,
}

/// Whether the difference applies to a daemon and a tool.
type Brands = fn(Brand, Brand) -> bool;

/// Reads a file of the transcript directory.
pub(super) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/transcript").join(name)
}

/// Compares the answers of tgt with its recording, or writes the recording if `UPDATE_TRANSCRIPT` is set.
#[track_caller]
pub(super) fn compare_or_record(name: &str, entries: &[Entry]) {
    if std::env::var_os("UPDATE_TRANSCRIPT").is_some() {
        let mut text = format!("# Written by running tgt, see {}; never by hand.\n", commands_of(name));
        for Entry { request, answer } in entries {
            // Writing to a string does not fail.
            let _ = write!(text, "\n{request}\n{answer}");
        }
        fs::write(path(name), text).expect("cannot write the recording");
    }
    let recorded = recording(name);
    let differing: Vec<String> = entries
        .iter()
        .filter(|entry| !recorded.contains(entry))
        .map(|Entry { request, answer }| format!("{request}\n{answer}"))
        .collect();
    assert!(differing.is_empty(), "tgt answers differently from {name}:\n\n{}", differing.join("\n"));
    let order = |entries: &[Entry]| entries.iter().map(|entry| entry.request.clone()).collect::<Vec<_>>();
    assert_eq!(order(&recorded), order(entries), "{name} and its script have different commands");
}

fn commands_of(recording: &str) -> &str {
    if recording.starts_with("record-") { "records.txt" } else { "commands.txt" }
}

/// Reads a recording.
pub(super) fn recording(name: &str) -> Vec<Entry> {
    blocks(&read(name)).map(|(request, lines)| Entry { request, answer: Answer(lines) }).collect()
}

fn blocks(text: &str) -> impl Iterator<Item = (String, Vec<String>)> {
    let blocks = text.split("\n\n").map(|block| block.lines().filter(|line| !line.starts_with('#')));
    blocks.filter_map(|mut lines| Some((lines.next()?.to_owned(), lines.map(str::to_owned).collect())))
}

fn differences(name: &str) -> Vec<Difference> {
    let difference = |(request, lines): (String, Vec<String>)| {
        let mut lines = lines.into_iter();
        let by: Brands = match lines.next().as_deref() {
            Some("by our tgtd") => |daemon, _| daemon == Brand::Ours,
            Some("by our tgtd and our tgtadm") => |daemon, tool| [daemon, tool] == [Brand::Ours; 2],
            Some("by our tgtadm") => |_, tool| tool == Brand::Ours,
            other => {
                panic!("{name}: {request}: expected `by our tgtd`, `by our tgtadm` or both, not {other:?}")
            }
        };
        let because = lines.next().unwrap_or_default();
        assert!(
            because.starts_with("because "),
            "{name}: {request}: expected `because REASON`, not {because:?}"
        );
        Difference { request, by, lines: lines.collect() }
    };
    blocks(&read(name)).map(difference).collect()
}

impl Difference {
    /// The answers to compare, ours and the expected one, if this difference applies to the entry.
    fn apply(&self, entry: &Entry, tgt: &Answer) -> Option<(Answer, Answer)> {
        let Some(every) = self.request.strip_prefix("every ") else {
            let wanted = Answer(self.lines.clone());
            return (self.request == entry.request).then(|| (entry.answer.clone(), wanted));
        };
        let (_, command) = entry.request.split_once("] ")?;
        command.starts_with(every).then(|| {
            let starts =
                |with| self.lines.iter().filter_map(|line| line.strip_prefix(with)).collect::<Vec<_>>();
            (entry.answer.without(&starts("more ")), tgt.without(&starts("less ")))
        })
    }
}

/// Compares the answers of a daemon and a tool with those of tgt.
///
/// # Panics
/// An answer differs and the list does not have the difference, or the list has a difference that does not exist.
#[track_caller]
pub(super) fn compare(daemon: Brand, tool: Brand, entries: &[Entry], tgt: &[Entry], list: &str) {
    let mut differences = differences(list);
    differences.retain(|difference| (difference.by)(daemon, tool));
    let mut seen = vec![false; differences.len()];
    let mut errors = String::new();
    for (entry, expected) in entries.iter().zip(tgt) {
        assert_eq!(entry.request, expected.request, "{OLD}");
        let answer = entry.answer.without(if [daemon, tool].contains(&Brand::Ours) { REASONS } else { &[] });
        let entry = &Entry { request: entry.request.clone(), answer };
        let mut compared = (entry.answer.clone(), expected.answer.clone());
        for (difference, seen) in differences.iter().zip(&mut seen) {
            let Some(applied) = difference.apply(entry, &expected.answer) else { continue };
            *seen |= applied != compared;
            compared = applied;
        }
        let (answer, wanted) = compared;
        if !answer.is(&wanted) {
            let _ = writeln!(errors, "{}\nexpected\n{wanted}but\n{answer}", entry.request);
        }
    }
    for (difference, _) in differences.iter().zip(seen).filter(|(_, seen)| !seen) {
        let _ = writeln!(errors, "{}: does not differ, or is not requested\n", difference.request);
    }
    assert_eq!(entries.len(), tgt.len(), "{OLD}");
    assert!(errors.is_empty(), "{daemon:?} tgtd with {tool:?} tgtadm:\n\n{errors}");
}

/// Starts of the lines with reasons and hints, which our daemon and our tgtadm add to the lines of tgt.
const REASONS: &[&str] = &["err   ", "reason "];
const OLD: &str = "the recording is older than its script: set UPDATE_TRANSCRIPT=1 to write a new one";
