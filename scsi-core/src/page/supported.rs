//! Parameter data of REPORT SUPPORTED OPERATION CODES (SPC-4 6.35), from the rows of the table of commands, and of REPORT
//! SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36).

use nom::Parser;
use nom::number::complete::{be_u8, be_u16, be_u32};

use super::{PageError, flag, is_set, truncated};
use crate::cdb::table::Command;

/// Encodes the all_commands format. With `timeouts` (RCTD) each command has a timeouts descriptor without values.
#[must_use]
pub fn all_commands<'a>(commands: impl IntoIterator<Item = &'a Command>, timeouts: bool) -> Vec<u8> {
    let mut out = vec![0; 4];
    for command in commands {
        let [action_high, action_low] = command.service_action.unwrap_or(0).to_be_bytes();
        let [len_high, len_low] = (command.usage.len() as u16).to_be_bytes();
        let flags = flag(timeouts, 1) | flag(command.service_action.is_some(), 0);
        out.extend([command.opcode, 0, action_high, action_low, 0, flags, len_high, len_low]);
        if timeouts {
            out.extend(NO_TIMEOUTS);
        }
    }
    let len = out.len() as u32 - 4;
    out[..4].copy_from_slice(&len.to_be_bytes());
    out
}

/// Encodes the one_command format; `None` is a command that is not supported.
#[must_use]
pub fn one_command(command: Option<&Command>, timeouts: bool) -> Vec<u8> {
    let Some(command) = command else {
        return vec![0, NOT_SUPPORTED, 0, 0];
    };
    let mut out = vec![0, flag(timeouts, 7) | SUPPORTED];
    out.extend((command.usage.len() as u16).to_be_bytes());
    out.extend(command.usage);
    if timeouts {
        out.extend(NO_TIMEOUTS);
    }
    out
}

/// A decoded command of the all_commands format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SupportedCommand {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, if SERVACTV is set.
    pub service_action: Option<u16>,
    /// CDB LENGTH in bytes.
    pub cdb_len: u16,
}

/// Decodes the complete commands of the all_commands format.
///
/// # Errors
/// [`PageError::Truncated`] if the data has less than 4 bytes.
pub fn decode_all(bytes: &[u8]) -> Result<Vec<SupportedCommand>, PageError> {
    let (rest, len) = be_u32.parse(bytes).map_err(truncated)?;
    let mut rest = &rest[..rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))];
    let mut commands = Vec::new();
    let mut layout = (be_u8, be_u8, be_u16, be_u8, be_u8, be_u16);
    while let Ok((after, (opcode, _, action, _, flags, cdb_len))) = layout.parse(rest).map_err(truncated) {
        let service_action = is_set(flags, 0).then_some(action);
        commands.push(SupportedCommand { opcode, service_action, cdb_len });
        rest = if is_set(flags, 1) { after.get(NO_TIMEOUTS.len()..).unwrap_or_default() } else { after };
    }
    Ok(commands)
}

/// Decodes the one_command format. Returns the CDB usage data, or `None` if the command is not supported.
///
/// # Errors
/// [`PageError::Truncated`] if the usage data is not complete.
pub fn decode_one(bytes: &[u8]) -> Result<Option<&[u8]>, PageError> {
    let (rest, (_, support, len)) = (be_u8, be_u8, be_u16).parse(bytes).map_err(truncated)?;
    match support & 0x07 {
        0 | 1 => Ok(None),
        _ => rest.get(..usize::from(len)).map(Some).ok_or(PageError::Truncated),
    }
}

/// The task management functions that a logical unit supports.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct TaskManagementFunctions {
    /// ATS: ABORT TASK.
    pub abort_task: bool,
    /// ATSS: ABORT TASK SET.
    pub abort_task_set: bool,
    /// CACAS: CLEAR ACA.
    pub clear_aca: bool,
    /// CTSS: CLEAR TASK SET.
    pub clear_task_set: bool,
    /// LURS: LOGICAL UNIT RESET.
    pub logical_unit_reset: bool,
    /// QTS: QUERY TASK.
    pub query_task: bool,
    /// TRS: TARGET RESET.
    pub target_reset: bool,
    /// QAES: QUERY ASYNCHRONOUS EVENT.
    pub query_asynchronous_event: bool,
    /// QTSS: QUERY TASK SET.
    pub query_task_set: bool,
    /// ITNRS: I_T NEXUS RESET.
    pub nexus_reset: bool,
}

