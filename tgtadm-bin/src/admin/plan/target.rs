//! The steps for one target: made, deleted, made anew, or changed in place.

use std::collections::{BTreeMap, BTreeSet};

use super::{Change, Fate, TargetPlan, is_same_value};
use crate::admin::Admin;
use crate::admin::command::{Command, Direction, Rule};
use crate::admin::config::{self, Config, Store};
use crate::admin::console::Stop;
use crate::admin::make::{Devices, Luns, Maker, Step, all_parameters, driver, new_unit, real};
use crate::admin::portrait::{DEFAULT_BLOCK, default_store, is_unset, portrait};
use crate::admin::running::{self, Unit};

/// The parameters of a unit that its report shows, and by what name.
const SHOWN: [(&str, &str); 6] = [
    ("scsi_id", "SCSI ID"),
    ("scsi_sn", "SCSI SN"),
    ("removable", "Removable media"),
    ("readonly", "Readonly"),
    ("online", "Online"),
    ("thin_provisioning", "Thin-provisioning"),
];

impl Admin {
    /// A target that is not there yet.
    pub(super) fn creation(
        &self,
        config: &Config,
        target: &config::Target,
        tid: u32,
        accounts: &mut BTreeSet<String>,
        devices: &mut Devices,
    ) -> TargetPlan {
        let before = accounts.clone();
        let maker = Maker { commands: &self.commands, target, driver: driver(config, target), tid };
        let mut steps = maker.beginning();
        let mut remarks = Vec::new();
        let mut luns = Luns::of(target);
        for store in &target.stores {
            match devices.admit(target, store) {
                Ok(()) => {
                    devices.taken.insert(real(&store.path));
                    steps.extend(maker.unit(store, luns.take(store)));
                }
                Err(lines) => remarks.extend(lines),
            }
        }
        steps.extend(maker.end(accounts));
        let mut changes = changes_of(steps);
        // With the target goes all it has, but for new accounts.
        changes[0].undo = vec![self.commands.force_delete_target(tid)];
        changes[0].undo.extend(accounts.difference(&before).map(|user| self.commands.delete_account(user)));
        TargetPlan {
            tid,
            name: target.name.clone(),
            fate: Fate::Made,
            in_use: false,
            changes,
            unseen: Vec::new(),
            remarks,
        }
    }

    /// A target that goes; the last step's undoing brings it back without its sessions.
    pub(super) fn removal_changes(
        &self,
        target: &running::Target,
        parameters: &BTreeMap<String, String>,
    ) -> Result<Vec<Change>, Stop> {
        let mut changes = changes_of(self.removal(target)?);
        for (change, rule) in changes.iter_mut().zip(&target.rules).filter(|_| target.in_use()) {
            change.undo = vec![self.commands.bind(&target.driver, target.tid, rule)];
        }
        changes.iter_mut().for_each(|change| change.disturbs = true);
        if let Some(last) = changes.last_mut() {
            last.undo = self.restoration(target, parameters);
        }
        Ok(changes)
    }

