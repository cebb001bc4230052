//! The checks of the JSON form beyond those of the text form. Every number and string belongs to the operation, comes
//! once and has a possible value; none is missing and none is left over. tgt ignores or guesses in these cases.

use super::super::error::{ControlError, TgtadmError};
use super::super::request::{Key, Request, settings, text};
use super::super::wire::{Mode, Record, RequestHeader};
use super::{Number, Operation, StringsForm};
use crate::model::number::c_number;
use crate::model::target;
use crate::model::unit::is_block_len;
use crate::model::unit_parameters::UnitParameter;

/// Refuses numbers and strings that the text form ignores.
pub(super) fn check(operation: &Operation, record: &Record) -> Result<(), ControlError> {
    numbers(operation, &record.header)?;
    let (mode, strings) = (operation.mode, operation.strings);
    let text = whole_text(&record.payload)?;
    // Before anything repeats it.
    if has_stray_secret(strings, text) {
        return Err(wrong("--password does not belong to this operation"));
    }
    match strings {
        StringsForm::None | StringsForm::MaybeAccount if text.is_empty() => Ok(()),
        StringsForm::None => Err(wrong(format!("{text:?} is left over; this operation takes no strings"))),
        StringsForm::Keys(needs, takes) => keys(text, needs, takes),
        StringsForm::Pairs => text.split(',').try_for_each(|item| pair(mode, item)),
        StringsForm::Pair => pair(mode, text),
        StringsForm::Account | StringsForm::MaybeAccount => account(text),
        StringsForm::Parameters => parameters(text),
        StringsForm::Portals(takes) => portals(text, takes),
    }
}

/// Whether there is a password that does not belong. No refusal and no line of the log may repeat it.
fn has_stray_secret(strings: StringsForm, text: &str) -> bool {
    let is_secret = |item: &str| item.starts_with("password=");
    match strings {
        StringsForm::Account | StringsForm::MaybeAccount => false,
        StringsForm::Pair => is_secret(text),
        _ => text.split(',').any(is_secret),
    }
}

/// Refuses a request that the text form carries out in part.
pub(super) fn check_meaning(request: &Request) -> Result<(), ControlError> {
    match request {
        Request::UnitUpdate { changes, .. } => {
            changes.iter().find_map(|change| change.as_ref().err()).map_or(Ok(()), |error| Err(error.clone()))
        }
        Request::SystemUpdate(changes) => {
            changes.iter().find_map(|change| change.as_ref().err()).map_or(Ok(()), |error| Err(error.clone()))
        }
        _ => Ok(()),
    }
}

fn wrong(reason: impl Into<String>) -> ControlError {
    TgtadmError::InvalidRequest.because(reason)
}

fn numbers(operation: &Operation, header: &RequestHeader) -> Result<(), ControlError> {
    for number in Number::ALL {
        let option = || number.option().map_or_else(String::new, |row| format!("--{}", row.long));
        let is_given = number.is_given(header);
        if is_given && !operation.takes_number(number) {
            return Err(wrong(format!("{} does not belong to this operation", option())));
        }
        if !is_given && operation.needs.contains(&number) {
            return Err(wrong(format!("{} is missing", option())));
        }
    }
    if header.tid == 0 || header.tid < -1 {
        return Err(wrong(format!(
            "--tid {} is not a target's number; accepted: 1 to {}",
            header.tid,
            i32::MAX
        )));
    }
    for (field, value) in [("ac_dir", header.ac_dir), ("force", header.force)] {
        if value > 1 {
            return Err(wrong(format!("{field} {value} is not possible; accepted: 0, 1")));
        }
    }
    if header.pack != 0 {
        return Err(wrong(format!("pack {} is not possible; accepted: 0", header.pack)));
    }
    Ok(())
}

/// The strings, which end with a NUL and have none before it, or are empty.
fn whole_text(payload: &[u8]) -> Result<&str, ControlError> {
    match payload.iter().position(|byte| *byte == 0) {
        None if payload.is_empty() => Ok(""),
        None => Err(wrong("the strings of the request have no NUL at their end")),
        Some(end) if end + 1 == payload.len() => text(payload),
        Some(end) => {
            Err(wrong(format!("{} bytes are left over after the strings' NUL", payload.len() - end - 1)))
        }
    }
}

