//! `--update`, `--plan` and `--dump`.

use std::io::Write;

use super::Admin;
use super::console::{DIFFERENT, MISTAKE, Stop, passed_over, refused, say, warn};
use super::plan::{Change, Fate, Plan, TargetPlan};
use super::portrait::{dump, portrait};

impl Admin {
    /// Prints the difference; the exit code says whether there is one.
    pub(super) fn show_plan(&mut self, which: &str) -> Result<(), Stop> {
        (self.verbose, self.pretend) = (true, false);
        let config = self.configuration()?;
        let running = self.running()?;
        let plan = self.plan(&config, &running, which)?;
        self.pretend = true;
        self.apply(&plan)?;
        for target in &plan.targets {
            for command in &target.unseen {
                say(format_args!("# No report shows whether this is so: {}", command.text()));
            }
        }
        say(plan.summary(self.force));
        match (plan.is_something(), config.refused.is_empty()) {
            (_, false) => Err(MISTAKE),
            (true, true) => Err(DIFFERENT),
            (false, true) => Ok(()),
        }
    }

    /// Makes the daemon what the file says.
    pub(super) fn update(&mut self, which: &str) -> Result<(), Stop> {
        let config = self.configuration()?;
        let running = self.running()?;
        let plan = self.plan(&config, &running, which)?;
        self.apply(&plan)?;
        if config.refused.is_empty() { Ok(()) } else { Err(MISTAKE) }
    }

    fn apply(&self, plan: &Plan) -> Result<(), Stop> {
        let mut done = Vec::new();
        let result = self.apply_all(plan, &mut done);
        if result.is_err() && !done.is_empty() {
            self.undo(&done);
        }
        result
    }

    fn apply_all<'plan>(&self, plan: &'plan Plan, done: &mut Vec<&'plan Change>) -> Result<(), Stop> {
        self.changes_in(&plan.settings, done)?;
        for target in &plan.targets {
            self.skip(&target.remarks);
            if target.waits(self.force) {
                let kept = if target.fate == Fate::Deleted { "deleted" } else { "updated" };
                self.skip(&[format!(
                    "# Target with tid {} ({}) is in use, it won't be {kept}.",
                    target.tid, target.name
                )]);
                continue;
            }
            self.announce(target);
            self.changes_in(&target.changes, done)?;
            if !self.pretend && (!target.in_use || self.force) {
                target.unseen.iter().try_for_each(|command| self.send(command))?;
            }
        }
        Ok(())
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

    fn changes_in<'plan>(&self, changes: &'plan [Change], done: &mut Vec<&'plan Change>) -> Result<(), Stop> {
        for change in changes {
            self.send(&change.command)?;
            done.push(change);
        }
        Ok(())
    }

    /// The last first. What cannot be undone is said.
    fn undo(&self, done: &[&Change]) {
        warn("undoing what was done");
        let mut whole = true;
        for command in done.iter().rev().flat_map(|change| &change.undo) {
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

    /// Prints the running targets as a file.
    pub(super) fn dump(&self) -> Result<(), Stop> {
        let running = super::Running::ask(&self.commands);
        let running = running.map_err(|refusal| {
            passed_over(&refusal);
            Stop(refusal.exit)
        })?;
        let mut targets = Vec::new();
        for target in &running.targets {
            targets.push(portrait(target, &self.parameters_of(target.tid)?));
        }
        let _ = std::io::stdout().write_all(dump(&running, &targets).as_bytes());
        Ok(())
    }
}
