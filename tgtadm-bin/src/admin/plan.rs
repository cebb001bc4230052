//! What to change so that a running daemon is what the file says, and nothing else: each step with what undoes it.
//!
//! Of targets, units, rules and accounts of targets the file is the whole truth; a parameter that it does not speak of
//! is left as it is. What no report shows (INQUIRY data, mode pages) cannot be compared.

mod target;

pub(super) use target::is_unit;

use std::collections::{BTreeMap, BTreeSet};

use super::Admin;
use super::command::{Command, Direction};
use super::config::Config;
use super::console::{MISTAKE, Stop, refused, say};
use super::make::{Devices, real};
use super::running::{self, Running};
use super::secrets::Secrets;
use crate::client;

/// One step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Change {
    pub(super) command: Command,
    /// What takes it back, in this order.
    pub(super) undo: Vec<Command>,
    /// Whether initiators that are logged in would notice.
    pub(super) disturbs: bool,
}

/// What happens to a target.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fate {
    Made,
    Deleted,
    Changed,
}

/// The steps for one target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct TargetPlan {
    pub(super) tid: u32,
    pub(super) name: String,
    pub(super) fate: Fate,
    pub(super) in_use: bool,
    pub(super) changes: Vec<Change>,
    /// What the file wants but no report shows; sent again where nobody would notice.
    pub(super) unseen: Vec<Command>,
    /// Of stores that are left out.
    pub(super) remarks: Vec<String>,
}

impl TargetPlan {
    /// Whether it has to wait until nobody uses the target.
    pub(super) fn waits(&self, force: bool) -> bool {
        self.in_use && !force && self.changes.iter().any(|change| change.disturbs)
    }
}

/// Everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Plan {
    pub(super) settings: Vec<Change>,
    pub(super) targets: Vec<TargetPlan>,
    /// Accounts of the file whose secret is not, or may not be, what the file says.
    pub(super) secrets: Secrets,
}

impl Admin {
    /// For `ALL`, `tid=N` or a name.
    pub(super) fn plan(&self, config: &Config, running: &Running, which: &str) -> Result<Plan, Stop> {
        let name = self.selected(config, running, which)?;
        let mut plan = self.plan_of(config, running, name.as_deref(), 0)?;
        plan.secrets = self.secrets(config, running, name.as_deref())?;
        Ok(plan)
    }

    /// For all or the target of a name. A new target gets a number above `tried`.
    pub(super) fn plan_of(
        &self,
        config: &Config,
        running: &Running,
        name: Option<&str>,
        tried: u32,
    ) -> Result<Plan, Stop> {
        let wanted = |other: &str| name.is_none_or(|name| name == other);
        let is_named = |other: &str| {
            config.targets.iter().any(|target| target.name == other)
                || config.refused.iter().any(|refused| refused.name == other)
        };
        let mut plan = Plan::default();
        let mut accounts: BTreeSet<String> = running.accounts.iter().cloned().collect();
        if name.is_none() {
            plan.settings = self.setting_changes(config, running, &mut accounts);
        }
        for target in running.targets.iter().filter(|target| wanted(&target.name) && !is_named(&target.name))
        {
            plan.targets.push(self.deletion(target)?);
        }
        let mut devices = self.devices(config, running, &plan);
        let given = config.targets.iter().filter_map(|target| target.tid).max().unwrap_or_default();
        let mut next_tid = running.next_tid().max(given.max(tried).saturating_add(1));
        for target in config.targets.iter().filter(|target| wanted(&target.name)) {
            let step = match running.target(&target.name) {
                Some(now) => self.changes(config, target, now, &mut accounts, &mut devices)?,
                None => {
                    let tid = target.tid.unwrap_or(next_tid);
                    next_tid += u32::from(target.tid.is_none());
                    self.creation(config, target, tid, &mut accounts, &mut devices)
                }
            };
            plan.targets.push(step);
        }
        Ok(plan)
    }

    /// The name of the one target that is wanted, or none for all.
    fn selected(&self, config: &Config, running: &Running, which: &str) -> Result<Option<String>, Stop> {
        if which == "ALL" {
            return Ok(None);
        }
        let name = match which.strip_prefix("tid=") {
            Some(tid) => {
                let Some(target) = running.targets.iter().find(|target| target.tid.to_string() == tid) else {
                    say(format_args!("There is no target with tid {tid}, can't continue!"));
                    return Err(MISTAKE);
                };
                target.name.clone()
            }
            None => which.to_owned(),
        };
        if config.refused.iter().any(|refused| refused.name == name) {
            return Err(MISTAKE);
        }
        if running.target(&name).is_none() && !config.targets.iter().any(|target| target.name == name) {
            say(format_args!(
                "Target {name} is currently not configured\nand does not exist in the config file - can't continue!"
            ));
            return Err(MISTAKE);
        }
        Ok(Some(name))
    }

