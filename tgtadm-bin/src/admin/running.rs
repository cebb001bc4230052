//! The state of a running daemon, parsed from its `show` reports. tgt's daemon and ours print the same reports.

use std::collections::BTreeMap;

use serde_json::Value;

use super::command::{Command, Commands, Rule};
use crate::{EINVAL, Refusal};

/// Targets, accounts and settings of a daemon.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Running {
    /// Targets by number.
    pub targets: Vec<RunningTarget>,
    /// The daemon's own state: `ready` or `offline`.
    pub state: String,
    /// Names of all accounts.
    pub accounts: Vec<String>,
    /// iSNS settings by name.
    pub isns: BTreeMap<String, String>,
    /// Accounts that initiators must use for discovery.
    pub incoming_discovery: Vec<String>,
    /// The daemon's own account for discovery.
    pub outgoing_discovery: Vec<String>,
}

/// A target of the report.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunningTarget {
    /// The target's number.
    pub tid: u32,
    /// The target's name.
    pub name: String,
    /// The driver.
    pub driver: String,
    /// `ready` or `offline`.
    pub state: String,
    /// Numbers of the sessions.
    pub sessions: Vec<u64>,
    /// Units without the controller, by LUN.
    pub units: Vec<RunningUnit>,
    /// Accounts that initiators must use.
    pub incoming: Vec<String>,
    /// The initiator names, in lower case, of the incoming accounts that are bound to names.
    pub account_names: BTreeMap<String, Vec<String>>,
    /// Accounts with which the target authenticates.
    pub outgoing: Vec<String>,
    /// ACL rules.
    pub rules: Vec<Rule>,
}

/// A logical unit: the lines of its report by name, such as `Type` or `Backing store path`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RunningUnit {
    /// The logical unit number.
    pub lun: u64,
    lines: BTreeMap<String, String>,
    /// The name of the last line.
    last: String,
}

impl Running {
    /// Reads the reports of the daemon.
    ///
    /// # Errors
    /// The daemon does not answer or refuses a request.
    pub(super) fn ask(commands: &Commands) -> Result<Self, Refusal> {
        let mut running =
            Self { targets: targets(&commands.show("target", None).send()?), ..Self::default() };
        if running.targets.iter().any(|target| !target.incoming.is_empty()) {
            running.read_account_names(&commands.show_in_json("target"))?;
        }
        running.accounts = accounts(&commands.show("account", None).send()?);
        running.read_system(&commands.show("sys", None).send()?);
        Ok(running)
    }

    /// Reads the initiator names of accounts, which only the JSON report has. A daemon without JSON has none.
    fn read_account_names(&mut self, ask: &Command) -> Result<(), Refusal> {
        let text = match ask.send() {
            Ok(text) => text,
            Err(Refusal { exit: EINVAL, document, .. }) if document.is_empty() => return Ok(()),
            Err(refusal) => return Err(refusal),
        };
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        for shown in list(&report["targets"]) {
            let target = self.targets.iter_mut().find(|target| shown["name"] == *target.name);
            let accounts = list(&shown["accounts"]["initiator_names"]).map(|account| {
                let names = list(&account["names"]).map(word).collect();
                (word(&account["user"]), names)
            });
            target.into_iter().for_each(|target| target.account_names = accounts.clone().collect());
        }
        Ok(())
    }

    /// The target with this name.
    #[must_use]
    pub fn target(&self, name: &str) -> Option<&RunningTarget> {
        self.targets.iter().find(|target| target.name == name)
    }

    /// The number that tgt gives to the next target: the highest plus one.
    #[must_use]
    pub fn next_tid(&self) -> u32 {
        self.targets.iter().map(|target| target.tid).max().unwrap_or_default() + 1
    }

