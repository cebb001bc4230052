//! Secrets of accounts that are not what the file says.
//!
//! Our daemon says whether a secret is the same and replaces it in place. tgt's can do neither: there the account is made
//! again ([`remake`](super::remake)).

use super::Admin;
use super::command::Command;
use super::config::{Account, Config, PASSWORD_TO_CORRECT};
use super::console::{Stop, refused};
use super::outcome::Outcome;
use super::remake::Scope;
use super::running::Running;
use crate::{EINVAL, Refusal};

/// Accounts that the daemon has, and whose secret may have to change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Secrets {
    /// The daemon says that it is another one.
    pub(super) different: Vec<Account>,
    /// The daemon does not say.
    pub(super) unknown: Vec<Account>,
    /// The only target that was looked at; none for all of them and discovery.
    pub(super) target: Option<String>,
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
        let mut found = Secrets { target: name.map(str::to_owned), ..Secrets::default() };
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
    /// `before` is the daemon before this run.
    pub(super) fn change_secrets(
        &self,
        config: &Config,
        secrets: &Secrets,
        before: &Running,
        outcome: &mut Outcome,
    ) -> Result<(), Stop> {
        for Account { user, password, .. } in &secrets.different {
            let command = self.commands.update_account(user, password);
            let result = self.send_secret(&command);
            outcome.note(result.or_else(|refusal| self.fail_unless_ignored(&command, &refusal)))?;
        }
        let scope = Scope { config, before, target: secrets.target.as_deref() };
        secrets
            .unknown
            .iter()
            .try_for_each(|account| outcome.note(self.make_again(account, &scope)).map(drop))
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

    /// Shows a command without its secret and sends it, unless it is a pretence.
    pub(super) fn send_secret(&self, command: &Command) -> Result<(), Refusal> {
        self.tell(&command.text_without_secret());
        if self.pretend { Ok(()) } else { command.send().map(drop) }
    }
}
