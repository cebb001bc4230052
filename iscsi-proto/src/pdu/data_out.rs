//! SCSI Data-Out (RFC 7143 11.7).

use super::header::{Bhs, FINAL, PduError, be32, bytes, expect, put_bytes, put32, task_tag};
use crate::ids::{Itt, Ttt};
use crate::sn::{DataSn, StatSn};

/// SCSI Data-Out: a piece of a write's data, solicited by an R2T or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataOut {
    /// F: the last of what this R2T asked for, or of the unsolicited data.
    pub last: bool,
    /// Logical unit number; of meaning only with a transfer tag.
    pub lun: [u8; 8],
    /// The task.
    pub itt: Itt,
    /// The R2T that asked for it; `None` is unsolicited.
    pub ttt: Option<Ttt>,
    /// Acknowledges all responses before it.
    pub exp_stat_sn: StatSn,
    /// Counts from 0 for each R2T, and for the unsolicited data.
    pub data_sn: DataSn,
    /// Where in the command's data this piece belongs, in bytes.
    pub buffer_offset: u32,
}

impl DataOut {
    /// The opcode.
    pub const OPCODE: u8 = 0x05;

    /// Decodes a header.
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

    /// Writes all 48 bytes, with both lengths zero.
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
        0, 1, 0, 0, 0, 0, 0, 0,                 // at 64 KiB
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
    fn unsolicited_data_has_no_transfer_tag() {
        let mut golden = GOLDEN;
        golden[1] = 0;
        golden[20..24].fill(0xff);
        assert_golden(&golden, DataOut { last: false, ttt: None, ..SOLICITED });
    }
}
