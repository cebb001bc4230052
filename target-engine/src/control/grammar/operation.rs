//! An operation of the grammar: what it needs and takes, and how tgtadm refuses what does not fit.

use super::super::error::ControlError;
use super::super::request::{Asked, Key, Request};
use super::super::wire::{Form, Mode, Op, RequestHeader};
use super::{Field, Number, OptionRow};

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

impl Operation {
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
