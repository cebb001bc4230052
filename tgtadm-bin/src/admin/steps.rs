//! The steps that create a target, in tgt's order: parameters, units, accounts, ACL rules. A rule that admits all
//! initiators is last, so that no initiator logs in to an incomplete target.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::command::{Command, Commands, Direction, NewUnit, Rule};
use super::config::{Config, NO_MEDIUM, Parameter, Store, StoreKind, Target, WriteCache};
use super::device::{self, PathStatus};
use crate::store_kinds::has_file;

/// One step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Print a comment.
    Say(String),
    /// Send a command.
    Run(Command),
}

/// Builds the steps for one target.
pub(super) struct TargetSteps<'a> {
    pub(super) commands: &'a Commands,
    pub(super) target: &'a Target,
    pub(super) driver: &'a str,
    pub(super) tid: u32,
}

/// The driver of a target: its own, the file's default, or `iscsi`.
pub(super) fn driver<'a>(config: &'a Config, target: &'a Target) -> &'a str {
    target.driver.as_deref().or(config.default_driver.as_deref()).unwrap_or("iscsi")
}

impl TargetSteps<'_> {
    /// Creates the target and sets the parameters whose names sort before `backing-store`.
    pub(super) fn first_steps(&self) -> Vec<Step> {
        let mut steps = vec![Step::Run(self.new_target())];
        steps.extend(self.parameters(|name| name < "backing-store"));
        steps
    }

    /// The command that creates the target.
    pub(super) fn new_target(&self) -> Command {
        self.commands.new_target(self.driver, self.tid, &self.target.name)
    }

    /// Creates one unit and sets its parameters.
    pub(super) fn unit(&self, store: &Store, lun: u64) -> Vec<Step> {
        let mut steps = vec![Step::Run(self.commands.new_unit(self.driver, self.tid, lun, &new_unit(store)))];
        steps.extend(self.unit_parameters(store, lun).into_iter().map(Step::Run));
        match &store.write_cache {
            WriteCache::Off => {}
            WriteCache::On => {
                steps.push(Step::Say(format!("# Write cache is enabled (default) for lun {lun}.")))
            }
            WriteCache::Unknown(word) => steps.push(Step::Say(format!(
                "# WARNING! Unknown value ({word}) to write-cache! Accepted values are \"on\" and \"off\"."
            ))),
        }
        steps
    }

    /// The commands that set the parameters of a unit. Mode pages are first because the daemon replaces a whole page.
    pub(super) fn unit_parameters(&self, store: &Store, lun: u64) -> Vec<Command> {
        let (commands, driver, tid) = (self.commands, self.driver, self.tid);
        let named = |text: &str| text.replace("${tid}", &tid.to_string()).replace("${lun}", &lun.to_string());
        let mut found = Vec::new();
        if store.write_cache == WriteCache::Off {
            found.push(commands.write_cache_off(driver, tid, lun));
        }
        let pages = store.mode_pages.iter().map(|page| ("mode_page", page.as_str()));
        found.extend(pages.map(|(name, value)| commands.unit_parameter(driver, tid, lun, name, value)));
        for (name, value) in all_parameters(store) {
            if name == "params" {
                found.push(commands.unit_parameters(driver, tid, lun, &named(&value)));
            } else {
                found.push(commands.unit_parameter(driver, tid, lun, &name, &named(&value)));
            }
        }
        found
    }

    /// Binds accounts, adds rules and sets the remaining parameters. `known` has the names of existing accounts.
    pub(super) fn final_steps(&self, known: &mut BTreeSet<String>) -> Vec<Step> {
        let (commands, driver, tid) = (self.commands, self.driver, self.tid);
        let mut steps = Vec::new();
        let mut account = |account: &super::config::Account, direction| {
            let fresh = known.insert(account.user.clone());
            let new = fresh.then(|| commands.new_account(Some(driver), &account.user, &account.password));
            let bind = commands.bind_account(driver, tid, &account.user, &account.names, direction);
            new.into_iter().chain(bind).map(Step::Run).collect::<Vec<_>>()
        };
        for incoming in &self.target.incoming {
            steps.extend(account(incoming, Direction::Incoming));
        }
        let rules = self.rules();
        let is_default = self.target.addresses.is_empty();
        let bind = |rule: &Rule| Step::Run(commands.bind(driver, tid, rule));
        steps.extend(rules.iter().filter(|rule| !is_default || matches!(rule, Rule::Name(_))).map(bind));
        steps.extend(self.parameters(|name| ("backing-store".."outgoinguser").contains(&name)));
        if let Some(outgoing) = self.target.outgoing.first() {
            if self.target.outgoing.len() > 1 {
                steps.push(Step::Say(only_first("outgoinguser")));
            }
            steps.extend(account(outgoing, Direction::Outgoing));
        }
        steps.extend(self.parameters(|name| name > "outgoinguser"));
        steps.extend(rules.iter().filter(|rule| is_default && matches!(rule, Rule::Address(_))).map(bind));
        steps
    }

    /// The ACL rules: first those on addresses, then those on names.
    pub(super) fn rules(&self) -> Vec<Rule> {
        let addresses = self.target.admitted().into_iter().map(|address| Rule::Address(address.to_owned()));
        addresses.chain(self.target.names.iter().cloned().map(Rule::Name)).collect()
    }

    fn parameters(&self, which: impl Fn(&str) -> bool) -> Vec<Step> {
        let mut steps = Vec::new();
        for Parameter { name, value, repeated } in &self.target.parameters {
            if which(name) {
                if *repeated {
                    steps.push(Step::Say(only_first(name)));
                }
                steps.push(Step::Run(self.commands.parameter(self.driver, self.tid, name, value)));
            }
        }
        steps
    }
}

