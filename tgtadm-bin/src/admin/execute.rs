//! The actions that tgt has: create missing targets, delete targets, and change states, in tgt's order of requests.

use std::collections::BTreeSet;

use target_engine::control::error::TgtadmError;

use super::Admin;
use super::command::{Command, Direction};
use super::config::{Config, Store, Target};
use super::console::{FAILURE, Stop, refused, say, warn};
use super::outcome::{AccessGuard, Outcome};
use super::plan::is_unit;
use super::running::{self, Running, RunningTarget};
use super::steps::{DevicePolicy, LunAllocator, Step, TargetSteps, driver};
use crate::Refusal;
use crate::retries::Retries;

/// The daemon's state as far as this run knows it.
struct DaemonState {
    running: Running,
    /// Names of all accounts, including those that this run has created.
    accounts: BTreeSet<String>,
    next_tid: u32,
}

impl DaemonState {
    fn new(running: Running) -> Self {
        Self { accounts: running.accounts.iter().cloned().collect(), next_tid: running.next_tid(), running }
    }
}

/// Whether the refusal says that another process has created the account or rule meanwhile.
fn exists_already(refusal: &Refusal) -> bool {
    refusal.is(TgtadmError::AclExists) || refusal.is(TgtadmError::UserExists)
}

/// The comment printed for such a refusal.
const EXISTS_COMMENT: &str = "# It is there already.";

/// Whether the refusal says that the target, connection or rule does not exist.
fn is_gone(refusal: &Refusal) -> bool {
    use TgtadmError as Error;
    let gone = [Error::NoTarget, Error::NoSession, Error::NoConnection, Error::AclNotFound];
    gone.into_iter().any(|error| refusal.is(error))
}

/// The comment printed for such a refusal.
const GONE_COMMENT: &str = "# It is gone already.";

impl Admin {
    /// `--execute`: creates every missing target.
    pub(super) fn execute(&mut self) -> Result<(), Stop> {
        let config = self.configuration()?;
        let running = self.running()?;
        let mut outcome = Outcome::default();
        let mut known = DaemonState::new(running.clone());
        self.settings(&config, &running, &mut known.accounts, &mut outcome)?;
        for target in &config.targets {
            if outcome.note(self.add(&config, target, &mut known))? {
                warn(format_args!("{}: target {} is not made", target.location, target.name));
                known = DaemonState { next_tid: known.next_tid, ..DaemonState::new(self.running()?) };
            }
        }
        self.print_verbose("");
        self.remove_others(&config, &running, &mut outcome)?;
        outcome.end()?;
        if config.refused.is_empty() { Ok(()) } else { Err(FAILURE) }
    }

    /// Deletes the targets that the file does not have, if the file has any targets.
    fn remove_others(&self, config: &Config, running: &Running, outcome: &mut Outcome) -> Result<(), Stop> {
        let is_other = |target: &&RunningTarget| {
            !config.targets.iter().any(|other| other.name == target.name)
                && !config.refused.iter().any(|other| other.name == target.name)
        };
        if config.targets.is_empty() || !running.targets.iter().any(|target| is_other(&target)) {
            return Ok(());
        }
        // Other targets may have these numbers by now.
        for target in self.running()?.targets.iter().filter(is_other) {
            if running.target(&target.name).is_some() && outcome.note(self.remove(target))? {
                warn(format_args!("target {} is not deleted", target.name));
            }
        }
        Ok(())
    }

