//! `--update`, `--plan` and `--dump`.

use std::borrow::Cow;
use std::io::Write;

use target_engine::control::error::TgtadmError;

use super::Admin;
use super::command::Command;
use super::config::Config;
use super::console::{DIFFERENT, MISTAKE, Stop, passed_over, refused, say, warn};
use super::dump::{Dump, dump};
use super::outcome::{Gate, Outcome, is_outdated};
use super::plan::{Change, Fate, TargetPlan};
use super::portrait::portrait;
use super::running::Running;
use crate::Refusal;
use crate::retries::Retries;

impl Admin {
    /// Prints the difference; the exit code says whether there is one.
    pub(super) fn show_plan(&mut self, which: &str) -> Result<(), Stop> {
        (self.verbose, self.pretend) = (true, false);
        let config = self.configuration()?;
        let running = self.running()?;
        let plan = self.plan(&config, &running, which)?;
        self.pretend = true;
        plan.settings.iter().for_each(|change| self.print(&change.command));
        for target in &plan.targets {
            self.steps(target).iter().for_each(|change| self.print(&change.command));
        }
        self.say_different_secrets(&plan.secrets);
        for target in &plan.targets {
            for command in &target.unseen {
                say(format_args!("# No report shows whether this is so: {}", command.text()));
            }
        }
        self.say_unknown_secrets(&plan.secrets);
        say(plan.summary(self.force));
        match (plan.is_something(), config.refused.is_empty()) {
            (_, false) => Err(MISTAKE),
            (true, true) => Err(DIFFERENT),
            (false, true) => Ok(()),
        }
    }

    /// Makes the daemon what the file says, target by target.
    pub(super) fn update(&mut self, which: &str) -> Result<(), Stop> {
        let config = self.configuration()?;
        let running = self.running()?;
        let plan = self.plan(&config, &running, which)?;
        let mut outcome = Outcome::default();
        let settings = self.carry_out(plan.settings, &running, |now, _| {
            Ok(self.setting_changes(&config, now, &mut now.accounts.iter().cloned().collect()))
        });
        let mut failed = outcome.note(settings)?;
        for target in &plan.targets {
            // What was planned counted on all before it.
            let result = if failed {
                let now = self.running()?;
                self.steps_now(&config, &now, &target.name, 0)
                    .and_then(|steps| self.update_one(&config, &now, target, steps))
            } else {
                self.update_one(&config, &running, target, self.steps(target))
            };
            if outcome.note(result)? {
                failed = true;
                let wanted = config.targets.iter().find(|other| other.name == target.name);
                let place = wanted.map(|wanted| format!("{}: ", wanted.place)).unwrap_or_default();
                warn(format_args!("{place}target {} is not as the file has it", target.name));
            }
        }
        // Last, for they cannot be undone: nobody knows what they were.
        self.change_secrets(&config, &plan.secrets, &running, &mut outcome)?;
        outcome.end()?;
        if config.refused.is_empty() { Ok(()) } else { Err(MISTAKE) }
    }

    fn update_one(
        &self,
        config: &Config,
        running: &Running,
        target: &TargetPlan,
        steps: Vec<Change>,
    ) -> Result<(), Stop> {
        self.carry_out(steps, running, |now, tried| self.steps_now(config, now, &target.name, tried))
    }

    /// Takes the steps, and undoes them where one fails. Where the daemon is no longer as it was when it was read, since
    /// another process changes it too, the rest is planned again; `again` gets what the daemon is now, and the highest
    /// number that was tried for a target.
    fn carry_out(
        &self,
        mut steps: Vec<Change>,
        running: &Running,
        again: impl Fn(&Running, u32) -> Result<Vec<Change>, Stop>,
    ) -> Result<(), Stop> {
        let (mut done, mut gate, mut retries) = (Vec::new(), Gate::default(), Retries::default());
        let mut seen = Cow::Borrowed(running);
        let mut tried = 0_u32;
        let result = loop {
            let Err((command, refusal)) = self.changes_in(steps, &mut done, &mut gate) else { break Ok(()) };
            if !is_outdated(&refusal) {
                break Err(refused(&command, &refusal));
            }
            let next = self.running().and_then(|now| {
                if !retries.again(now != *seen) {
                    return self.fail_unless_ignored(&command, &refusal).map(|()| Vec::new());
                }
                if refusal.is(TgtadmError::TargetExists) {
                    tried = seen.next_tid().max(tried.saturating_add(1));
                }
                seen = Cow::Owned(now);
                again(&seen, tried)
            });
            match next {
                Ok(next) => steps = next,
                Err(stop) => break Err(stop),
            }
        };
        if result.is_err() && !done.is_empty() {
            self.undo(&done);
        }
        result
    }

