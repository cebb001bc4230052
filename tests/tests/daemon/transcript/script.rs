//! `commands.txt` as sections of steps.

/// Commands for one daemon, from its start on.
#[derive(Debug)]
pub(super) struct Section {
    /// What stands in brackets.
    pub(super) name: String,
    pub(super) steps: Vec<Step>,
}

/// A line.
#[derive(Debug)]
pub(super) enum Step {
    /// A command whose answer counts.
    Command(Command),
    /// A file of so many mebibytes in the daemon's directory.
    File(String, u64),
    /// An initiator opens a session with a target's unit.
    Login { who: String, tid: u32, lun: u16 },
    /// It sends commands.
    Use(String),
    /// It asks for the capacity, which counts as an answer.
    Capacity(Command),
    /// It prevents the removal of the medium.
    Prevent(String),
    /// It goes away.
    Leave(String),
    /// The daemon has ended its session.
    Ended(String),
}

/// A command of `tgtadm`.
#[derive(Clone, Debug)]
pub(super) struct Command {
    /// Its line; where a section has the same line again, its number stands behind.
    pub(super) name: String,
    /// What follows `tgtadm`, with placeholders.
    pub(super) words: Vec<String>,
}

/// Reads a script.
///
/// # Panics
/// A line is none of those that its head explains.
pub(super) fn parse(text: &str) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            assert!(sections.iter().all(|section| section.name != name), "there are two sections [{name}]");
            sections.push(Section { name: name.to_owned(), steps: Vec::new() });
            continue;
        }
        let section = sections.last_mut().expect("a section begins the script");
        let step = step(line, section).unwrap_or_else(|| panic!("[{}] has a line '{line}'", section.name));
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
        ["login", who, tid, lun] => {
            Step::Login { who: who.to_owned(), tid: tid.parse().ok()?, lun: lun.parse().ok()? }
        }
        ["capacity", who] => Step::Capacity(Command { name: line.to_owned(), words: vec![who.to_owned()] }),
        ["use", who] => Step::Use(who.to_owned()),
        ["prevent", who] => Step::Prevent(who.to_owned()),
        ["leave", who] => Step::Leave(who.to_owned()),
        ["ended", who] => Step::Ended(who.to_owned()),
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

/// Words between blanks; what stands in single quotes is one, also if it is empty.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
    for letter in line.chars() {
        match letter {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            letter => word.get_or_insert_default().push(letter),
        }
    }
    assert!(!quoted, "a quote has no end: {line}");
    words.extend(word);
    words
}

#[test]
fn a_script_is_read_as_it_is_written() {
    let script = parse("# a remark\n[one]\ntgtadm -T 'a b' ''\ntgtadm -T 'a b' ''\nleave bob\n[two]\n");
    assert_eq!(script.len(), 2);
    let commands: Vec<&Command> = script[0].commands().collect();
    assert_eq!(commands[0].words, ["-T", "a b", ""]);
    assert_eq!(commands[1].name, "tgtadm -T 'a b' ''  #2");
    assert!(matches!(&script[0].steps[2], Step::Leave(who) if who == "bob"));
}
