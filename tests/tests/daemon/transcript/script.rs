//! Parses `commands.txt` into sections of steps.

/// The steps for one daemon, from its start.
#[derive(Debug)]
pub(super) struct Section {
    /// The text in brackets.
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
}

/// A line of the script.
#[derive(Debug)]
pub(super) enum Step {
    /// A command whose answer is recorded.
    Command(Command),
    /// Creates a file of this many MiB in the daemon's directory.
    File(String, u64),
    /// An initiator logs in and uses a unit.
    Login { initiator: String, tid: u32, lun: u16 },
    /// An initiator sends commands.
    Use(String),
    /// An initiator reads the capacity; the answer is recorded.
    Capacity(Command),
    /// An initiator prevents the removal of the medium.
    Prevent(String),
    /// An initiator disconnects.
    Leave(String),
    /// Waits until the daemon has ended the session of an initiator.
    Ended(String),
}

/// A command of `tgtadm`.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Its line, with a number if the section has the same line several times.
    pub(super) name: String,
    /// Arguments of `tgtadm`, with placeholders.
    pub(super) words: Vec<String>,
}

/// Parses a script.
///
/// # Panics
/// A line has none of the forms that the head of the file lists.
pub(super) fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            assert!(sections.iter().all(|section| section.name != name), "section [{name}] exists twice");
            sections.push(Section { name: name.to_owned(), steps: Vec::new() });
            continue;
        }
        let section = sections.last_mut().expect("a section before the first line");
        let step = step(line, section).unwrap_or_else(|| panic!("[{}]: invalid line '{line}'", section.name));
        section.steps.push(step);
    }
    sections
}

fn step(line: &str, section: &Section) -> Option<Step> {
    let all = words(line);
    let words: Vec<&str> = all.iter().map(String::as_str).collect();
    Some(match words[..] {
        ["tgtadm", ..] => {
            let before = section.commands().filter(|command| command.words == all[1..]).count();
            let name = if before == 0 { line.to_owned() } else { format!("{line}  #{}", before + 1) };
            Step::Command(Command { name, words: all[1..].to_vec() })
        }
        ["file", name, mib] => Step::File(name.to_owned(), mib.parse().ok()?),
        ["login", initiator, tid, lun] => {
            Step::Login { initiator: initiator.to_owned(), tid: tid.parse().ok()?, lun: lun.parse().ok()? }
        }
        ["capacity", initiator] => {
            Step::Capacity(Command { name: line.to_owned(), words: vec![initiator.to_owned()] })
        }
        ["use", initiator] => Step::Use(initiator.to_owned()),
        ["prevent", initiator] => Step::Prevent(initiator.to_owned()),
        ["leave", initiator] => Step::Leave(initiator.to_owned()),
        ["ended", initiator] => Step::Ended(initiator.to_owned()),
        _ => return None,
    })
}

impl Section {
    pub(super) fn commands(&self) -> impl Iterator<Item = &Command> {
        self.steps.iter().filter_map(|step| match step {
            Step::Command(command) => Some(command),
            _ => None,
        })
    }
}

/// Splits a line at blanks; text in single quotes is one word and may be empty.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for character in line.chars() {
        match character {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            character => word.get_or_insert_default().push(character),
        }
    }
    assert!(!quoted, "unterminated quote: {line}");
    words.extend(word);
    words
}

#[test]
fn script_parses_sections_and_quotes() {
    let script = parse("# a comment\n[one]\ntgtadm -T 'a b' ''\ntgtadm -T 'a b' ''\nleave bob\n[two]\n");
    assert_eq!(script.len(), 2);
    let commands: Vec<&Command> = script[0].commands().collect();
    assert_eq!(commands[0].words, ["-T", "a b", ""]);
    assert_eq!(commands[1].name, "tgtadm -T 'a b' ''  #2");
    assert!(matches!(&script[0].steps[2], Step::Leave(initiator) if initiator == "bob"));
}
