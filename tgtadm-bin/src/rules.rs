//! What tgtadm refuses before it sends anything, by the engine's table of operations.
//!
//! The wording of each refusal is that of tgt's tgtadm: scripts match on it.

use target_engine::control::grammar::{
    Demand, Field, ModeRule, Number, OPTIONS, Operation, OptionRow, Wording,
};
use target_engine::control::request::Key;
use target_engine::control::wire::{Form, Mode, Op};

use crate::given::Given;
use crate::options::with_letters;
use crate::{EINVAL, Refusal, options};

/// Checks that the request can be sent.
///
/// # Errors
/// The message of tgt's tgtadm for the first thing that is wrong, what is accepted, and exit code 22.
pub(crate) fn check(mode: Mode, op: Op, given: &Given) -> Result<(), Refusal> {
    if given.form == Form::Json {
        check_repeated(given)?;
    }
    if !ModeRule::of(mode).is_checked {
        return Ok(());
    }
    let operation = Operation::find(mode, op, given.form);
    check_numbers(ModeRule::of(mode), op, operation, given)?;
    let Some(operation) = operation else {
        let message = match mode {
            Mode::Lld => format!("option {} not supported in lld mode", op as u32),
            _ => format!("operation {} not supported in {} mode", op.word(), mode.word()),
        };
        let valid = Operation::words(mode, given.form);
        return refuse(message, format!("--op; accepted with --mode {}: {valid}", mode.word()));
    };
    check_options(operation, given)?;
    if let Some(demand) = operation.demand {
        check_demand(demand, op, given)?;
    }
    check_password(operation, given)?;
    check_commas(operation, given)
}

/// Refuses an option given twice. In the text form the last one counts, as with tgt.
fn check_repeated(given: &Given) -> Result<(), Refusal> {
    let options = &given.options;
    let again = options
        .iter()
        .enumerate()
        .find(|(index, option)| options[..*index].iter().any(|other| other.short == option.short));
    match again {
        Some((_, option)) => refuse(
            format!("--{} is given twice", option.long),
            "accepted with --json: each option once; --params takes several parameters as K=V,K=V",
        ),
        None => Ok(()),
    }
}

/// Refuses a missing number. `show` does without.
fn check_numbers(
    rule: &ModeRule,
    op: Op,
    operation: Option<&Operation>,
    given: &Given,
) -> Result<(), Refusal> {
    for number in rule.needs {
        if op == Op::Show && operation.is_some_and(|operation| !operation.needs.contains(number)) {
            continue;
        }
        let Some(option) = number.option() else { continue };
        let usage = || options::usage(with_letters(&[option.short]));
        if !number.is_given(&given.header) || number.get(&given.header) < 0 {
            return refuse(format!("'{}' option is necessary", option.long), usage());
        }
        if *number == Number::Tid && given.header.tid == 0 {
            return refuse(rule.zero_tid, usage());
        }
    }
    Ok(())
}

/// Refuses an option that does not belong to the operation.
fn check_options(operation: &Operation, given: &Given) -> Result<(), Refusal> {
    let (mode, op) = (operation.mode.word(), operation.op.word());
    let takes = |option: &OptionRow| operation.takes_option(option, given.form);
    let Some(strange) = given.options.iter().find(|option| !takes(option)) else {
        return Ok(());
    };
    let letter = char::from(strange.short);
    let message = match operation.wording {
        Wording::NotAllowed => format!("{mode} mode: option '-{letter}' is not allowed/supported"),
        Wording::NotSupported => format!("option '-{letter}' not supported in {mode} mode"),
        Wording::Unchecked => return Ok(()),
    };
    refuse(message, format!("accepted with --mode {mode} --op {op}: {}", options::names(takes)))
}

fn check_demand(demand: &Demand, op: Op, given: &Given) -> Result<(), Refusal> {
    if (demand.spares)(&given.header) {
        return Ok(());
    }
    let wanted = || OPTIONS.iter().filter(|option| demand.options.contains(&option.short));
    let is_met = if demand.any {
        wanted().any(|option| given.has(option))
    } else {
        wanted().all(|option| given.has(option))
    };
    if is_met {
        return Ok(());
    }
    let usage = || options::usage(with_letters(demand.options));
    let accepted = demand.accepted.map_or_else(usage, str::to_owned);
    refuse(demand.message.replace("{op}", op.word()), accepted)
}

/// Refuses an empty password, with which everyone who knows the name could log in. tgt's tgtadm sends it.
fn check_password(operation: &Operation, given: &Given) -> Result<(), Refusal> {
    let sets_password = operation.mode == Mode::Account && matches!(operation.op, Op::New | Op::Update);
    if !sets_password || given.strings.get(Key::Password) != Some("") {
        return Ok(());
    }
    let usage = options::usage(with_letters(b"p"));
    refuse("--password is empty", format!("{usage}; accepted: not empty"))
}

/// Refuses a value with a comma. The strings of a request are joined by commas, and the daemon cuts them there: a value
/// with one would arrive as another file, for instance. tgt's tgtadm sends it.
fn check_commas(operation: &Operation, given: &Given) -> Result<(), Refusal> {
    for option in OPTIONS {
        // Everything after `password=` belongs to the password.
        let Field::Text(key) = option.field else { continue };
        if key == Key::Password || operation.commas.contains(&key) {
            continue;
        }
        if let Some(value) = given.strings.get(key).filter(|value| value.contains(',')) {
            return refuse(
                format!("--{} '{value}' has a comma, at which the daemon would cut it", option.long),
                format!("{}; accepted: without a comma", options::usage(with_letters(&[option.short]))),
            );
        }
    }
    let params = given.strings.target_ops.as_deref().filter(|_| operation.mode == Mode::LogicalUnit);
    match params.and_then(cut_path) {
        Some(path) => refuse(
            format!("--params '{path}' is a path with a comma, at which the daemon would cut it"),
            options::usage(|option| option.field == Field::Parameters),
        ),
        None => Ok(()),
    }
}

/// A path among parameters and the item after it, where that is no parameter.
fn cut_path(params: &str) -> Option<String> {
    let items: Vec<&str> = params.split(',').collect();
    let mut pairs = items.windows(2);
    let cut = pairs.find(|two| two[0].trim_start().starts_with("path=") && !two[1].contains('='));
    cut.map(|two| two.join(","))
}

fn refuse(message: impl AsRef<[u8]>, right: impl AsRef<[u8]>) -> Result<(), Refusal> {
    Err(Refusal::named(EINVAL, message).but(right))
}
