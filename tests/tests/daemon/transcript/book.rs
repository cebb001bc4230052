//! Answers on paper: stock's recording, which is written by running stock only, and the list of differences that are
//! meant, which is written by hand. Both are blocks of lines apart from one another by an empty one.
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
//! A line that has no end has `…` for it. In a list of differences `out *` and `err *` stand for anything; and a block
//! that begins with `every tgtadm WORDS...` says what all answers to this command, whatever follows these words, lack
//! (`less out LINE`), or may have beyond stock's (`more out BEGIN OF A LINE`).

use std::fmt::{self, Write};
use std::fs;
use std::path::PathBuf;

use crate::harness::Brand;

/// What came of a command, or of a record: lines as in the recording.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Answer(pub(super) Vec<String>);

impl Answer {
    /// A single line.
    pub(super) fn line(&mut self, line: impl fmt::Display) {
        self.0.push(line.to_string());
    }

    /// The lines of a text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        for line in text.split_inclusive('\n') {
            self.line(match line.strip_suffix('\n') {
                Some(line) => format!("{name} {line}"),
                None => format!("{name} {line}…"),
            });
        }
    }

    /// Whether it is what was expected: the same, or anything where that may be.
    fn is(&self, expected: &Self) -> bool {
        let anything: Vec<&str> = expected.0.iter().filter_map(|line| line.strip_suffix('*')).collect();
        let held = |answer: &Self| answer.without(&anything);
        held(self) == held(expected)
    }

    /// What is left without the lines that begin so.
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

/// What was asked, as `[section] line`, and what came of it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) asked: String,
    pub(super) answer: Answer,
}

/// A difference that is meant.
#[derive(Debug)]
struct Difference {
    asked: String,
    by: Brands,
    lines: Vec<String>,
}

/// Whether a daemon and a tool differ so.
type Brands = fn(Brand, Brand) -> bool;

/// The file of this name beside this one.
pub(super) fn read(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/daemon/transcript").join(name)
}

/// Compares what stock does with its recording, or records it where that is asked for.
#[track_caller]
pub(super) fn hold_or_write(name: &str, entries: &[Entry]) {
    if std::env::var_os("UPDATE_TRANSCRIPT").is_some() {
        let mut text = format!("# Written by running stock, see {}; never by hand.\n", commands_of(name));
        for Entry { asked, answer } in entries {
            // A string takes whatever is written to it.
            let _ = write!(text, "\n{asked}\n{answer}");
        }
        fs::write(path(name), text).expect("the recording is written");
    }
    let recorded = recording(name);
    let differing: Vec<String> = entries
        .iter()
        .filter(|entry| !recorded.contains(entry))
        .map(|Entry { asked, answer }| format!("{asked}\n{answer}"))
        .collect();
    assert!(differing.is_empty(), "stock does not do what {name} says, but:\n\n{}", differing.join("\n"));
    let order = |entries: &[Entry]| entries.iter().map(|entry| entry.asked.clone()).collect::<Vec<_>>();
    assert_eq!(order(&recorded), order(entries), "{name} and its script are not of one time");
}

fn commands_of(recording: &str) -> &str {
    if recording.starts_with("record-") { "records.txt" } else { "commands.txt" }
}

/// A recording that is there.
pub(super) fn recording(name: &str) -> Vec<Entry> {
    blocks(&read(name)).map(|(asked, lines)| Entry { asked, answer: Answer(lines) }).collect()
}

fn blocks(text: &str) -> impl Iterator<Item = (String, Vec<String>)> {
    let blocks = text.split("\n\n").map(|block| block.lines().filter(|line| !line.starts_with('#')));
    blocks.filter_map(|mut lines| Some((lines.next()?.to_owned(), lines.map(str::to_owned).collect())))
}

fn differences(name: &str) -> Vec<Difference> {
    let difference = |(asked, lines): (String, Vec<String>)| {
        let mut lines = lines.into_iter();
        let by: Brands = match lines.next().as_deref() {
            Some("by our tgtd") => |daemon, _| daemon == Brand::Ours,
            Some("by our tgtd and our tgtadm") => |daemon, tool| [daemon, tool] == [Brand::Ours; 2],
            Some("by our tgtadm") => |_, tool| tool == Brand::Ours,
            other => panic!("{name}: {asked}: whose difference is it: {other:?}"),
        };
        let because = lines.next().unwrap_or_default();
        assert!(because.starts_with("because "), "{name}: {asked}: no reason is given: {because}");
        Difference { asked, by, lines: lines.collect() }
    };
    blocks(&read(name)).map(difference).collect()
}

impl Difference {
    /// What is held against what, if this is a difference of that entry.
    fn apply(&self, entry: &Entry, stock: &Answer) -> Option<(Answer, Answer)> {
        let Some(every) = self.asked.strip_prefix("every ") else {
            let wanted = Answer(self.lines.clone());
            return (self.asked == entry.asked).then(|| (entry.answer.clone(), wanted));
        };
        let (_, command) = entry.asked.split_once("] ")?;
        command.starts_with(every).then(|| {
            let begun =
                |with| self.lines.iter().filter_map(|line| line.strip_prefix(with)).collect::<Vec<_>>();
            (entry.answer.without(&begun("more ")), stock.without(&begun("less ")))
        })
    }
}

/// Holds what this pair of tools did against what stock's did.
///
/// # Panics
/// It differs, and is not meant to; or the list says that it differs, and it does not.
#[track_caller]
pub(super) fn hold(daemon: Brand, tool: Brand, entries: &[Entry], stock: &[Entry], list: &str) {
    let mut differences = differences(list);
    differences.retain(|difference| (difference.by)(daemon, tool));
    let mut seen = vec![false; differences.len()];
    let mut complaints = String::new();
    for (entry, expected) in entries.iter().zip(stock) {
        assert_eq!(entry.asked, expected.asked, "{OLD}");
        let answer = entry.answer.without(if [daemon, tool].contains(&Brand::Ours) { REASONS } else { &[] });
        let entry = &Entry { asked: entry.asked.clone(), answer };
        let mut held = (entry.answer.clone(), expected.answer.clone());
        for (difference, seen) in differences.iter().zip(&mut seen) {
            let Some(applied) = difference.apply(entry, &expected.answer) else { continue };
            *seen |= applied != held;
            held = applied;
        }
        let (answer, wanted) = held;
        if !answer.is(&wanted) {
            let _ = writeln!(complaints, "{}\nexpected\n{wanted}but\n{answer}", entry.asked);
        }
    }
    for (difference, _) in differences.iter().zip(seen).filter(|(_, seen)| !seen) {
        let _ = writeln!(complaints, "{} is no difference, or nobody asks it\n", difference.asked);
    }
    assert_eq!(entries.len(), stock.len(), "{OLD}");
    assert!(complaints.is_empty(), "{daemon:?} tgtd with {tool:?} tgtadm:\n\n{complaints}");
}

/// Why something was refused, or what would be right: our daemon adds it for our tgtadm, and our tgtadm itself. Stock's
/// has no such lines.
const REASONS: &[&str] = &["err   ", "reason "];
const OLD: &str = "the recording is older than its script: UPDATE_TRANSCRIPT=1 makes a new one";
