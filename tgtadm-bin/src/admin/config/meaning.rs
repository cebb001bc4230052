//! Interprets the tree: settings of the daemon, targets and their stores.
//!
//! An error outside of targets rejects the file. An error within a target rejects that target only.

mod store;
mod target;
mod value;

pub use store::{Store, StoreKind, WriteCache};
pub use target::{Parameter, Target};
pub use value::Account;

use std::collections::BTreeMap;

use super::directives::{self, Global};
use super::{Block, ConfigError, Entry, EntryItem, Location};
use value::{DirectiveValue, cut_value, parse_account, required_value, single_value, unknown_directive};

/// A configuration file.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// The driver of targets without one.
    pub default_driver: Option<String>,
    /// Whether to continue after refusals of the daemon.
    pub ignore_errors: bool,
    /// The control port as written.
    pub control_port: Option<String>,
    /// Settings of the iSNS client by name, as written.
    pub isns: BTreeMap<String, String>,
    /// The account that initiators must use for discovery.
    pub incoming_discovery: Option<Account>,
    /// The account with which the daemon authenticates in discovery.
    pub outgoing_discovery: Option<Account>,
    /// Targets by name.
    pub targets: Vec<Target>,
    /// Targets with errors, which are left as they are.
    pub refused: Vec<Refused>,
    /// Warnings about valid lines that probably do not mean what their author expects.
    pub warnings: Vec<ConfigError>,
}

/// A target with errors.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// The target's name.
    pub name: String,
    /// One or more errors.
    pub errors: Vec<ConfigError>,
}

/// Interprets the tree.
///
/// # Errors
/// Returns the errors that reject the whole file.
pub fn interpret(entries: Vec<Entry>) -> Result<Config, Vec<ConfigError>> {
    let mut config = Config::default();
    let mut errors = Vec::new();
    let mut singles: BTreeMap<&'static str, Location> = BTreeMap::new();
    let mut targets: BTreeMap<String, (Location, Vec<Entry>)> = BTreeMap::new();
    for Entry { key, location, item, is_cut } in entries {
        config.warnings.extend(cut_value(&key, &location).filter(|_| is_cut));
        let Some((name, what)) = directives::global(&key) else {
            config.warnings.push(unknown_directive(&key, location));
            continue;
        };
        if what == Global::Target {
            match item {
                EntryItem::Block(Block { name: Some(name), entries }) => {
                    targets.entry(name).or_insert((location, Vec::new())).1.extend(entries);
                }
                _ => errors
                    .push(ConfigError { location, text: "a target is a block: <target NAME>".to_owned() }),
            }
            continue;
        }
        if singles.insert(name, location.clone()).is_some() {
            let text = format!("Multiple {key} definitions are not allowed!");
            errors.push(ConfigError { location: location.clone(), text });
        }
        if let Err(error) = single_value(&key, location, item).and_then(|given| config.add(name, what, given))
        {
            errors.push(error);
        }
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    for (name, (location, entries)) in targets {
        match Target::read(name.clone(), location, entries, &mut config.warnings) {
            Ok(target) => config.targets.push(target),
            Err(errors) => config.refused.push(Refused { name, errors }),
        }
    }
    let discovery = config.incoming_discovery.iter().zip(&config.outgoing_discovery);
    let errors: Vec<ConfigError> = discovery.filter_map(|(one, other)| one.conflict_with(other)).collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    config.reject_conflicting_passwords();
    Ok(config)
}

impl Config {
    /// Rejects targets that use an account which has another password elsewhere in the file.
    fn reject_conflicting_passwords(&mut self) {
        let discovery = self.incoming_discovery.iter().chain(&self.outgoing_discovery);
        let mut locations: BTreeMap<&str, Vec<&Account>> = BTreeMap::new();
        for account in discovery.chain(self.targets.iter().flat_map(Target::accounts)) {
            locations.entry(&account.user).or_default().push(account);
        }
        let error = |account: &Account| {
            locations[account.user.as_str()].iter().find_map(|other| account.conflict_with(other))
        };
        let errors: Vec<Vec<ConfigError>> =
            self.targets.iter().map(|target| target.accounts().filter_map(error).collect()).collect();
        for (target, errors) in std::mem::take(&mut self.targets).into_iter().zip(errors) {
            if errors.is_empty() {
                self.targets.push(target);
            } else {
                self.refused.push(Refused { name: target.name, errors });
            }
        }
    }

    fn add(&mut self, name: &str, what: Global, given: DirectiveValue) -> Result<(), ConfigError> {
        match what {
            Global::DefaultDriver => self.default_driver = Some(required_value(name, given)?.1),
            Global::ControlPort => self.control_port = Some(required_value(name, given)?.1),
            Global::IgnoreErrors => {
                let (location, value) = required_value(name, given)?;
                self.ignore_errors = value == "yes";
                if !["yes", "no"].contains(&value.as_str()) {
                    let text = format!("ignore-errors is 'yes' or 'no'; '{value}' counts as 'no'");
                    self.warnings.push(ConfigError { location, text });
                }
            }
            Global::Isns => {
                self.isns.insert(name.to_owned(), required_value(name, given)?.1);
            }
            Global::IncomingDiscoveryUser => {
                self.incoming_discovery = Some(parse_account(name, given, false, &mut self.warnings)?);
            }
            Global::OutgoingDiscoveryUser => {
                self.outgoing_discovery = Some(parse_account(name, given, false, &mut self.warnings)?);
            }
            Global::Target => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
