//! The actions that stock has, in the order in which it asks the daemon: make what is missing, delete, change states.

use std::collections::BTreeSet;

use target_engine::control::error::TgtadmError;

use super::Admin;
use super::command::{Command, Direction};
use super::config::{Config, Store, Target};
use super::console::{MISTAKE, Stop, refused, say, warn};
use super::make::{Devices, Luns, Maker, Step, driver};
use super::outcome::{Gate, Outcome};
use super::plan::is_unit;
use super::running::{self, Running};
use crate::Refusal;
use crate::retries::Retries;

/// What the daemon has, as far as this run knows.
struct Known {
    running: Running,
    /// Names of all accounts, also of those that this run has made.
    accounts: BTreeSet<String>,
    next_tid: u32,
}

impl Known {
    fn new(running: Running) -> Self {
        Self { accounts: running.accounts.iter().cloned().collect(), next_tid: running.next_tid(), running }
    }
}

/// Whether an account or a rule is there already, as it should be: another process has made it meanwhile.
fn is_there(refusal: &Refusal) -> bool {
    refusal.is(TgtadmError::AclExists) || refusal.is(TgtadmError::UserExists)
}

/// The comment on that.
const THERE: &str = "# It is there already.";

impl Admin {
    /// `--execute`: every target that can be made.
    pub(super) fn execute(&mut self) -> Result<(), Stop> {
        let config = self.configuration()?;
        let running = self.running()?;
        let mut outcome = Outcome::default();
        let mut known = Known::new(running.clone());
        self.settings(&config, &running, &mut known.accounts, &mut outcome)?;
        for target in &config.targets {
            if outcome.note(self.add(&config, target, &mut known))? {
                warn(format_args!("{}: target {} is not made", target.place, target.name));
                known = Known { next_tid: known.next_tid, ..Known::new(self.running()?) };
            }
        }
        self.tell("");
        self.remove_others(&config, &running, &mut outcome)?;
        outcome.end()?;
        if config.refused.is_empty() { Ok(()) } else { Err(MISTAKE) }
    }

    /// Deletes targets that the file does not have, if it has any at all.
    fn remove_others(&self, config: &Config, running: &Running, outcome: &mut Outcome) -> Result<(), Stop> {
        let is_other = |target: &&running::Target| {
            !config.targets.iter().any(|other| other.name == target.name)
                && !config.refused.iter().any(|other| other.name == target.name)
        };
        if config.targets.is_empty() || !running.targets.iter().any(|target| is_other(&target)) {
            return Ok(());
        }
        // Their numbers may be those of other targets by now.
        for target in self.running()?.targets.iter().filter(is_other) {
            if running.target(&target.name).is_some() && outcome.note(self.remove(target))? {
                warn(format_args!("target {} is not deleted", target.name));
            }
        }
        Ok(())
    }

    /// What is the daemon's own: iSNS is switched on when all is said about it.
    fn settings(
        &self,
        config: &Config,
        running: &Running,
        accounts: &mut BTreeSet<String>,
        outcome: &mut Outcome,
    ) -> Result<(), Stop> {
        let isns = config.isns.get("iSNS");
        let is_on = running.isns.get("iSNS").is_some_and(|value| value == "On");
        if !is_on {
            for (name, value) in config.isns.iter().filter(|(name, _)| *name != "iSNS") {
                outcome.note(self.send(&self.commands.isns(name, value)))?;
            }
        }
        for (command, _) in self.discovery(config, running, accounts) {
            outcome.note(self.send_or_find(&command))?;
        }
        match isns {
            Some(_) if is_on => self.tell("# iSNS already enabled"),
            Some(value) => drop(outcome.note(self.send(&self.commands.isns("iSNS", value)))?),
            None => {}
        }
        if config.default_driver.is_none() {
            self.tell("# default-driver not defined, defaulting to iscsi.\n");
        }
        Ok(())
    }

    /// Sends a command. An account or a rule that another process has made meanwhile is there, as it should be.
    fn send_or_find(&self, command: &Command) -> Result<(), Stop> {
        match self.try_send(command) {
            Err(refusal) if is_there(&refusal) => {
                self.tell(THERE);
                Ok(())
            }
            Err(refusal) => self.fail_unless_ignored(command, &refusal),
            Ok(()) => Ok(()),
        }
    }

