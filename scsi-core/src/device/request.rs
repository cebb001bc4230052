//! One command on its way through the device server.

use super::attention::Pending;
use super::disk::medium_not_present;
use super::reserve::Conflict;
use super::task::DeviceTask;
use super::unit::{Unit, UnitState, UpdateError};
use super::{Command, Nexus, Outcome, Step};
use crate::page::{self, ParameterError};
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::status::Status;

/// A command and all it may touch.
pub(super) struct Request<'a> {
    pub(super) unit: &'a Unit,
    pub(super) state: &'a UnitState,
    pub(super) nexus: &'a Nexus,
    /// What the nexus is still to be told.
    pub(super) pending: &'a mut Pending,
    pub(super) command: &'a Command<'a>,
    pub(super) task: &'a mut DeviceTask,
}

/// What a command begins with.
pub(super) type Answer = Result<Step, Refusal>;

/// Why a command is not carried out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Refusal {
    /// CHECK CONDITION.
    Sense(Sense),
    /// RESERVATION CONFLICT.
    Conflict,
}

impl<'a> Request<'a> {
    /// A parameter list, complete; it is what the command transfers.
    pub(super) fn parameter_list(&mut self, len: u32) -> Result<&'a [u8], Refusal> {
        self.task.transfer_len = len.into();
        let list = self.command.data_out.get(..len as usize);
        list.ok_or_else(|| Sense::parameter_list_length_error().into())
    }

    /// Refuses what needs a medium when there is none.
    #[inline]
    pub(super) fn needs_medium(&self) -> Result<(), Refusal> {
        if self.state.medium.present { Ok(()) } else { Err(medium_not_present().into()) }
    }

    /// Refuses what would change the medium where that is forbidden.
    #[inline]
    pub(super) fn needs_writable(&self) -> Result<(), Refusal> {
        self.needs_medium()?;
        if self.state.medium.write_protected {
            return Err(Sense::new(SenseKey::DataProtect, AdditionalSense::WRITE_PROTECTED).into());
        }
        Ok(())
    }
}

/// GOOD, without data.
#[inline]
pub(super) fn good() -> Step {
    Step::Done(Outcome { status: Status::Good, sense: None, data_in: Vec::new() })
}

/// GOOD with parameter data, cut to the allocation length.
pub(super) fn data_in(data: Vec<u8>, allocation_len: u32) -> Step {
    let data_in = page::cut(data, allocation_len);
    Step::Done(Outcome { status: Status::Good, sense: None, data_in })
}

/// CHECK CONDITION.
pub(super) fn check_condition(sense: Sense) -> Step {
    Step::Done(Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() })
}

impl From<Sense> for Refusal {
    fn from(sense: Sense) -> Self {
        Self::Sense(sense)
    }
}

impl From<Conflict> for Refusal {
    fn from(Conflict: Conflict) -> Self {
        Self::Conflict
    }
}

impl From<ParameterError> for Refusal {
    fn from(error: ParameterError) -> Self {
        Self::Sense(super::error::parameter_sense(error))
    }
}

impl From<UpdateError> for Refusal {
    fn from(error: UpdateError) -> Self {
        Self::Sense(match error {
            UpdateError::RemovalPrevented => {
                Sense::illegal_request(AdditionalSense::MEDIUM_REMOVAL_PREVENTED)
            }
            UpdateError::BlockLength => {
                Sense::illegal_request(AdditionalSense::INVALID_FIELD_IN_PARAMETER_LIST)
            }
        })
    }
}
