//! What the JSON form demands of a request beyond what the text form does: every number and string belongs to the
//! operation, comes once, has a value that is possible, and nothing is missing or left over. Where stock ignores or
//! guesses, this refuses.

use super::super::error::{ControlError, TgtadmError};
use super::super::wire::{Mode, Op, Record, RequestHeader};
use super::Request;
use super::strings::text;
use crate::model::number::c_number;
use crate::model::unit::is_block_len;

/// What an operation takes.
struct Shape {
    mode: Mode,
    op: Op,
    /// `tgtadm`'s letters of the numbers that must be there.
    needs: &'static str,
    /// Of those that may.
    takes: &'static str,
    strings: Strings,
}

/// What an operation's strings are.
#[derive(Clone, Copy)]
enum Strings {
    None,
    /// `key=value,…`: those that must be there, those that may.
    Keys(&'static [&'static str], &'static [&'static str]),
    /// `name=value,…`
    Pairs,
    /// One `name=value`, whose value may have commas.
    Pair,
    /// `user=…,password=…`; the password is the rest, whatever is in it.
    Account,
    /// The same, or nothing.
    MaybeAccount,
    /// `targetOps key=value,…,`
    Parameters,
    /// `portalOps key=value,…,`
    Portals(&'static [&'static str]),
}

const fn shape(mode: Mode, op: Op, needs: &'static str, takes: &'static str, strings: Strings) -> Shape {
    Shape { mode, op, needs, takes, strings }
}

const STORE: &[&str] = &["path", "bstype", "bsopts", "bsoflags", "blocksize"];
const INITIATORS: &[&str] = &["initiator-address", "initiator-name"];
const DRAIN: Strings = Strings::Keys(&[], &["drain"]);
const USER: Strings = Strings::Keys(&["user"], &[]);

#[rustfmt::skip]
const SHAPES: &[Shape] = &[
    shape(Mode::System, Op::Show,        "",    "",   Strings::None),
    shape(Mode::System, Op::Stat,        "",    "",   Strings::None),
    shape(Mode::System, Op::Update,      "",    "",   Strings::Pairs),
    shape(Mode::System, Op::Delete,      "",    "",   Strings::None),
    shape(Mode::Target, Op::New,         "t",   "",   Strings::Keys(&["targetname"], &[])),
    shape(Mode::Target, Op::Delete,      "t",   "F",  DRAIN),
    shape(Mode::Target, Op::Bind,        "t",   "H",  Strings::Keys(&[], INITIATORS)),
    shape(Mode::Target, Op::Unbind,      "t",   "H",  Strings::Keys(&[], INITIATORS)),
    shape(Mode::Target, Op::Update,      "t",   "",   Strings::Pair),
    shape(Mode::Target, Op::Show,        "",    "t",  Strings::None),
    shape(Mode::Target, Op::Stat,        "",    "t",  Strings::None),
    shape(Mode::LogicalUnit, Op::New,    "tl",  "Y",  Strings::Keys(&[], STORE)),
    shape(Mode::LogicalUnit, Op::Delete, "tl",  "F",  DRAIN),
    shape(Mode::LogicalUnit, Op::Update, "tl",  "",   Strings::Parameters),
    shape(Mode::LogicalUnit, Op::Show,   "t",   "l",  Strings::None),
    shape(Mode::LogicalUnit, Op::Stat,   "tl",  "s",  Strings::None),
    shape(Mode::Portal, Op::New,         "",    "",   Strings::Portals(&["portal", "nop_interval", "nop_count"])),
    shape(Mode::Portal, Op::Delete,      "",    "",   Strings::Portals(&["portal"])),
    shape(Mode::Portal, Op::Show,        "",    "",   Strings::None),
    shape(Mode::Lld, Op::Start,          "",    "",   Strings::None),
    shape(Mode::Lld, Op::Stop,           "",    "",   Strings::None),
    shape(Mode::Lld, Op::Show,           "",    "",   Strings::None),
    shape(Mode::Session, Op::Show,       "",    "ts", Strings::None),
    shape(Mode::Session, Op::Stat,       "s",   "t",  Strings::None),
    shape(Mode::Connection, Op::Show,    "t",   "",   Strings::None),
    shape(Mode::Connection, Op::Stat,    "s",   "tc", Strings::None),
    shape(Mode::Connection, Op::Delete,  "ts",  "c",  Strings::None),
    shape(Mode::Account, Op::New,        "",    "",   Strings::Account),
    shape(Mode::Account, Op::Delete,     "",    "",   USER),
    shape(Mode::Account, Op::Bind,       "",    "tO", USER),
    shape(Mode::Account, Op::Unbind,     "",    "tO", USER),
    shape(Mode::Account, Op::Update,     "",    "",   Strings::Account),
    shape(Mode::Account, Op::Show,       "",    "",   Strings::MaybeAccount),
];

/// Refuses what the text form would let pass.
pub(super) fn check(mode: Mode, op: Op, record: &Record) -> Result<(), ControlError> {
    let shape = SHAPES.iter().find(|shape| (shape.mode, shape.op) == (mode, op));
    let shape = shape.ok_or_else(|| {
        let known: Vec<_> =
            SHAPES.iter().filter(|shape| shape.mode == mode).map(|shape| shape.op.word()).collect();
        wrong(format!(
            "--op {} is no operation of mode {}; accepted: {}",
            op.word(),
            mode.word(),
            known.join(", ")
        ))
    })?;
    numbers(shape, &record.header)?;
    let text = whole_text(&record.payload)?;
    // Before anything repeats it.
    if has_stray_secret(shape.strings, text) {
        return Err(wrong("--password does not belong to this operation"));
    }
    match shape.strings {
        Strings::None if text.is_empty() => Ok(()),
        Strings::None => Err(wrong(format!("{text:?} is left over; this operation takes no strings"))),
        Strings::Keys(needs, takes) => keys(text, needs, takes),
        Strings::Pairs => text.split(',').try_for_each(|item| pair(mode, item)),
        Strings::Pair => pair(mode, text),
        Strings::MaybeAccount if text.is_empty() => Ok(()),
        Strings::Account | Strings::MaybeAccount => account(text),
        Strings::Parameters => parameters(text),
        Strings::Portals(takes) => portals(text, takes),
    }
}