    fn restoration(&self, target: &running::Target, parameters: &BTreeMap<String, String>) -> Vec<Command> {
        let portrait = portrait(target, parameters);
        let maker =
            Maker { commands: &self.commands, target: &portrait, driver: &target.driver, tid: target.tid };
        let mut steps = maker.beginning();
        steps.extend(
            portrait.stores.iter().flat_map(|store| maker.unit(store, store.lun.unwrap_or_default())),
        );
        let mut known = target.incoming.iter().chain(&target.outgoing).cloned().collect();
        let mut end = maker.end(&mut known);
        if target.in_use() {
            // Those have come back with the undoing of their own steps.
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

    /// A target that is there.
    pub(super) fn changes(
        &self,
        config: &Config,
        target: &config::Target,
        now: &running::Target,
        accounts: &mut BTreeSet<String>,
        devices: &mut Devices,
    ) -> Result<TargetPlan, Stop> {
        let parameters = self.parameters_of(now.tid)?;
        let driver = driver(config, target);
        let tid = target.tid.unwrap_or(now.tid);
        let mut plan = TargetPlan {
            tid: now.tid,
            name: now.name.clone(),
            fate: Fate::Changed,
            in_use: now.in_use(),
            changes: Vec::new(),
            unseen: Vec::new(),
            remarks: Vec::new(),
        };
        if driver != now.driver || tid != now.tid {
            // What it exports now it may export again.
            let exported: BTreeSet<_> = now.units.iter().filter_map(Unit::path).map(real).collect();
            devices.taken.retain(|path| !exported.contains(path));
            plan.changes = self.removal_changes(now, &parameters)?;
            let made = self.creation(config, target, tid, accounts, devices);
            plan.changes.extend(made.changes);
            plan.remarks = made.remarks;
            return Ok(plan);
        }
        let maker = Maker { commands: &self.commands, target, driver, tid };
        self.parameter_changes(target, now, &parameters, &mut plan);
        self.unit_changes(&maker, now, devices, &mut plan);
        self.access_changes(&maker, now, accounts, &mut plan);
        Ok(plan)
    }

    fn parameter_changes(
        &self,
        target: &config::Target,
        now: &running::Target,
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
                Some(shown) => {
                    plan.changes.push(Change { command: change, undo: vec![command(shown)], disturbs: false })
                }
                // What is not set is not always shown, and a redirection hides all else.
                None if is_unset(name, value) => {}
                None if HIDDEN.contains(&name.as_str())
                    && !parameters.keys().any(|key| key.starts_with("Redirect")) =>
                {
                    plan.changes.push(Change { command: change, undo: Vec::new(), disturbs: false });
                }
                None => plan.unseen.push(change),
            }
        }
    }

    fn unit_changes(
        &self,
        maker: &Maker<'_>,
        now: &running::Target,
        devices: &mut Devices,
        plan: &mut TargetPlan,
    ) {
        let (commands, driver, tid) = (&self.commands, maker.driver, maker.tid);
        let mut luns = Luns::of(maker.target);
        let mut wanted: Vec<(u64, &Store)> = Vec::new();
        for store in &maker.target.stores {
            let own = now.units.iter().any(|unit| unit.path() == Some(&store.path));
            match devices.admit(maker.target, store) {
                Err(lines) if !own || !std::path::Path::new(&store.path).exists() => {
                    plan.remarks.extend(lines)
                }
                _ => wanted.push((luns.take(store), store)),
            }
        }
        let stays = |unit: &Unit| wanted.iter().any(|(lun, store)| *lun == unit.lun && is_unit(store, unit));
        let portrait = portrait(now, &BTreeMap::new());
        let old = Maker { commands, target: &portrait, driver, tid };
        for unit in now.units.iter().filter(|unit| !stays(unit)) {
            let store = portrait.stores.iter().find(|store| store.lun == Some(unit.lun));
            let undo = store.into_iter().flat_map(|store| changes_of(old.unit(store, unit.lun)));
            plan.changes.push(Change {
                command: commands.delete_unit(driver, tid, unit.lun),
                undo: undo.map(|change| change.command).collect(),
                disturbs: true,
            });
        }
        for (lun, store) in &wanted {
            devices.taken.insert(real(&store.path));
            match now.units.iter().find(|unit| unit.lun == *lun && is_unit(store, unit)) {
                Some(unit) => self.kept_unit(maker, store, unit, plan),
                None => {
                    let mut changes = changes_of(maker.unit(store, *lun));
                    changes[0].undo = vec![commands.delete_unit(driver, tid, *lun)];
                    plan.changes.extend(changes);
                }
            }
        }
    }

