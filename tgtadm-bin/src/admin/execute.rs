//! The actions that stock has, in the order in which it asks the daemon: make what is missing, delete, change states.

use std::collections::BTreeSet;

use super::command::{Command, Direction};
use super::config::{Config, Target};
use super::console::{MISTAKE, Stop, refused, say, warn};
use super::make::{Devices, Luns, Maker, driver};
use super::running::{self, Running};
use super::{Admin, Step};

impl Admin {
    /// `--execute`.
    pub(super) fn execute(&mut self) -> Result<(), Stop> {
        let config = self.configuration()?;
        let running = self.running()?;
        let mut accounts: BTreeSet<String> = running.accounts.iter().cloned().collect();
        self.settings(&config, &running, &mut accounts)?;
        let mut next_tid = running.next_tid();
        for target in &config.targets {
            if running.target(&target.name).is_some() {
                self.tell(&format!("# Target {} already exists!", target.name));
                continue;
            }
            let tid = target.tid.unwrap_or(next_tid);
            self.add(&config, target, tid, &mut accounts)?;
            next_tid = next_tid.max(tid + 1);
        }
        self.tell("");
        if !config.targets.is_empty() {
            let named = |name: &str| {
                config.targets.iter().any(|target| target.name == name)
                    || config.refused.iter().any(|refused| refused.name == name)
            };
            for target in running.targets.iter().filter(|target| !named(&target.name)) {
                self.remove(target)?;
            }
        }
        if config.refused.is_empty() { Ok(()) } else { Err(MISTAKE) }
    }

    /// What is the daemon's own: iSNS is switched on when all is said about it.
    fn settings(
        &self,
        config: &Config,
        running: &Running,
        accounts: &mut BTreeSet<String>,
    ) -> Result<(), Stop> {
        let isns = config.isns.get("iSNS");
        let is_on = running.isns.get("iSNS").is_some_and(|value| value == "On");
        if !is_on {
            for (name, value) in config.isns.iter().filter(|(name, _)| *name != "iSNS") {
                self.send(&self.commands.isns(name, value))?;
            }
        }
        for (command, _) in self.discovery(config, running, accounts) {
            self.send(&command)?;
        }
        match isns {
            Some(_) if is_on => self.tell("# iSNS already enabled"),
            Some(value) => self.send(&self.commands.isns("iSNS", value))?,
            None => {}
        }
        if config.default_driver.is_none() {
            self.tell("# default-driver not defined, defaulting to iscsi.\n");
        }
        Ok(())
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

    fn add(
        &self,
        config: &Config,
        target: &Target,
        tid: u32,
        accounts: &mut BTreeSet<String>,
    ) -> Result<(), Stop> {
        self.tell(&format!("# Adding target: {}", target.name));
        let maker = Maker { commands: &self.commands, target, driver: driver(config, target), tid };
        self.take(&maker.beginning())?;
        let devices = Devices { force: self.force, but: None, taken: BTreeSet::new() };
        let mut luns = Luns::of(target);
        for store in &target.stores {
            // Looked at now: a unit that was made a moment ago has its device open.
            match devices.admit(target, store) {
                Ok(()) => self.take(&maker.unit(store, luns.take(store)))?,
                Err(lines) => self.skip(&lines),
            }
        }
        self.take(&maker.end(accounts))
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
        self.take(&self.removal(target)?)?;
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
