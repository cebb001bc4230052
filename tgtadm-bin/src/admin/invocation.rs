//! Parses the command line of `tgt-admin` as Perl's Getopt::Long does for tgt.
//!
//! Options may be abbreviated and have one dash or two; a value is the next word or follows `=`. Of several actions the
//! first in a fixed order is executed.

use std::fmt::Write;

/// A parsed command line.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Invocation {
    /// The action, if one is given.
    pub action: Option<Action>,
    /// The control port, if given.
    pub control_port: Option<String>,
    /// The configuration file, if given.
    pub conf: Option<String>,
    /// Continue after refusals of the daemon.
    pub ignore_errors: bool,
    /// Change targets and export devices that are in use.
    pub force: bool,
    /// Print commands and send none.
    pub pretend: bool,
    /// Print the commands that are sent.
    pub verbose: bool,
    /// Error messages, one line each.
    pub errors: Vec<String>,
}

/// The actions in order of precedence.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
#[allow(missing_docs, reason = "the options, by their names")]
pub enum Action {
    Help,
    Version,
    Show,
    Plan(String),
    Execute,
    Update(String),
    Delete(String),
    /// Sets the state of targets to `offline` or `ready`.
    State(String, &'static str),
    /// Both `--offline` and `--ready` are given, which is an error.
    ConflictingStates,
    Dump,
}

struct Row {
    short: Option<char>,
    long: &'static str,
    /// The placeholder of the value in the help; empty for a flag.
    value: &'static str,
    about: &'static str,
}

#[rustfmt::skip]
const ROWS: [Row; 16] = [
    Row { short: Some('e'), long: "execute", value: "", about: "create the targets of the file that the daemon lacks, and delete those that the file lacks" },
    Row { short: None, long: "update", value: "X", about: "make the daemon equal to the file, changing only what differs; a failed target is rolled back" },
    Row { short: None, long: "plan", value: "[X]", about: "print what --update would do; exit code 3 if there are differences, else 0" },
    Row { short: None, long: "delete", value: "X", about: "delete targets" },
    Row { short: None, long: "offline", value: "X", about: "refuse new logins" },
    Row { short: None, long: "ready", value: "X", about: "accept logins again" },
    Row { short: Some('s'), long: "show", value: "", about: "show all targets" },
    Row { short: None, long: "dump", value: "", about: "print the daemon's targets as a file for --execute, without passwords" },
    Row { short: Some('C'), long: "control-port", value: "N", about: "the number of the daemon's control socket, 0 (default) to 32767" },
    Row { short: Some('c'), long: "conf", value: "FILE", about: "the configuration file (default /etc/tgt/targets.conf)" },
    Row { short: None, long: "ignore-errors", value: "", about: "continue after errors of the daemon" },
    Row { short: Some('f'), long: "force", value: "", about: "also change targets with sessions and export devices in use" },
    Row { short: Some('p'), long: "pretend", value: "", about: "print the commands and send none" },
    Row { short: Some('v'), long: "verbose", value: "", about: "print the commands that are sent" },
    Row { short: Some('V'), long: "version", value: "", about: "print the version" },
    Row { short: Some('h'), long: "help", value: "", about: "print this help" },
];

/// The options as a clap command, for generating completions.
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
    /// Parses the words after the program's name.
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
                Err(error) => {
                    invocation.errors.push(error);
                    continue;
                }
            };
            let value = match (row.value, glued) {
                ("", Some(_)) => {
                    invocation.errors.push(format!("Option {} does not take an argument", row.long));
                    continue;
                }
                ("", None) => String::new(),
                ("[X]", None) => {
                    words.next_if(|next| !next.starts_with('-')).map_or("ALL", String::as_str).to_owned()
                }
                (_, Some(value)) if !value.is_empty() => value.to_owned(),
                (_, None) if words.peek().is_some() => words.next().cloned().unwrap_or_default(),
                _ => {
                    invocation.errors.push(format!("Option {} requires an argument", row.long));
                    continue;
                }
            };
            actions.extend(invocation.apply(row.long, value));
        }
        actions.sort();
        let states: Vec<_> = actions.iter().filter(|action| matches!(action, Action::State(..))).collect();
        let conflicting = states.len() > 1 && matches!(actions.first(), Some(Action::State(..)));
        invocation.action =
            if conflicting { Some(Action::ConflictingStates) } else { actions.into_iter().next() };
        invocation.verbose |= invocation.pretend;
        invocation
    }

    fn apply(&mut self, name: &str, value: String) -> Option<Action> {
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
            "version" => return Some(Action::Version),
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

/// Finds an option by its name, its letter or an unambiguous abbreviation.
fn find(name: &str) -> Result<&'static Row, String> {
    let exact = ROWS
        .iter()
        .find(|row| row.long == name || row.short.is_some_and(|letter| name == letter.to_string()));
    if let Some(row) = exact {
        return Ok(row);
    }
    // An abbreviation that is unambiguous for tgt stays so although `--plan` and `--version` exist here.
    let is_own = |row: &&Row| matches!(row.long, "plan" | "version");
    let mut like: Vec<&Row> = ROWS.iter().filter(|row| !is_own(row) && row.long.starts_with(name)).collect();
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

/// The text of `--help`.
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
         Exit codes: 0 success; 1 an error in the file, no such target, or --dump left something out; 2 no file, or a\n\
         wrong option; 3 --plan found differences; 22 the daemon refused a request; 107 no daemon.\n\
         TGT_IPC_SOCKET is the path of the control socket without its suffix .N; default /var/run/tgtd/socket.\n\
         targets.conf(5) describes the file.\n",
    );
    text
}