    fn read_system(&mut self, text: &str) {
        let mut part = "";
        let mut isns = Vec::new();
        for line in text.lines() {
            let content = line.trim();
            if content.ends_with(':') {
                part = content;
            } else if part == "iSNS:" {
                isns.push(line.strip_prefix("    ").unwrap_or(line));
            } else if let (true, Some(state)) = (part == "System:", content.strip_prefix("State: ")) {
                state.clone_into(&mut self.state);
            } else if part == "Account information:" && !content.is_empty() {
                sort_account(content, &mut self.incoming_discovery, &mut self.outgoing_discovery);
            }
        }
        self.isns = parameters(&isns.join("\n"));
    }
}

impl RunningUnit {
    /// The value of a line; empty if the report lacks it.
    #[must_use]
    pub fn get(&self, name: &str) -> &str {
        self.lines.get(name).map_or("", String::as_str)
    }

    /// Whether a line has the value `Yes`.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.get(name) == "Yes"
    }

    /// The path of the backing store, if it has a medium.
    #[must_use]
    pub fn path(&self) -> Option<&str> {
        Some(self.get("Backing store path")).filter(|path| *path != "None")
    }

    /// The device type as the word that `--device-type` accepts.
    #[must_use]
    pub fn device_type(&self) -> &str {
        match self.get("Type") {
            "cd/dvd" => "cd",
            "passthrough" => "pt",
            other => other,
        }
    }

    /// The block size in bytes.
    #[must_use]
    pub fn block_size(&self) -> &str {
        self.get("Size").split_once("Block size: ").map_or("", |(_, size)| size)
    }
}

/// Parses the report of all targets. A line that does not belong where it is continues the value before it, which
/// contains a line break.
#[must_use]
pub fn targets(text: &str) -> Vec<RunningTarget> {
    let mut found: Vec<RunningTarget> = Vec::new();
    let mut part = "";
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let content = line.trim_start_matches(' ');
        let depth = line.len() - content.len();
        if let Some(target) = found.last_mut().filter(|target| target.is_within_path(depth, content)) {
            target.continue_value(part, line);
        } else if let (0, Some((tid, name))) =
            (depth, content.strip_prefix("Target ").and_then(|rest| rest.split_once(": ")))
        {
            let tid = tid.parse().unwrap_or_default();
            found.push(RunningTarget { tid, name: name.to_owned(), ..RunningTarget::default() });
            part = "";
        } else if depth == TAB && PARTS.contains(&content) {
            part = content;
        } else if let Some(target) = found.last_mut() {
            if is_continuation(part, depth, content) {
                target.continue_value(part, line);
            } else {
                target.read(part, depth, content);
            }
        }
    }
    for target in &mut found {
        target.units.retain(|unit| unit.device_type() != "controller");
        for line in std::mem::take(&mut target.incoming) {
            sort_account(&line, &mut target.incoming, &mut target.outgoing);
        }
    }
    found
}

/// Whether a line does not belong where it is.
fn is_continuation(part: &str, depth: usize, content: &str) -> bool {
    if depth == TAB {
        return true;
    }
    let depths: &[usize] = match part {
        "System information:" | "Account information:" | "ACL information:" => &[DEEPER],
        "LUN information:" => &[DEEPER, DEEPEST],
        _ => return depth == 0,
    };
    !depths.contains(&depth) || part == "LUN information:" && !content.contains(':')
}

impl RunningTarget {
    fn read(&mut self, part: &str, depth: usize, line: &str) {
        // The value may be empty and may begin with a space.
        let (name, value) = line
            .split_once(':')
            .map_or((line, ""), |(name, value)| (name, value.strip_prefix(' ').unwrap_or(value)));
        match (part, depth) {
            ("System information:", DEEPER) => match name {
                "Driver" => value.clone_into(&mut self.driver),
                "State" => value.clone_into(&mut self.state),
                _ => {}
            },
            ("I_T nexus information:", DEEPER) => self.sessions.extend(value.parse::<u64>()),
            ("LUN information:", DEEPER) => {
                let lun = value.parse().unwrap_or_default();
                self.units.push(RunningUnit { lun, ..RunningUnit::default() });
            }
            ("LUN information:", DEEPEST) => {
                if let Some(unit) = self.units.last_mut() {
                    unit.lines.insert(name.to_owned(), value.to_owned());
                    name.clone_into(&mut unit.last);
                }
            }
            ("Account information:", DEEPER) => self.incoming.push(line.to_owned()),
            ("ACL information:", DEEPER) => self.rules.push(rule(line)),
            _ => {}
        }
    }