    /// Applies the daemon's own settings. iSNS is enabled after its other settings.
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
            Some(_) if is_on => self.print_verbose("# iSNS already enabled"),
            Some(value) => drop(outcome.note(self.send(&self.commands.isns("iSNS", value)))?),
            None => {}
        }
        if config.default_driver.is_none() {
            self.print_verbose("# default-driver not defined, defaulting to iscsi.\n");
        }
        Ok(())
    }

    /// Sends a command. It succeeds if another process has created the account or rule meanwhile.
    fn send_or_find(&self, command: &Command) -> Result<(), Stop> {
        match self.try_send(command) {
            Err(refusal) if exists_already(&refusal) => {
                self.print_verbose(EXISTS_COMMENT);
                Ok(())
            }
            Err(refusal) => self.fail_unless_ignored(command, &refusal),
            Ok(()) => Ok(()),
        }
    }

    /// Sends a command. It succeeds if another process has deleted the object of the command meanwhile.
    fn send_unless_gone(&self, command: &Command) -> Result<(), Stop> {
        match self.try_send(command) {
            Err(refusal) if is_gone(&refusal) => {
                self.print_verbose(GONE_COMMENT);
                Ok(())
            }
            Err(refusal) => self.fail_unless_ignored(command, &refusal),
            Ok(()) => Ok(()),
        }
    }

    /// The commands that add missing accounts of discovery, each with the command that undoes it.
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

    /// Creates a missing target. If a step fails, the target is deleted, so that no incomplete target remains.
    fn add(&self, config: &Config, target: &Target, known: &mut DaemonState) -> Result<(), Stop> {
        let Some((target_steps, rest)) = self.begin(config, target, known)? else { return Ok(()) };
        known.next_tid = known.next_tid.max(target_steps.tid.saturating_add(1));
        let made = self.finish(&target_steps, &rest, &mut known.accounts);
        if made.is_err() {
            let delete = self.commands.force_delete_target(target_steps.tid);
            if let Err(refusal) = self.try_send(&delete) {
                refused(&delete, &refusal);
            }
        }
        made
    }

    /// Creates the target without its parts. If another process took its number, tries the next one.
    ///
    /// Returns the remaining steps before its units; `None` if the target exists or errors are ignored.
    fn begin<'a>(
        &'a self,
        config: &'a Config,
        target: &'a Target,
        known: &mut DaemonState,
    ) -> Result<Option<(TargetSteps<'a>, Vec<Step>)>, Stop> {
        let mut retries = Retries::default();
        loop {
            if known.running.target(&target.name).is_some() {
                self.print_verbose(&format!("# Target {} already exists!", target.name));
                return Ok(None);
            }
            let tid = target.tid.unwrap_or(known.next_tid);
            self.print_verbose(&format!("# Adding target: {}", target.name));
            let target_steps =
                TargetSteps { commands: &self.commands, target, driver: driver(config, target), tid };
            let new = target_steps.new_target();
            let Err(refusal) = self.try_send(&new) else {
                let rest = target_steps.first_steps().split_off(1);
                return Ok(Some((target_steps, rest)));
            };
            if !refusal.is(TgtadmError::TargetExists) {
                return self.fail_unless_ignored(&new, &refusal).map(|()| None);
            }
            let now = self.running()?;
            let state_changed = now != known.running;
            known.next_tid = known.next_tid.saturating_add(1).max(now.next_tid());
            known.running = now;
            let is_there = known.running.target(&target.name).is_some();
            if !is_there && (target.tid.is_some() || !retries.again(state_changed)) {
                return self.fail_unless_ignored(&new, &refusal).map(|()| None);
            }
        }
    }

    /// Creates the parts of a target: parameters, units, accounts, rules.
    fn finish(
        &self,
        target_steps: &TargetSteps<'_>,
        beginning: &[Step],
        accounts: &mut BTreeSet<String>,
    ) -> Result<(), Stop> {
        self.run_steps(beginning, |command| self.send(command))?;
        let devices = DevicePolicy { force: self.force, ignored_process: None, taken: BTreeSet::new() };
        let mut luns = LunAllocator::of(target_steps.target);
        for store in &target_steps.target.stores {
            // Checked now, because a unit that was just created has its device open.
            match devices.check(target_steps.target, store) {
                Ok(()) => self.add_unit(target_steps, store, &mut luns)?,
                Err(lines) => self.skip(&lines),
            }
        }
        let mut guard = AccessGuard::default();
        let mut sent = BTreeSet::new();
        self.run_steps(&target_steps.final_steps(accounts), |command| {
            if !guard.allows(command) {
                return Ok(());
            }
            // If this process has sent the command before, the file has the line twice.
            let is_first = sent.insert(command.text().to_owned());
            match self.try_send(command) {
                Ok(()) => Ok(()),
                Err(refusal) if is_first && exists_already(&refusal) => {
                    self.print_verbose(EXISTS_COMMENT);
                    Ok(())
                }
                Err(refusal) => {
                    guard.note_refusal(command);
                    self.fail_unless_ignored(command, &refusal)
                }
            }
        })
    }

    /// Creates a unit. If another process took its LUN, uses the next one unless the file gives the LUN.
    fn add_unit(
        &self,
        target_steps: &TargetSteps<'_>,
        store: &Store,
        luns: &mut LunAllocator,
    ) -> Result<(), Stop> {
        let mut retries = Retries::default();
        let mut lun = luns.allocate(store);
        loop {
            let mut steps = target_steps.unit(store, lun);
            let rest = steps.split_off(1);
            let Some(Step::Run(new)) = steps.pop() else { return Ok(()) };
            match self.try_send(&new) {
                Ok(()) => return self.run_steps(&rest, |command| self.send(command)),
                Err(refusal) if refusal.is(TgtadmError::LunExists) => {
                    let running = self.running()?;
                    let target = running.target(&target_steps.target.name);
                    let unit = target.and_then(|target| target.units.iter().find(|unit| unit.lun == lun));
                    match unit {
                        // Another process creates the same target.
                        Some(unit) if is_unit(store, unit) => {
                            return self.run_steps(&rest, |command| self.send(command));
                        }
                        Some(_) if store.lun.is_none() => lun = luns.allocate(store),
                        // A unit is not listed while its store is being opened.
                        None if retries.again(false) => {}
                        _ => return self.fail_unless_ignored(&new, &refusal),
                    }
                }
                Err(refusal) => return self.fail_unless_ignored(&new, &refusal),
            }
        }
    }

    /// Prints the comments and sends the commands of the steps.
    fn run_steps(
        &self,
        steps: &[Step],
        mut send: impl FnMut(&Command) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        steps.iter().try_for_each(|step| match step {
            Step::Say(line) => {
                self.print_verbose(line);
                Ok(())
            }
            Step::Run(command) => send(command),
        })
    }

    /// Reports a skipped unit, also without `--verbose`.
    pub(super) fn skip(&self, lines: &[String]) {
        if self.verbose {
            lines.iter().for_each(say);
        } else {
            lines.iter().for_each(|line| warn(line.trim_start_matches("# ")));
        }
    }

    /// Reports a target that is left as it is because it is in use: to standard error, or with `--verbose` as tgt does.
    pub(super) fn say_kept(&self, tid: u32, name: &str, what: &str) {
        let line = format!("Target with tid {tid} ({name}) is in use, it won't be {what}");
        if self.verbose {
            say(format_args!("# {line}."));
        } else {
            warn(format_args!("{line} without --force"));
        }
    }

    /// Deletes a target. A target in use is deleted only with `--force`.
    fn remove(&self, target: &RunningTarget) -> Result<(), Stop> {
        if target.in_use() && !self.force {
            self.say_kept(target.tid, &target.name, "deleted");
            return Ok(());
        }
        self.print_verbose(&format!("# Removing target: {}", target.name));
        self.run_steps(&self.removal(target)?, |command| self.send_unless_gone(command))?;
        self.print_verbose("");
        Ok(())
    }

    /// The commands that delete a target: first remove its rules, then close its connections, so that no initiator logs
    /// in again.
    pub(super) fn removal(&self, target: &RunningTarget) -> Result<Vec<Step>, Stop> {
        let mut steps = Vec::new();
        if target.in_use() {
            steps.extend(target.rules.iter().map(|rule| Step::Run(self.commands.unbind(target.tid, rule))));
            let ask = self.commands.show("conn", Some(target.tid));
            let text = match ask.send() {
                // Another process has deleted the target meanwhile.
                Err(refusal) if refusal.is(TgtadmError::NoTarget) => String::new(),
                answer => answer.map_err(|refusal| refused(&ask, &refusal))?,
            };
            let close = |(sid, cid)| Step::Run(self.commands.close(target.tid, sid, cid));
            steps.extend(running::connections(&text).into_iter().map(close));
        }
        steps.push(Step::Run(self.commands.delete_target(target.tid)));
        Ok(steps)
    }

    /// `--delete`: deletes the selected targets.
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
                self.print_verbose(&format!("# Target with {what} does not exist!"));
                Ok(())
            }
        }
    }

    /// `--offline` and `--ready`: set the state of the selected targets.
    pub(super) fn set_state(&self, which: &str, state: &str) -> Result<(), Stop> {
        if let Some(tid) = which.strip_prefix("tid=") {
            return self.send(&self.commands.state(tid, None, state));
        }
        let running = self.running()?;
        if which == "ALL" {
            let one = |target: &RunningTarget| {
                self.send_unless_gone(&self.commands.state(&target.tid.to_string(), None, state))
            };
            return running.targets.iter().try_for_each(one);
        }
        let Some(target) = running.target(which) else {
            say(format_args!("There is no target with name \"{which}\", can't {state} it!"));
            return Err(FAILURE);
        };
        self.send(&self.commands.state(&target.tid.to_string(), Some(which), state))
    }
}
