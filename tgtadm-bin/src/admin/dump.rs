//! Writes a running daemon as a configuration file.
//!
//! The text is read back: what does not read back equal is left out and reported.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use super::config::{self, Account, Config, NO_ADDRESS, NO_MEDIUM, OneText, Parameter, Store, Target};
use super::running::{Running, RunningTarget};
use super::snapshot::PASSWORD;
use super::steps::canonical_path;

/// The text of a file, and a message for each thing that it lacks.
pub(super) struct Dump {
    pub(super) text: String,
    pub(super) missing: Vec<String>,
}

/// Writes the daemon's settings and its targets, which [`super::snapshot`] has converted.
pub(super) fn dump(running: &Running, mut targets: Vec<Target>) -> Dump {
    allow_shared(&mut targets);
    let mut dump = Dump { text: "default-driver iscsi\n".to_owned(), missing: Vec::new() };
    settings(&mut dump, running);
    dump.text.push('\n');
    for (target, now) in targets.into_iter().zip(&running.targets) {
        let name = target.name.clone();
        let mut missing = unreported_parts(now);
        dump.text += &checked_block(target, &mut missing);
        dump.missing.extend(missing.into_iter().map(|what| format!("target {name}: {what}")));
    }
    dump
}

fn settings(dump: &mut Dump, running: &Running) {
    let mut one = |key: &str, value: &str, is_read: &dyn Fn(&Config) -> bool| {
        let mut text = String::new();
        line(&mut text, "", key, value);
        if read(&text).as_ref().is_some_and(is_read) {
            dump.text += &text;
        } else {
            dump.missing.push(cannot_write(&format!("{key} {value}")));
        }
    };
    if running.isns.get("iSNS").is_some_and(|value| value == "On") {
        for (name, value) in running.isns.iter().filter(|(_, value)| !value.is_empty()) {
            one(name, value, &|config| config.isns.get(name) == Some(value));
        }
    }
    for (index, user) in running.incoming_discovery.iter().enumerate() {
        let is_read =
            |config: &Config| index == 0 && matches_account(config.incoming_discovery.as_ref(), user);
        one("incomingdiscoveryuser", &format!("{user} {PASSWORD}"), &is_read);
    }
    for (index, user) in running.outgoing_discovery.iter().enumerate() {
        let is_read =
            |config: &Config| index == 0 && matches_account(config.outgoing_discovery.as_ref(), user);
        one("outgoingdiscoveryuser", &format!("{user} {PASSWORD}"), &is_read);
    }
}

fn matches_account(account: Option<&Account>, user: &str) -> bool {
    account.is_some_and(|account| account.user == user && account.password == PASSWORD)
}

/// Sets `allow-in-use` for targets that share a file: the file is in use when the second unit is created.
fn allow_shared(targets: &mut [Target]) {
    let mut seen = BTreeSet::new();
    let stores = || targets.iter().flat_map(|target| &target.stores);
    let shared: BTreeSet<PathBuf> = stores()
        .filter(|store| !store.path.starts_with(NO_MEDIUM))
        .map(|store| canonical_path(&store.path))
        .filter(|path| !seen.insert(path.clone()))
        .collect();
    for target in targets {
        target.allow_in_use = target.stores.iter().any(|store| shared.contains(&canonical_path(&store.path)));
    }
}

/// Messages for what the report of a target does not show completely.
fn unreported_parts(target: &RunningTarget) -> Vec<String> {
    let mut missing = Vec::new();
    for unit in &target.units {
        let kind = unit.get("Backing store type");
        let has_size = kind == "memory" || kind == "null" && !unit.get("Size").starts_with(NULL_SIZE);
        if has_size {
            missing.push(format!(
                "LUN {}: no report shows the options (bsopts) of its '{kind}' store",
                unit.lun
            ));
        }
    }
    missing
}

