//! Converts a running target to a configuration.
//!
//! `--dump` writes it, and a failed update recreates a deleted target from it.

use std::collections::BTreeMap;

use target_engine::model::parameters::{Defaults, Parameters};

use super::command::Rule;
use super::config::{self, Account, Location, Parameter, Store, StoreKind, WriteCache};
use super::running::{RunningTarget, RunningUnit};

/// The configuration that creates this target. Passwords, and unit parameters that no report shows, are missing.
pub(super) fn snapshot(target: &RunningTarget, parameters: &BTreeMap<String, String>) -> config::Target {
    let account = |user: &String| Account {
        user: user.clone(),
        password: PASSWORD.to_owned(),
        names: target.names_of(user).to_vec(),
        location: no_location(),
    };
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
        location: no_location(),
        driver: Some(target.driver.clone()),
        tid: Some(target.tid),
        parameters: non_default_parameters(target, parameters),
        stores: target.units.iter().map(|unit| store(target, unit)).collect(),
        allow_in_use: false,
        incoming: target.incoming.iter().map(account).collect(),
        outgoing: target.outgoing.iter().map(|user| Account { names: Vec::new(), ..account(user) }).collect(),
        addresses,
        names: rules(|rule| match rule {
            Rule::Name(name) => Some(name),
            Rule::Address(_) => None,
        }),
    }
}

fn no_location() -> Location {
    Location { file: std::path::Path::new("").into(), line: 0 }
}

/// Parameters that differ from the defaults of every daemon. tgt's daemon and ours have different defaults.
fn non_default_parameters(target: &RunningTarget, parameters: &BTreeMap<String, String>) -> Vec<Parameter> {
    let defaults = [Defaults::Tgt, Defaults::Fast].map(|defaults| {
        let pairs = Parameters::new(defaults);
        let texts = pairs.shown().map(|(name, value)| (name, value.to_string()));
        texts.collect::<BTreeMap<&str, String>>()
    });
    let has_default = |name: &str, value: &str| {
        let of_session = defaults.iter().all(|known| known.get(name).is_some_and(|default| default == value));
        of_session || is_default(name, value)
    };
    let mut found: BTreeMap<&str, &str> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    found.retain(|name, value| !has_default(name, value));
    if target.state != "ready" {
        found.insert("state", &target.state);
    }
    let one =
        |(name, value): (&str, &str)| Parameter { name: name.into(), value: value.into(), repeated: false };
    found.into_iter().map(one).collect()
}

/// Whether a parameter that is not negotiated in a session has its default.
pub(super) fn is_default(name: &str, value: &str) -> bool {
    DEFAULTS.contains(&(name, value))
}

fn store(target: &RunningTarget, unit: &RunningUnit) -> Store {
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
        location: no_location(),
        lun: Some(unit.lun),
        device_type: some(device_type, "disk"),
        bs_type: some(unit.get("Backing store type"), default_store(device_type)),
        bs_opts: None,
        bso_flags: some(unit.get("Backing store flags"), ""),
        block_size: if is_disk { some(unit.block_size(), DEFAULT_BLOCK_SIZE) } else { None },
        write_cache: WriteCache::On,
        mode_pages: Vec::new(),
        parameters,
        params: unit.is("Thin-provisioning").then(|| "thin_provisioning=1".to_owned()).into_iter().collect(),
    }
}

/// The default type of backing store for a device type.
pub(super) fn default_store(device_type: &str) -> &'static str {
    match device_type {
        "cd" => "mmc",
        "tape" => "ssc",
        "changer" => "smc",
        _ => "rdwr",
    }
}

/// The placeholder for a password in a dump. No report shows passwords.
pub(super) const PASSWORD: &str = config::PASSWORD_PLACEHOLDER;
/// The default logical block size.
pub(super) const DEFAULT_BLOCK_SIZE: &str = "512";
/// Defaults of the parameters that are not negotiated in a session.
const DEFAULTS: [(&str, &str); 4] =
    [("nop_interval", "0"), ("nop_count", "0"), ("acl-match", "any"), ("RedirectReason", "Unknown")];
