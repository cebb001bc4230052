//! Computes the changes that make a running daemon equal to the file.
//!
//! The file determines targets, units, ACL rules and the accounts of targets completely. A parameter that it does not
//! mention is left as it is. What no report shows (INQUIRY data, mode pages) cannot be compared.

mod change;
mod target;

pub(super) use change::{Change, Plan, TargetAction, TargetPlan};
pub(super) use target::is_unit;

use std::collections::{BTreeMap, BTreeSet};

use target_engine::control::error::TgtadmError;

use super::Admin;
use super::command::Direction;
use super::config::Config;
use super::console::{FAILURE, Stop, refused, say};
use super::running::{self, Running, RunningTarget};
use super::steps::{DevicePolicy, canonical_path};
use crate::client;

impl Admin {
    /// The plan for `ALL`, `tid=N` or a target's name.
    pub(super) fn plan(&self, config: &Config, running: &Running, which: &str) -> Result<Plan, Stop> {
        let name = self.selected(config, running, which)?;
        let mut plan = self.plan_of(config, running, name.as_deref(), 0)?;
        plan.secrets = self.secrets(config, running, name.as_deref())?;
        Ok(plan)
    }

    /// The plan for all targets, or for the one named `name`, without secrets. A new target gets a number above
    /// `tried`.
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
            plan.targets.extend(self.deletion(target)?);
        }
        let mut devices = self.devices(config, running, &plan);
        let given = config.targets.iter().filter_map(|target| target.tid).max().unwrap_or_default();
        let mut next_tid = running.next_tid().max(given.max(tried).saturating_add(1));
        for target in config.targets.iter().filter(|target| wanted(&target.name)) {
            let update = match running.target(&target.name) {
                Some(now) => self.changes(config, target, now, &mut accounts, &mut devices)?,
                None => None,
            };
            let step = match update {
                Some(step) => step,
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

    /// The name of the selected target, or `None` for all.
    ///
    /// # Errors
    /// There is no such target, or the file has errors in it.
    fn selected(&self, config: &Config, running: &Running, which: &str) -> Result<Option<String>, Stop> {
        if which == "ALL" {
            return Ok(None);
        }
        let name = match which.strip_prefix("tid=") {
            Some(tid) => {
                let Some(target) = running.targets.iter().find(|target| target.tid.to_string() == tid) else {
                    say(format_args!("There is no target with tid {tid}, can't continue!"));
                    return Err(FAILURE);
                };
                target.name.clone()
            }
            None => which.to_owned(),
        };
        if config.refused.iter().any(|refused| refused.name == name) {
            return Err(FAILURE);
        }
        if running.target(&name).is_none() && !config.targets.iter().any(|target| target.name == name) {
            say(format_args!(
                "Target {name} is currently not configured\nand does not exist in the config file - can't continue!"
            ));
            return Err(FAILURE);
        }
        Ok(Some(name))
    }

    /// The policy that no device is exported twice. The daemon has the devices open that it exports now.
    fn devices(&self, config: &Config, running: &Running, plan: &Plan) -> DevicePolicy {
        let goes = |target: &RunningTarget| plan.targets.iter().any(|other| other.name == target.name);
        let stays = running.targets.iter().filter(|target| !goes(target)).flat_map(|target| {
            let wanted = config.targets.iter().find(|other| other.name == target.name);
            target
                .units
                .iter()
                .filter(move |unit| wanted.is_none_or(|wanted| target::is_wanted(wanted, unit)))
        });
        DevicePolicy {
            force: self.force,
            ignored_process: client::daemon_process(&self.commands.port),
            taken: stays.filter_map(|unit| unit.path()).map(canonical_path).collect(),
        }
    }

    /// The changes to the daemon's own settings: iSNS and the accounts of discovery.
    pub(super) fn setting_changes(
        &self,
        config: &Config,
        running: &Running,
        accounts: &mut BTreeSet<String>,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let one = |command, undo| Change { command, undo, disruptive: false };
        // iSNS is enabled after its other settings; `iSNS` sorts first, so the order is reversed.
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
            // If the file has no account, the daemon's stays: unbinding it would admit every initiator.
            for user in
                bound.iter().filter(|user| wanted.as_ref().is_some_and(|wanted| wanted.user != **user))
            {
                let command = |op| self.commands.discovery_account(op, user, direction);
                let change = one(command("unbind"), vec![command("bind")]);
                // Only one outgoing account can be bound, so the old one is unbound first.
                let at = if direction == Direction::Outgoing { 0 } else { changes.len() };
                changes.insert(at, change);
            }
        }
        changes
    }

    /// The plan that deletes a target; `None` if it is gone by now.
    fn deletion(&self, target: &RunningTarget) -> Result<Option<TargetPlan>, Stop> {
        let Some(parameters) = self.parameters_of(target.tid)? else { return Ok(None) };
        Ok(Some(TargetPlan {
            tid: target.tid,
            name: target.name.clone(),
            action: TargetAction::Delete,
            in_use: target.in_use(),
            changes: self.removal_changes(target, &parameters)?,
            unverifiable: Vec::new(),
            skipped: Vec::new(),
        }))
    }

    /// Reads the parameters of a target by name; `None` if another process has deleted the target meanwhile.
    pub(super) fn parameters_of(&self, tid: u32) -> Result<Option<BTreeMap<String, String>>, Stop> {
        let ask = self.commands.show("target", Some(tid));
        match ask.send() {
            Ok(text) => Ok(Some(running::parameters(&text))),
            Err(refusal) if refusal.is(TgtadmError::NoTarget) => Ok(None),
            Err(refusal) => Err(refused(&ask, &refusal)),
        }
    }
}
