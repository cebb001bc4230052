//! START STOP UNIT (SBC-3 5.25): ejecting and loading a removable medium.

use super::super::Step;
use super::super::error::Access;
use super::super::request::{Answer, Refusal, Request, good};
use super::super::unit::UpdateError;
use crate::sense::Sense;

/// The CDB's fields.
#[derive(Clone, Copy, Debug)]
pub(super) struct StartStop {
    pub(super) power_condition: u8,
    pub(super) no_flush: bool,
    pub(super) load_eject: bool,
    pub(super) start: bool,
}

/// There is no motor: power conditions and stopping change nothing, but what is cached is flushed before a stop.
pub(super) fn start_stop(request: &mut Request<'_>, options: StartStop) -> Answer {
    let state = request.state;
    let ejects = options.load_eject && options.power_condition == 0;
    if ejects && !state.config.removable {
        return Err(Sense::invalid_field_in_cdb(4, Some(1)).into());
    }
    if ejects {
        load_or_eject(request, options.start)?;
    }
    let stops = !options.start && !options.no_flush && options.power_condition == 0;
    if stops && state.medium.present && state.medium.capabilities.volatile_cache {
        request.task.access = Access::Write;
        return Ok(Step::Flush);
    }
    Ok(good())
}

/// A prevented medium neither leaves nor comes, whoever prevents it.
fn load_or_eject(request: &Request<'_>, load: bool) -> Result<(), Refusal> {
    if !request.state.prevented_by.is_empty() {
        return Err(UpdateError::RemovalPrevented.into());
    }
    request.unit.update_by(Some(request.nexus), |config| {
        config.online = load;
        Ok(())
    })
}
