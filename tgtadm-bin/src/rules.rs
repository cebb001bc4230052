//! Which options go with which operation, and which it cannot do without.
//!
//! The letters and the wording of each refusal are stock's, its two slips included: scripts match on them.

use target_engine::control::wire::{Form, Mode, Op};

use crate::args::{CD, DISK, Given, TAPE};
use crate::{EINVAL, Refusal, options};

/// What an operation accepts.
struct Rule {
    mode: Mode,
    op: Op,
    /// The letters it takes; `None` where it looks at nothing.
    letters: Option<&'static str>,
    wording: Wording,
    needs: Need,
}

/// The sentence for an option that does not belong.
#[derive(Clone, Copy)]
enum Wording {
    NotAllowed,
    NotSupported,
}

/// What must be there, in the words for its absence.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Need {
    Nothing,
    TargetName,
    Initiator,
    NameAndValue,
    UserAndPassword,
    User,
    Store,
    Portal,
}

/// Says whether the request can be sent.
///
/// # Errors
/// Stock's message for the first thing that is wrong, what would be right, and exit code 22.
pub(crate) fn check(mode: Mode, op: Op, given: &Given) -> Result<(), Refusal> {
    if matches!(mode, Mode::Session | Mode::Connection) {
        return Ok(());
    }
    numbers(mode, op, given)?;
    let rules = RULES.iter().chain(JSON_RULES.iter().filter(|_| given.form == Form::Json));
    let Some(rule) = rules.clone().rfind(|rule| rule.mode == mode && rule.op == op) else {
        let message = match mode {
            Mode::Lld => format!("option {} not supported in lld mode", op as u32),
            _ => format!("operation {} not supported in {} mode", op.word(), mode.word()),
        };
        let mut ops: Vec<&str> = Vec::new();
        for rule in rules.filter(|rule| rule.mode == mode) {
            if !ops.contains(&rule.op.word()) {
                ops.push(rule.op.word());
            }
        }
        return refuse(message, format!("--op; accepted with --mode {}: {}", mode.word(), ops.join(", ")));
    };
    let strange = rule.letters.and_then(|letters| {
        given.letters.iter().map(|letter| char::from(*letter)).find(|letter| !letters.contains(*letter))
    });
    if let Some(letter) = strange {
        let message = match rule.wording {
            Wording::NotAllowed => {
                format!("{} mode: option '-{letter}' is not allowed/supported", mode.word())
            }
            Wording::NotSupported => format!("option '-{letter}' not supported in {} mode", mode.word()),
        };
        let accepted = options::names(rule.letters.unwrap_or_default().as_bytes());
        let (mode, op) = (mode.word(), op.word());
        return refuse(message, format!("accepted with --mode {mode} --op {op}: {accepted}"));
    }
    needed(rule, given)?;
    whole(mode, op, given)
}

/// The letters of the options that an operation has a use for; `None` where a mode has no such operation.
pub(crate) fn letters(mode: Mode, op: Op) -> Option<&'static str> {
    match (mode, op) {
        (Mode::Session, Op::Stat) => Some("LmosC"),
        (Mode::Connection, Op::Show) => Some("LmotC"),
        (Mode::Connection, Op::Stat | Op::Delete) => Some("LmotscC"),
        _ => {
            let rule = RULES.iter().find(|rule| rule.mode == mode && rule.op == op)?;
            Some(rule.letters.unwrap_or("LmoC"))
        }
    }
}

/// The numbers that say what the request is about.
fn numbers(mode: Mode, op: Op, given: &Given) -> Result<(), Refusal> {
    let zero = match mode {
        Mode::Target if op != Op::Show => "'tid' cannot be 0",
        Mode::LogicalUnit => "'tid' must not be 0",
        _ => return Ok(()),
    };
    let shows_units = op == Op::Show && given.form == Form::Json;
    match given.header.tid {
        ..0 => refuse("'tid' option is necessary", options::usage(b"t")),
        0 => refuse(zero, options::usage(b"t")),
        1.. if mode == Mode::LogicalUnit && given.header.lun == u64::MAX && !shows_units => {
            refuse("'lun' option is necessary", options::usage(b"l"))
        }
        1.. => Ok(()),
    }
}

fn needed(rule: &Rule, given: &Given) -> Result<(), Refusal> {
    let (user, password) = (given.strings.user.is_some(), given.strings.password.is_some());
    let no_initiator = given.strings.initiator_address.is_none() && given.strings.initiator_name.is_none();
    let (message, needed) = match rule.needs {
        Need::TargetName if given.strings.targetname.is_none() => {
            ("creating new target requires a name, use --targetname".to_owned(), "T")
        }
        Need::Initiator if no_initiator && given.header.host_no == 0 => {
            let op = rule.op.word();
            (format!("{op} operation requires initiator-address, initiator-nameor bus"), "IQBH")
        }
        Need::NameAndValue if given.name.is_none() || given.value.is_none() => {
            ("update operation requires 'name' and 'value' options".to_owned(), "nv")
        }
        Need::UserAndPassword if !user || !password => {
            ("'user' and 'password' options are required".to_owned(), "up")
        }
        Need::User if !user => ("'user' option is necessary".to_owned(), "u"),
        Need::Store
            if given.strings.path.is_none() && !matches!(given.header.device_type, DISK | CD | TAPE) =>
        {
            ("'backing-store' option is necessary".to_owned(), "b")
        }
        Need::Portal if given.strings.portal_ops.is_none() => {
            let right = "--params portal=ADDRESS[:PORT], behind --mode portal";
            return refuse("you must specify --param portal=<portal>", right);
        }
        _ => return Ok(()),
    };
    refuse(message, options::usage(needed.as_bytes()))
}

