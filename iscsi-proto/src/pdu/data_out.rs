//! SCSI Data-Out (RFC 7143 11.7).

use super::header::{Bhs, FINAL, PduError, be32, bytes, expect, put_bytes, put32, task_tag};
use crate::ids::{Itt, Ttt};
use crate::sn::{DataSn, StatSn};

/// SCSI Data-Out: write data of a command, solicited by an R2T or unsolicited.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataOut {
    /// F: the last PDU of the sequence that answers an R2T, or of the unsolicited data.
    pub last: bool,
    /// Logical unit number; valid only with a Target Transfer Tag.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the command.
    pub itt: Itt,
    /// Target Transfer Tag of the R2T; `None` for unsolicited data.
    pub ttt: Option<Ttt>,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
    /// DataSN: counts from 0 for each R2T and for the unsolicited data.
    pub data_sn: DataSn,
    /// Buffer Offset: position of the data segment in the data of the command, in bytes.
    pub buffer_offset: u32,
}

impl DataOut {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x05;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            last: bhs[1] & FINAL != 0,
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            ttt: Ttt::from_wire(be32::<20>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
            data_sn: DataSn(be32::<36>(bhs)),
            buffer_offset: be32::<40>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = u8::from(self.last) << 7;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, Ttt::to_wire(self.ttt));
        put32::<28>(bhs, self.exp_stat_sn.0);
        put32::<36>(bhs, self.data_sn.0);
        put32::<40>(bhs, self.buffer_offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x05, 0x80, 0, 0, 0, 0, 0, 0,           // F
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0, 0, 0, 7, 0, 0, 0, 5,                 // ITT 7, TTT 5
        0, 0, 0, 0, 0, 0, 0, 11,                // ExpStatSN 11
        0, 0, 0, 0, 0, 0, 0, 2,                 // DataSN 2
        0, 1, 0, 0, 0, 0, 0, 0,                 // offset 64 KiB
    ];

    const SOLICITED: DataOut = DataOut {
        last: true,
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        itt: Itt(7),
        ttt: Some(Ttt(5)),
        exp_stat_sn: StatSn(11),
        data_sn: DataSn(2),
        buffer_offset: 0x1_0000,
    };

    #[test]
    fn golden_bytes() {
        assert_golden(&GOLDEN, SOLICITED);
    }

    #[test]
    fn unsolicited_data_has_the_reserved_transfer_tag() {
        let mut golden = GOLDEN;
        golden[1] = 0;
        golden[20..24].fill(0xff);
        assert_golden(&golden, DataOut { last: false, ttt: None, ..SOLICITED });
    }
}
