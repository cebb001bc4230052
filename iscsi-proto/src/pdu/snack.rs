//! SNACK Request (RFC 7143 11.16).

use super::code::open_code;
use super::header::{Bhs, FINAL, PduError, be32, bytes, expect, itt, put_bytes, put32};
use crate::ids::Itt;
use crate::sn::StatSn;

/// SNACK Request: requests retransmission of PDUs, or acknowledges data. Needs an ErrorRecoveryLevel above 0.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SnackRequest {
    /// Type.
    pub kind: SnackType,
    /// Logical unit number; valid for a DataACK.
    pub lun: [u8; 8],
    /// Initiator Task Tag; `None` for the types that concern no task.
    pub itt: Option<Itt>,
    /// Target Transfer Tag of a DataACK or SNACK Tag of an R-Data SNACK, in wire format.
    pub tag: u32,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
    /// BegRun: the first DataSN, R2TSN or StatSN.
    pub beg_run: u32,
    /// RunLength: the number of PDUs; 0 means all from `beg_run` on.
    pub run_length: u32,
}

open_code! {
    /// Type of a SNACK (RFC 7143 11.16.1); four bits.
    SnackType {
        /// Retransmission of Data-In or R2T PDUs.
        DATA_R2T = 0,
        /// Retransmission of responses.
        STATUS = 1,
        /// DataACK: acknowledges Data-In PDUs.
        DATA_ACK = 2,
        /// R-Data: retransmission of Data-In PDUs, which may have other lengths.
        R_DATA = 3,
    }
}

impl SnackRequest {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x10;

    /// Decodes a basic header segment.
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            kind: SnackType(bhs[1] & 0x0f),
            lun: bytes::<8, 8>(bhs),
            itt: itt(bhs),
            tag: be32::<20>(bhs),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
            beg_run: be32::<40>(bhs),
            run_length: be32::<44>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = FINAL | self.kind.0 & 0x0f;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, Itt::to_wire(self.itt));
        put32::<20>(bhs, self.tag);
        put32::<28>(bhs, self.exp_stat_sn.0);
        put32::<40>(bhs, self.beg_run);
        put32::<44>(bhs, self.run_length);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x10, 0x82, 0, 0, 0, 0, 0, 0,           // DataACK
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0xff, 0xff, 0xff, 0xff, 0, 0, 0, 5,     // no task; TTT 5
        0, 0, 0, 0, 0, 0, 0, 11,                // ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 4, 0, 0, 0, 2,                 // BegRun 4, RunLength 2
    ];

    #[test]
    fn golden_bytes() {
        assert_golden(
            &GOLDEN,
            SnackRequest {
                kind: SnackType::DATA_ACK,
                lun: [0, 1, 0, 0, 0, 0, 0, 0],
                itt: None,
                tag: 5,
                exp_stat_sn: StatSn(11),
                beg_run: 4,
                run_length: 2,
            },
        );
    }
}