    /// The initiator names to which an incoming account is bound; none if any initiator may use it.
    pub(super) fn names_of(&self, user: &str) -> &[String] {
        self.account_names.get(user).map_or(&[], Vec::as_slice)
    }

    /// Whether this line belongs to the path of the last unit: the flags follow a path at once.
    fn is_within_path(&self, depth: usize, content: &str) -> bool {
        let ends = depth == DEEPEST && content.starts_with("Backing store flags:");
        self.units.last().is_some_and(|unit| unit.last == "Backing store path" && !ends)
    }

    /// Appends a line to the last value of a part.
    fn continue_value(&mut self, part: &str, line: &str) {
        let value = match part {
            "" => Some(&mut self.name),
            "LUN information:" => self.units.last_mut().and_then(|unit| unit.lines.get_mut(&unit.last)),
            "Account information:" => self.incoming.last_mut(),
            "ACL information:" => self.rules.last_mut().map(|rule| match rule {
                Rule::Address(text) | Rule::Name(text) => text,
            }),
            _ => None,
        };
        if let Some(value) = value {
            value.push('\n');
            value.push_str(line);
        }
    }

    /// Whether initiators are logged in.
    #[must_use]
    pub fn in_use(&self) -> bool {
        !self.sessions.is_empty()
    }
}

/// Parses an ACL rule. The report lists addresses, then names, and does not mark the boundary.
fn rule(text: &str) -> Rule {
    let address = text.split('/').next().unwrap_or_default();
    let address = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address);
    let is_address = text == "ALL" || address.parse::<std::net::IpAddr>().is_ok();
    // Names of initiators begin so (RFC 7143 4.2.7); other words are host names.
    let is_name = ["iqn.", "eui.", "naa."]
        .iter()
        .any(|start| text.get(..start.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(start)));
    if is_address || !is_name { Rule::Address(text.to_owned()) } else { Rule::Name(text.to_owned()) }
}

/// The items of a list in a document; none where there is no list.
fn list(value: &Value) -> impl Iterator<Item = &Value> + Clone {
    value.as_array().into_iter().flatten()
}

fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn sort_account(line: &str, incoming: &mut Vec<String>, outgoing: &mut Vec<String>) {
    match line.strip_suffix(" (outgoing)") {
        Some(user) => outgoing.push(user.to_owned()),
        None => incoming.push(line.to_owned()),
    }
}

fn accounts(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.strip_prefix("    ")).map(str::to_owned).collect()
}

/// Parses `NAME=VALUE` lines: the parameters of a target. Another line continues the value before it.
pub(super) fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut last = "";
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if let Some((name, value)) = line.split_once('=') {
            found.insert(name.to_owned(), value.to_owned());
            last = name;
        } else if let Some(value) = found.get_mut(last) {
            value.push('\n');
            value.push_str(line);
        }
    }
    found
}

/// Parses the connections of a target: numbers of session and connection.
pub(super) fn connections(text: &str) -> Vec<(u64, u32)> {
    let mut session = None;
    let mut found = Vec::new();
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("Session: ") {
            session = number.parse().ok();
        } else if let (Some(session), Some(number)) =
            (session, line.trim_start().strip_prefix("Connection: "))
        {
            found.extend(number.parse().map(|number| (session, number)));
        }
    }
    found
}

