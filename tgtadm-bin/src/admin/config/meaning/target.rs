//! A target's block.

use std::collections::BTreeMap;

use super::store::{Options, Store, StoreKind};
use target_engine::model::acl::Acl;
use target_engine::model::error::ModelError;

use super::{Account, Given, account, option, present, unknown, whole};
use crate::admin::config::directives::{self, StoreKey, TargetKey};
use crate::admin::config::{Entry, Item, Mistake, NO_ADDRESS, NO_MEDIUM, Place};

/// A target as the file has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// Its name; any text, the daemon judges it.
    pub name: String,
    /// Where it is first spoken of.
    pub place: Place,
    /// Its driver, where it is not the default one.
    pub driver: Option<String>,
    /// Its number, where one is wanted.
    pub tid: Option<u32>,
    /// Parameters in the order of their names, `state` among them.
    pub parameters: Vec<Parameter>,
    /// Backing stores by path, then direct stores by path.
    pub stores: Vec<Store>,
    /// Devices in use may be exported.
    pub allow_in_use: bool,
    /// Accounts an initiator may have.
    pub incoming: Vec<Account>,
    /// The accounts the target may have; it gets the first.
    pub outgoing: Vec<Account>,
    /// Rules by address; `none` alone stands for none.
    pub addresses: Vec<String>,
    /// Rules by name.
    pub names: Vec<String>,
}

/// A parameter of the target.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// The first value given.
    pub value: String,
    /// Whether there were more, which do not count.
    pub repeated: bool,
}

