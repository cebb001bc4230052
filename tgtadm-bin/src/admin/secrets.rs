//! Secrets of accounts that are not what the file says.
//!
//! Our daemon says whether a secret is the same and replaces it in place. tgt's can do neither: there the account is
//! deleted, made and bound again, and what asks for its proof is offline meanwhile, so that nobody gets in without one.

use super::Admin;
use super::command::{Command, Direction};
use super::config::{Account, Config, PASSWORD_TO_CORRECT};
use super::console::{Stop, refused, warn};
use super::outcome::Outcome;
use super::running::{Running, Target};
use crate::{EINVAL, Refusal};

/// Accounts that the daemon has, and whose secret may have to change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Secrets {
    /// The daemon says that it is another one.
    pub(super) different: Vec<Account>,
    /// The daemon does not say.
    pub(super) unknown: Vec<Account>,
}

/// The steps that give an account of tgt's daemon another secret.
#[derive(Default)]
struct Remake {
    /// Closes what asks for the account's proof, and takes the account from there; each with what takes it back.
    before: Vec<(Command, Command)>,
    bind: Vec<Command>,
    /// Opens what was closed.
    open: Vec<Command>,
    /// What is closed meanwhile.
    closed: Vec<String>,
}

impl Admin {
    /// Compares the secrets of the file with the daemon's: of one target, or of all targets and of discovery.
    pub(super) fn secrets(
        &self,
        config: &Config,
        running: &Running,
        name: Option<&str>,
    ) -> Result<Secrets, Stop> {
        let discovery = config.incoming_discovery.iter().chain(&config.outgoing_discovery);
        let targets = config.targets.iter().filter(|target| name.is_none_or(|name| target.name == name));
        let wanted = discovery.filter(|_| name.is_none()).chain(targets.flat_map(|target| target.accounts()));
        let mut seen = Vec::new();
        let mut found = Secrets::default();
        for account in wanted {
            // A secret that a dump puts there is nobody's.
            let is_there = running.accounts.contains(&account.user);
            if !is_there || account.password == PASSWORD_TO_CORRECT || seen.contains(&&account.user) {
                continue;
            }
            seen.push(&account.user);
            // A daemon that did not say the first time never will.
            let same = if found.unknown.is_empty() { self.has_secret(account)? } else { None };
            match same {
                Some(true) => {}
                Some(false) => found.different.push(account.clone()),
                None => found.unknown.push(account.clone()),
            }
        }
        Ok(found)
    }

    /// `None` where the daemon does not say.
    fn has_secret(&self, account: &Account) -> Result<Option<bool>, Stop> {
        let ask = self.commands.compare_account(&account.user, &account.password);
        match ask.send() {
            Ok(text) => {
                let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                Ok(document["same_secret"].as_bool())
            }
            // One that does not know the form has no document to refuse with.
            Err(Refusal { exit: EINVAL, document, .. }) if document.is_empty() => Ok(None),
            Err(refusal) => Err(refused(&ask, &refusal)),
        }
    }

    /// Gives the accounts the secrets of the file, one after the other; one that is refused keeps no other from it.
    pub(super) fn change_secrets(
        &self,
        secrets: &Secrets,
        running: &Running,
        outcome: &mut Outcome,
    ) -> Result<(), Stop> {
        for Account { user, password, .. } in &secrets.different {
            let command = self.commands.update_account(user, password);
            let result = self.send_secret(&command);
            outcome.note(result.or_else(|refusal| self.fail_unless_ignored(&command, &refusal)))?;
        }
        if secrets.unknown.is_empty() {
            return Ok(());
        }
        // What is bound has changed meanwhile.
        let running = if self.pretend { running.clone() } else { self.running()? };
        secrets
            .unknown
            .iter()
            .try_for_each(|account| outcome.note(self.make_again(account, &running)).map(drop))
    }

    /// What `--plan` says of those that differ.
    pub(super) fn say_different_secrets(&self, secrets: &Secrets) {
        for Account { user, password, .. } in &secrets.different {
            self.tell(&format!("# The secret of account {user} differs"));
            self.tell(&self.commands.update_account(user, password).text_without_secret());
        }
    }

    /// What `--plan` says of a daemon that cannot compare them.
    pub(super) fn say_unknown_secrets(&self, secrets: &Secrets) {
        for Account { user, password, .. } in &secrets.unknown {
            let command = self.commands.new_account(None, user, password);
            self.tell(&format!("# No report shows whether this is so: {}", command.text_without_secret()));
        }
    }

