//! The actions `--update`, `--plan` and `--dump`.

use std::borrow::Cow;
use std::io::Write;

use target_engine::control::error::TgtadmError;

use super::Admin;
use super::command::Command;
use super::config::Config;
use super::console::{DIFFERENCE, FAILURE, Stop, print_refusal, refused, say, warn};
use super::dump::{Dump, dump};
use super::outcome::{AccessGuard, Outcome, is_outdated};
use super::plan::{Change, TargetAction, TargetPlan};
use super::running::Running;
use super::snapshot::snapshot;
use crate::Refusal;
use crate::retries::Retries;

impl Admin {
    /// `--plan`: prints the differences. The exit code says whether there are any.
    pub(super) fn show_plan(&mut self, which: &str) -> Result<(), Stop> {
        (self.verbose, self.pretend) = (true, false);
        let config = self.configuration()?;
        let running = self.running()?;
        let plan = self.plan(&config, &running, which)?;
        self.pretend = true;
        plan.settings.iter().for_each(|change| say(change.command.text_without_secret()));
        for target in &plan.targets {
            self.steps(target).iter().for_each(|change| say(change.command.text_without_secret()));
        }
        self.print_different_secrets(&plan.secrets);
        for target in &plan.targets {
            for command in &target.unverifiable {
                say(format_args!("# No report shows whether this is so: {}", command.text()));
            }
        }
        self.print_unknown_secrets(&plan.secrets);
        say(plan.summary(self.force));
        match (plan.has_differences(), config.refused.is_empty()) {
            (_, false) => Err(FAILURE),
            (true, true) => Err(DIFFERENCE),
            (false, true) => Ok(()),
        }
    }

    /// `--update`: makes the daemon equal to the file, target by target.
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
            // The plan assumed that the earlier targets were updated.
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
                let location = wanted.map(|wanted| format!("{}: ", wanted.location)).unwrap_or_default();
                warn(format_args!("{location}target {} is not as the file has it", target.name));
            }
        }
        // Secrets are last because they cannot be undone: the old ones are unknown.
        self.change_secrets(&config, &plan.secrets, &running, &mut outcome)?;
        outcome.end()?;
        if config.refused.is_empty() { Ok(()) } else { Err(FAILURE) }
    }

    /// Sends the changes to one target.
    fn update_one(
        &self,
        config: &Config,
        running: &Running,
        target: &TargetPlan,
        steps: Vec<Change>,
    ) -> Result<(), Stop> {
        self.carry_out(steps, running, |now, tried| self.steps_now(config, now, &target.name, tried))
    }

    /// Sends the changes, and undoes them if one fails.
    ///
    /// If the daemon's state has changed meanwhile, because another process configures it too, the rest is planned
    /// again: `again` gets the new state and the highest target number that was tried.
    fn carry_out(
        &self,
        mut steps: Vec<Change>,
        running: &Running,
        again: impl Fn(&Running, u32) -> Result<Vec<Change>, Stop>,
    ) -> Result<(), Stop> {
        let (mut done, mut guard, mut retries) = (Vec::new(), AccessGuard::default(), Retries::default());
        let mut seen = Cow::Borrowed(running);
        let mut tried = 0_u32;
        let result = loop {
            let Err((command, refusal)) = self.changes_in(steps, &mut done, &mut guard) else { break Ok(()) };
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

    /// The changes to a target for the daemon's current state.
    fn steps_now(&self, config: &Config, now: &Running, name: &str, tried: u32) -> Result<Vec<Change>, Stop> {
        let plan = self.plan_of(config, now, Some(name), tried)?;
        Ok(plan.targets.iter().flat_map(|target| self.steps(target)).collect())
    }

    /// The changes to a target that are applied; none if the target is in use and `--force` is not set. Prints what is
    /// left out.
    fn steps(&self, target: &TargetPlan) -> Vec<Change> {
        self.skip(&target.skipped);
        if target.is_deferred(self.force) {
            let kept = if target.action == TargetAction::Delete { "deleted" } else { "updated" };
            self.say_kept(target.tid, &target.name, kept);
            return Vec::new();
        }
        self.announce(target);
        let mut steps = target.changes.clone();
        if !self.pretend && (!target.in_use || self.force) {
            let unverifiable = target.unverifiable.iter().cloned();
            steps.extend(unverifiable.map(|command| Change { command, undo: Vec::new(), disruptive: false }));
        }
        steps
    }

    /// Prints the comment that precedes the changes to a target.
    fn announce(&self, target: &TargetPlan) {
        if !target.changes.is_empty() {
            let what = match target.action {
                TargetAction::Create => "Adding",
                TargetAction::Delete => "Removing",
                TargetAction::Update => "Changing",
            };
            self.print_verbose(&format!("# {what} target: {}", target.name));
        }
    }

    /// Sends changes until one is refused.
    fn changes_in(
        &self,
        changes: Vec<Change>,
        done: &mut Vec<Change>,
        guard: &mut AccessGuard,
    ) -> Result<(), (Command, Refusal)> {
        for change in changes {
            if !guard.allows(&change.command) {
                continue;
            }
            match self.try_send(&change.command) {
                Ok(()) => done.push(change),
                Err(refusal) if self.ignore_errors && !is_outdated(&refusal) => {
                    guard.note_refusal(&change.command);
                    print_refusal(&refusal);
                }
                Err(refusal) => return Err((change.command, refusal)),
            }
        }
        Ok(())
    }

    /// Undoes changes, the last first, and reports those that cannot be undone.
    fn undo(&self, done: &[Change]) {
        warn("undoing what was done");
        let mut whole = true;
        for command in done.iter().rev().flat_map(|change| &change.undo) {
            if self.would_remove_authentication(command) {
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

    /// Whether the command deletes an account that another process has bound to a target meanwhile. Without the account
    /// that target would ask for no authentication.
    fn would_remove_authentication(&self, command: &Command) -> bool {
        command.deletes_account()
            && self.running().is_ok_and(|now| {
                let users =
                    now.targets.iter().flat_map(|target| target.incoming.iter().chain(&target.outgoing));
                let users = users.chain(&now.incoming_discovery).chain(&now.outgoing_discovery);
                users.into_iter().any(|user| self.commands.delete_account(user) == *command)
            })
    }

    /// `--dump`: prints the running targets as a file and reports what the file lacks.
    pub(super) fn dump(&self) -> Result<(), Stop> {
        let running = Running::ask(&self.commands);
        let running = running.map_err(|refusal| {
            print_refusal(&refusal);
            Stop(refusal.exit)
        })?;
        let mut targets = Vec::new();
        for target in &running.targets {
            let parameters = self.parameters_of(target.tid)?;
            targets.extend(parameters.map(|parameters| snapshot(target, &parameters)));
        }
        let Dump { text, missing } = dump(&running, targets);
        let _ = std::io::stdout().write_all(text.as_bytes());
        missing.iter().for_each(warn);
        if missing.is_empty() { Ok(()) } else { Err(FAILURE) }
    }
}
