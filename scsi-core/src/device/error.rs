//! Maps [`IoError`], [`CdbError`] and [`ParameterError`] to sense data and status.

use crate::cdb::CdbError;
use crate::page::ParameterError;
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::store::{IoError, IoErrorKind};

/// Kind of access of a step, which selects the sense data of an error.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Access {
    /// The step reads, compares or queries the store.
    #[default]
    Read,
    /// The step writes, discards or flushes.
    Write,
}

/// Sense data for a failed step (keys: SPC-4 4.5.6, codes: SPC-4 annex E.2); `None`: the command ends with BUSY. The logical
/// block length is 2 to the power of `block_shift`.
pub(super) fn io_sense(error: IoError, access: Access, block_shift: u32) -> Option<Sense> {
    let code = match access {
        Access::Read => AdditionalSense::UNRECOVERED_READ_ERROR,
        Access::Write => AdditionalSense::WRITE_ERROR,
    };
    let protect = |code| Sense::new(SenseKey::DataProtect, code);
    let sense = match error.kind() {
        IoErrorKind::Busy => return None,
        // A store that has shrunk lost blocks of the unit. The CDB is valid.
        IoErrorKind::Medium | IoErrorKind::OutOfRange => {
            let sense = Sense::new(SenseKey::MediumError, code);
            match error.offset() {
                Some(at) => sense.with_information(at >> block_shift),
                None => sense,
            }
        }
        // The lost blocks are unknown.
        IoErrorKind::Lost => Sense::new(SenseKey::MediumError, AdditionalSense::WRITE_ERROR),
        IoErrorKind::NoSpace => protect(AdditionalSense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT),
        IoErrorKind::ReadOnly => protect(AdditionalSense::WRITE_PROTECTED),
        IoErrorKind::Unsupported => Sense::illegal_request(AdditionalSense::INVALID_COMMAND_OPERATION_CODE),
        IoErrorKind::NotReady | IoErrorKind::Unreachable => {
            Sense::not_ready(AdditionalSense::LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE)
        }
        IoErrorKind::Fenced => Sense::not_ready(AdditionalSense::MANUAL_INTERVENTION_REQUIRED),
        IoErrorKind::InDoubt => {
            Sense::new(SenseKey::AbortedCommand, AdditionalSense::LOGICAL_UNIT_COMMUNICATION_TIME_OUT)
        }
        // Unlike MEDIUM ERROR, initiators do not retry it. The lost blocks are unknown.
        IoErrorKind::Forgotten => Sense::new(SenseKey::HardwareError, AdditionalSense::WRITE_ERROR),
        IoErrorKind::Cancelled => Sense::new(SenseKey::AbortedCommand, AdditionalSense::NO_ADDITIONAL_SENSE),
        IoErrorKind::Abandoned | IoErrorKind::Misbehaved => {
            Sense::new(SenseKey::HardwareError, AdditionalSense::INTERNAL_TARGET_FAILURE)
        }
    };
    Some(sense)
}

/// Sense data for an invalid CDB.
pub(super) fn cdb_sense(error: CdbError) -> Sense {
    match error {
        CdbError::UnknownOpcode(_) => Sense::invalid_opcode(),
        CdbError::InvalidField { byte, bit } => Sense::invalid_field_in_cdb(byte, bit),
    }
}

/// Sense data for an invalid parameter list.
pub(super) fn parameter_sense(error: ParameterError) -> Sense {
    match error {
        ParameterError::Length => Sense::parameter_list_length_error(),
        ParameterError::InvalidField { byte, bit } => Sense::invalid_field_in_parameter_list(byte, bit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_sense_data() {
        use Access::{Read, Write};
        use SenseKey::{AbortedCommand, DataProtect, HardwareError, IllegalRequest, MediumError, NotReady};
        #[rustfmt::skip]
        let cases = [
            (IoError::medium(4096), Read,  MediumError,    (0x11, 0x00), Some(8)),
            (IoError::medium(4096), Write, MediumError,    (0x0c, 0x00), Some(8)),
            (IoError::LOST,         Write, MediumError,    (0x0c, 0x00), None),
            (IoError::NO_SPACE,      Write, DataProtect,    (0x27, 0x07), None),
            (IoError::READ_ONLY,     Write, DataProtect,    (0x27, 0x00), None),
            (IoError::OUT_OF_RANGE.at(512), Read,  MediumError, (0x11, 0x00), Some(1)),
            (IoError::OUT_OF_RANGE, Write, MediumError,    (0x0c, 0x00), None),
            (IoError::UNSUPPORTED,  Write, IllegalRequest, (0x20, 0x00), None),
            (IoError::NOT_READY,     Read,  NotReady,       (0x04, 0x00), None),
            (IoError::UNREACHABLE,  Read,  NotReady,       (0x04, 0x00), None),
            (IoError::FENCED,       Write, NotReady,       (0x04, 0x03), None),
            (IoError::IN_DOUBT,     Write, AbortedCommand, (0x08, 0x01), None),
            (IoError::FORGOTTEN.at(4096), Read, HardwareError, (0x0c, 0x00), None),
            (IoError::CANCELLED,    Read,  AbortedCommand, (0x00, 0x00), None),
            (IoError::ABANDONED,    Read,  HardwareError,  (0x44, 0x00), None),
            (IoError::MISBEHAVED,   Read,  HardwareError,  (0x44, 0x00), None),
        ];
        for (error, access, key, (asc, ascq), information) in cases {
            let sense = io_sense(error, access, 9).unwrap();
            assert_eq!((sense.key, sense.code), (key, AdditionalSense { asc, ascq }), "{error}");
            assert_eq!(sense.information, information, "{error}");
        }
        assert_eq!(io_sense(IoError::BUSY, Read, 9), None);
    }
}
