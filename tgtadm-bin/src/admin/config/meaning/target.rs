//! Interprets the block of a target.

use std::collections::BTreeMap;

use target_engine::model::acl::Acl;
use target_engine::model::error::ModelError;

use super::store::{Store, StoreKind, StoreOptions};
use super::value::{
    Account, DirectiveValue, check_no_comma, cut_value, parse_account, required_value, single_value,
    unknown_directive,
};
use crate::admin::config::directives::{self, StoreKey, TargetKey};
use crate::admin::config::{ConfigError, Entry, EntryItem, Location, NO_ADDRESS, NO_MEDIUM};

/// A target as configured.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// The name. The daemon checks it.
    pub name: String,
    /// The first line of the target.
    pub location: Location,
    /// The driver, if given.
    pub driver: Option<String>,
    /// The target number, if given.
    pub tid: Option<u32>,
    /// Parameters by name, including `state`.
    pub parameters: Vec<Parameter>,
    /// Backing stores by path, then direct stores by path.
    pub stores: Vec<Store>,
    /// Whether devices in use may be exported.
    pub allow_in_use: bool,
    /// Accounts that initiators must use.
    pub incoming: Vec<Account>,
    /// Accounts with which the target authenticates; only the first is used.
    pub outgoing: Vec<Account>,
    /// Rules on addresses; `none` alone stands for no address.
    pub addresses: Vec<String>,
    /// Rules on names.
    pub names: Vec<String>,
}

/// A parameter of a target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameter {
    /// The parameter's name.
    pub name: String,
    /// The first value.
    pub value: String,
    /// Whether further values follow, which are ignored.
    pub repeated: bool,
}

impl Target {
    /// Interprets the entries of all blocks of the target.
    ///
    /// # Errors
    /// Returns all errors of the target.
    pub(super) fn read(
        name: String,
        location: Location,
        entries: Vec<Entry>,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<Self, Vec<ConfigError>> {
        let mut draft = TargetDraft::default();
        draft.errors.extend(check_no_comma("<target>", &location, &name).err());
        for Entry { key, location, item, is_cut } in entries {
            warnings.extend(cut_value(&key, &location).filter(|_| is_cut));
            if let Err(error) = draft.add(&key, location, item, warnings) {
                draft.errors.push(error);
            }
        }
        let stores = draft.stores(warnings);
        let TargetDraft { mut errors, mut lists, mut singles, parameters, incoming, outgoing, .. } = draft;
        let tid = singles.remove("controller_tid").map(|(location, value)| tid(location, &value)).transpose();
        let tid = tid.map_err(|error| errors.push(error)).unwrap_or_default();
        let allow = singles.remove("allow-in-use").is_some_and(|(_, value)| value == "yes");
        if !errors.is_empty() {
            return Err(errors);
        }
        let mut values = |key| lists.remove(key).unwrap_or_default();
        let (addresses, names) = (values("initiator-address"), values("initiator-name"));
        let both = parameters.get("acl-match").is_some_and(|parameter| parameter.value == "all");
        if addresses.is_empty() && !names.is_empty() && !both {
            let text = format!(
                "target {name} has rules on names only and admits every address; \
                 add 'initiator-address {NO_ADDRESS}' to prevent this"
            );
            warnings.push(ConfigError { location: location.clone(), text });
        }
        Ok(Self {
            name,
            location,
            driver: singles.remove("driver").map(|(_, value)| value),
            tid,
            parameters: parameters.into_values().collect(),
            stores,
            allow_in_use: allow,
            incoming,
            outgoing,
            addresses,
            names,
        })
    }

    /// The accounts that are used.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.incoming.iter().chain(self.outgoing.first())
    }

    /// The rules on addresses as they are sent: `ALL` if the file has none.
    #[must_use]
    pub fn admitted(&self) -> Vec<&str> {
        if self.addresses.is_empty() {
            return vec!["ALL"];
        }
        self.addresses.iter().map(String::as_str).filter(|address| *address != NO_ADDRESS).collect()
    }
}

/// The entries that have been read so far.
#[derive(Default)]
struct TargetDraft {
    errors: Vec<ConfigError>,
    parameters: BTreeMap<String, Parameter>,
    singles: BTreeMap<String, (Location, String)>,
    lists: BTreeMap<String, Vec<String>>,
    incoming: Vec<Account>,
    outgoing: Vec<Account>,
    backing: BTreeMap<String, (Location, StoreOptions)>,
    direct: BTreeMap<String, (Location, StoreOptions)>,
    common: StoreOptions,
}

