//! The changes to one target: create, delete, recreate, or update it.

use std::collections::{BTreeMap, BTreeSet};

use super::change::{Change, TargetAction, TargetPlan};
use crate::admin::Admin;
use crate::admin::command::{Command, Direction, Rule};
use crate::admin::config::{self, Config, Store};
use crate::admin::console::Stop;
use crate::admin::running::{RunningTarget, RunningUnit};
use crate::admin::snapshot::{DEFAULT_BLOCK_SIZE, default_store, is_default, snapshot};
use crate::admin::steps::{
    DevicePolicy, LunAllocator, Step, TargetSteps, all_parameters, canonical_path, driver, new_unit,
};

/// Parameters of a unit that its report shows, with the name of the line.
const SHOWN: [(&str, &str); 6] = [
    ("scsi_id", "SCSI ID"),
    ("scsi_sn", "SCSI SN"),
    ("removable", "Removable media"),
    ("readonly", "Readonly"),
    ("online", "Online"),
    ("thin_provisioning", "Thin-provisioning"),
];

impl Admin {
    /// The plan that creates a target.
    pub(super) fn creation(
        &self,
        config: &Config,
        target: &config::Target,
        tid: u32,
        accounts: &mut BTreeSet<String>,
        devices: &mut DevicePolicy,
    ) -> TargetPlan {
        let before = accounts.clone();
        let target_steps =
            TargetSteps { commands: &self.commands, target, driver: driver(config, target), tid };
        let mut steps = target_steps.first_steps();
        let mut skipped = Vec::new();
        let mut luns = LunAllocator::of(target);
        for store in &target.stores {
            match devices.check(target, store) {
                Ok(()) => {
                    devices.taken.insert(canonical_path(&store.path));
                    steps.extend(target_steps.unit(store, luns.allocate(store)));
                }
                Err(lines) => skipped.extend(lines),
            }
        }
        steps.extend(target_steps.final_steps(accounts));
        let mut changes = changes_of(steps);
        // Deleting the target undoes all changes but new accounts.
        changes[0].undo = vec![self.commands.force_delete_target(tid)];
        changes[0].undo.extend(accounts.difference(&before).map(|user| self.commands.delete_account(user)));
        TargetPlan {
            tid,
            name: target.name.clone(),
            action: TargetAction::Create,
            in_use: false,
            changes,
            unverifiable: Vec::new(),
            skipped,
        }
    }

