//! The command line, read as Perl's Getopt::Long reads it for stock: names in full or abbreviated, after one dash or
//! two, values in the next word or after `=`; of several actions the first of a fixed order is done.

use std::fmt::Write;

/// What is wanted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invocation {
    /// What to do.
    pub action: Option<Action>,
    /// Which daemon, where it is said.
    pub control_port: Option<String>,
    /// The file, where it is not the usual one.
    pub conf: Option<String>,
    /// Go on where the daemon refuses.
    pub ignore_errors: bool,
    /// Do it to what is in use, too.
    pub force: bool,
    /// Print and do nothing.
    pub pretend: bool,
    /// Print what is done.
    pub verbose: bool,
    /// What makes no sense, one a line.
    pub complaints: Vec<String>,
}

/// The actions, in the order in which one goes before the other.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the options, by their names")]
pub enum Action {
    Help,
    Show,
    Plan(String),
    Execute,
    Update(String),
    Delete(String),
    /// Targets, and `offline` or `ready`.
    State(String, &'static str),
    /// Both states at once.
    Undecided,
    Dump,
}

struct Row {
    short: Option<char>,
    long: &'static str,
    /// What stands for its value in the help; empty for a flag.
    value: &'static str,
    about: &'static str,
}

#[rustfmt::skip]
const ROWS: [Row; 15] = [
    Row { short: Some('e'), long: "execute", value: "", about: "make the targets of the file that the daemon lacks, and delete those that the file lacks" },
    Row { short: None, long: "update", value: "X", about: "make the daemon what the file says, changing what differs and nothing else; undone where a step fails" },
    Row { short: None, long: "plan", value: "[X]", about: "print what --update would do; exit code 3 when that is something, 0 when it is nothing" },
    Row { short: None, long: "delete", value: "X", about: "delete targets" },
    Row { short: None, long: "offline", value: "X", about: "let nobody log in" },
    Row { short: None, long: "ready", value: "X", about: "let initiators log in again" },
    Row { short: Some('s'), long: "show", value: "", about: "show all targets" },
    Row { short: None, long: "dump", value: "", about: "print the daemon's targets as a file for --execute; passwords are not known" },
    Row { short: Some('C'), long: "control-port", value: "N", about: "which daemon: 0 (default) to 32767" },
    Row { short: Some('c'), long: "conf", value: "FILE", about: "the file (default /etc/tgt/targets.conf)" },
    Row { short: None, long: "ignore-errors", value: "", about: "go on where the daemon refuses" },
    Row { short: Some('f'), long: "force", value: "", about: "also targets with sessions, also devices in use" },
    Row { short: Some('p'), long: "pretend", value: "", about: "print the commands and do nothing" },
    Row { short: Some('v'), long: "verbose", value: "", about: "print the commands" },
    Row { short: Some('h'), long: "help", value: "", about: "print this help" },
];

/// The same options in the words of a parser crate, for what is generated from those.
#[must_use]
pub fn described() -> clap::Command {
    let options = ROWS.iter().map(|row| {
        let option = clap::Arg::new(row.long).long(row.long).help(row.about);
        let option = row.short.map_or(option.clone(), |letter| option.short(letter));
        match row.value {
            "" => option.action(clap::ArgAction::SetTrue),
            "FILE" => option.value_hint(clap::ValueHint::FilePath),
            "X" | "[X]" => option.value_parser(["ALL", "help"]),
            _ => option.value_hint(clap::ValueHint::Other),
        }
    });
    clap::Command::new("tgt-admin").disable_help_flag(true).args(options)
}

impl Invocation {
    /// Reads the words after the program's name.
    #[must_use]
    pub fn read(arguments: &[String]) -> Self {
        let mut invocation = Self::default();
        let mut actions = Vec::new();
        let mut words = arguments.iter().peekable();
        while let Some(word) = words.next() {
            let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { continue };
            let name = name.strip_prefix('-').unwrap_or(name);
            if name.is_empty() {
                break;
            }
            let (name, glued) =
                name.split_once('=').map_or((name, None), |(name, value)| (name, Some(value)));
            let row = match find(name) {
                Ok(row) => row,
                Err(complaint) => {
                    invocation.complaints.push(complaint);
                    continue;
                }
            };
            let value = match (row.value, glued) {
                ("", Some(_)) => {
                    invocation.complaints.push(format!("Option {} does not take an argument", row.long));
                    continue;
                }
                ("", None) => String::new(),
                ("[X]", None) => {
                    words.next_if(|next| !next.starts_with('-')).map_or("ALL", String::as_str).to_owned()
                }
                (_, Some(value)) if !value.is_empty() => value.to_owned(),
                (_, None) if words.peek().is_some() => words.next().cloned().unwrap_or_default(),
                _ => {
                    invocation.complaints.push(format!("Option {} requires an argument", row.long));
                    continue;
                }
            };
            actions.extend(invocation.take(row.long, value));
        }
        actions.sort();
        let states: Vec<_> = actions.iter().filter(|action| matches!(action, Action::State(..))).collect();
        let undecided = states.len() > 1 && matches!(actions.first(), Some(Action::State(..)));
        invocation.action = if undecided { Some(Action::Undecided) } else { actions.into_iter().next() };
        invocation.verbose |= invocation.pretend;
        invocation
    }

