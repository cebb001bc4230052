//! PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16).

#[cfg(test)]
mod tests;

use super::Step;
use super::answer::{Answer, Refusal, data_in, good};
use super::request::Request;
use super::reservation::{Effects, Persistent};
use crate::cdb::persist::{PersistIn, PersistOut};
use crate::page::persist::out::{BasicList, MoveList};

/// PERSISTENT RESERVE IN.
pub(super) fn report(request: &Request<'_>, action: PersistIn, allocation_len: u32) -> Answer {
    let persistent = request.state.persistent()?;
    Ok(data_in(persistent.report(action), allocation_len))
}

/// PERSISTENT RESERVE OUT.
pub(super) fn change(request: &mut Request<'_>, action: PersistOut, parameter_len: u32) -> Answer {
    let list = request.parameter_list(parameter_len)?;
    let me = request.nexus.name();
    let effects = match action {
        PersistOut::RegisterAndMove => {
            let list = MoveList::parse(list)?;
            apply(request, |persistent| persistent.move_reservation(&me, &list))?
        }
        action => {
            let list = BasicList::parse(list)?;
            apply(request, |persistent| persistent.change(&me, action, &list))?
        }
    };
    let aborts = matches!(action, PersistOut::PreemptAndAbort(_)) && !effects.preempted.is_empty();
    Ok(if aborts { Step::AbortTasks(effects.preempted.into()) } else { good() })
}

/// Changes the persistent reservations of the unit and raises the unit attentions for other nexuses.
fn apply(
    request: &Request<'_>,
    change: impl FnOnce(&mut Persistent) -> Result<Effects, Refusal>,
) -> Result<Effects, Refusal> {
    request.unit.publish(|state| state.change_persistent(change))
}
