//! Secrets of accounts that differ from the file.
//!
//! Our daemon compares a secret and replaces it in place. tgt's daemon supports neither: there the account is created
//! again ([`remake`](super::remake)).

use super::Admin;
use super::command::Command;
use super::config::{Account, Config, PASSWORD_PLACEHOLDER};
use super::console::{Stop, refused};
use super::outcome::Outcome;
use super::remake::Scope;
use super::running::Running;
use crate::{EINVAL, Refusal};

/// Existing accounts whose secret may have to change.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Secrets {
    /// The daemon reports that the secret differs.
    pub(super) different: Vec<Account>,
    /// The daemon cannot compare the secret.
    pub(super) unknown: Vec<Account>,
    /// The only target whose accounts were compared; `None` for all targets and discovery.
    pub(super) target: Option<String>,
}

impl Admin {
    /// Compares the secrets of the file with the daemon's: for one target, or for all targets and discovery.
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
            // The placeholder of a dump is not a secret.
            let is_there = running.accounts.contains(&account.user);
            if !is_there || account.password == PASSWORD_PLACEHOLDER || seen.contains(&&account.user) {
                continue;
            }
            seen.push(&account.user);
            // If the daemon cannot compare one secret, it can compare none.
            let same = if found.unknown.is_empty() { self.has_secret(account)? } else { None };
            match same {
                Some(true) => {}
                Some(false) => found.different.push(account.clone()),
                None => found.unknown.push(account.clone()),
            }
        }
        Ok(found)
    }

    /// Whether the account has the secret; `None` if the daemon cannot compare it.
    fn has_secret(&self, account: &Account) -> Result<Option<bool>, Stop> {
        let ask = self.commands.compare_account(&account.user, &account.password);
        match ask.send() {
            Ok(text) => {
                let document: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
                Ok(document["same_secret"].as_bool())
            }
            // A daemon without JSON support returns no document.
            Err(Refusal { exit: EINVAL, document, .. }) if document.is_empty() => Ok(None),
            Err(refusal) => Err(refused(&ask, &refusal)),
        }
    }

    /// Replaces the secrets one after the other. A refused one does not stop the others.
    ///
    /// `before` is the state of the daemon before this run.
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
            .try_for_each(|account| outcome.note(self.recreate_account(account, &scope)).map(drop))
    }

    /// Prints the accounts that differ, for `--plan`.
    pub(super) fn print_different_secrets(&self, secrets: &Secrets) {
        for Account { user, password, .. } in &secrets.different {
            self.print_verbose(&format!("# The secret of account {user} differs"));
            self.print_verbose(&self.commands.update_account(user, password).text_without_secret());
        }
    }

    /// Prints the accounts that the daemon cannot compare, for `--plan`.
    pub(super) fn print_unknown_secrets(&self, secrets: &Secrets) {
        for Account { user, password, .. } in &secrets.unknown {
            let command = self.commands.new_account(None, user, password);
            self.print_verbose(&format!(
                "# No report shows whether this is so: {}",
                command.text_without_secret()
            ));
        }
    }

    /// Prints a command without its secret and sends it unless `--pretend` is set.
    pub(super) fn send_secret(&self, command: &Command) -> Result<(), Refusal> {
        self.print_verbose(&command.text_without_secret());
        if self.pretend { Ok(()) } else { command.send().map(drop) }
    }
}