    /// Makes an account again of which the daemon does not say whether its secret is the same.
    fn make_again(&self, account: &Account, running: &Running) -> Result<(), Stop> {
        let user = &account.user;
        let used = running.targets.iter().find(|target| target.in_use() && has_account(target, user));
        if let Some(target) = used.filter(|_| !self.force) {
            self.skip(&[format!(
                "# Target with tid {} ({}) is in use, and this daemon cannot change a secret in place: the one of account \
                 {user} stays as it is. --force changes it.",
                target.tid, target.name
            )]);
            return Ok(());
        }
        self.remade(account, &self.remake(user, running))
    }

    fn remade(&self, account: &Account, remake: &Remake) -> Result<(), Stop> {
        let Account { user, password, .. } = account;
        let closed = remake.closed.join(", ");
        let meanwhile =
            if closed.is_empty() { String::new() } else { format!("; offline meanwhile: {closed}") };
        self.skip(&[format!(
            "# This daemon neither shows a secret nor changes it in place: account {user} is deleted and made again{meanwhile}"
        )]);
        let delete = self.commands.delete_account(user);
        for (at, command) in remake.before.iter().map(|(command, _)| command).chain([&delete]).enumerate() {
            if let Err(refusal) = self.send_secret(command) {
                // The account is still there.
                let undo: Vec<&Command> = remake.before[..at].iter().rev().map(|(_, undo)| undo).collect();
                let _ = self.open_again(account, remake, &undo);
                return self.fail_unless_ignored(command, &refusal);
            }
        }
        let new = self.commands.new_account(None, user, password);
        let make: Vec<&Command> = [&new].into_iter().chain(&remake.bind).chain(&remake.open).collect();
        self.open_again(account, remake, &make)
    }

    /// Gives back what was taken, and opens last: a target without the account would ask for no proof, so it stays
    /// offline where the daemon refuses a step before.
    fn open_again(&self, account: &Account, remake: &Remake, steps: &[&Command]) -> Result<(), Stop> {
        for (at, command) in steps.iter().enumerate() {
            if let Err(refusal) = self.send_secret(command) {
                if !remake.closed.is_empty() {
                    let left: Vec<String> =
                        steps[at..].iter().map(|command| command.text_without_secret()).collect();
                    warn(format_args!(
                        "account {} is not as it was, so this stays offline: {}; what is left to do: {}",
                        account.user,
                        remake.closed.join(", "),
                        left.join("; ")
                    ));
                }
                return self.fail_unless_ignored(command, &refusal);
            }
        }
        Ok(())
    }

    /// The account is taken from the end of each list only, with those behind it, which come back in their order: tgt's
    /// daemon ends at the next report where a list has a gap.
    fn remake(&self, user: &str, running: &Running) -> Remake {
        let commands = &self.commands;
        let mut remake = Remake::default();
        for target in running.targets.iter().filter(|target| has_account(target, user)) {
            let (tid, driver) = (target.tid, target.driver.as_str());
            let state = |state| commands.state(&tid.to_string(), None, state);
            if target.state == "ready" {
                remake.before.push((state("offline"), state("ready")));
                remake.open.push(state("ready"));
            }
            remake.closed.push(format!("target {} (tid {tid})", target.name));
            for (list, direction) in
                [(&target.incoming, Direction::Incoming), (&target.outgoing, Direction::Outgoing)]
            {
                remake
                    .rebind(list, user, |op, user| commands.target_account(driver, op, tid, user, direction));
            }
        }
        let discovery = [
            (&running.incoming_discovery, Direction::Incoming),
            (&running.outgoing_discovery, Direction::Outgoing),
        ];
        if discovery.iter().any(|(list, _)| list.iter().any(|known| known == user)) {
            if running.state == "ready" {
                remake.before.insert(0, (commands.system_state("offline"), commands.system_state("ready")));
                remake.open.push(commands.system_state("ready"));
            }
            remake.closed.push("the daemon, for its discovery".to_owned());
            for (list, direction) in discovery {
                remake.rebind(list, user, |op, user| commands.discovery_account(op, user, direction));
            }
        }
        remake
    }

    /// Shows a command without its secret and sends it, unless it is a pretence.
    fn send_secret(&self, command: &Command) -> Result<(), Refusal> {
        self.tell(&command.text_without_secret());
        if self.pretend { Ok(()) } else { command.send().map(drop) }
    }
}

impl Remake {
    fn rebind(&mut self, list: &[String], user: &str, command: impl Fn(&str, &str) -> Command) {
        let Some(at) = list.iter().position(|known| known == user) else { return };
        let (bind, unbind) = (|user: &String| command("bind", user), |user: &String| command("unbind", user));
        self.before.extend(list[at..].iter().rev().map(|user| (unbind(user), bind(user))));
        self.bind.extend(list[at..].iter().map(bind));
    }
}

fn has_account(target: &Target, user: &str) -> bool {
    target.incoming.iter().chain(&target.outgoing).any(|known| known == user)
}
