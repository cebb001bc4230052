//! Requests as `tgtadm` commands.
//!
//! The text that is printed and the request that is sent come from the same words.

use std::fmt::Write;

use crate::args::{self, Invocation};
use crate::{Refusal, client};

/// One `tgtadm` command.
#[derive(Clone, Eq, PartialEq)]
pub struct Command {
    /// The command line for a shell, with tgt's quotes and spaces.
    text: String,
    /// The words that a shell makes of it.
    words: Vec<Vec<u8>>,
}

impl Command {
    /// Begins a command for the daemon at this control port.
    fn new(port: &str) -> Self {
        Self { text: "tgtadm".to_owned(), words: vec![b"tgtadm".to_vec()] }.words("-C").value("", port)
    }

    /// The command line.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The command line without its password, which is the end of it.
    #[must_use]
    pub fn text_without_secret(&self) -> String {
        let has_secret = self.words.last().is_some_and(|word| word.starts_with(PASSWORD.as_bytes()));
        let secret = self.text.find(PASSWORD).filter(|_| has_secret);
        secret.map_or_else(|| self.text.clone(), |at| format!("{}{PASSWORD}***", &self.text[..at]))
    }

    /// Whether it adds an ACL rule to a target.
    pub(super) fn binds_acl_rule(&self) -> bool {
        self.has(&["--op", "bind", "--mode", "target"])
    }

    /// Whether it binds an account to a target that initiators must use.
    pub(super) fn binds_incoming_account(&self) -> bool {
        self.has(&["--mode", "account", "--op", "bind"]) && !self.has(&["--outgoing"])
    }

    /// Whether it deletes an account.
    pub(super) fn deletes_account(&self) -> bool {
        self.has(&["--mode", "account", "--op", "delete"])
    }

    fn has(&self, words: &[&str]) -> bool {
        let is_here =
            |window: &[Vec<u8>]| window.iter().zip(words).all(|(one, other)| one == other.as_bytes());
        self.words.windows(words.len()).any(is_here)
    }

    /// Appends words that need no quotes.
    fn words(mut self, words: &str) -> Self {
        for word in words.split(' ') {
            self = self.push(word, word);
        }
        self
    }

    /// Appends a word that ends in a value of the user. It is quoted only if a shell would misread it.
    fn value(self, before: &str, value: &str) -> Self {
        let special = |sign: char| sign.is_whitespace() || sign.is_control() || SHELL_SPECIAL.contains(sign);
        let shown = if value.is_empty() || value.contains(special) {
            format!("{before}'{}'", value.replace('\'', r"'\''"))
        } else {
            format!("{before}{value}")
        };
        self.push(&shown, &format!("{before}{value}"))
    }

    /// Appends a word whose value is always quoted.
    fn quoted(self, before: &str, value: &str) -> Self {
        let mut shown = format!("{before}\"");
        for sign in value.chars() {
            if ['\\', '"', '$', '`'].contains(&sign) {
                shown.push('\\');
            }
            shown.push(sign);
        }
        shown.push('"');
        self.push(&shown, &format!("{before}{value}"))
    }

    /// Appends an optional option. tgt prints a space in its place if it is absent.
    fn optional(self, option: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.words(option).value("", value),
            None => self.space(),
        }
    }

    fn space(mut self) -> Self {
        self.text.push(' ');
        self
    }

    fn push(mut self, shown: &str, word: &str) -> Self {
        // Writing to a string cannot fail.
        let _ = write!(self.text, " {shown}");
        self.words.push(word.as_bytes().to_vec());
        self
    }

    /// Sends the request and returns the answer.
    ///
    /// # Errors
    /// Returns the error that `tgtadm` would print.
    pub fn send(&self) -> Result<String, Refusal> {
        match args::parse(&self.words, true)? {
            Invocation::Send(order) => {
                client::exchange(&order).map(|text| String::from_utf8_lossy(&text).into_owned())
            }
            Invocation::Help | Invocation::Version => Ok(String::new()),
        }
    }
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Command").field(&self.text_without_secret()).finish()
    }
}

/// Creates commands for one daemon.
#[derive(Clone, Debug)]
pub struct Commands {
    /// The control port as given.
    pub port: String,
}

/// Direction of an account.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Initiators authenticate with it.
    Incoming,
    /// The target authenticates with it.
    Outgoing,
}

/// An ACL rule of a target.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Rule {
    /// A rule on the initiator's address.
    Address(String),
    /// A rule on the initiator's name.
    Name(String),
}

impl Rule {
    /// The address or name as written.
    #[must_use]
    pub fn text(&self) -> &str {
        match self {
            Self::Address(text) | Self::Name(text) => text,
        }
    }
}

/// Options of a new unit.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct NewUnit {
    /// The path of the backing store; `None` for a unit without a medium.
    pub path: Option<String>,
    /// The device type.
    pub device_type: Option<String>,
    /// The type of backing store.
    pub bs_type: Option<String>,
    /// Options of the backing store.
    pub bs_opts: Option<String>,
    /// Flags for opening the backing store.
    pub bso_flags: Option<String>,
    /// The logical block size.
    pub block_size: Option<String>,
}