    /// The changes that delete a target. Undoing the last one recreates the target without its sessions.
    pub(super) fn removal_changes(
        &self,
        target: &RunningTarget,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Vec<Change>, Stop> {
        let mut changes = changes_of(self.removal(target)?);
        for (change, rule) in changes.iter_mut().zip(&target.rules).filter(|_| target.in_use()) {
            change.undo = vec![self.commands.bind(&target.driver, target.tid, rule)];
        }
        changes.iter_mut().for_each(|change| change.disruptive = true);
        if let Some(last) = changes.last_mut() {
            last.undo = self.restoration(target, parameters);
        }
        Ok(changes)
    }

    /// The commands that recreate a deleted target.
    fn restoration(&self, target: &RunningTarget, parameters: &BTreeMap<String, String>) -> Vec<Command> {
        let snapshot = snapshot(target, parameters);
        let target_steps = TargetSteps {
            commands: &self.commands,
            target: &snapshot,
            driver: &target.driver,
            tid: target.tid,
        };
        let mut steps = target_steps.first_steps();
        steps.extend(
            snapshot.stores.iter().flat_map(|store| target_steps.unit(store, store.lun.unwrap_or_default())),
        );
        let mut known = target.incoming.iter().chain(&target.outgoing).cloned().collect();
        let mut end = target_steps.final_steps(&mut known);
        if target.in_use() {
            // The undo of their own changes has restored these.
            let rules: Vec<Command> = target
                .rules
                .iter()
                .map(|rule| self.commands.bind(&target.driver, target.tid, rule))
                .collect();
            end.retain(|step| !matches!(step, Step::Run(command) if rules.contains(command)));
        }
        steps.extend(end);
        changes_of(steps).into_iter().map(|change| change.command).collect()
    }

    /// The plan that updates an existing target; `None` if it is gone by now.
    pub(super) fn changes(
        &self,
        config: &Config,
        target: &config::Target,
        now: &RunningTarget,
        accounts: &mut BTreeSet<String>,
        devices: &mut DevicePolicy,
    ) -> Result<Option<TargetPlan>, Stop> {
        let Some(parameters) = self.parameters_of(now.tid)? else { return Ok(None) };
        let driver = driver(config, target);
        let tid = target.tid.unwrap_or(now.tid);
        let mut plan = TargetPlan {
            tid: now.tid,
            name: now.name.clone(),
            action: TargetAction::Update,
            in_use: now.in_use(),
            changes: Vec::new(),
            unverifiable: Vec::new(),
            skipped: Vec::new(),
        };
        if driver != now.driver || tid != now.tid {
            // It may export again what it exports now.
            let exported: BTreeSet<_> =
                now.units.iter().filter_map(RunningUnit::path).map(canonical_path).collect();
            devices.taken.retain(|path| !exported.contains(path));
            plan.changes = self.removal_changes(now, &parameters)?;
            let made = self.creation(config, target, tid, accounts, devices);
            plan.changes.extend(made.changes);
            plan.skipped = made.skipped;
            return Ok(Some(plan));
        }
        let target_steps = TargetSteps { commands: &self.commands, target, driver, tid };
        self.parameter_changes(target, now, &parameters, &mut plan);
        self.unit_changes(&target_steps, now, devices, &mut plan);
        self.access_changes(&target_steps, now, accounts, &mut plan);
        Ok(Some(plan))
    }

    /// The changes to the parameters of a target.
    fn parameter_changes(
        &self,
        target: &config::Target,
        now: &RunningTarget,
        parameters: &BTreeMap<String, String>,
        plan: &mut TargetPlan,
    ) {
        for config::Parameter { name, value, .. } in &target.parameters {
            let known = parameters.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
            let shown = if name == "state" { Some(&now.state) } else { known.map(|(_, value)| value) };
            if shown.is_some_and(|shown| is_same_value(name, shown, value)) {
                continue;
            }
            let command = |value: &str| self.commands.parameter(&now.driver, now.tid, name, value);
            let change = command(value);
            match shown {
                Some(shown) => plan.changes.push(Change {
                    command: change,
                    undo: vec![command(shown)],
                    disruptive: false,
                }),
                // Reports omit parameters that have their defaults, and a redirected target reports no others.
                None if is_default(name, value) => {}
                None if SHOWN_ONLY_IF_SET.contains(&name.as_str())
                    && !parameters.keys().any(|key| key.starts_with("Redirect")) =>
                {
                    plan.changes.push(Change { command: change, undo: Vec::new(), disruptive: false });
                }
                None => plan.unverifiable.push(change),
            }
        }
    }

    /// Deletes units that no store matches and creates the missing ones.
    fn unit_changes(
        &self,
        target_steps: &TargetSteps<'_>,
        now: &RunningTarget,
        devices: &mut DevicePolicy,
        plan: &mut TargetPlan,
    ) {
        let (commands, driver, tid) = (&self.commands, target_steps.driver, target_steps.tid);
        let mut luns = LunAllocator::of(target_steps.target);
        let mut wanted: Vec<(u64, &Store)> = Vec::new();
        for store in &target_steps.target.stores {
            let own = now.units.iter().any(|unit| unit.path() == Some(&store.path));
            match devices.check(target_steps.target, store) {
                Err(lines) if !own || !std::path::Path::new(&store.path).exists() => {
                    plan.skipped.extend(lines)
                }
                _ => wanted.push((luns.allocate(store), store)),
            }
        }
        let stays =
            |unit: &RunningUnit| wanted.iter().any(|(lun, store)| *lun == unit.lun && is_unit(store, unit));
        let snapshot = snapshot(now, &BTreeMap::new());
        let old = TargetSteps { commands, target: &snapshot, driver, tid };
        for unit in now.units.iter().filter(|unit| !stays(unit)) {
            let store = snapshot.stores.iter().find(|store| store.lun == Some(unit.lun));
            let undo = store.into_iter().flat_map(|store| changes_of(old.unit(store, unit.lun)));
            plan.changes.push(Change {
                command: commands.delete_unit(driver, tid, unit.lun),
                undo: undo.map(|change| change.command).collect(),
                disruptive: true,
            });
        }
        for (lun, store) in &wanted {
            devices.taken.insert(canonical_path(&store.path));
            match now.units.iter().find(|unit| unit.lun == *lun && is_unit(store, unit)) {
                Some(unit) => self.kept_unit(target_steps, store, unit, plan),
                None => {
                    let mut changes = changes_of(target_steps.unit(store, *lun));
                    changes[0].undo = vec![commands.delete_unit(driver, tid, *lun)];
                    plan.changes.extend(changes);
                }
            }
        }
    }

    /// Compares the parameters that the report shows. The others are sent again if the target is not in use.
    fn kept_unit(
        &self,
        target_steps: &TargetSteps<'_>,
        store: &Store,
        unit: &RunningUnit,
        plan: &mut TargetPlan,
    ) {
        let (commands, driver, tid) = (&self.commands, target_steps.driver, target_steps.tid);
        let mut shown = BTreeSet::new();
        for (name, value) in all_parameters(store) {
            let Some((_, line)) = SHOWN.iter().find(|(known, _)| *known == name) else { continue };
            let command = |value: &str| commands.unit_parameter(driver, tid, unit.lun, &name, value);
            shown.insert(command(&value).text().to_owned());
            let is_flag = ["Yes", "No"].contains(&unit.get(line));
            let (now, same) = if is_flag {
                let now = unit.is(line);
                (if now { "1" } else { "0" }, now == (value != "0"))
            } else {
                (unit.get(line), unit.get(line).trim() == value.trim())
            };
            if !same {
                plan.changes.push(Change {
                    command: command(&value),
                    undo: vec![command(now)],
                    disruptive: true,
                });
            }
        }
        let all = target_steps.unit_parameters(store, unit.lun);
        plan.unverifiable.extend(all.into_iter().filter(|command| !shown.contains(command.text())));
    }

    /// The changes to accounts and ACL rules.
    ///
    /// Changes that restrict access come before changes that extend it. If all accounts change, the rules are removed
    /// meanwhile, because a target without accounts asks for no password.
    fn access_changes(
        &self,
        target_steps: &TargetSteps<'_>,
        now: &RunningTarget,
        accounts: &mut BTreeSet<String>,
        plan: &mut TargetPlan,
    ) {
        let bind = |rule| self.commands.bind(target_steps.driver, target_steps.tid, rule);
        let unbind = |rule| self.commands.unbind(target_steps.tid, rule);
        let change = |command, undo| Change { command, undo: vec![undo], disruptive: false };
        let outgoing = &target_steps.target.outgoing[..target_steps.target.outgoing.len().min(1)];
        let outgoing = self.account_changes(target_steps, outgoing, now, Direction::Outgoing, accounts);
        let wanted = &target_steps.target.incoming;
        let incoming = self.account_changes(target_steps, wanted, now, Direction::Incoming, accounts);
        let all_accounts_change = !wanted.is_empty()
            && now.incoming.first().is_some_and(|first| !stays(wanted, first, now.names_of(first)));
        let rules = target_steps.rules();
        // Compared by text, because a report does not say which rules are names.
        let lacks = |rules: &[Rule], rule: &Rule| !rules.iter().any(|other| other.text() == rule.text());
        plan.changes.extend(outgoing);
        if all_accounts_change {
            plan.changes.extend(now.rules.iter().map(|rule| change(unbind(rule), bind(rule))));
            plan.changes.extend(incoming);
            plan.changes.extend(rules.iter().map(|rule| change(bind(rule), unbind(rule))));
            return;
        }
        let new = rules.iter().filter(|rule| lacks(&now.rules, rule));
        let old = now.rules.iter().filter(|rule| lacks(&rules, rule));
        let closing = !wanted.is_empty();
        let (before, after) = if closing { (incoming, Vec::new()) } else { (Vec::new(), incoming) };
        plan.changes.extend(before);
        plan.changes.extend(new.map(|rule| change(bind(rule), unbind(rule))));
        plan.changes.extend(old.map(|rule| change(unbind(rule), bind(rule))));
        plan.changes.extend(after);
    }

    /// The changes to the accounts of one direction.
    ///
    /// Accounts are unbound from the end of the list and bound at its end: tgt's daemon crashes at the next report if
    /// its list has a gap.
    fn account_changes(
        &self,
        target_steps: &TargetSteps<'_>,
        wanted: &[config::Account],
        now: &RunningTarget,
        direction: Direction,
        accounts: &mut BTreeSet<String>,
    ) -> Vec<Change> {
        let (commands, driver, tid) = (&self.commands, target_steps.driver, target_steps.tid);
        let change = |command, undo| Change { command, undo, disruptive: false };
        let bind = |user: &str, names: &[String]| commands.bind_account(driver, tid, user, names, direction);
        let unbind = |user: &str| commands.target_account(driver, "unbind", tid, user, direction);
        let (bound, names) = match direction {
            Direction::Incoming => (&now.incoming, &now.account_names),
            Direction::Outgoing => (&now.outgoing, &BTreeMap::new()),
        };
        let names_of = |user: &String| names.get(user).map_or(&[][..], Vec::as_slice);
        let kept = bound.iter().take_while(|user| stays(wanted, user, names_of(user))).count();
        let taken = bound[kept..].iter().rev().map(|user| change(unbind(user), bind(user, names_of(user))));
        let mut changes: Vec<Change> = taken.collect();
        for user in &bound[..kept] {
            changes.extend(self.name_changes(
                target_steps,
                user,
                &wanted_names(wanted, user),
                names_of(user),
            ));
        }
        for config::Account { user, password, names, .. } in
            wanted.iter().filter(|one| !bound[..kept].contains(&one.user))
        {
            if accounts.insert(user.clone()) {
                let new = commands.new_account(Some(driver), user, password);
                changes.push(change(new, vec![commands.delete_account(user)]));
            }
            // The undo of the first one unbinds the account from all of its names.
            let mut undo = vec![unbind(user)];
            changes.extend(bind(user, names).into_iter().map(|bind| change(bind, std::mem::take(&mut undo))));
        }
        changes
    }

    /// The changes to the initiator names of an account that stays bound. Old names go first, but for the last one, which
    /// goes when the account has another: without names it would admit any initiator.
    fn name_changes(
        &self,
        target_steps: &TargetSteps<'_>,
        user: &str,
        wanted: &[&String],
        now: &[String],
    ) -> Vec<Change> {
        let (driver, tid) = (target_steps.driver, target_steps.tid);
        let command = |op: &str, name: &str| self.commands.account_name(driver, op, tid, user, name);
        let change = |[op, undo]: [&str; 2], name: &str| Change {
            command: command(op, name),
            undo: vec![command(undo, name)],
            disruptive: false,
        };
        let mut old: Vec<&String> = now.iter().filter(|name| !wanted.contains(name)).collect();
        let last = if old.len() == now.len() { old.pop() } else { None };
        let new = wanted.iter().filter(|name| !now.contains(name));
        let unbind = |name: &String| change(["unbind", "bind"], name);
        let changes = old.into_iter().map(unbind).chain(new.map(|name| change(["bind", "unbind"], name)));
        changes.chain(last.into_iter().map(unbind)).collect()
    }
}

/// The initiator names of an account in the file: those of all its lines, each once.
fn wanted_names<'a>(wanted: &'a [config::Account], user: &str) -> Vec<&'a String> {
    let lines = wanted.iter().filter(|account| account.user == user);
    lines.flat_map(|account| &account.names).collect::<BTreeSet<_>>().into_iter().collect()
}

