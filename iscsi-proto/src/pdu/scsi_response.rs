//! SCSI Response (RFC 7143 11.4) and residual counts.

use super::code::open_code;
use super::header::{Bhs, FINAL, PduError, be32, expect, put32, task_tag};
use crate::ids::Itt;
use crate::sn::{CmdSn, StatSn};

/// SCSI Response. The data segment holds sense data and response data, see [`ScsiResponse::sense`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScsiResponse {
    /// iSCSI service response.
    pub response: ScsiResponseCode,
    /// SCSI status; valid if `response` is [`ScsiResponseCode::COMPLETED`].
    pub status: u8,
    /// Initiator Task Tag of the command.
    pub itt: Itt,
    /// SNACK Tag of the R-Data SNACK before this response, else 0 (RFC 7143 11.4.8).
    pub snack_tag: u32,
    /// StatSN of this response.
    pub stat_sn: StatSn,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// ExpDataSN: number of Data-In and R2T PDUs that the target sent for the command.
    pub exp_data_sn: u32,
    /// Residual Count, against the Expected Data Transfer Length.
    pub residual: Residual,
    /// Bidirectional Read Residual Count, of the read data of a bidirectional command.
    pub bidi_residual: Residual,
}

open_code! {
    /// iSCSI service response (RFC 7143 11.4.3).
    ScsiResponseCode {
        /// Command completed at target: the status is valid.
        COMPLETED = 0x00,
        /// Target failure: the status is not valid.
        TARGET_FAILURE = 0x01,
    }
}

/// Difference between the Expected Data Transfer Length and the length that the command transfers (RFC 7143 11.4.5).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Residual {
    /// Both are equal.
    #[default]
    None,
    /// The command would have transferred this many bytes more than expected.
    Overflow(u32),
    /// The command transferred this many bytes less than expected.
    Underflow(u32),
}

impl Residual {
    /// Residual of a command whose CDB asks for `wanted` bytes; `expected` is the Expected Data Transfer Length.
    #[inline]
    pub fn of(expected: u32, wanted: u64) -> Self {
        match u64::from(expected) {
            expected if expected == wanted => Self::None,
            expected if expected < wanted => {
                Self::Overflow(u32::try_from(wanted - expected).unwrap_or(u32::MAX))
            }
            // `expected` has 32 bits, and so has the difference.
            expected => Self::Underflow((expected - wanted) as u32),
        }
    }

    /// Decodes the O bit, the U bit and the Residual Count.
    #[inline]
    pub(super) fn decode(overflow: bool, underflow: bool, count: u32) -> Result<Self, PduError> {
        match (overflow, underflow) {
            (false, false) => Ok(Self::None),
            (true, false) => Ok(Self::Overflow(count)),
            (false, true) => Ok(Self::Underflow(count)),
            (true, true) => Err(PduError::Residual),
        }
    }

    /// Encodes the O bit as bit 1, the U bit as bit 0, and the Residual Count.
    #[inline]
    pub(super) fn encode(self) -> (u8, u32) {
        match self {
            Self::None => (0, 0),
            Self::Overflow(count) => (2, count),
            Self::Underflow(count) => (1, count),
        }
    }
}

impl ScsiResponse {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x21;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        let flag = |bit: u8| bhs[1] & bit != 0;
        Ok(Self {
            response: ScsiResponseCode(bhs[2]),
            status: bhs[3],
            itt: task_tag(bhs)?,
            snack_tag: be32::<20>(bhs),
            stat_sn: StatSn(be32::<24>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            exp_data_sn: be32::<36>(bhs),
            residual: Residual::decode(flag(0x04), flag(0x02), be32::<44>(bhs))?,
            bidi_residual: Residual::decode(flag(0x10), flag(0x08), be32::<40>(bhs))?,
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        let (flags, count) = self.residual.encode();
        let (bidi_flags, bidi_count) = self.bidi_residual.encode();
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL | bidi_flags << 3 | flags << 1;
        bhs[2] = self.response.0;
        bhs[3] = self.status;
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, self.snack_tag);
        put32::<24>(bhs, self.stat_sn.0);
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        put32::<36>(bhs, self.exp_data_sn);
        put32::<40>(bhs, bidi_count);
        put32::<44>(bhs, count);
    }

    /// The sense data in the data segment of a response, after its two-byte SenseLength (RFC 7143 11.4.7.1). `None` if
    /// the segment is shorter.
    pub fn sense(data: &[u8]) -> Option<&[u8]> {
        let (len, rest) = data.split_first_chunk::<2>()?;
        rest.get(..usize::from(u16::from_be_bytes(*len)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x21, 0x82, 0, 0x02, 0, 0, 0, 0,        // opcode; U; completed; CHECK CONDITION
        0, 0, 0, 0, 0, 0, 0, 0,                 // reserved
        0, 0, 0, 7, 0, 0, 0, 0,                 // ITT 7; no SNACK tag
        0, 0, 0, 9, 0, 0, 0, 10,                // StatSN 9, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 3,                // MaxCmdSN 42, ExpDataSN 3
        0, 0, 0, 0, 0, 0, 1, 0,                 // no bidirectional residual; underflow of 256 bytes
    ];

    const RESPONSE: ScsiResponse = ScsiResponse {
        response: ScsiResponseCode::COMPLETED,
        status: 2,
        itt: Itt(7),
        snack_tag: 0,
        stat_sn: StatSn(9),
        exp_cmd_sn: CmdSn(10),
        max_cmd_sn: CmdSn(42),
        exp_data_sn: 3,
        residual: Residual::Underflow(256),
        bidi_residual: Residual::None,
    };

    #[test]
    fn golden_bytes() {
        assert_golden(&GOLDEN, RESPONSE);
    }

    #[test]
    fn each_residual_has_its_own_bit() {
        let cases = [
            (0x84, Residual::Overflow(256), Residual::None, 0, 1),
            (0x88, Residual::None, Residual::Underflow(256), 1, 0),
            (0x90, Residual::None, Residual::Overflow(256), 1, 0),
            (0x8c, Residual::Overflow(256), Residual::Underflow(256), 1, 1),
        ];
        for (flags, residual, bidi_residual, bidi_count, count) in cases {
            let mut golden = GOLDEN;
            golden[1] = flags;
            golden[42] = bidi_count;
            golden[46] = count;
            assert_golden(&golden, ScsiResponse { residual, bidi_residual, ..RESPONSE });
        }
    }

    #[test]
    fn overflow_with_underflow_is_an_error() {
        for flags in [0x86, 0x98] {
            let mut bytes = GOLDEN;
            bytes[1] = flags;
            assert_eq!(ScsiResponse::decode(&bytes), Err(PduError::Residual));
        }
    }

    #[test]
    fn residual_compares_expected_with_wanted() {
        assert_eq!(Residual::of(512, 512), Residual::None);
        assert_eq!(Residual::of(0, 512), Residual::Overflow(512));
        assert_eq!(Residual::of(512, 36), Residual::Underflow(476));
        assert_eq!(Residual::of(1, u64::MAX), Residual::Overflow(u32::MAX));
    }

    #[test]
    fn sense_has_the_length_of_its_prefix() {
        assert_eq!(ScsiResponse::sense(&[0, 2, 0x70, 0, 9]), Some(&[0x70, 0][..]));
        assert_eq!(ScsiResponse::sense(&[0, 0]), Some(&[][..]));
        assert_eq!(ScsiResponse::sense(&[0, 3, 1, 2]), None);
        assert_eq!(ScsiResponse::sense(&[0]), None);
    }
}