    fn take(&mut self, name: &str, value: String) -> Option<Action> {
        match name {
            "execute" => return Some(Action::Execute),
            "update" => return Some(Action::Update(value)),
            "plan" => return Some(Action::Plan(value)),
            "delete" => return Some(Action::Delete(value)),
            "offline" => return Some(Action::State(value, "offline")),
            "ready" => return Some(Action::State(value, "ready")),
            "show" => return Some(Action::Show),
            "dump" => return Some(Action::Dump),
            "help" => return Some(Action::Help),
            "control-port" => self.control_port = Some(value),
            "conf" => self.conf = Some(value),
            "ignore-errors" => self.ignore_errors = true,
            "force" => self.force = true,
            "pretend" => self.pretend = true,
            "verbose" => self.verbose = true,
            other => unreachable!("the table has no --{other}"),
        }
        None
    }
}

/// A name in full, a letter, or the beginning of one name.
fn find(name: &str) -> Result<&'static Row, String> {
    let exact = ROWS
        .iter()
        .find(|row| row.long == name || row.short.is_some_and(|letter| name == letter.to_string()));
    if let Some(row) = exact {
        return Ok(row);
    }
    // What is no option of stock's takes no abbreviation from it.
    let mut like: Vec<&Row> =
        ROWS.iter().filter(|row| row.long != "plan" && row.long.starts_with(name)).collect();
    like.sort_by_key(|row| row.long);
    match like.as_slice() {
        [] => Err(format!("Unknown option: {name}")),
        [row] => Ok(row),
        many => {
            let names: Vec<&str> = many.iter().map(|row| row.long).collect();
            Err(format!("Option {name} is ambiguous ({})", names.join(", ")))
        }
    }
}

/// What `--help` prints.
#[must_use]
pub fn help() -> String {
    let mut text = "Usage:\ntgt-admin [OPTION]...\nThis tool configures tgt targets.\n\n".to_owned();
    for row in &ROWS {
        let short = row.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let name = format!("{short}--{} {}", row.long, row.value);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  {:<26} {}", name.trim_end(), row.about);
    }
    text.push_str(
        "\nX is ALL, tid=N, a target's name, or 'help'.\n\
         Exit codes: 0 done; 1 a mistake in the file, no such target, or --dump could not write all; 2 no file, or a\n\
         wrong option;\n\
         3 --plan found a difference; 22 the daemon refused; 107 no daemon.\n\
         TGT_IPC_SOCKET names the daemon's socket without its suffix .N (default /var/run/tgtd/socket).\n\
         The file is described in targets.conf(5).\n",
    );
    text
}

/// What `--delete help` and its like print.
#[must_use]
pub fn help_on(option: &str) -> String {
    let about = ROWS.iter().find(|row| row.long == option).map_or("", |row| row.about);
    let in_use = match option {
        "delete" | "update" => {
            "A target that initiators use is left as it is where they would notice; --force does it all the same.\n"
        }
        _ => "",
    };
    format!(
        "      --{option} <value>\t{about}\n{in_use}\n\
         Example usage:\n      --{option} help\t      - display this help\n      --{option} ALL\t      - all targets\n      \
         --{option} tid=4\t      - the target with tid 4\n      \
         --{option} iqn.2008-08.com.example:some.target - the target of this name\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Invocation {
        Invocation::read(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn words_are_read_as_stock_reads_them() {
        #[rustfmt::skip]
        let cases: &[(&str, Option<Action>)] = &[
            ("-e",                          Some(Action::Execute)),
            ("--exec",                      Some(Action::Execute)),
            ("-execute",                    Some(Action::Execute)),
            ("--delete ALL",                Some(Action::Delete("ALL".into()))),
            ("--delete=tid=1",              Some(Action::Delete("tid=1".into()))),
            ("--delete -f",                 Some(Action::Delete("-f".into()))),
            ("--p -s",                      Some(Action::Show)),
            ("--up x",                      Some(Action::Update("x".into()))),
            ("--plan",                      Some(Action::Plan("ALL".into()))),
            ("--plan -v",                   Some(Action::Plan("ALL".into()))),
            ("--plan tid=2",                Some(Action::Plan("tid=2".into()))),
            ("--dump -e",                   Some(Action::Execute)),
            ("-e -s",                       Some(Action::Show)),
            ("--ready a --delete b",        Some(Action::Delete("b".into()))),
            ("--offline a",                 Some(Action::State("a".into(), "offline"))),
            ("--offline a --ready b",       Some(Action::Undecided)),
            ("--offline a --ready b -e",    Some(Action::Execute)),
            ("-- -e",                       None),
            ("foo -",                       None),
            ("",                            None),
        ];
        for (line, action) in cases {
            let invocation = read(line);
            assert_eq!(invocation.action, *action, "{line}");
            assert!(invocation.complaints.is_empty(), "{line}: {:?}", invocation.complaints);
        }
        let all = read("-C 3 --conf=x -f -p --ignore");
        assert_eq!((all.control_port.as_deref(), all.conf.as_deref()), (Some("3"), Some("x")));
        assert!(all.force && all.pretend && all.verbose && all.ignore_errors);
    }

    #[test]
    fn complaints_are_stocks() {
        for (line, complaint) in [
            ("--bogus", "Unknown option: bogus"),
            ("-E", "Unknown option: E"),
            ("-ep", "Unknown option: ep"),
            ("-d ALL", "Option d is ambiguous (delete, dump)"),
            ("--delete", "Option delete requires an argument"),
            ("--delete=", "Option delete requires an argument"),
            ("--execute=1", "Option execute does not take an argument"),
        ] {
            assert_eq!(read(line).complaints, [complaint], "{line}");
        }
    }

    #[test]
    fn help_and_page_name_every_option() {
        let help = help();
        let page = include_str!("../../../docs/man/tgt-admin.8");
        for Row { long, .. } in &ROWS {
            assert!(help.contains(&format!("--{long}")), "{long}");
            assert!(page.contains(&format!(" -{long}")), "{long}");
        }
    }
}
