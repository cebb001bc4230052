//! The management grammar: one table of operations and one of options.
//!
//! A row of [`OPERATIONS`] says what a mode and an operation need and take, in which words tgt's tgtadm refuses what
//! does not fit, what the JSON form demands, and which function makes the request. A row of [`OPTIONS`] is an option
//! of tgtadm and the field of the record that it sets. The daemon's parser and its strict check are here; tgtadm's checks,
//! help and completions read the same tables.

mod operation;
mod operations;
mod options;
mod record;
mod strict;

pub use operation::{Demand, Operation, StringsForm, Wording};
pub use operations::OPERATIONS;
pub use options::{CD, DEVICE_TYPES, DISK, Field, Number, OPTIONS, OptionRow, Reading, TAPE};

use super::error::TgtadmError;
use super::wire::{Form, Mode, Op};

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
}