    /// Accounts for discovery that the daemon has not yet, and what takes them back.
    pub(super) fn discovery(
        &self,
        config: &Config,
        running: &Running,
        accounts: &mut BTreeSet<String>,
    ) -> Vec<(Command, Command)> {
        let mut found = Vec::new();
        for (account, bound, direction) in [
            (&config.incoming_discovery, &running.incoming_discovery, Direction::Incoming),
            (&config.outgoing_discovery, &running.outgoing_discovery, Direction::Outgoing),
        ] {
            let Some(account) = account.as_ref().filter(|account| !bound.contains(&account.user)) else {
                continue;
            };
            if accounts.insert(account.user.clone()) {
                let new = self.commands.new_account(None, &account.user, &account.password);
                found.push((new, self.commands.delete_account(&account.user)));
            }
            let [bind, unbind] =
                ["bind", "unbind"].map(|op| self.commands.discovery_account(op, &account.user, direction));
            found.push((bind, unbind));
        }
        found
    }

    /// Makes a target that is not there; deletes it again where a step fails, so that none is left half made.
    fn add(&self, config: &Config, target: &Target, known: &mut Known) -> Result<(), Stop> {
        let Some((maker, rest)) = self.begin(config, target, known)? else { return Ok(()) };
        known.next_tid = known.next_tid.max(maker.tid.saturating_add(1));
        let made = self.finish(&maker, &rest, &mut known.accounts);
        if made.is_err() {
            let delete = self.commands.force_delete_target(maker.tid);
            if let Err(refusal) = self.try_send(&delete) {
                refused(&delete, &refusal);
            }
        }
        made
    }

