//! The direction of a command's data according to its PDU (R and W, RFC 7143 11.3.1), and the refusal of commands whose
//! CDB contradicts it.

use iscsi_proto::pdu::ScsiCommand;
use iscsi_proto::pdu::ahs::{self, Ahs};
use scsi_core::device::{Outcome, Step};
use scsi_core::sense::{AdditionalSense, Sense};
use scsi_core::status::Status;

/// R and W bits of a SCSI Command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Neither: no data.
    None,
    /// R: from the target.
    Read,
    /// W: to the target.
    Write,
    /// Both. Not supported; accepted only if both lengths are 0.
    Both,
}

impl Direction {
    /// The direction according to the PDU.
    #[inline]
    #[must_use]
    pub fn of(command: &ScsiCommand) -> Self {
        match (command.read, command.write) {
            (false, false) => Self::None,
            (true, false) => Self::Read,
            (false, true) => Self::Write,
            (true, true) => Self::Both,
        }
    }

    /// Whether the PDU announces data in both directions, or in none (RFC 7143 11.3.1: R and W "MUST NOT both be 0" if the
    /// length is not 0).
    #[inline]
    pub(crate) fn is_impossible(self, expected_len: u32, segments: &[u8]) -> bool {
        match self {
            Self::Read | Self::Write => false,
            Self::None => expected_len > 0,
            Self::Both => expected_len > 0 || reads_both_ways(segments),
        }
    }

    /// Whether a command that writes was announced as a read: it would end with GOOD and have written nothing. That follows
    /// from its first step and the transfer length of its CDB. A command with an expected length of 0, or one that sends
    /// data and was announced as a write, is not refused: its residual shows that nothing was transferred (RFC 7143
    /// 11.4.5.1), and libiscsi's test `Read10Invalid` expects GOOD.
    #[inline]
    pub(crate) fn denies_a_write(self, expected_len: u32, step: &Step, transfer_len: u64) -> bool {
        let writes = match step {
            Step::Read { .. } => false,
            Step::Done(outcome) => outcome.status == Status::Good && outcome.data_in.is_empty(),
            _ => true,
        };
        self == Self::Read && expected_len > 0 && writes && transfer_len > 0
    }
}

fn reads_both_ways(segments: &[u8]) -> bool {
    ahs::segments(segments).any(|segment| matches!(segment, Ok(Ahs::BidirectionalReadLength(1..))))
}

/// The outcome of a refused command.
pub(crate) fn refusal() -> Outcome {
    let sense = Sense::illegal_request(AdditionalSense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
    Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
}