impl TargetDraft {
    fn add(
        &mut self,
        key: &str,
        location: Location,
        item: EntryItem,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<(), ConfigError> {
        let Some(what) = directives::target(key) else {
            warnings.push(unknown_directive(key, location));
            return Ok(());
        };
        match what {
            TargetKey::BackingStore | TargetKey::DirectStore => {
                self.store(key, what, location, item, warnings)
            }
            TargetKey::Store(StoreKey::BlockSize) => {
                let text = "'block-size' is valid only in a store's own block (<backing-store PATH>) and is ignored here";
                warnings.push(ConfigError { location, text: text.to_owned() });
                Ok(())
            }
            TargetKey::Store(what) => self.common.add(key, what, single_value(key, location, item)?),
            _ => self.add_plain(key, what, single_value(key, location, item)?, warnings),
        }
    }

    /// Adds a directive other than those of stores.
    fn add_plain(
        &mut self,
        key: &str,
        what: TargetKey,
        given: DirectiveValue,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<(), ConfigError> {
        match what {
            TargetKey::IncomingUser => self.incoming.push(parse_account(key, given, true, warnings)?),
            TargetKey::OutgoingUser => self.outgoing.push(parse_account(key, given, false, warnings)?),
            TargetKey::InitiatorAddress | TargetKey::InitiatorName => {
                let (location, value) = required_value(key, given)?;
                check_no_comma(key, &location, &value)?;
                if what == TargetKey::InitiatorAddress {
                    warnings.extend(refused_address(location, &value));
                }
                self.lists.entry(key.to_owned()).or_default().push(value);
            }
            TargetKey::Parameter => {
                let (_, value) = required_value(key, given)?;
                let new = Parameter { name: key.to_owned(), value, repeated: false };
                self.parameters
                    .entry(key.to_owned())
                    .and_modify(|parameter| parameter.repeated = true)
                    .or_insert(new);
            }
            _ => {
                let (location, value) = required_value(key, given)?;
                if self.singles.insert(key.to_owned(), (location.clone(), value)).is_some() {
                    let text = format!("Multiple '{key}' definitions not allowed!");
                    return Err(ConfigError { location, text });
                }
            }
        }
        Ok(())
    }

    /// Adds a `backing-store PATH` line or block.
    fn store(
        &mut self,
        key: &str,
        what: TargetKey,
        location: Location,
        item: EntryItem,
        warnings: &mut Vec<ConfigError>,
    ) -> Result<(), ConfigError> {
        let (path, entries) = match item {
            EntryItem::Value(value) => {
                (required_value(key, DirectiveValue { location: location.clone(), value })?.1, Vec::new())
            }
            EntryItem::Block(block) => (
                required_value(key, DirectiveValue { location: location.clone(), value: block.name })?.1,
                block.entries,
            ),
        };
        if !path.starts_with(NO_MEDIUM) {
            check_no_comma(key, &location, &path)?;
        }
        let map = if what == TargetKey::BackingStore { &mut self.backing } else { &mut self.direct };
        let (_, options) = map.entry(path).or_insert_with(|| (location, StoreOptions::default()));
        for Entry { key, location, item, is_cut } in entries {
            warnings.extend(cut_value(&key, &location).filter(|_| is_cut));
            match directives::store(&key) {
                Some(what) => options.add(&key, what, single_value(&key, location, item)?)?,
                None => warnings.push(unknown_directive(&key, location)),
            }
        }
        Ok(())
    }

    /// Creates the stores.
    fn stores(&mut self, warnings: &mut Vec<ConfigError>) -> Vec<Store> {
        let backing = std::mem::take(&mut self.backing).into_iter().map(|store| (StoreKind::Backing, store));
        let direct = std::mem::take(&mut self.direct).into_iter().map(|store| (StoreKind::Direct, store));
        let mut stores: Vec<Store> = Vec::new();
        for (kind, (path, (location, options))) in backing.chain(direct) {
            match options.over(&self.common).store(kind, path, location, warnings) {
                Ok(store) if store.lun.is_some() && stores.iter().any(|other| other.lun == store.lun) => {
                    let text =
                        format!("another store of this target has 'lun {}'", store.lun.unwrap_or_default());
                    self.errors.push(ConfigError { location: store.location, text });
                }
                Ok(store) => stores.push(store),
                Err(error) => self.errors.push(error),
            }
        }
        stores
    }
}

/// The warning for an address that the daemon will refuse. tgt's daemon accepts it, and the rule admits no initiator.
fn refused_address(location: Location, value: &str) -> Option<ConfigError> {
    let refused = Acl::default().add_address(value).err().filter(|_| value != NO_ADDRESS)?;
    let ModelError::AddressRule { error: why, .. } = refused else { return None };
    let text = format!("'initiator-address {value}': {why}; the daemon will refuse it");
    Some(ConfigError { location, text })
}

fn tid(location: Location, value: &str) -> Result<u32, ConfigError> {
    let number = value.parse().ok().filter(|tid| (1..=TID_MAX).contains(tid));
    let wrong = || format!("'controller_tid {value}': the target number is 1 to {TID_MAX}");
    number.ok_or_else(|| ConfigError { location, text: wrong() })
}

/// The highest target number.
const TID_MAX: u32 = i32::MAX.cast_unsigned();
