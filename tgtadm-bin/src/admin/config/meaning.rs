//! What the tree says: the daemon's settings, its targets, their stores.
//!
//! A mistake outside of targets refuses the whole file; one within a target refuses that target, and the others stand.

mod store;
mod target;

pub use store::{Store, StoreKind, WriteCache};
pub use target::{Parameter, Target};

use std::collections::BTreeMap;

use super::directives::{self, Global};
use super::{Block, Entry, Item, Mistake, PASSWORD_TO_CORRECT, Place};

/// A configuration.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Config {
    /// The driver of targets that name none.
    pub default_driver: Option<String>,
    /// Go on where the daemon refuses.
    pub ignore_errors: bool,
    /// Which daemon, as written.
    pub control_port: Option<String>,
    /// The iSNS client's settings by their names, as written.
    pub isns: BTreeMap<String, String>,
    /// Whom the daemon answers discovery.
    pub incoming_discovery: Option<Account>,
    /// Who the daemon says it is in discovery.
    pub outgoing_discovery: Option<Account>,
    /// In the order of their names.
    pub targets: Vec<Target>,
    /// Targets that are left as they are, because what the file says of them makes no sense.
    pub refused: Vec<Refused>,
    /// What is read but will surprise.
    pub warnings: Vec<Mistake>,
}

/// A target with mistakes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refused {
    /// Its name.
    pub name: String,
    /// At least one.
    pub mistakes: Vec<Mistake>,
}

/// A name and a password.
#[derive(Clone, Eq)]
pub struct Account {
    /// The name.
    pub user: String,
    /// In the clear, as the file has it.
    pub password: String,
    /// Where it stands.
    pub place: Place,
}

/// Wherever they stand.
impl PartialEq for Account {
    fn eq(&self, other: &Self) -> bool {
        (&self.user, &self.password) == (&other.user, &other.password)
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account").field("user", &self.user).finish_non_exhaustive()
    }
}

/// A value and where it stands.
type Given = (Place, Option<String>);

/// Reads the tree.
///
/// # Errors
/// The mistakes for which nothing can be done with the file.
pub fn understand(entries: Vec<Entry>) -> Result<Config, Vec<Mistake>> {
    let mut config = Config::default();
    let mut mistakes = Vec::new();
    let mut singles: BTreeMap<&'static str, Place> = BTreeMap::new();
    let mut targets: BTreeMap<String, (Place, Vec<Entry>)> = BTreeMap::new();
    for Entry { key, place, item } in entries {
        let Some((name, what)) = directives::global(&key) else {
            config.warnings.push(unknown(&key, place));
            continue;
        };
        if what == Global::Target {
            match item {
                Item::Block(Block { name: Some(name), entries }) => {
                    targets.entry(name).or_insert((place, Vec::new())).1.extend(entries);
                }
                _ => mistakes.push(Mistake { place, text: "a target is a block: <target NAME>".to_owned() }),
            }
            continue;
        }
        if singles.insert(name, place.clone()).is_some() {
            let text = format!("Multiple {key} definitions are not allowed!");
            mistakes.push(Mistake { place: place.clone(), text });
        }
        if let Err(mistake) = option(&key, (place, item)).and_then(|given| config.take(name, what, given)) {
            mistakes.push(mistake);
        }
    }
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    for (name, (place, entries)) in targets {
        match Target::read(name.clone(), place, entries, &mut config.warnings) {
            Ok(target) => config.targets.push(target),
            Err(mistakes) => config.refused.push(Refused { name, mistakes }),
        }
    }
    let discovery = config.incoming_discovery.iter().zip(&config.outgoing_discovery);
    let mistakes: Vec<Mistake> = discovery.filter_map(|(one, other)| one.differs_from(other)).collect();
    if !mistakes.is_empty() {
        return Err(mistakes);
    }
    config.refuse_two_secrets();
    Ok(config)
}

impl Account {
    /// What is wrong where two places have one account with two secrets.
    fn differs_from(&self, other: &Self) -> Option<Mistake> {
        let differs = self.user == other.user && self.password != other.password;
        differs.then(|| Mistake {
            place: self.place.clone(),
            text: format!(
                "account {} has another password at {}; an account has one password, wherever it is used",
                self.user, other.place
            ),
        })
    }
}