/// Whether an account that is bound to these names now stays bound. One that gets its first names, or loses all of them,
/// is unbound and bound again.
fn stays(wanted: &[config::Account], user: &str, names: &[String]) -> bool {
    let is_wanted = wanted.iter().any(|account| account.user == user);
    is_wanted && wanted_names(wanted, user).is_empty() == names.is_empty()
}

/// Whether a store of the target matches this unit.
pub(super) fn is_wanted(target: &config::Target, unit: &RunningUnit) -> bool {
    target.stores.iter().any(|store| is_unit(store, unit))
}

/// Whether a store matches the unit, regardless of its LUN.
pub(in crate::admin) fn is_unit(store: &Store, unit: &RunningUnit) -> bool {
    let new = new_unit(store);
    let path = store.parameters.get("path").or(new.path.as_ref());
    let device_type = match new.device_type.as_deref() {
        None => "disk",
        Some("ssc") => "tape",
        Some(other) => other,
    };
    let block = |text: &str| text.parse::<u32>().ok();
    let flags = |text: &str| {
        text.split(':').filter(|flag| !flag.is_empty()).map(str::to_owned).collect::<BTreeSet<_>>()
    };
    let size = new.block_size.as_deref().unwrap_or(DEFAULT_BLOCK_SIZE);
    path.map(String::as_str) == unit.path()
        && device_type == unit.device_type()
        && new.bs_type.as_deref().unwrap_or(default_store(device_type)) == unit.get("Backing store type")
        && (device_type != "disk" || block(size) == block(unit.block_size()))
        && flags(new.bso_flags.as_deref().unwrap_or_default()) == flags(unit.get("Backing store flags"))
}

/// Whether two values of a parameter are equal: numbers by value, words without regard to case. The report of a digest
/// shows only whether a list has CRC32C.
fn is_same_value(name: &str, shown: &str, wanted: &str) -> bool {
    let number = |text: &str| text.parse::<u64>().ok();
    if name.ends_with("Digest") {
        return wanted.split(',').any(|word| word == "CRC32C") == (shown == "CRC32C");
    }
    shown.eq_ignore_ascii_case(wanted) || number(shown).is_some() && number(shown) == number(wanted)
}

/// The commands among the steps, as changes without undo.
fn changes_of(steps: Vec<Step>) -> Vec<Change> {
    let command = |step| match step {
        Step::Say(_) => None,
        Step::Run(command) => Some(Change { command, undo: Vec::new(), disruptive: false }),
    };
    steps.into_iter().filter_map(command).collect()
}

/// Parameters that reports show only if they are set.
const SHOWN_ONLY_IF_SET: [&str; 5] =
    ["RedirectAddress", "RedirectCallback", "RedirectPort", "RedirectReason", "acl-match"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_compared_by_meaning() {
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
