//! Commands of all device types (SPC-4 6), and the commands that each device type supports.

mod inquiry;
mod mode;

use super::answer::{Answer, Refusal, data_in, good};
use super::request::Request;
use super::reservation::Unchanged;
use super::unit::{DeviceType, UnitState};
use super::{Step, TargetView, persist};
use crate::cdb::table::{self, COMMANDS, Command};
use crate::cdb::{Cdb, ReportingOptions};
use crate::page::report_luns::{self, select};
use crate::page::supported::{self, TaskManagementFunctions};
use crate::sense::{AdditionalSense, Sense};

const UNMAP: u8 = 0x42;
/// Operation codes of a controller: TEST UNIT READY, REQUEST SENSE, INQUIRY, REPORT LUNS, MAINTENANCE IN.
const CONTROLLER: [u8; 5] = [0x00, 0x03, 0x12, 0xa0, 0xa3];

/// Whether the unit supports a command; others end with INVALID COMMAND OPERATION CODE.
#[inline]
pub(super) fn supports(state: &UnitState, command: &Command) -> bool {
    match state.config().device_type {
        DeviceType::Disk => command.opcode != UNMAP || state.medium().thin,
        DeviceType::Controller => CONTROLLER.contains(&command.opcode),
    }
}

/// Starts a command that is the same for all device types.
pub(super) fn start(request: &mut Request<'_>, cdb: Cdb, view: &dyn TargetView) -> Answer {
    match cdb {
        Cdb::Inquiry { vpd, allocation_len } => inquiry::inquiry(request.state, vpd, allocation_len),
        Cdb::RequestSense { descriptor, allocation_len } => {
            Ok(request_sense(request, descriptor, allocation_len))
        }
        Cdb::ReportLuns { select, allocation_len } => report_luns(request, select, allocation_len, view),
        Cdb::ReportSupportedOpcodes { options, timeouts, allocation_len } => {
            report_opcodes(request.state, options, timeouts, allocation_len)
        }
        Cdb::ReportSupportedTaskManagement { extended, allocation_len } => {
            Ok(data_in(TASK_MANAGEMENT.encode(extended), allocation_len))
        }
        Cdb::ModeSense(sense) => mode::mode_sense(request.state, sense),
        Cdb::ModeSelect { long, page_format, save, parameter_len } => {
            let options = mode::Select { long, page_format, save };
            mode::mode_select(request, options, parameter_len)
        }
        Cdb::SendDiagnostic { parameter_len, .. } => send_diagnostic(parameter_len),
        Cdb::Reserve6 => reserved(request.unit.publish(|state| state.reserve(request.nexus))),
        Cdb::Release6 => reserved(request.unit.publish(|state| state.release(request.nexus))),
        Cdb::PersistentReserveIn { action, allocation_len } => {
            persist::report(request, action, allocation_len)
        }
        Cdb::PersistentReserveOut { action, parameter_len } => {
            persist::change(request, action, parameter_len)
        }
        _ => Err(Sense::invalid_opcode().into()),
    }
}

/// Ends RESERVE (6) or RELEASE (6).
fn reserved(change: Result<(), Unchanged>) -> Answer {
    match change {
        Ok(()) | Err(Unchanged::Good) => Ok(good()),
        Err(Unchanged::Conflict) => Err(Refusal::Conflict),
    }
}

/// REQUEST SENSE. Reports and clears a pending unit attention; no other sense data is ever pending.
fn request_sense(request: &mut Request<'_>, descriptor: bool, allocation_len: u32) -> Step {
    let sense = request.pending.take().map_or(Sense::none(), Sense::unit_attention);
    data_in(sense.in_format(descriptor).to_bytes(), allocation_len)
}

/// REPORT LUNS. The target has no well-known logical units.
fn report_luns(request: &mut Request<'_>, report: u8, allocation_len: u32, view: &dyn TargetView) -> Answer {
    let luns = match report {
        select::ADDRESSED | select::ALL => view.luns(),
        select::WELL_KNOWN => &[],
        _ => return Err(Sense::invalid_field_in_cdb(2, None).into()),
    };
    request.pending.forget(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
    Ok(data_in(report_luns::encode(luns), allocation_len))
}

fn report_opcodes(
    state: &UnitState,
    options: ReportingOptions,
    timeouts: bool,
    allocation_len: u32,
) -> Answer {
    let data = if options == ReportingOptions::All {
        supported::all_commands(COMMANDS.iter().filter(|command| supports(state, command)), timeouts)
    } else {
        let command = table::find(options)?.filter(|command| supports(state, command));
        supported::one_command(command, timeouts)
    };
    Ok(data_in(data, allocation_len))
}

/// SEND DIAGNOSTIC. The self-test passes without a test; diagnostic pages are not supported.
fn send_diagnostic(parameter_len: u32) -> Answer {
    if parameter_len != 0 {
        return Err(Sense::invalid_field_in_cdb(3, None).into());
    }
    Ok(good())
}

/// The task management functions that every transport has to provide.
const TASK_MANAGEMENT: TaskManagementFunctions = TaskManagementFunctions {
    abort_task: true,
    abort_task_set: true,
    clear_aca: false,
    clear_task_set: true,
    logical_unit_reset: true,
    query_task: false,
    target_reset: true,
    query_asynchronous_event: false,
    query_task_set: false,
    nexus_reset: false,
};