    /// A device may not become two units; the daemon itself has open what it exports now.
    fn devices(&self, config: &Config, running: &Running, plan: &Plan) -> Devices {
        let goes = |target: &running::Target| plan.targets.iter().any(|other| other.name == target.name);
        let stays = running.targets.iter().filter(|target| !goes(target)).flat_map(|target| {
            let wanted = config.targets.iter().find(|other| other.name == target.name);
            target
                .units
                .iter()
                .filter(move |unit| wanted.is_none_or(|wanted| target::is_wanted(wanted, unit)))
        });
        Devices {
            force: self.force,
            but: client::daemon_process(&self.commands.port),
            taken: stays.filter_map(|unit| unit.path()).map(real).collect(),
        }
    }

    pub(super) fn setting_changes(
        &self,
        config: &Config,
        running: &Running,
        accounts: &mut BTreeSet<String>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let one = |command, undo| Change { command, undo, disturbs: false };
        // In the order of their letters the switch comes first; it is thrown last.
        let isns = config.isns.iter().filter(|_| config.isns.contains_key("iSNS")).rev();
        for (name, value) in isns {
            let now = running.isns.get(name).map_or("", String::as_str);
            if !now.eq_ignore_ascii_case(value) {
                changes.push(one(self.commands.isns(name, value), vec![self.commands.isns(name, now)]));
            }
        }
        for (command, undo) in self.discovery(config, running, accounts) {
            changes.push(one(command, vec![undo]));
        }
        for (wanted, bound, direction) in [
            (&config.incoming_discovery, &running.incoming_discovery, Direction::Incoming),
            (&config.outgoing_discovery, &running.outgoing_discovery, Direction::Outgoing),
        ] {
            // Without one in the file the daemon's stays: taking it would let everybody in.
            for user in
                bound.iter().filter(|user| wanted.as_ref().is_some_and(|wanted| wanted.user != **user))
            {
                let command = |op| self.commands.discovery_account(op, user, direction);
                let change = one(command("unbind"), vec![command("bind")]);
                // There can be one outgoing account only: the old one goes first.
                let at = if direction == Direction::Outgoing { 0 } else { changes.len() };
                changes.insert(at, change);
            }
        }
        changes
    }

    fn deletion(&self, target: &running::Target) -> Result<TargetPlan, Stop> {
        let parameters = self.parameters_of(target.tid)?;
        Ok(TargetPlan {
            tid: target.tid,
            name: target.name.clone(),
            fate: Fate::Deleted,
            in_use: target.in_use(),
            changes: self.removal_changes(target, &parameters)?,
            unseen: Vec::new(),
            remarks: Vec::new(),
        })
    }

    /// A target's parameters by name.
    pub(super) fn parameters_of(&self, tid: u32) -> Result<BTreeMap<String, String>, Stop> {
        let ask = self.commands.show("target", Some(tid));
        let text = ask.send().map_err(|refusal| refused(&ask, &refusal))?;
        Ok(running::parameters(&text))
    }
}

/// Whether two values of a parameter are one: numbers by value, words in any case; a report of digests names the one
/// that matters of a list.
fn is_same_value(name: &str, shown: &str, wanted: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    if name.ends_with("Digest") {
        return wanted.split(',').any(|word| word == "CRC32C") == (shown == "CRC32C");
    }
    shown.eq_ignore_ascii_case(wanted) || number(shown).is_some() && number(shown) == number(wanted)
}

impl Plan {
    /// Whether the daemon is not what the file says.
    pub(super) fn is_something(&self) -> bool {
        !self.settings.is_empty()
            || !self.secrets.different.is_empty()
            || self.targets.iter().any(|target| !target.changes.is_empty())
    }

    /// One line.
    pub(super) fn summary(&self, force: bool) -> String {
        let count = |fate| {
            self.targets.iter().filter(|target| target.fate == fate && !target.changes.is_empty()).count()
        };
        let same = self.targets.iter().filter(|target| target.changes.is_empty()).count();
        let wait = self.targets.iter().filter(|target| target.waits(force)).count();
        let mut text = format!(
            "# Targets: {} to make, {} to delete, {} to change, {same} as the file has them.",
            count(Fate::Made),
            count(Fate::Deleted),
            count(Fate::Changed)
        );
        if wait > 0 {
            text += &format!(" {wait} in use, left as they are without --force.");
        }
        match self.secrets.different.len() {
            0 => {}
            1 => text += " 1 secret changes.",
            count => text += &format!(" {count} secrets change."),
        }
        if !self.settings.is_empty() {
            text += " The daemon's own settings change.";
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_what_they_mean() {
        for (name, shown, wanted, same) in [
            ("MaxConnections", "8192", "08192", true),
            ("MaxConnections", "1", "2", false),
            ("InitialR2T", "Yes", "yes", true),
            ("HeaderDigest", "CRC32C", "None,CRC32C", true),
            ("HeaderDigest", "None", "None,CRC32C", false),
            ("DataDigest", "CRC32C", "None", false),
            ("state", "ready", "offline", false),
        ] {
            assert_eq!(is_same_value(name, shown, wanted), same, "{name} {shown} {wanted}");
        }
    }
}