/// The block of a target, without what the file cannot represent.
fn checked_block(target: Target, missing: &mut Vec<String>) -> String {
    let text = block(&target);
    if round_trips(&text, &target) {
        return text;
    }
    let mut kept = Target {
        parameters: Vec::new(),
        stores: Vec::new(),
        incoming: Vec::new(),
        outgoing: Vec::new(),
        addresses: Vec::new(),
        names: Vec::new(),
        ..target.clone()
    };
    if !round_trips(&block(&kept), &kept) {
        missing.push(format!("its name {}", cannot_write(&kept.name)));
        return String::new();
    }
    let parameter = |parameter: &Parameter, _: &Target| {
        format!("parameter {}", cannot_write(&format!("{} {}", parameter.name, parameter.value)))
    };
    let unit = |store: &Store, kept: &Target| {
        format!("LUN {}: {}", store.lun.unwrap_or_default(), lost_unit(store, kept))
    };
    let account = |account: &Account, _: &Target| format!("account {}", cannot_write(&account.user));
    let rule = |rule: &String, _: &Target| format!("rule {}", cannot_write(rule));
    let had_accounts = !target.incoming.is_empty();
    keep(&mut kept, |kept| &mut kept.parameters, target.parameters, missing, parameter);
    // The options of a store without a block must not become those of another one.
    let mut stores = target.stores;
    stores.sort_by_key(|store| is_cut(&store.path));
    keep(&mut kept, |kept| &mut kept.stores, stores, missing, unit);
    keep(&mut kept, |kept| &mut kept.incoming, target.incoming, missing, account);
    keep(&mut kept, |kept| &mut kept.outgoing, target.outgoing, missing, account);
    if had_accounts && kept.incoming.is_empty() {
        kept.addresses = vec![NO_ADDRESS.to_owned()];
        missing.push(
            "it has no account in the file, so its rules are left out and it is closed there".to_owned(),
        );
        return block(&kept);
    }
    keep(&mut kept, |kept| &mut kept.addresses, target.addresses, missing, rule);
    keep(&mut kept, |kept| &mut kept.names, target.names, missing, rule);
    if kept.addresses.is_empty() {
        kept.addresses.push(NO_ADDRESS.to_owned());
    }
    block(&kept)
}

/// The message for a unit that is left out: the value that cannot be written, and why.
fn lost_unit(store: &Store, kept: &Target) -> String {
    if kept.stores.iter().any(|other| other.path == store.path) {
        let path = store.path.escape_debug();
        return format!(
            "path '{path}' cannot be written: an earlier unit of the target has it, and a target of the file has a path once"
        );
    }
    let mut parameters = store.parameters.iter().map(|(name, value)| (name.as_str(), value));
    let broken = parameters.find(|(_, value)| value.contains(UNWRITABLE));
    let (what, value) = broken.filter(|_| !store.path.contains(UNWRITABLE)).unwrap_or(("path", &store.path));
    let why = match what {
        "path" if value.contains(',') => "it has ','",
        "path" if is_cut(value) && !value.contains(UNWRITABLE) => {
            "it has '#', so its options are those of the whole target, which has other units"
        }
        _ => return format!("{what} {}", cannot_write(value)),
    };
    format!("{what} '{}' cannot be written: {why}", value.escape_debug())
}

/// Says that a value is left out of the file, and why if no value can have such a character.
fn cannot_write(value: &str) -> String {
    let why = match value.find(UNWRITABLE).and_then(|at| value[at..].chars().next()) {
        Some('\n') => ": it has a line break",
        Some(_) => ": it has bytes that are not UTF-8",
        None => "",
    };
    format!("'{}' cannot be written{why}", value.escape_debug())
}

/// Adds each part to a target if the target then still reads back equal; else adds what `lost` says of it to `missing`.
fn keep<T>(
    target: &mut Target,
    list: impl Fn(&mut Target) -> &mut Vec<T>,
    parts: Vec<T>,
    missing: &mut Vec<String>,
    lost: impl Fn(&T, &Target) -> String,
) {
    for part in parts {
        list(target).push(part);
        if !round_trips(&block(target), target)
            && let Some(part) = list(target).pop()
        {
            missing.push(lost(&part, target));
        }
    }
}

/// Whether the text reads back as this target. Reading the report replaced bytes that are not UTF-8.
fn round_trips(text: &str, target: &Target) -> bool {
    let Some(config) = read(text) else { return false };
    let [read] = config.targets.as_slice() else { return false };
    let by_path = |stores: &[Store]| {
        let mut stores = stores.to_vec();
        stores.sort_by(|one, other| one.path.cmp(&other.path));
        stores.iter_mut().for_each(|store| store.location.clone_from(&target.location));
        stores
    };
    let driver = read.driver.clone().or_else(|| Some(DEFAULT_DRIVER.to_owned()));
    let read =
        Target { driver, location: target.location.clone(), stores: by_path(&read.stores), ..read.clone() };
    let wanted = Target { stores: by_path(&target.stores), ..target.clone() };
    !text.contains(char::REPLACEMENT_CHARACTER) && read == wanted
}