impl TaskManagementFunctions {
    /// Encodes 4 bytes, or the 16 bytes of the extended format, without timeouts.
    #[must_use]
    pub fn encode(&self, extended: bool) -> Vec<u8> {
        let first = flag(self.abort_task, 7)
            | flag(self.abort_task_set, 6)
            | flag(self.clear_aca, 5)
            | flag(self.clear_task_set, 4)
            | flag(self.logical_unit_reset, 3)
            | flag(self.query_task, 2)
            | flag(self.target_reset, 1);
        let second =
            flag(self.query_asynchronous_event, 2) | flag(self.query_task_set, 1) | flag(self.nexus_reset, 0);
        let mut out = vec![first, second, 0, if extended { 12 } else { 0 }];
        out.resize(if extended { 16 } else { 4 }, 0);
        out
    }

    /// Decodes either format.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the data has less than 4 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let (_, (first, second, _)) = (be_u8, be_u8, be_u16).parse(bytes).map_err(truncated)?;
        Ok(Self {
            abort_task: is_set(first, 7),
            abort_task_set: is_set(first, 6),
            clear_aca: is_set(first, 5),
            clear_task_set: is_set(first, 4),
            logical_unit_reset: is_set(first, 3),
            query_task: is_set(first, 2),
            target_reset: is_set(first, 1),
            query_asynchronous_event: is_set(second, 2),
            query_task_set: is_set(second, 1),
            nexus_reset: is_set(second, 0),
        })
    }
}

/// A command timeouts descriptor (SPC-4 6.35.4). 0 seconds means "not specified".
const NO_TIMEOUTS: [u8; 12] = [0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// SUPPORT 001b: not supported.
const NOT_SUPPORTED: u8 = 1;
/// SUPPORT 011b: supported in conformance with a standard.
const SUPPORTED: u8 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdb::table::{COMMANDS, lookup};

    #[test]
    fn all_commands_golden_bytes() {
        let rows = [lookup(&[0x28]).unwrap(), lookup(&[0x9e, 0x10]).unwrap()];
        #[rustfmt::skip]
        assert_eq!(all_commands(rows, false), [
            0, 0, 0, 16,
            0x28, 0, 0, 0, 0, 0, 0, 10,
            0x9e, 0, 0, 0x10, 0, 1, 0, 16,
        ]);
        #[rustfmt::skip]
        assert_eq!(all_commands(rows[1..].iter().copied(), true), [
            0, 0, 0, 20,
            0x9e, 0, 0, 0x10, 0, 3, 0, 16,
            0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
        ]);
    }

    #[test]
    fn one_command_golden_bytes() {
        let sense = lookup(&[0x03]).ok();
        assert_eq!(one_command(sense, false), [0, 3, 0, 6, 0x03, 1, 0, 0, 0xff, 0]);
        assert_eq!(one_command(sense, true)[..10], [0, 0x83, 0, 6, 0x03, 1, 0, 0, 0xff, 0]);
        assert_eq!(one_command(sense, true)[10..], NO_TIMEOUTS);
        assert_eq!(one_command(None, true), [0, 1, 0, 0]);
    }

    #[test]
    fn decode_returns_the_table() {
        for timeouts in [false, true] {
            let read = decode_all(&all_commands(COMMANDS, timeouts)).unwrap();
            assert_eq!(read.len(), COMMANDS.len());
            for (read, row) in read.iter().zip(COMMANDS) {
                let expected = (row.opcode, row.service_action, row.usage.len());
                assert_eq!((read.opcode, read.service_action, usize::from(read.cdb_len)), expected);
                assert_eq!(decode_one(&one_command(Some(row), timeouts)), Ok(Some(row.usage)));
            }
        }
        assert_eq!(decode_one(&one_command(None, false)), Ok(None));
        assert_eq!(decode_one(&[0, 3, 0, 6, 1]), Err(PageError::Truncated));
    }

    #[test]
    fn task_management_golden_bytes_encode_and_decode() {
        let functions = TaskManagementFunctions {
            abort_task: true,
            abort_task_set: true,
            clear_task_set: true,
            logical_unit_reset: true,
            query_task_set: true,
            ..TaskManagementFunctions::default()
        };
        assert_eq!(functions.encode(false), [0xd8, 0x02, 0, 0]);
        assert_eq!(functions.encode(true), [0xd8, 0x02, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        for bits in 0..1u16 << 10 {
            let [high, low] = (bits << 1).to_be_bytes();
            let bytes = [low, high, 0, 0];
            assert_eq!(TaskManagementFunctions::decode(&bytes).unwrap().encode(false), bytes);
        }
    }
}
