//! Which way a command's data goes: as its PDU says (R and W, RFC 7143 11.3.1), as its CDB says, and what is
//! refused where they contradict each other.

use iscsi_proto::pdu::ScsiCommand;
use iscsi_proto::pdu::ahs::{self, Ahs};
use scsi_core::device::{Outcome, Step};
use scsi_core::sense::{AdditionalSense, Sense};
use scsi_core::status::Status;

/// R and W bits of a SCSI Command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Neither.
    None,
    /// From the target.
    Read,
    /// To the target.
    Write,
    /// Both; no command of ours does that, and only without any data it is let pass.
    Both,
}

impl Direction {
    /// As the PDU says.
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

    /// Whether data is announced that cannot be: both ways, or none (RFC 7143 11.3.1: R and W "MUST NOT both be 0"
    /// where a length is not).
    #[inline]
    pub(crate) fn is_impossible(self, expected_len: u32, segments: &[u8]) -> bool {
        match self {
            Self::Read | Self::Write => false,
            Self::None => expected_len > 0,
            Self::Both => expected_len > 0 || reads_both_ways(segments),
        }
    }

    /// Whether a command that writes was announced as one that reads: it would end well and have written nothing. Its
    /// first step and the bytes its CDB asks for tell. A read that was announced as a write sends nothing, and its
    /// residual says so; where no bytes are announced at all there are residuals, too.
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

/// What such a command is answered.
pub(crate) fn refusal() -> Outcome {
    let sense = Sense::illegal_request(AdditionalSense::INVALID_FIELD_IN_COMMAND_INFORMATION_UNIT);
    Outcome { status: Status::CheckCondition, sense: Some(sense), data_in: Vec::new() }
}