fn read(text: &str) -> Option<Config> {
    let entries = config::read(Path::new("dump"), &OneText(text)).ok()?;
    config::interpret(entries).ok()
}

fn block(target: &Target) -> String {
    // Writing to a string cannot fail.
    let mut text = format!("<target {}>\n", quoted(&target.name));
    let driver = target.driver.iter().filter(|driver| *driver != DEFAULT_DRIVER);
    driver.for_each(|driver| line(&mut text, "\t", "driver", driver));
    target.tid.iter().for_each(|tid| line(&mut text, "\t", "controller_tid", &tid.to_string()));
    if target.allow_in_use {
        line(&mut text, "\t", "allow-in-use", "yes");
    }
    target.parameters.iter().for_each(|parameter| line(&mut text, "\t", &parameter.name, &parameter.value));
    for store in &target.stores {
        if is_cut(&store.path) {
            line(&mut text, "\t", "backing-store", &store.path);
            options(&mut text, "\t", store);
        } else {
            let _ = writeln!(text, "\t<backing-store {}>", quoted(&store.path));
            options(&mut text, "\t\t", store);
            text.push_str("\t</backing-store>\n");
        }
    }
    for (key, accounts) in [("incominguser", &target.incoming), ("outgoinguser", &target.outgoing)] {
        for Account { user, password, names, .. } in accounts {
            let words = [&[user.clone(), password.clone()][..], names].concat();
            line(&mut text, "\t", key, &words.join(" "));
        }
    }
    target.addresses.iter().for_each(|address| line(&mut text, "\t", "initiator-address", address));
    target.names.iter().for_each(|name| line(&mut text, "\t", "initiator-name", name));
    text.push_str("</target>\n\n");
    text
}

/// The options of a store: in its block, or as those of all stores of its target.
fn options(text: &mut String, indent: &str, store: &Store) {
    store.lun.iter().for_each(|lun| line(text, indent, "lun", &lun.to_string()));
    for (key, value) in [
        ("device-type", &store.device_type),
        ("bs-type", &store.bs_type),
        ("bsoflags", &store.bso_flags),
        ("block-size", &store.block_size),
    ] {
        value.iter().for_each(|value| line(text, indent, key, value));
    }
    store.parameters.iter().for_each(|(key, value)| line(text, indent, key, value));
    store.params.iter().for_each(|value| line(text, indent, "params", value));
}

/// Whether a `#` would cut off the path as the name of a block, which has no escapes.
fn is_cut(path: &str) -> bool {
    path.replace("\\#", "").contains('#')
}

fn line(text: &mut String, indent: &str, key: &str, value: &str) {
    let is_plain = !value.contains(ESCAPED) && !value.starts_with(['<', '=']) && value == value.trim();
    let mut written = value.to_owned();
    if !is_plain || value.is_empty() {
        written = ESCAPED.iter().fold(written, |text, sign| text.replace(*sign, &format!("\\{sign}")));
        written = format!("\"{written}\"");
    }
    let _ = writeln!(text, "{indent}{key} {written}");
}

/// Quotes a block's name if needed. Block names have no escapes.
fn quoted(name: &str) -> String {
    if name.contains(char::is_whitespace) || name.starts_with(['"', '<']) || name.ends_with('/') {
        format!("\"{name}\"")
    } else {
        name.to_owned()
    }
}

/// Characters that are escaped with a backslash. The backslash is first because the others add backslashes.
const ESCAPED: [char; 4] = ['\\', '"', '$', '#'];
/// Characters that no value in the file can have; the second replaces bytes that are not UTF-8.
const UNWRITABLE: [char; 2] = ['\n', char::REPLACEMENT_CHARACTER];
const DEFAULT_DRIVER: &str = "iscsi";
/// The size that a report shows for a null store without a size option: 1 TiB.
const NULL_SIZE: &str = "1099512 MB";

#[cfg(test)]
mod tests;