impl Config {
    /// Refuses the targets of which an account has another secret somewhere else in the file.
    fn refuse_two_secrets(&mut self) {
        let discovery = self.incoming_discovery.iter().chain(&self.outgoing_discovery);
        let mut places: BTreeMap<&str, Vec<&Account>> = BTreeMap::new();
        for account in discovery.chain(self.targets.iter().flat_map(Target::accounts)) {
            places.entry(&account.user).or_default().push(account);
        }
        let mistake = |account: &Account| {
            places[account.user.as_str()].iter().find_map(|other| account.differs_from(other))
        };
        let mistakes: Vec<Vec<Mistake>> =
            self.targets.iter().map(|target| target.accounts().filter_map(mistake).collect()).collect();
        for (target, mistakes) in std::mem::take(&mut self.targets).into_iter().zip(mistakes) {
            if mistakes.is_empty() {
                self.targets.push(target);
            } else {
                self.refused.push(Refused { name: target.name, mistakes });
            }
        }
    }

    fn take(&mut self, name: &str, what: Global, given: Given) -> Result<(), Mistake> {
        match what {
            Global::DefaultDriver => self.default_driver = Some(present(name, given)?.1),
            Global::ControlPort => self.control_port = Some(present(name, given)?.1),
            Global::IgnoreErrors => {
                let (place, value) = present(name, given)?;
                self.ignore_errors = value == "yes";
                if !["yes", "no"].contains(&value.as_str()) {
                    let text = format!("ignore-errors is 'yes' or 'no'; '{value}' counts as 'no'");
                    self.warnings.push(Mistake { place, text });
                }
            }
            Global::Isns => {
                self.isns.insert(name.to_owned(), present(name, given)?.1);
            }
            Global::IncomingDiscoveryUser => {
                self.incoming_discovery = Some(account(name, given, &mut self.warnings)?);
            }
            Global::OutgoingDiscoveryUser => {
                self.outgoing_discovery = Some(account(name, given, &mut self.warnings)?);
            }
            Global::Target => {}
        }
        Ok(())
    }
}

fn unknown(key: &str, place: Place) -> Mistake {
    let meant = directives::meant(key).map(|known| format!(" ({known})")).unwrap_or_default();
    Mistake { place, text: format!("'{key}' is no directive here and is ignored{meant}") }
}

/// A directive that is no block.
fn option(key: &str, (place, item): (Place, Item)) -> Result<Given, Mistake> {
    match item {
        Item::Value(value) => Ok((place, value)),
        Item::Block(_) => Err(Mistake { place, text: format!("'{key}' is no block; write '{key} VALUE'") }),
    }
}

fn present(key: &str, (place, value): Given) -> Result<(Place, String), Mistake> {
    match value.filter(|value| !value.is_empty()) {
        Some(value) => Ok((place, value)),
        None => Err(Mistake { place, text: format!("Option {key} has a missing value!") }),
    }
}

/// Refuses a comma in what the daemon gets among other strings: they are joined by commas, and it would be cut there.
fn whole(key: &str, place: &Place, value: &str) -> Result<(), Mistake> {
    if !value.contains(',') {
        return Ok(());
    }
    let text = format!("'{key} {value}': the daemon takes requests apart at commas, so this cannot have one");
    Err(Mistake { place: place.clone(), text })
}

/// `NAME PASSWORD`; what follows is of no use to anybody.
fn account(key: &str, given: Given, warnings: &mut Vec<Mistake>) -> Result<Account, Mistake> {
    let (place, value) = present(key, given)?;
    let mut words = value.split_whitespace();
    let (Some(user), Some(password)) = (words.next(), words.next()) else {
        let text = format!("Option {key} has a missing value! Write '{key} NAME PASSWORD'.");
        return Err(Mistake { place, text });
    };
    whole(key, &place, user)?;
    if password == PASSWORD_TO_CORRECT {
        let text = format!("'{key} {user}' has the password that a dump puts there; everybody knows it");
        warnings.push(Mistake { place: place.clone(), text });
    }
    if words.next().is_some() {
        let text = format!("'{key}' takes a name and a password; what follows them is ignored");
        warnings.push(Mistake { place: place.clone(), text });
    }
    Ok(Account { user: user.to_owned(), password: password.to_owned(), place })
}

#[cfg(test)]
mod tests;
