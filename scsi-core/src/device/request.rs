//! The context of one command in the device server.

use super::answer::Refusal;
use super::attention::Pending;
use super::task::DeviceTask;
use super::unit::{Unit, UnitState};
use super::{Command, Nexus};
use crate::sense::{AdditionalSense, Sense, SenseKey};

const MEDIUM_NOT_PRESENT: Sense = Sense::not_ready(AdditionalSense::MEDIUM_NOT_PRESENT);

/// A command, and the state that it may access.
pub(super) struct Request<'a> {
    pub(super) unit: &'a Unit,
    pub(super) state: &'a UnitState,
    pub(super) nexus: &'a Nexus,
    /// The pending unit attentions of the nexus.
    pub(super) pending: &'a mut Pending,
    pub(super) command: &'a Command<'a>,
    pub(super) task: &'a mut DeviceTask,
}

impl<'a> Request<'a> {
    /// The complete parameter list, which is the data that the command transfers. `len` is PARAMETER LIST LENGTH.
    pub(super) fn parameter_list(&mut self, len: u32) -> Result<&'a [u8], Refusal> {
        self.task.transfers(len.into());
        let list = self.command.data_out.get(..len as usize);
        list.ok_or_else(|| Sense::parameter_list_length_error().into())
    }

    /// Refuses the command if no medium is present.
    #[inline]
    pub(super) fn needs_medium(&self) -> Result<(), Refusal> {
        if self.state.medium().present { Ok(()) } else { Err(MEDIUM_NOT_PRESENT.into()) }
    }

    /// Refuses the command if no medium is present or it is write-protected.
    #[inline]
    pub(super) fn needs_writable(&self) -> Result<(), Refusal> {
        self.needs_medium()?;
        if self.state.medium().write_protected {
            return Err(Sense::new(SenseKey::DataProtect, AdditionalSense::WRITE_PROTECTED).into());
        }
        Ok(())
    }
}