    /// Makes the target itself, under another number where its own was taken meanwhile. What makes it, and the steps
    /// that are left before its units; nothing where the target is there already or errors are ignored.
    fn begin<'a>(
        &'a self,
        config: &'a Config,
        target: &'a Target,
        known: &mut Known,
    ) -> Result<Option<(Maker<'a>, Vec<Step>)>, Stop> {
        let mut retries = Retries::default();
        loop {
            if known.running.target(&target.name).is_some() {
                self.tell(&format!("# Target {} already exists!", target.name));
                return Ok(None);
            }
            let tid = target.tid.unwrap_or(known.next_tid);
            self.tell(&format!("# Adding target: {}", target.name));
            let maker = Maker { commands: &self.commands, target, driver: driver(config, target), tid };
            let new = maker.new_target();
            let Err(refusal) = self.try_send(&new) else {
                let rest = maker.beginning().split_off(1);
                return Ok(Some((maker, rest)));
            };
            if !refusal.is(TgtadmError::TargetExists) {
                return self.fail_unless_ignored(&new, &refusal).map(|()| None);
            }
            let now = self.running()?;
            let gone_on = now != known.running;
            known.next_tid = known.next_tid.saturating_add(1).max(now.next_tid());
            known.running = now;
            let is_there = known.running.target(&target.name).is_some();
            if !is_there && (target.tid.is_some() || !retries.again(gone_on)) {
                return self.fail_unless_ignored(&new, &refusal).map(|()| None);
            }
        }
    }

    /// All but the target itself.
    fn finish(
        &self,
        maker: &Maker<'_>,
        beginning: &[Step],
        accounts: &mut BTreeSet<String>,
    ) -> Result<(), Stop> {
        self.take(beginning, |command| self.send(command))?;
        let devices = Devices { force: self.force, but: None, taken: BTreeSet::new() };
        let mut luns = Luns::of(maker.target);
        for store in &maker.target.stores {
            // Looked at now: a unit that was made a moment ago has its device open.
            match devices.admit(maker.target, store) {
                Ok(()) => self.add_unit(maker, store, &mut luns)?,
                Err(lines) => self.skip(&lines),
            }
        }
        let mut gate = Gate::default();
        let mut sent = BTreeSet::new();
        self.take(&maker.end(accounts), |command| {
            if !gate.admits(command) {
                return Ok(());
            }
            // What this process has sent before is a mistake in the file, not another process.
            let is_first = sent.insert(command.text().to_owned());
            match self.try_send(command) {
                Ok(()) => Ok(()),
                Err(refusal) if is_first && is_there(&refusal) => {
                    self.tell(THERE);
                    Ok(())
                }
                Err(refusal) => {
                    gate.refused(command);
                    self.fail_unless_ignored(command, &refusal)
                }
            }
        })
    }

    /// Makes a unit; where its number was taken meanwhile, under the next one unless the file gives the number.
    fn add_unit(&self, maker: &Maker<'_>, store: &Store, luns: &mut Luns) -> Result<(), Stop> {
        let mut retries = Retries::default();
        let mut lun = luns.take(store);
        loop {
            let mut steps = maker.unit(store, lun);
            let rest = steps.split_off(1);
            let Some(Step::Run(new)) = steps.pop() else { return Ok(()) };
            match self.try_send(&new) {
                Ok(()) => return self.take(&rest, |command| self.send(command)),
                Err(refusal) if refusal.is(TgtadmError::LunExists) => {
                    let running = self.running()?;
                    let target = running.target(&maker.target.name);
                    let unit = target.and_then(|target| target.units.iter().find(|unit| unit.lun == lun));
                    match unit {
                        // Another process makes the same target.
                        Some(unit) if is_unit(store, unit) => {
                            return self.take(&rest, |command| self.send(command));
                        }
                        Some(_) if store.lun.is_none() => lun = luns.take(store),
                        // It is not shown before its store is open.
                        None if retries.again(false) => {}
                        _ => return self.fail_unless_ignored(&new, &refusal),
                    }
                }
                Err(refusal) => return self.fail_unless_ignored(&new, &refusal),
            }
        }
    }

    fn take(&self, steps: &[Step], mut send: impl FnMut(&Command) -> Result<(), Stop>) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| match step {
            Step::Say(line) => {
                self.tell(line);
                Ok(())
            }
            Step::Run(command) => send(command),
        })
    }

    /// A unit that will be missing is worth a word, asked for or not.
    pub(super) fn skip(&self, lines: &[String]) {
        if self.verbose {
            lines.iter().for_each(say);
        } else {
            lines.iter().for_each(|line| warn(line.trim_start_matches("# ")));
        }
    }

    /// Deletes a target; one in use only by force.
    fn remove(&self, target: &running::Target) -> Result<(), Stop> {
        if target.in_use() && !self.force {
            self.tell(&format!(
                "# Target with tid {} ({}) is in use, it won't be deleted.",
                target.tid, target.name
            ));
            return Ok(());
        }
        self.tell(&format!("# Removing target: {}", target.name));
        self.take(&self.removal(target)?, |command| self.send(command))?;
        self.tell("");
        Ok(())
    }

    /// The commands for it: first nobody new may come, then those that are there must go.
    pub(super) fn removal(&self, target: &running::Target) -> Result<Vec<Step>, Stop> {
        let mut steps = Vec::new();
        if target.in_use() {
            steps.extend(target.rules.iter().map(|rule| Step::Run(self.commands.unbind(target.tid, rule))));
            let ask = self.commands.show("conn", Some(target.tid));
            let text = ask.send().map_err(|refusal| refused(&ask, &refusal))?;
            let close = |(sid, cid)| Step::Run(self.commands.close(target.tid, sid, cid));
            steps.extend(running::connections(&text).into_iter().map(close));
        }
        steps.push(Step::Run(self.commands.delete_target(target.tid)));
        Ok(steps)
    }

    /// `--delete`.
    pub(super) fn delete(&self, which: &str) -> Result<(), Stop> {
        let running = self.running()?;
        if which == "ALL" {
            return running.targets.iter().try_for_each(|target| self.remove(target));
        }
        let (found, what) = match which.strip_prefix("tid=") {
            Some(tid) => {
                (running.targets.iter().find(|target| target.tid.to_string() == tid), format!("tid {tid}"))
            }
            None => (running.target(which), format!("name {which}")),
        };
        match found {
            Some(target) => self.remove(target),
            None => {
                self.tell(&format!("# Target with {what} does not exist!"));
                Ok(())
            }
        }
    }

    /// `--offline` and `--ready`.
    pub(super) fn set_state(&self, which: &str, state: &str) -> Result<(), Stop> {
        if let Some(tid) = which.strip_prefix("tid=") {
            return self.send(&self.commands.state(tid, None, state));
        }
        let running = self.running()?;
        if which == "ALL" {
            let one = |target: &running::Target| {
                self.send(&self.commands.state(&target.tid.to_string(), None, state))
            };
            return running.targets.iter().try_for_each(one);
        }
        let Some(target) = running.target(which) else {
            say(format_args!("There is no target with name \"{which}\", can't {state} it!"));
            return Err(MISTAKE);
        };
        self.send(&self.commands.state(&target.tid.to_string(), Some(which), state))
    }
}