/// The text of `--delete help` and the like.
#[must_use]
pub fn help_on(option: &str) -> String {
    let about = ROWS.iter().find(|row| row.long == option).map_or("", |row| row.about);
    let in_use = match option {
        "delete" | "update" => {
            "A target with sessions is left as it is if they would notice the change; --force applies it.\n"
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
    fn command_lines_select_the_action_that_tgt_selects() {
        #[rustfmt::skip]
        let cases: &[(&str, Option<Action>)] = &[
            ("-e",                          Some(Action::Execute)),
            ("--exec",                      Some(Action::Execute)),
            ("-execute",                    Some(Action::Execute)),
            ("--delete ALL",                Some(Action::Delete("ALL".into()))),
            ("--delete=tid=1",              Some(Action::Delete("tid=1".into()))),
            ("--delete -f",                 Some(Action::Delete("-f".into()))),
            ("--p -s",                      Some(Action::Show)),
            ("--version -e",                Some(Action::Version)),
            ("-V",                          Some(Action::Version)),
            ("--ver -s",                    Some(Action::Show)),
            ("--up x",                      Some(Action::Update("x".into()))),
            ("--plan",                      Some(Action::Plan("ALL".into()))),
            ("--plan -v",                   Some(Action::Plan("ALL".into()))),
            ("--plan tid=2",                Some(Action::Plan("tid=2".into()))),
            ("--dump -e",                   Some(Action::Execute)),
            ("-e -s",                       Some(Action::Show)),
            ("--ready a --delete b",        Some(Action::Delete("b".into()))),
            ("--offline a",                 Some(Action::State("a".into(), "offline"))),
            ("--offline a --ready b",       Some(Action::ConflictingStates)),
            ("--offline a --ready b -e",    Some(Action::Execute)),
            ("-- -e",                       None),
            ("foo -",                       None),
            ("",                            None),
        ];
        for (line, action) in cases {
            let invocation = read(line);
            assert_eq!(invocation.action, *action, "{line}");
            assert!(invocation.errors.is_empty(), "{line}: {:?}", invocation.errors);
        }
        let all = read("-C 3 --conf=x -f -p --ignore");
        assert_eq!((all.control_port.as_deref(), all.conf.as_deref()), (Some("3"), Some("x")));
        assert!(all.force && all.pretend && all.verbose && all.ignore_errors);
    }

    #[test]
    fn error_messages_equal_those_of_tgt() {
        for (line, error) in [
            ("--bogus", "Unknown option: bogus"),
            ("-E", "Unknown option: E"),
            ("-ep", "Unknown option: ep"),
            ("-d ALL", "Option d is ambiguous (delete, dump)"),
            ("--delete", "Option delete requires an argument"),
            ("--delete=", "Option delete requires an argument"),
            ("--execute=1", "Option execute does not take an argument"),
        ] {
            assert_eq!(read(line).errors, [error], "{line}");
        }
    }

    #[test]
    fn help_and_man_page_have_every_option() {
        let help = help();
        let page = include_str!("../../../docs/man/tgt-admin.8");
        for Row { long, .. } in &ROWS {
            assert!(help.contains(&format!("--{long}")), "{long}");
            assert!(page.contains(&format!(" -{long}")), "{long}");
        }
    }
}
