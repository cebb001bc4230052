//! What initiators are told of errors: the only mapping from [`IoError`], [`CdbError`] and [`ParameterError`] to
//! sense data.

use crate::cdb::CdbError;
use crate::page::ParameterError;
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::store::IoError;

/// What the store was doing.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Access {
    /// Reading, comparing, asking.
    #[default]
    Read,
    /// Writing, discarding, flushing.
    Write,
}

/// Sense for a failed step. `block_shift` turns the store's bytes to logical blocks.
pub(super) fn io_sense(error: IoError, access: Access, block_shift: u32) -> Sense {
    let code = match access {
        Access::Read => AdditionalSense::UNRECOVERED_READ_ERROR,
        Access::Write => AdditionalSense::WRITE_ERROR,
    };
    let protect = |code| Sense::new(SenseKey::DataProtect, code);
    match error {
        IoError::Medium(at) => Sense::new(SenseKey::MediumError, code).with_information(at >> block_shift),
        // Which blocks are lost nobody knows.
        IoError::Lost => Sense::new(SenseKey::MediumError, AdditionalSense::WRITE_ERROR),
        IoError::NoSpace => protect(AdditionalSense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT),
        IoError::ReadOnly => protect(AdditionalSense::WRITE_PROTECTED),
        IoError::OutOfRange => Sense::illegal_request(AdditionalSense::LOGICAL_BLOCK_ADDRESS_OUT_OF_RANGE),
        IoError::Unsupported => Sense::illegal_request(AdditionalSense::INVALID_COMMAND_OPERATION_CODE),
        IoError::NotReady => Sense::not_ready(AdditionalSense::LOGICAL_UNIT_NOT_READY_CAUSE_NOT_REPORTABLE),
        IoError::Cancelled => Sense::new(SenseKey::AbortedCommand, AdditionalSense::NO_ADDITIONAL_SENSE),
        IoError::Abandoned => Sense::new(SenseKey::HardwareError, AdditionalSense::INTERNAL_TARGET_FAILURE),
    }
}

/// Sense for a CDB that cannot be carried out.
pub(super) fn cdb_sense(error: CdbError) -> Sense {
    match error {
        CdbError::UnknownOpcode(_) => Sense::invalid_opcode(),
        CdbError::InvalidField { byte, bit } => Sense::invalid_field_in_cdb(byte, bit),
    }
}

/// Sense for a parameter list that cannot be obeyed.
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
    fn each_error_has_its_sense() {
        use Access::{Read, Write};
        use SenseKey::{AbortedCommand, DataProtect, HardwareError, IllegalRequest, MediumError, NotReady};
        #[rustfmt::skip]
        let cases = [
            (IoError::Medium(4096), Read,  MediumError,    (0x11, 0x00), Some(8)),
            (IoError::Medium(4096), Write, MediumError,    (0x0c, 0x00), Some(8)),
            (IoError::Lost,         Write, MediumError,    (0x0c, 0x00), None),
            (IoError::NoSpace,      Write, DataProtect,    (0x27, 0x07), None),
            (IoError::ReadOnly,     Write, DataProtect,    (0x27, 0x00), None),
            (IoError::OutOfRange,   Read,  IllegalRequest, (0x21, 0x00), None),
            (IoError::Unsupported,  Write, IllegalRequest, (0x20, 0x00), None),
            (IoError::NotReady,     Read,  NotReady,       (0x04, 0x00), None),
            (IoError::Cancelled,    Read,  AbortedCommand, (0x00, 0x00), None),
            (IoError::Abandoned,    Read,  HardwareError,  (0x44, 0x00), None),
        ];
        for (error, access, key, (asc, ascq), information) in cases {
            let sense = io_sense(error, access, 9);
            assert_eq!((sense.key, sense.code), (key, AdditionalSense { asc, ascq }), "{error}");
            assert_eq!(sense.information, information, "{error}");
        }
    }
}