/// The strings of a request are joined by commas, and the daemon takes them apart there: a value with one would reach it
/// cut, another file for instance. tgt sends it all the same.
fn whole(mode: Mode, op: Op, given: &Given) -> Result<(), Refusal> {
    let strings = &given.strings;
    // In the other operations on accounts the name is all that there is.
    let user = strings.user.as_ref().filter(|_| (mode, op) == (Mode::Account, Op::New));
    // A rule that tgt's daemon has taken with a comma can be taken back only by the same words.
    let rule = |text: &'static [u8; 1], value| (text, Option::filter(value, |_: &&String| op != Op::Unbind));
    let values = [
        (b"b", strings.path.as_ref()),
        (b"E", strings.bstype.as_ref()),
        (b"S", strings.bsopts.as_ref()),
        (b"f", strings.bsoflags.as_ref()),
        (b"y", strings.blocksize.as_ref()),
        (b"T", strings.targetname.as_ref()),
        rule(b"I", strings.initiator_address.as_ref()),
        rule(b"Q", strings.initiator_name.as_ref()),
        (b"D", strings.drain.as_ref()),
        (b"u", user),
    ];
    for (letter, value) in values {
        if let Some(value) = value.filter(|value| value.contains(',')) {
            let name = options::names(letter);
            return refuse(
                format!("{name} '{value}' has a comma, at which the daemon would cut it"),
                format!("{}; accepted: without a comma", options::usage(letter)),
            );
        }
    }
    match strings.target_ops.as_deref().filter(|_| mode == Mode::LogicalUnit).and_then(cut_path) {
        Some(path) => refuse(
            format!("--params '{path}' is a path with a comma, at which the daemon would cut it"),
            options::usage(b"P"),
        ),
        None => Ok(()),
    }
}

/// A path among parameters and what follows it, where that is no parameter.
fn cut_path(params: &str) -> Option<String> {
    let items: Vec<&str> = params.split(',').collect();
    let mut pairs = items.windows(2);
    let cut = pairs.find(|two| two[0].trim_start().starts_with("path=") && !two[1].contains('='));
    cut.map(|two| two.join(","))
}

fn refuse(message: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> Result<(), Refusal> {
    Err(Refusal::named(EINVAL, message).but(right))
}

const fn rule(mode: Mode, op: Op, letters: &'static str, needs: Need) -> Rule {
    Rule { mode, op, letters: Some(letters), wording: Wording::NotAllowed, needs }
}

const fn anything(mode: Mode, op: Op) -> Rule {
    Rule { mode, op, letters: None, wording: Wording::NotAllowed, needs: Need::Nothing }
}

#[rustfmt::skip]
const RULES: &[Rule] = &[
    anything(Mode::System, Op::Show),
    anything(Mode::System, Op::Delete),
    anything(Mode::System, Op::Stat),
    rule(Mode::System, Op::Update, "LmonvC", Need::NameAndValue),
    rule(Mode::Target, Op::New, "LmotTC", Need::TargetName),
    rule(Mode::Target, Op::Delete, "LmotCFD", Need::Nothing),
    rule(Mode::Target, Op::Show, "LmotC", Need::Nothing),
    rule(Mode::Target, Op::Stat, "LmotC", Need::Nothing),
    rule(Mode::Target, Op::Bind, "LmotIQBHC", Need::Initiator),
    rule(Mode::Target, Op::Unbind, "LmotIQBHC", Need::Initiator),
    rule(Mode::Target, Op::Update, "LmotnvC", Need::NameAndValue),
    rule(Mode::LogicalUnit, Op::New, "LmofytlbEYCS", Need::Store),
    rule(Mode::LogicalUnit, Op::Delete, "LmotlCFD", Need::Nothing),
    rule(Mode::LogicalUnit, Op::Stat, "LmotlC", Need::Nothing),
    Rule { wording: Wording::NotSupported, ..rule(Mode::LogicalUnit, Op::Update, "LmofytlPC", Need::Nothing) },
    rule(Mode::Portal, Op::New, "LmoCP", Need::Portal),
    rule(Mode::Portal, Op::Delete, "LmoCP", Need::Portal),
    Rule { wording: Wording::NotSupported, ..rule(Mode::Portal, Op::Show, "LmoC", Need::Nothing) },
    rule(Mode::Lld, Op::Start, "LmoC", Need::Nothing),
    rule(Mode::Lld, Op::Stop, "LmoC", Need::Nothing),
    rule(Mode::Lld, Op::Show, "LmoC", Need::Nothing),
    rule(Mode::Account, Op::New, "LmoupfC", Need::UserAndPassword),
    rule(Mode::Account, Op::Update, "LmoupC", Need::UserAndPassword),
    rule(Mode::Account, Op::Show, "LmoC", Need::Nothing),
    rule(Mode::Account, Op::Delete, "LmouC", Need::Nothing),
    rule(Mode::Account, Op::Bind, "LmotuOC", Need::User),
    rule(Mode::Account, Op::Unbind, "LmotuOC", Need::User),
];

/// What stock has no text for. Each stands for the rule of the same mode and operation above.
const JSON_RULES: &[Rule] = &[
    rule(Mode::LogicalUnit, Op::Show, "LmotlC", Need::Nothing),
    rule(Mode::Account, Op::Show, "LmoupC", Need::Nothing),
];