impl Commands {
    /// Sets the state of the daemon: `ready` or `offline`.
    pub(super) fn system_state(&self, state: &str) -> Command {
        self.start(None).words("--op update --mode sys --name State -v").words(state)
    }

    fn start(&self, driver: Option<&str>) -> Command {
        let command = Command::new(&self.port);
        match driver {
            Some(driver) => command.words("--lld").value("", driver),
            None => command,
        }
    }

    /// Asks for a report: `target`, `account`, `sys`, or the connections or parameters of a target.
    pub(super) fn show(&self, mode: &str, tid: Option<u32>) -> Command {
        let command = self.start(None).words("--op show --mode").words(mode);
        match tid {
            Some(tid) => command.words("--tid").value("", &tid.to_string()),
            None => command,
        }
    }

    /// Asks for a report that has more in JSON.
    pub(super) fn show_in_json(&self, mode: &str) -> Command {
        self.start(None).words("--json --op show --mode").words(mode)
    }

    pub(super) fn isns(&self, name: &str, value: &str) -> Command {
        self.start(None).words("--op update --mode sys --name").words(name).words("-v").value("", value)
    }

    pub(super) fn new_target(&self, driver: &str, tid: u32, name: &str) -> Command {
        self.start(Some(driver))
            .words("--op new --mode target --tid")
            .value("", &tid.to_string())
            .words("-T")
            .value("", name)
    }

    pub(super) fn delete_target(&self, tid: u32) -> Command {
        self.start(None).words("--mode target --op delete").value("--tid=", &tid.to_string())
    }

    /// Deletes a target and closes its sessions.
    pub(super) fn force_delete_target(&self, tid: u32) -> Command {
        self.start(None).words("--mode target --op delete --force").value("--tid=", &tid.to_string())
    }

    pub(super) fn parameter(&self, driver: &str, tid: u32, name: &str, value: &str) -> Command {
        self.start(Some(driver))
            .words("--mode target --op update --tid")
            .value("", &tid.to_string())
            .words("--name")
            .value("", name)
            .words("--value")
            .value("", value)
    }

    /// Sets the state of a target. tgt's command has the name too if the user gave it.
    pub(super) fn state(&self, tid: &str, name: Option<&str>, state: &str) -> Command {
        let mut command = self.start(None).words("--op update --mode target").value("--tid=", tid);
        if let Some(name) = name {
            command = command.quoted("--name=", name);
        }
        command.words("-n state -v").words(state)
    }

    pub(super) fn new_unit(&self, driver: &str, tid: u32, lun: u64, unit: &NewUnit) -> Command {
        let mut command = self
            .start(Some(driver))
            .words("--op new --mode logicalunit --tid")
            .value("", &tid.to_string())
            .words("--lun")
            .value("", &lun.to_string());
        if let Some(path) = &unit.path {
            command = command.words("-b").quoted("", path);
        }
        command
            .optional("--device-type", unit.device_type.as_deref())
            .optional("--bstype", unit.bs_type.as_deref())
            .optional("--bsopts", unit.bs_opts.as_deref())
            .optional("--bsoflags", unit.bso_flags.as_deref())
            .optional("--blocksize", unit.block_size.as_deref())
    }

    pub(super) fn delete_unit(&self, driver: &str, tid: u32, lun: u64) -> Command {
        self.start(Some(driver))
            .words("--op delete --mode logicalunit --tid")
            .value("", &tid.to_string())
            .words("--lun")
            .value("", &lun.to_string())
    }

    fn update_unit(&self, driver: &str, tid: u32, lun: u64) -> Command {
        self.start(Some(driver))
            .words("--op update --mode logicalunit --tid")
            .value("", &tid.to_string())
            .value("--lun=", &lun.to_string())
            .words("--params")
    }

    pub(super) fn write_cache_off(&self, driver: &str, tid: u32, lun: u64) -> Command {
        self.update_unit(driver, tid, lun).value("mode_page=", WRITE_CACHE_OFF)
    }

    pub(super) fn unit_parameter(
        &self,
        driver: &str,
        tid: u32,
        lun: u64,
        name: &str,
        value: &str,
    ) -> Command {
        self.update_unit(driver, tid, lun).quoted(&format!("{name}="), value)
    }

    pub(super) fn unit_parameters(&self, driver: &str, tid: u32, lun: u64, text: &str) -> Command {
        self.update_unit(driver, tid, lun).quoted("", text)
    }

    pub(super) fn new_account(&self, driver: Option<&str>, user: &str, password: &str) -> Command {
        self.start(driver).words("--mode account --op new").value("--user=", user).value(PASSWORD, password)
    }

    /// Changes the password of an account in place.
    pub(super) fn update_account(&self, user: &str, password: &str) -> Command {
        self.start(None).words("--mode account --op update").value("--user=", user).value(PASSWORD, password)
    }

    /// Asks whether an account has this password.
    pub(super) fn compare_account(&self, user: &str, password: &str) -> Command {
        let command = self.start(None).words("--json --mode account --op show");
        command.value("--user=", user).value(PASSWORD, password)
    }