    /// What is shown is compared; the rest is sent again when nobody looks.
    fn kept_unit(&self, maker: &Maker<'_>, store: &Store, unit: &Unit, plan: &mut TargetPlan) {
        let (commands, driver, tid) = (&self.commands, maker.driver, maker.tid);
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
                    disturbs: true,
                });
            }
        }
        let all = maker.unit_parameters(store, unit.lun);
        plan.unseen.extend(all.into_iter().filter(|command| !shown.contains(command.text())));
    }

    /// Accounts and rules. What closes comes before what opens, and a target whose accounts all change is closed to new
    /// logins meanwhile, for without any it asks for no password.
    fn access_changes(
        &self,
        maker: &Maker<'_>,
        now: &running::Target,
        accounts: &mut BTreeSet<String>,
        plan: &mut TargetPlan,
    ) {
        let bind = |rule| self.commands.bind(maker.driver, maker.tid, rule);
        let unbind = |rule| self.commands.unbind(maker.tid, rule);
        let change = |command, undo| Change { command, undo: vec![undo], disturbs: false };
        let outgoing = &maker.target.outgoing[..maker.target.outgoing.len().min(1)];
        let outgoing = self.account_changes(maker, outgoing, &now.outgoing, Direction::Outgoing, accounts);
        let wanted = &maker.target.incoming;
        let incoming = self.account_changes(maker, wanted, &now.incoming, Direction::Incoming, accounts);
        let stays = |user: &String| wanted.iter().any(|account| account.user == *user);
        let all_change = !wanted.is_empty() && now.incoming.first().is_some_and(|first| !stays(first));
        let rules = maker.rules();
        // By their texts: a report does not say which of them are names.
        let lacks = |rules: &[Rule], rule: &Rule| !rules.iter().any(|other| other.text() == rule.text());
        plan.changes.extend(outgoing);
        if all_change {
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

    /// Takes accounts from the end of the list only and puts new ones there: a stock daemon whose list has a gap dies of
    /// the next report.
    fn account_changes(
        &self,
        maker: &Maker<'_>,
        wanted: &[config::Account],
        bound: &[String],
        direction: Direction,
        accounts: &mut BTreeSet<String>,
    ) -> Vec<Change> {
        let (commands, driver, tid) = (&self.commands, maker.driver, maker.tid);
        let change = |command, undo| Change { command, undo: vec![undo], disturbs: false };
        let bind = |op: &str, user: &str| commands.target_account(driver, op, tid, user, direction);
        let kept =
            bound.iter().take_while(|user| wanted.iter().any(|account| account.user == **user)).count();
        let taken = bound[kept..].iter().rev().map(|user| change(bind("unbind", user), bind("bind", user)));
        let mut changes: Vec<Change> = taken.collect();
        for config::Account { user, password, .. } in
            wanted.iter().filter(|one| !bound[..kept].contains(&one.user))
        {
            if accounts.insert(user.clone()) {
                let new = commands.new_account(Some(driver), user, password);
                changes.push(change(new, commands.delete_account(user)));
            }
            changes.push(change(bind("bind", user), bind("unbind", user)));
        }
        changes
    }
}

/// Whether some store of the target is this unit.
pub(super) fn is_wanted(target: &config::Target, unit: &Unit) -> bool {
    target.stores.iter().any(|store| is_unit(store, unit))
}

/// Whether a store is the unit, whatever their numbers.
pub(in crate::admin) fn is_unit(store: &Store, unit: &Unit) -> bool {
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
    let size = new.block_size.as_deref().unwrap_or(DEFAULT_BLOCK);
    path.map(String::as_str) == unit.path()
        && device_type == unit.device_type()
        && new.bs_type.as_deref().unwrap_or(default_store(device_type)) == unit.get("Backing store type")
        && (device_type != "disk" || block(size) == block(unit.block_size()))
        && flags(new.bso_flags.as_deref().unwrap_or_default()) == flags(unit.get("Backing store flags"))
}

fn changes_of(steps: Vec<Step>) -> Vec<Change> {
    let command = |step| match step {
        Step::Say(_) => None,
        Step::Run(command) => Some(Change { command, undo: Vec::new(), disturbs: false }),
    };
    steps.into_iter().filter_map(command).collect()
}

/// Parameters that are shown only where they are set.
const HIDDEN: [&str; 5] =
    ["RedirectAddress", "RedirectCallback", "RedirectPort", "RedirectReason", "acl-match"];
