//! The commands that make a target, in stock's order: parameters, units, accounts, rules, and the rules last that let
//! everybody in, so that nobody gets at a target that is half made.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::command::{Command, Commands, Direction, NewUnit, Rule};
use super::config::{Config, NO_MEDIUM, Parameter, Store, StoreKind, Target, WriteCache};
use super::device::{self, Found};

/// What happens next.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Step {
    /// Something to be told.
    Say(String),
    /// Something to be done.
    Run(Command),
}

/// Makes one target.
pub(super) struct Maker<'a> {
    pub(super) commands: &'a Commands,
    pub(super) target: &'a Target,
    pub(super) driver: &'a str,
    pub(super) tid: u32,
}

/// The driver of a target.
pub(super) fn driver<'a>(config: &'a Config, target: &'a Target) -> &'a str {
    target.driver.as_deref().or(config.default_driver.as_deref()).unwrap_or("iscsi")
}

impl Maker<'_> {
    /// The target itself and the parameters whose names sort before `backing-store`.
    pub(super) fn beginning(&self) -> Vec<Step> {
        let mut steps = vec![Step::Run(self.new_target())];
        steps.extend(self.parameters(|name| name < "backing-store"));
        steps
    }

    /// The first step.
    pub(super) fn new_target(&self) -> Command {
        self.commands.new_target(self.driver, self.tid, &self.target.name)
    }

    /// One unit.
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

    /// Mode pages first, for the daemon replaces a whole page; the rest by name.
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

    /// Accounts, rules, and the parameters that are left. `known` are the accounts that exist.
    pub(super) fn end(&self, known: &mut BTreeSet<String>) -> Vec<Step> {
        let (commands, driver, tid) = (self.commands, self.driver, self.tid);
        let mut steps = Vec::new();
        let mut account = |account: &super::config::Account, direction| {
            let fresh = known.insert(account.user.clone());
            let new = fresh.then(|| commands.new_account(Some(driver), &account.user, &account.password));
            let bind = commands.target_account(driver, "bind", tid, &account.user, direction);
            new.into_iter().chain([bind]).map(Step::Run).collect::<Vec<_>>()
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

    /// By address, then by name.
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

/// What the unit is made with.
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

/// By name, `params` among them; for a direct store what its device is known by, where the file does not say better.
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

/// Numbers for the units of a target: as the file says, else the lowest that it gives to none.
pub(super) struct Luns {
    given: BTreeSet<u64>,
    next: u64,
}

impl Luns {
    pub(super) fn of(target: &Target) -> Self {
        Self { given: target.stores.iter().filter_map(|store| store.lun).collect(), next: 1 }
    }

    pub(super) fn take(&mut self, store: &Store) -> u64 {
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

/// Which devices may be exported.
pub(super) struct Devices {
    /// All, used or not.
    pub(super) force: bool,
    /// This process may have them open.
    pub(super) but: Option<u32>,
    /// Paths of units that there are or that are planned.
    pub(super) taken: BTreeSet<PathBuf>,
}

impl Devices {
    /// Whether a store of this target can be exported, or what to say of it.
    pub(super) fn admit(&self, target: &Target, store: &Store) -> Result<(), Vec<String>> {
        let path = &store.path;
        let elsewhere = store.bs_type.as_deref().is_some_and(|kind| ELSEWHERE.contains(&kind));
        if elsewhere || path.starts_with(NO_MEDIUM) {
            return Ok(());
        }
        let found = device::look(Path::new(path), self.but);
        let used = found == Found::InUse || self.taken.contains(&real(path));
        match found {
            Found::Absent => Err(vec![
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

/// A path by the one name that all its names lead to.
pub(super) fn real(path: &str) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.into())
}

/// Kinds of store whose paths are no files of this machine.
const ELSEWHERE: [&str; 6] = ["curve", "glfs", "memory", "null", "rbd", "sheepdog"];