/// Headings in the report of a target.
const PARTS: [&str; 5] = [
    "System information:",
    "I_T nexus information:",
    "LUN information:",
    "Account information:",
    "ACL information:",
];
/// Indentation of the parts of a target's report.
const TAB: usize = 4;
/// Indentation of the lines of a part.
const DEEPER: usize = 8;
/// Indentation of the lines of a unit.
const DEEPEST: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "\
Target 1: iqn.a:1
    System information:
        Driver: iscsi
        State: ready
        Nop interval: 5
    I_T nexus information:
        I_T nexus: 2
            Initiator: iqn.i alias: none
            Connection: 0
                IP Address: 127.0.0.1
    LUN information:
        LUN: 0
            Type: controller
            Backing store path: None
            Backing store flags: 
        LUN: 3
            Type: cd/dvd
            SCSI ID: IET     00010003
            Size: 67 MB, Block size: 4096
            Online: No
            Readonly: Yes
            Backing store path: None
            Backing store flags: 
    Account information:
        fujita
        mike (outgoing)
    ACL information:
        ALL
        192.168.0.0/24
        [fe80::1]
        fe80::/64
        host.example
        iqn.1993-08.org.debian:01:abc
Target 12: iqn.b:2: c
    System information:
        Driver: iser
        State: offline
    I_T nexus information:
    LUN information:
    Account information:
    ACL information:
";

    #[test]
    fn targets_are_parsed() {
        let found = targets(TREE);
        assert_eq!(found.len(), 2);
        let one = &found[0];
        assert_eq!((one.tid, one.name.as_str(), one.driver.as_str()), (1, "iqn.a:1", "iscsi"));
        assert_eq!((one.sessions.as_slice(), one.in_use()), (&[2][..], true));
        assert_eq!(one.units.len(), 1, "the controller is left out");
        let unit = &one.units[0];
        assert_eq!((unit.lun, unit.device_type(), unit.block_size(), unit.path()), (3, "cd", "4096", None));
        assert_eq!((unit.is("Readonly"), unit.is("Online")), (true, false));
        assert_eq!(
            (one.incoming.join(" "), one.outgoing.join(" ")),
            ("fujita".to_owned(), "mike".to_owned())
        );
        let addresses = ["ALL", "192.168.0.0/24", "[fe80::1]", "fe80::/64", "host.example"];
        let mut rules: Vec<Rule> = addresses.map(|address| Rule::Address(address.to_owned())).into();
        rules.push(Rule::Name("iqn.1993-08.org.debian:01:abc".to_owned()));
        assert_eq!(one.rules, rules);
        let two = &found[1];
        assert_eq!((two.tid, two.name.as_str(), two.state.as_str()), (12, "iqn.b:2: c", "offline"));
        assert!(!two.in_use());
        let running = Running { targets: found, ..Running::default() };
        assert_eq!((running.next_tid(), Running::default().next_tid()), (13, 1));
    }

    #[test]
    fn settings_and_lists_are_parsed() {
        let mut running = Running::default();
        running.read_system(
            "System:\n    State: ready\nLLDs:\n    iscsi: ready\nDevice types:\n    disk\n    Account information:\n\n    \
             u\n    v (outgoing)\niSNS:\n    iSNS=On\n    iSNSServerIP=\n",
        );
        assert_eq!(
            (running.incoming_discovery.join(" "), running.outgoing_discovery.join(" ")),
            ("u".into(), "v".into())
        );
        assert_eq!(running.state, "ready");
        assert_eq!((running.isns["iSNS"].as_str(), running.isns["iSNSServerIP"].as_str()), ("On", ""));
        assert_eq!(accounts("Account list:\n    a\n    b\n"), ["a", "b"]);
        assert_eq!(parameters("a=b\nc=d=e\n")["c"], "d=e");
        let two = "Session: 2\n    Connection: 0\n        Initiator: x\nSession: 1\n    Connection: 3\n";
        assert_eq!(connections(two), [(2, 0), (1, 3)]);
    }
}