fn only_first(name: &str) -> String {
    format!("# Warning: only one {name} is allowed. Will only use the first one.")
}

/// The options for creating the unit of a store.
pub(super) fn new_unit(store: &Store) -> NewUnit {
    NewUnit {
        path: (!store.path.starts_with(NO_MEDIUM)).then(|| store.path.clone()),
        device_type: store.device_type.clone(),
        bs_type: store.bs_type.clone(),
        bs_opts: store.bs_opts.clone(),
        bso_flags: store.bso_flags.clone(),
        block_size: store.block_size.clone(),
    }
}

/// The parameters of a unit by name, with `params`. A direct store gets the identity of its device where the file sets
/// none.
pub(super) fn all_parameters(store: &Store) -> Vec<(String, String)> {
    let mut found = store.parameters.clone();
    if store.kind == StoreKind::Direct {
        for (name, value) in device::identity(Path::new(&store.path)) {
            found.entry(name.to_owned()).or_insert(value);
        }
    }
    let mut found: Vec<(String, String)> = found.into_iter().collect();
    found.extend(store.params.iter().map(|text| ("params".to_owned(), text.clone())));
    found.sort_by(|one, other| one.0.cmp(&other.0));
    found
}

/// Assigns LUNs to the stores of a target: the LUN in the file, else the lowest that the file does not use.
pub(super) struct LunAllocator {
    given: BTreeSet<u64>,
    next: u64,
}

impl LunAllocator {
    /// An allocator for the stores of `target`.
    pub(super) fn of(target: &Target) -> Self {
        Self { given: target.stores.iter().filter_map(|store| store.lun).collect(), next: 1 }
    }

    /// The LUN of the next store.
    pub(super) fn allocate(&mut self, store: &Store) -> u64 {
        if let Some(lun) = store.lun {
            return lun;
        }
        while self.given.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        self.next - 1
    }
}

/// Decides which devices may be exported.
pub(super) struct DevicePolicy {
    /// Export devices that are in use.
    pub(super) force: bool,
    /// A process that may have the devices open.
    pub(super) ignored_process: Option<u32>,
    /// Paths of the units that exist or are planned.
    pub(super) taken: BTreeSet<PathBuf>,
}

impl DevicePolicy {
    /// Checks whether a store of this target can be exported.
    ///
    /// # Errors
    /// Returns the messages that say why not.
    pub(super) fn check(&self, target: &Target, store: &Store) -> Result<(), Vec<String>> {
        let path = &store.path;
        if !has_file(store.bs_type.as_deref()) || path.starts_with(NO_MEDIUM) {
            return Ok(());
        }
        let found = device::probe(Path::new(path), self.ignored_process);
        let used = found == PathStatus::InUse || self.taken.contains(&canonical_path(path));
        match found {
            PathStatus::Absent => Err(vec![
                format!("# Skipping device: {path}"),
                format!("# {path} does not exist - please check the configuration file"),
            ]),
            _ if used && !self.force && !target.allow_in_use => Err(vec![
                format!("# Device {path} is used (already tgtd target?)."),
                format!("# Run 'lsof {path}' to see the details."),
                format!("# Skipping device {path} - it is in use."),
                "# You can override it with --force or 'allow-in-use yes' config option.".to_owned(),
                "# Note - do so only if you know what you're doing, you may damage your data.".to_owned(),
            ]),
            _ => Ok(()),
        }
    }
}

/// The canonical path, or the path itself if it does not resolve.
pub(super) fn canonical_path(path: &str) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.into())
}
