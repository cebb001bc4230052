//! The management grammar: one table of operations and one of options.
//!
//! A row of [`OPERATIONS`] says what a mode and an operation need and take, in which words tgt's tgtadm refuses what
//! does not fit, what the JSON form demands, and which function makes the [`Request`]. A row of [`OPTIONS`] is an option
//! of tgtadm and the field of the record that it sets. The daemon's parser and its strict check are here; tgtadm's checks,
//! help and completions read the same tables.

mod operations;
mod options;
mod record;
mod strict;

pub use operations::OPERATIONS;
pub use options::{CD, DEVICE_TYPES, DISK, Field, Number, OPTIONS, OptionRow, Reading, TAPE};

use super::error::{ControlError, TgtadmError};
use super::request::{Asked, Key, Request};
use super::wire::{Form, Mode, Op, RequestHeader};

/// What a mode and an operation need, take and mean.
#[derive(Debug)]
pub struct Operation {
    /// The kind of object.
    pub mode: Mode,
    /// What is done with it.
    pub op: Op,
    /// Whether only the JSON form has it: tgt has no text for it.
    pub json_only: bool,
    /// Numbers that must be given. The text form of some operations does without.
    pub needs: &'static [Number],
    /// Numbers that may be given.
    pub takes: &'static [Number],
    /// Numbers that a record may have, but whose options tgtadm refuses here, as tgt's does.
    pub record_only: &'static [Number],
    /// The form of its strings.
    pub strings: StringsForm,
    /// Strings whose options tgtadm accepts, as tgt's does, though the operation has no use for them.
    pub ignored: &'static [Key],
    /// Strings that may have a comma, at which the daemon cuts all others.
    pub commas: &'static [Key],
    /// What tgtadm demands.
    pub demand: Option<&'static Demand>,
    /// How tgtadm refuses an option that does not belong.
    pub wording: Wording,
    pub(super) parse: fn(&Asked<'_>) -> Result<Request, ControlError>,
}

/// The form of an operation's strings.
#[derive(Clone, Copy, Debug)]
pub enum StringsForm {
    /// There are none.
    None,
    /// `key=value,…`: the keys that must be there, those that may.
    Keys(&'static [Key], &'static [Key]),
    /// `name=value,…`
    Pairs,
    /// One `name=value`, whose value may have commas.
    Pair,
    /// `user=…,password=…`; everything after `password=` belongs to the password.
    Account,
    /// The same or nothing in the JSON form; none in the text form.
    MaybeAccount,
    /// `targetOps key=value,…,`
    Parameters,
    /// `portalOps key=value,…,` with these keys.
    Portals(&'static [&'static str]),
}

/// The sentence of tgt's tgtadm for an option that does not belong.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wording {
    /// `target mode: option '-b' is not allowed/supported`
    NotAllowed,
    /// `option '-b' not supported in portal mode`
    NotSupported,
    /// There is none: any option is accepted.
    Unchecked,
}

/// Options that tgtadm demands.
#[derive(Debug)]
pub struct Demand {
    /// The sentence of tgt's tgtadm where they are missing; `{op}` is the operation.
    pub message: &'static str,
    /// The short forms of the options.
    pub options: &'static [u8],
    /// Whether one of them is enough.
    pub any: bool,
    /// What is accepted, where the options' own usage does not say it.
    pub accepted: Option<&'static str>,
    /// Whether a request with these numbers does without.
    pub spares: fn(&RequestHeader) -> bool,
}

/// What holds for all operations of a mode.
#[derive(Debug)]
pub struct ModeRule {
    /// The mode.
    pub mode: Mode,
    /// Whether tgtadm checks anything; tgt's does not in all modes.
    pub is_checked: bool,
    /// Numbers that tgtadm asks for before it looks at the operation; `show` does without those that it may take.
    pub needs: &'static [Number],
    /// The sentence of tgt's tgtadm for a target number of 0.
    pub zero_tid: &'static str,
    /// What the daemon answers to an operation that the mode does not have.
    pub no_operation: TgtadmError,
}

const fn mode(mode: Mode, needs: &'static [Number], zero_tid: &'static str) -> ModeRule {
    ModeRule { mode, is_checked: true, needs, zero_tid, no_operation: TgtadmError::InvalidRequest }
}

/// In the order of the modes' numbers.
const MODES: [ModeRule; 8] = [
    mode(Mode::System, &[], ""),
    mode(Mode::Target, &[Number::Tid], "'tid' cannot be 0"),
    ModeRule {
        no_operation: TgtadmError::UnsupportedOperation,
        ..mode(Mode::LogicalUnit, &[Number::Tid, Number::Lun], "'tid' must not be 0")
    },
    mode(Mode::Portal, &[], ""),
    mode(Mode::Lld, &[], ""),
    ModeRule { is_checked: false, ..mode(Mode::Session, &[], "") },
    ModeRule { is_checked: false, ..mode(Mode::Connection, &[], "") },
    ModeRule { no_operation: TgtadmError::UnsupportedOperation, ..mode(Mode::Account, &[], "") },
];

impl ModeRule {
    /// The rule of a mode.
    #[must_use]
    pub fn of(mode: Mode) -> &'static Self {
        &MODES[mode as usize]
    }
}

impl Operation {
    /// The operation, if this form has it.
    #[must_use]
    pub fn find(mode: Mode, op: Op, form: Form) -> Option<&'static Self> {
        Self::of_mode(mode, form).find(|row| row.op == op)
    }

    /// The operations that a form has in a mode, one row each.
    pub fn of_mode(mode: Mode, form: Form) -> impl Iterator<Item = &'static Self> {
        OPERATIONS.iter().filter(move |row| row.mode == mode && (form == Form::Json || !row.json_only))
    }

    /// Their words, for a list of what is valid.
    #[must_use]
    pub fn words(mode: Mode, form: Form) -> String {
        Self::of_mode(mode, form).map(|row| row.op.word()).collect::<Vec<_>>().join(", ")
    }

    /// Whether a record may have this number.
    #[must_use]
    pub fn takes_number(&self, number: Number) -> bool {
        [self.needs, self.takes, self.record_only].iter().any(|numbers| numbers.contains(&number))
    }

    /// Whether tgtadm accepts this option.
    #[must_use]
    pub fn takes_option(&self, option: &OptionRow, form: Form) -> bool {
        match option.field {
            Field::Driver | Field::Mode | Field::Op | Field::ControlPort => true,
            Field::Tool => false,
            Field::Number(number, _) => self.needs.contains(&number) || self.takes.contains(&number),
            Field::Text(key) => self.ignored.contains(&key) || self.strings.takes(key, form),
            Field::Name | Field::Value => matches!(self.strings, StringsForm::Pairs | StringsForm::Pair),
            Field::Parameters => matches!(self.strings, StringsForm::Parameters | StringsForm::Portals(_)),
        }
    }
}

impl StringsForm {
    fn takes(self, key: Key, form: Form) -> bool {
        match self {
            Self::Keys(needs, takes) => needs.contains(&key) || takes.contains(&key),
            Self::Account => matches!(key, Key::User | Key::Password),
            Self::MaybeAccount => form == Form::Json && matches!(key, Key::User | Key::Password),
            Self::None | Self::Pairs | Self::Pair | Self::Parameters | Self::Portals(_) => false,
        }
    }
}