/// Whether there is a password where none is wanted, which no reason and no line of the log may show.
fn has_stray_secret(strings: Strings, text: &str) -> bool {
    let is_secret = |item: &str| item.starts_with("password=");
    match strings {
        Strings::Account | Strings::MaybeAccount => false,
        Strings::Pair => is_secret(text),
        _ => text.split(',').any(is_secret),
    }
}

/// Refuses a request that the text form would do in part, or whose value it would guess.
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

fn numbers(shape: &Shape, header: &RequestHeader) -> Result<(), ControlError> {
    let none = RequestHeader::default();
    let given = [
        ('t', "--tid", header.tid != none.tid),
        ('s', "--sid", header.sid != none.sid),
        ('l', "--lun", header.lun != none.lun),
        ('c', "--cid", header.cid != none.cid),
        ('H', "--host", header.host_no != none.host_no),
        ('Y', "--device-type", header.device_type != none.device_type),
        ('O', "--outgoing", header.ac_dir != none.ac_dir),
        ('F', "--force", header.force != none.force),
    ];
    for (letter, option, is_given) in given {
        if is_given && !shape.needs.contains(letter) && !shape.takes.contains(letter) {
            return Err(wrong(format!("{option} does not belong to this operation")));
        }
        if !is_given && shape.needs.contains(letter) {
            return Err(wrong(format!("{option} is missing")));
        }
    }
    if header.tid == 0 || header.tid < -1 {
        return Err(wrong(format!(
            "--tid {} is no target's number; accepted: 1 to {}",
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

/// One NUL at the end and none before it, or nothing at all.
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

/// Each item is `key=value` of a key that is known, once, with a value; all that are needed are there.
fn keys(text: &str, needs: &[&str], takes: &[&str]) -> Result<(), ControlError> {
    let mut seen: Vec<&str> = Vec::new();
    for item in text.split(',').filter(|_| !text.is_empty()) {
        let (key, value) = item.split_once('=').ok_or_else(|| {
            wrong(format!("{item:?} is no key=value; a value cannot have a comma, which separates"))
        })?;
        if !needs.contains(&key) && !takes.contains(&key) {
            let accepted = [needs, takes].concat().join(", ");
            return Err(wrong(format!("{key:?} does not belong to this operation; accepted: {accepted}")));
        }
        if seen.contains(&key) {
            return Err(wrong(format!("{key} comes twice")));
        }
        if value.is_empty() {
            return Err(wrong(format!("{key} has no value")));
        }
        if key == "blocksize" && !c_number(value).is_some_and(is_block_len) {
            return Err(wrong(format!(
                "--blocksize {value:?} is not possible; accepted: 512, 1024, 2048, 4096 and so on"
            )));
        }
        seen.push(key);
    }
    match needs.iter().find(|key| !seen.contains(key)) {
        Some(missing) => Err(wrong(format!("--{missing} is missing"))),
        None => Ok(()),
    }
}

/// The words that the text form takes by their beginnings, or takes any other word for.
const EXACT: [(Mode, &str, &[&str]); 6] = [
    (Mode::System, "debug", &["on", "off"]),
    (Mode::System, "iSNSAccessControl", &["On", "Off"]),
    (Mode::Target, "RedirectReason", &["Temporary", "Permanent"]),
    (Mode::Target, "RedirectAddress", &[]),
    (Mode::Target, "RedirectPort", &[]),
    (Mode::Target, "RedirectCallback", &[]),
];

fn pair(mode: Mode, text: &str) -> Result<(), ControlError> {
    let (name, value) = text
        .split_once('=')
        .filter(|(name, _)| !name.is_empty())
        .ok_or_else(|| wrong(format!("{text:?} is no name=value; --name and --value are needed")))?;
    let exact = EXACT.iter().find(|(of, known, _)| *of == mode && *known == name);
    match exact {
        Some((_, _, words)) if !words.is_empty() && !words.contains(&value) => Err(wrong(format!(
            "--name {name} --value {value:?} is not possible; accepted: {}",
            words.join(", ")
        ))),
        None if mode == Mode::Target && name.starts_with("Redirect") => {
            let known: Vec<_> = EXACT.iter().filter(|row| row.0 == mode).map(|row| row.1).collect();
            Err(wrong(format!("--name {name:?} is not known; accepted: {}", known.join(", "))))
        }
        _ => Ok(()),
    }
}

/// The text is not repeated: there may be a secret in it.
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
            item.split_once('=').ok_or_else(|| wrong(format!("--params: {item:?} is no key=value")))?;
        if seen.contains(&key) {
            return Err(wrong(format!("--params: {key} comes twice")));
        }
        if SWITCHES.contains(&key) && !["0", "1"].contains(&value) {
            return Err(wrong(format!("--params {key}={value:?} is not possible; accepted: 0, 1")));
        }
        seen.push(key);
    }
    Ok(())
}

const SWITCHES: [&str; 5] = ["sense_format", "removable", "readonly", "online", "thin_provisioning"];

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