/// Checks that each item is `key=value` with a known key that comes once, and that all needed keys are there.
fn keys(text: &str, needs: &[Key], takes: &[Key]) -> Result<(), ControlError> {
    let mut seen: Vec<Key> = Vec::new();
    for item in text.split(',').filter(|_| !text.is_empty()) {
        let (word, value) = item.split_once('=').ok_or_else(|| {
            wrong(format!("{item:?} is not key=value; a value cannot have a comma, which separates items"))
        })?;
        let known = [needs, takes].concat();
        let Some(key) = known.iter().find(|key| key.word() == word) else {
            let accepted = known.iter().map(|key| key.word()).collect::<Vec<_>>().join(", ");
            return Err(wrong(format!("{word:?} does not belong to this operation; accepted: {accepted}")));
        };
        if seen.contains(key) {
            return Err(wrong(format!("{word} comes twice")));
        }
        if value.is_empty() {
            return Err(wrong(format!("{word} has no value")));
        }
        if *key == Key::Blocksize && !c_number(value).is_some_and(is_block_len) {
            return Err(wrong(format!(
                "--blocksize {value:?} is not possible; accepted: 512, 1024, 2048, 4096 and so on"
            )));
        }
        seen.push(*key);
    }
    match needs.iter().find(|key| !seen.contains(key)) {
        Some(missing) => Err(wrong(format!("--{} is missing", missing.option()))),
        None => Ok(()),
    }
}

/// Refuses a value that the text form accepts by its beginning, or as any other word.
fn pair(mode: Mode, text: &str) -> Result<(), ControlError> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| wrong(format!("{text:?} is not name=value; --name and --value are needed")))?;
    Ok(if mode == Mode::System {
        settings::check_exact(name, value)
    } else {
        target::check_exact(name, value)
    }?)
}

/// Checks a user and a password. A refusal does not repeat the text: it may have a secret.
fn account(text: &str) -> Result<(), ControlError> {
    let whole = text.strip_prefix("user=").and_then(|rest| rest.split_once(",password="));
    match whole {
        Some((user, password)) if !user.is_empty() && !user.contains(',') && !password.is_empty() => Ok(()),
        _ => Err(wrong(
            "--user (not empty, without a comma) and --password (not empty) are needed, nothing else",
        )),
    }
}

fn parameters(text: &str) -> Result<(), ControlError> {
    let list = text.strip_prefix("targetOps ").and_then(|list| list.strip_suffix(','));
    let list = list
        .filter(|list| !list.is_empty())
        .ok_or_else(|| wrong("--params KEY=VALUE,… is needed, nothing else"))?;
    let mut seen: Vec<&str> = Vec::new();
    for item in list.split(',') {
        let (key, value) =
            item.split_once('=').ok_or_else(|| wrong(format!("--params: {item:?} is not key=value")))?;
        if seen.contains(&key) {
            return Err(wrong(format!("--params: {key} comes twice")));
        }
        if UnitParameter::is_switch(key) && !["0", "1"].contains(&value) {
            return Err(wrong(format!("--params {key}={value:?} is not possible; accepted: 0, 1")));
        }
        if let Some(max) = UnitParameter::exact_max(key)
            && c_number(value).is_some_and(|number| number > max)
        {
            return Err(wrong(format!("--params {key}={value:?} is not possible; accepted: 0 to {max}")));
        }
        seen.push(key);
    }
    Ok(())
}

fn portals(text: &str, takes: &[&str]) -> Result<(), ControlError> {
    let list = text.strip_prefix("portalOps ").and_then(|list| list.strip_suffix(','));
    let list = list.ok_or_else(|| wrong("--params portal=ADDRESS[:PORT] is needed, nothing else"))?;
    let mut portals = 0;
    for item in list.split(',') {
        let key = item.split_once('=').map(|(key, _)| key).unwrap_or_default();
        if !takes.contains(&key) {
            let accepted = takes.join("=, ");
            return Err(wrong(format!("--params: {item:?} does not belong there; accepted: {accepted}=")));
        }
        portals += usize::from(key == "portal");
    }
    if portals == 0 {
        Err(wrong("--params names no portal; accepted: portal=ADDRESS[:PORT]"))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