    /// The steps for a target of the file or of the daemon as it is now.
    fn steps_now(&self, config: &Config, now: &Running, name: &str, tried: u32) -> Result<Vec<Change>, Stop> {
        let plan = self.plan_of(config, now, Some(name), tried)?;
        Ok(plan.targets.iter().flat_map(|target| self.steps(target)).collect())
    }

    /// The steps that can be taken without disturbing anybody, or all by force; what is left out is said.
    fn steps(&self, target: &TargetPlan) -> Vec<Change> {
        self.skip(&target.remarks);
        if target.waits(self.force) {
            let kept = if target.fate == Fate::Deleted { "deleted" } else { "updated" };
            self.skip(&[format!(
                "# Target with tid {} ({}) is in use, it won't be {kept}.",
                target.tid, target.name
            )]);
            return Vec::new();
        }
        self.announce(target);
        let mut steps = target.changes.clone();
        if !self.pretend && (!target.in_use || self.force) {
            let unseen = target.unseen.iter().cloned();
            steps.extend(unseen.map(|command| Change { command, undo: Vec::new(), disturbs: false }));
        }
        steps
    }

    fn announce(&self, target: &TargetPlan) {
        if !target.changes.is_empty() {
            let what = match target.fate {
                Fate::Made => "Adding",
                Fate::Deleted => "Removing",
                Fate::Changed => "Changing",
            };
            self.tell(&format!("# {what} target: {}", target.name));
        }
    }

    /// Takes steps up to the first that is refused.
    fn changes_in(
        &self,
        changes: Vec<Change>,
        done: &mut Vec<Change>,
        gate: &mut Gate,
    ) -> Result<(), (Command, Refusal)> {
        for change in changes {
            if !gate.admits(&change.command) {
                continue;
            }
            match self.try_send(&change.command) {
                Ok(()) => done.push(change),
                Err(refusal) if self.ignore_errors && !is_outdated(&refusal) => {
                    gate.refused(&change.command);
                    passed_over(&refusal);
                }
                Err(refusal) => return Err((change.command, refusal)),
            }
        }
        Ok(())
    }

    /// The last first. What cannot be undone is said.
    fn undo(&self, done: &[Change]) {
        warn("undoing what was done");
        let mut whole = true;
        for command in done.iter().rev().flat_map(|change| &change.undo) {
            if self.would_open(command) {
                continue;
            }
            self.print(command);
            if let Err(refusal) = command.send() {
                refused(command, &refusal);
                whole = false;
            }
        }
        if !whole {
            warn("not all of it could be undone; 'tgt-admin --plan' shows what differs from the file");
        }
    }

    /// Whether a command deletes an account that another process has meanwhile given to a target, which would then let
    /// everybody in.
    fn would_open(&self, command: &Command) -> bool {
        command.deletes_an_account()
            && self.running().is_ok_and(|now| {
                let users =
                    now.targets.iter().flat_map(|target| target.incoming.iter().chain(&target.outgoing));
                let users = users.chain(&now.incoming_discovery).chain(&now.outgoing_discovery);
                users.into_iter().any(|user| self.commands.delete_account(user) == *command)
            })
    }

    /// Prints the running targets as a file; what that cannot have is said.
    pub(super) fn dump(&self) -> Result<(), Stop> {
        let running = Running::ask(&self.commands);
        let running = running.map_err(|refusal| {
            passed_over(&refusal);
            Stop(refusal.exit)
        })?;
        let mut targets = Vec::new();
        for target in &running.targets {
            targets.push(portrait(target, &self.parameters_of(target.tid)?));
        }
        let Dump { text, missing } = dump(&running, targets);
        let _ = std::io::stdout().write_all(text.as_bytes());
        missing.iter().for_each(warn);
        if missing.is_empty() { Ok(()) } else { Err(MISTAKE) }
    }
}
