//! A running target as a configuration would have it: what `--dump` writes, and what brings a target back that was
//! deleted in an update that failed.

use std::collections::BTreeMap;

use target_engine::model::parameters::{Defaults, Parameters};

use super::command::Rule;
use super::config::{self, Account, Parameter, Place, Store, StoreKind, WriteCache};
use super::running::{Target, Unit};

/// The target that the file would have to name to get this one. Passwords, and those parameters of units that no
/// report shows, are not known.
pub(super) fn portrait(target: &Target, parameters: &BTreeMap<String, String>) -> config::Target {
    let account =
        |user: &String| Account { user: user.clone(), password: PASSWORD.to_owned(), place: nowhere() };
    let rules =
        |wanted: fn(&Rule) -> Option<&String>| target.rules.iter().filter_map(wanted).cloned().collect();
    let mut addresses: Vec<String> = rules(|rule| match rule {
        Rule::Address(address) => Some(address),
        Rule::Name(_) => None,
    });
    if addresses.is_empty() {
        addresses.push(config::NO_ADDRESS.to_owned());
    }
    config::Target {
        name: target.name.clone(),
        place: nowhere(),
        driver: Some(target.driver.clone()),
        tid: Some(target.tid),
        parameters: changed(target, parameters),
        stores: target.units.iter().map(|unit| store(target, unit)).collect(),
        allow_in_use: false,
        incoming: target.incoming.iter().map(account).collect(),
        outgoing: target.outgoing.iter().map(account).collect(),
        addresses,
        names: rules(|rule| match rule {
            Rule::Name(name) => Some(name),
            Rule::Address(_) => None,
        }),
    }
}

fn nowhere() -> Place {
    Place { file: std::path::Path::new("").into(), line: 0 }
}

/// Parameters that are not what a new target of every daemon has. Stock's daemon and ours begin with different ones.
fn changed(target: &Target, parameters: &BTreeMap<String, String>) -> Vec<Parameter> {
    let defaults = [Defaults::Tgt, Defaults::Fast].map(|defaults| {
        let pairs = Parameters::new(defaults);
        let texts = pairs.shown().map(|(name, value)| (name, value.to_string()));
        texts.collect::<BTreeMap<&str, String>>()
    });
    let is_default = |name: &str, value: &str| {
        let of_session = defaults.iter().all(|known| known.get(name).is_some_and(|default| default == value));
        of_session || is_unset(name, value)
    };
    let mut found: BTreeMap<&str, &str> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    found.retain(|name, value| !is_default(name, value));
    if target.state != "ready" {
        found.insert("state", &target.state);
    }
    let one =
        |(name, value): (&str, &str)| Parameter { name: name.into(), value: value.into(), repeated: false };
    found.into_iter().map(one).collect()
}

/// Whether a parameter that is no session's is what a new target has.
pub(super) fn is_unset(name: &str, value: &str) -> bool {
    UNSET.contains(&(name, value))
}

fn store(target: &Target, unit: &Unit) -> Store {
    let device_type = unit.device_type();
    let is_disk = device_type == "disk";
    let mut parameters = BTreeMap::new();
    let mut set = |name: &str, value: &str| parameters.insert(name.to_owned(), value.to_owned());
    set("scsi_id", unit.get("SCSI ID"));
    set("scsi_sn", unit.get("SCSI SN"));
    if unit.is("Removable media") != (!is_disk || unit.path().is_none()) {
        set("removable", if unit.is("Removable media") { "1" } else { "0" });
    }
    if unit.is("Readonly") {
        set("readonly", "1");
    }
    if unit.path().is_some() && !unit.is("Online") {
        set("online", "0");
    }
    let some = |value: &str, default: &str| (value != default && !value.is_empty()).then(|| value.to_owned());
    Store {
        kind: StoreKind::Backing,
        path: unit.path().map_or_else(|| format!("NONE:{}.{}", target.tid, unit.lun), str::to_owned),
        place: nowhere(),
        lun: Some(unit.lun),
        device_type: some(device_type, "disk"),
        bs_type: some(unit.get("Backing store type"), default_store(device_type)),
        bs_opts: None,
        bso_flags: some(unit.get("Backing store flags"), ""),
        block_size: if is_disk { some(unit.block_size(), DEFAULT_BLOCK) } else { None },
        write_cache: WriteCache::On,
        mode_pages: Vec::new(),
        parameters,
        params: unit.is("Thin-provisioning").then(|| "thin_provisioning=1".to_owned()).into_iter().collect(),
    }
}

/// The kind of store that a unit of this type gets where none is named.
pub(super) fn default_store(device_type: &str) -> &'static str {
    match device_type {
        "cd" => "mmc",
        "tape" => "ssc",
        "changer" => "smc",
        _ => "rdwr",
    }
}

/// What stands for a password in a dump; no report shows one.
pub(super) const PASSWORD: &str = config::PASSWORD_TO_CORRECT;
pub(super) const DEFAULT_BLOCK: &str = "512";
/// Parameters besides those of sessions, as a new target has them.
const UNSET: [(&str, &str); 4] =
    [("nop_interval", "0"), ("nop_count", "0"), ("acl-match", "any"), ("RedirectReason", "Unknown")];
