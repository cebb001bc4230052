//! The daemon's own settings: one row per setting with its name, its values and how they are read.

use super::SystemChange;
use crate::model::error::ParameterError;
use crate::model::state::State;

/// A setting of mode system.
struct Row {
    name: &'static str,
    /// The accepted values, for a refusal.
    accepted: &'static str,
    /// The values that the JSON form accepts; empty where it accepts what the text form does.
    exact: &'static [&'static str],
    read: fn(&str) -> Option<SystemChange>,
}

const ROWS: [Row; 6] = [
    // tgt compares only the beginning of the value.
    Row { name: "debug", accepted: "on, off", exact: &["on", "off"], read: debug },
    Row {
        name: "State",
        accepted: "ready, offline",
        exact: &[],
        read: |value| State::from_word(value).map(SystemChange::State),
    },
    Row {
        name: "iSNS",
        accepted: "On, Off",
        exact: &[],
        read: |value| match value {
            "On" => Some(SystemChange::Isns(true)),
            "Off" => Some(SystemChange::Isns(false)),
            _ => None,
        },
    },
    Row {
        name: "iSNSServerIP",
        accepted: "an address",
        exact: &[],
        read: |value| Some(SystemChange::IsnsServer(value.to_owned())),
    },
    Row {
        name: "iSNSServerPort",
        accepted: "0 to 65535",
        exact: &[],
        read: |value| value.parse().ok().map(SystemChange::IsnsPort),
    },
    // With tgt every other value is Off.
    Row {
        name: "iSNSAccessControl",
        accepted: "On, Off",
        exact: &["On", "Off"],
        read: |value| Some(SystemChange::IsnsAccessControl(value == "On")),
    },
];

fn debug(value: &str) -> Option<SystemChange> {
    match value {
        on if on.starts_with("on") => Some(SystemChange::Debug(true)),
        off if off.starts_with("off") => Some(SystemChange::Debug(false)),
        _ => None,
    }
}

/// Returns the names of all settings, for a refusal.
pub(in crate::control) fn names() -> String {
    ROWS.map(|row| row.name).join(", ")
}

/// Parses a setting and its value.
pub(super) fn change((name, value): (&str, &str)) -> Result<SystemChange, ParameterError> {
    let row = find(name)?;
    (row.read)(value).ok_or_else(|| refused(row, value))
}

/// Refuses a value that only the text form accepts.
pub(in crate::control) fn check_exact(name: &str, value: &str) -> Result<(), ParameterError> {
    let row = find(name)?;
    if row.exact.is_empty() || row.exact.contains(&value) { Ok(()) } else { Err(refused(row, value)) }
}

fn find(name: &str) -> Result<&'static Row, ParameterError> {
    let unknown = || ParameterError::Unknown { name: name.to_owned(), accepted: names() };
    ROWS.iter().find(|row| row.name == name).ok_or_else(unknown)
}

fn refused(row: &Row, value: &str) -> ParameterError {
    let (name, accepted) = (row.name.to_owned(), row.accepted.to_owned());
    ParameterError::Value { name, value: value.to_owned(), accepted }
}