impl Target {
    /// Reads all of its blocks.
    pub(super) fn read(
        name: String,
        place: Place,
        entries: Vec<Entry>,
        warnings: &mut Vec<Mistake>,
    ) -> Result<Self, Vec<Mistake>> {
        let mut draft = Draft::default();
        draft.mistakes.extend(whole("<target>", &place, &name).err());
        for Entry { key, place, item } in entries {
            if let Err(mistake) = draft.take(&key, place, item, warnings) {
                draft.mistakes.push(mistake);
            }
        }
        let stores = draft.stores(warnings);
        let Draft { mut mistakes, mut lists, mut singles, parameters, incoming, outgoing, .. } = draft;
        let tid = singles.remove("controller_tid").map(|(place, value)| tid(place, &value)).transpose();
        let tid = tid.map_err(|mistake| mistakes.push(mistake)).unwrap_or_default();
        let allow = singles.remove("allow-in-use").is_some_and(|(_, value)| value == "yes");
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        let mut values = |key| lists.remove(key).unwrap_or_default();
        let (addresses, names) = (values("initiator-address"), values("initiator-name"));
        let both = parameters.get("acl-match").is_some_and(|parameter| parameter.value == "all");
        if addresses.is_empty() && !names.is_empty() && !both {
            let text = format!(
                "target {name} has rules by name only and is open to every address all the same; \
                 'initiator-address {NO_ADDRESS}' closes it"
            );
            warnings.push(Mistake { place: place.clone(), text });
        }
        Ok(Self {
            name,
            place,
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

    /// The accounts that count.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.incoming.iter().chain(self.outgoing.first())
    }

    /// The rules by address as they are sent: all the world where the file has none.
    #[must_use]
    pub fn admitted(&self) -> Vec<&str> {
        if self.addresses.is_empty() {
            return vec!["ALL"];
        }
        self.addresses.iter().map(String::as_str).filter(|address| *address != NO_ADDRESS).collect()
    }
}

/// What has been read so far.
#[derive(Default)]
struct Draft {
    mistakes: Vec<Mistake>,
    parameters: BTreeMap<String, Parameter>,
    singles: BTreeMap<String, (Place, String)>,
    lists: BTreeMap<String, Vec<String>>,
    incoming: Vec<Account>,
    outgoing: Vec<Account>,
    backing: BTreeMap<String, (Place, Options)>,
    direct: BTreeMap<String, (Place, Options)>,
    common: Options,
}

impl Draft {
    fn take(
        &mut self,
        key: &str,
        place: Place,
        item: Item,
        warnings: &mut Vec<Mistake>,
    ) -> Result<(), Mistake> {
        let Some(what) = directives::target(key) else {
            warnings.push(unknown(key, place));
            return Ok(());
        };
        match what {
            TargetKey::BackingStore | TargetKey::DirectStore => self.store(key, what, place, item, warnings),
            TargetKey::Store(StoreKey::BlockSize) => {
                let text = "'block-size' counts only in a store's own block (<backing-store PATH>) and is ignored here";
                warnings.push(Mistake { place, text: text.to_owned() });
                Ok(())
            }
            TargetKey::Store(what) => self.common.take(key, what, option(key, (place, item))?),
            _ => self.plain(key, what, option(key, (place, item))?, warnings),
        }
    }

    fn plain(
        &mut self,
        key: &str,
        what: TargetKey,
        given: Given,
        warnings: &mut Vec<Mistake>,
    ) -> Result<(), Mistake> {
        match what {
            TargetKey::IncomingUser => self.incoming.push(account(key, given, warnings)?),
            TargetKey::OutgoingUser => self.outgoing.push(account(key, given, warnings)?),
            TargetKey::InitiatorAddress | TargetKey::InitiatorName => {
                let (place, value) = present(key, given)?;
                whole(key, &place, &value)?;
                if what == TargetKey::InitiatorAddress {
                    warnings.extend(no_address(place, &value));
                }
                self.lists.entry(key.to_owned()).or_default().push(value);
            }
            TargetKey::Parameter => {
                let (_, value) = present(key, given)?;
                let new = Parameter { name: key.to_owned(), value, repeated: false };
                self.parameters
                    .entry(key.to_owned())
                    .and_modify(|parameter| parameter.repeated = true)
                    .or_insert(new);
            }
            _ => {
                let (place, value) = present(key, given)?;
                if self.singles.insert(key.to_owned(), (place.clone(), value)).is_some() {
                    let text = format!("Multiple '{key}' definitions not allowed!");
                    return Err(Mistake { place, text });
                }
            }
        }
        Ok(())
    }

    /// `backing-store PATH` or a block of that name.
    fn store(
        &mut self,
        key: &str,
        what: TargetKey,
        place: Place,
        item: Item,
        warnings: &mut Vec<Mistake>,
    ) -> Result<(), Mistake> {
        let (path, entries) = match item {
            Item::Value(value) => (present(key, (place.clone(), value))?.1, Vec::new()),
            Item::Block(block) => (present(key, (place.clone(), block.name))?.1, block.entries),
        };
        if !path.starts_with(NO_MEDIUM) {
            whole(key, &place, &path)?;
        }
        let map = if what == TargetKey::BackingStore { &mut self.backing } else { &mut self.direct };
        let (_, options) = map.entry(path).or_insert_with(|| (place, Options::default()));
        for Entry { key, place, item } in entries {
            match directives::store(&key) {
                Some(what) => options.take(&key, what, option(&key, (place, item))?)?,
                None => warnings.push(unknown(&key, place)),
            }
        }
        Ok(())
    }

    fn stores(&mut self, warnings: &mut Vec<Mistake>) -> Vec<Store> {
        let backing = std::mem::take(&mut self.backing).into_iter().map(|store| (StoreKind::Backing, store));
        let direct = std::mem::take(&mut self.direct).into_iter().map(|store| (StoreKind::Direct, store));
        let mut stores: Vec<Store> = Vec::new();
        for (kind, (path, (place, options))) in backing.chain(direct) {
            match options.over(&self.common).store(kind, path, place, warnings) {
                Ok(store) if store.lun.is_some() && stores.iter().any(|other| other.lun == store.lun) => {
                    let text =
                        format!("another store of this target has 'lun {}'", store.lun.unwrap_or_default());
                    self.mistakes.push(Mistake { place: store.place, text });
                }
                Ok(store) => stores.push(store),
                Err(mistake) => self.mistakes.push(mistake),
            }
        }
        stores
    }
}

/// What the daemon will say of a rule. tgt takes it, and it admits nobody.
fn no_address(place: Place, value: &str) -> Option<Mistake> {
    let refused = Acl::default().add_address(value).err().filter(|_| value != NO_ADDRESS)?;
    let ModelError::AddressRule { error: why, .. } = refused else { return None };
    let text = format!("'initiator-address {value}': {why}; the daemon will refuse it");
    Some(Mistake { place, text })
}

fn tid(place: Place, value: &str) -> Result<u32, Mistake> {
    let number = value.parse().ok().filter(|tid| (1..=TID_MAX).contains(tid));
    let wrong = || format!("'controller_tid {value}': a target's number is one of 1 to {TID_MAX}");
    number.ok_or_else(|| Mistake { place, text: wrong() })
}

const TID_MAX: u32 = i32::MAX.cast_unsigned();