    pub(super) fn delete_account(&self, user: &str) -> Command {
        self.start(None).words("--mode account --op delete").value("--user=", user)
    }

    /// Binds an account to a target or unbinds it.
    pub(super) fn target_account(
        &self,
        driver: &str,
        op: &str,
        tid: u32,
        user: &str,
        direction: Direction,
    ) -> Command {
        let command = self
            .start(Some(driver))
            .words("--mode account --op")
            .words(op)
            .value("--tid=", &tid.to_string())
            .value("--user=", user);
        if direction == Direction::Outgoing { command.words("--outgoing") } else { command }
    }

    /// Binds an incoming account to an initiator name at a target or unbinds it from the name.
    pub(super) fn account_name(&self, driver: &str, op: &str, tid: u32, user: &str, name: &str) -> Command {
        let command = self.target_account(driver, op, tid, user, Direction::Incoming);
        command.words("--initiator-name").value("", name)
    }

    /// The commands that bind an account to a target: an incoming one to each of its initiator names, if it has any.
    pub(super) fn bind_account(
        &self,
        driver: &str,
        tid: u32,
        user: &str,
        names: &[String],
        direction: Direction,
    ) -> Vec<Command> {
        if names.is_empty() {
            return vec![self.target_account(driver, "bind", tid, user, direction)];
        }
        names.iter().map(|name| self.account_name(driver, "bind", tid, user, name)).collect()
    }

    /// Binds an account to discovery or unbinds it.
    pub(super) fn discovery_account(&self, op: &str, user: &str, direction: Direction) -> Command {
        let command = self.start(None).words("--mode account --op").words(op).value("--user=", user).space();
        if direction == Direction::Outgoing { command.words("--outgoing") } else { command }
    }

    pub(super) fn bind(&self, driver: &str, tid: u32, rule: &Rule) -> Command {
        self.rule(self.start(Some(driver)), "bind", tid, rule)
    }

    pub(super) fn unbind(&self, tid: u32, rule: &Rule) -> Command {
        self.rule(self.start(None), "unbind", tid, rule)
    }

    fn rule(&self, start: Command, op: &str, tid: u32, rule: &Rule) -> Command {
        let command = start.words("--op").words(op).words("--mode target --tid").value("", &tid.to_string());
        match rule {
            Rule::Address(address) => command.words("-I").value("", address),
            Rule::Name(name) => command.words("-Q").value("", name),
        }
    }

    pub(super) fn close(&self, tid: u32, sid: u64, cid: u32) -> Command {
        self.start(None)
            .words("--op delete --mode conn --tid")
            .value("", &tid.to_string())
            .words("--sid")
            .value("", &sid.to_string())
            .words("--cid")
            .value("", &cid.to_string())
    }
}

/// The caching mode page (SBC-3 6.4.5) with WCE clear, as tgt writes it.
pub(super) const WRITE_CACHE_OFF: &str =
    "8:0:18:0x10:0:0xff:0xff:0:0:0xff:0xff:0xff:0xff:0x80:0x14:0:0:0:0:0:0";
/// The option that precedes a password.
const PASSWORD: &str = "--password=";
/// Characters that a shell does not take literally.
const SHELL_SPECIAL: &str = "'\"`$\\;&|<>()#!*?{}~";

#[cfg(test)]
mod tests {
    use super::*;

    fn words(command: &Command) -> Vec<&str> {
        command.words.iter().map(|word| std::str::from_utf8(word).unwrap()).collect()
    }

    #[test]
    fn only_text_contains_the_password() {
        let commands = Commands { port: "0".to_owned() };
        let account = commands.new_account(Some("iscsi"), "mike --password=x", "hush 'hush' --password=hush");
        assert!(account.text().contains("hush"));
        for shown in [account.text_without_secret(), format!("{account:?}")] {
            assert!(shown.contains("--user='mike --password=***") && !shown.contains("hush"), "{shown}");
        }
        let user = commands.delete_account("--password=name");
        assert_eq!(user.text_without_secret(), user.text());
    }

    #[test]
    fn shell_splits_text_into_the_same_words() {
        let commands = Commands { port: "0".to_owned() };
        let unit = NewUnit {
            path: Some("/a b/$c\"d".to_owned()),
            bs_opts: Some("a=b;c=d".to_owned()),
            ..NewUnit::default()
        };
        let cases = [
            commands.new_unit("iscsi", 1, 2, &unit),
            commands.unit_parameter("iscsi", 1, 2, "vendor_id", "My `Co` \\"),
            commands.new_account(None, "it's", "a b"),
            commands.new_account(None, "#", ""),
            commands.bind("iscsi", 3, &Rule::Address("[fe80::1]".to_owned())),
            commands.state("4", Some("iqn.a"), "offline"),
        ];
        for command in cases {
            let script = format!("printf '%s\\n' {}", command.text());
            let output = std::process::Command::new("sh").args(["-c", &script]).output().unwrap();
            let shell = String::from_utf8(output.stdout).unwrap();
            assert_eq!(shell.lines().collect::<Vec<_>>(), words(&command), "{}", command.text());
        }
    }
}
