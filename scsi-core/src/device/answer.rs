//! How a command begins: with its first step, or with the reason why it is refused.

use super::{Outcome, Step, error};
use crate::cdb::CdbError;
use crate::page::{self, ParameterError};
use crate::sense::Sense;
use crate::status::Status;

/// The first step of a command, or why there is none.
pub(super) type Answer = Result<Step, Refusal>;

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// Ends the command with CHECK CONDITION and this sense data.
    Sense(Sense),
    /// Ends the command with RESERVATION CONFLICT.
    Conflict,
    /// Ends the command with BUSY.
    Busy,
}

/// Ends a command with GOOD, without data.
#[inline]
pub(super) fn good() -> Step {
    Step::Done(Outcome { status: Status::Good, sense: None, data_in: Vec::new() })
}

/// Ends a command with GOOD and parameter data, cut to the allocation length (in bytes).
pub(super) fn data_in(data: Vec<u8>, allocation_len: u32) -> Step {
    let data_in = page::cut(data, allocation_len);
    Step::Done(Outcome { status: Status::Good, sense: None, data_in })
}

/// Ends a command with CHECK CONDITION.
pub(super) fn check_condition(sense: Sense) -> Step {
    Step::Done(Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() })
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<CdbError> for Refusal {
    fn from(error: CdbError) -> Self {
        Self::Sense(error::cdb_sense(error))
    }
}

impl From<ParameterError> for Refusal {
    fn from(error: ParameterError) -> Self {
        Self::Sense(error::parameter_sense(error))
    }
}
