//! SCSI Data-In (RFC 7143 11.7).

use super::header::{Bhs, FINAL, PduError, be32, bytes, expect, put_bytes, put32, task_tag};
use super::scsi_response::Residual;
use crate::ids::{Itt, Ttt};
use crate::sn::{CmdSn, DataSn, StatSn};

/// SCSI Data-In: read data of a command, in the last PDU optionally with the status of the command.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataIn {
    /// F: the last PDU of a sequence. Encoded as set if `status` is given.
    pub last: bool,
    /// A: the target requests a DataACK SNACK (RFC 7143 11.7.2). Needs an ErrorRecoveryLevel above 0.
    pub acknowledge: bool,
    /// S: the status of the command, which gets no SCSI Response.
    pub status: Option<DataInStatus>,
    /// Logical unit number; valid only with a Target Transfer Tag.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the command.
    pub itt: Itt,
    /// Target Transfer Tag to copy into the DataACK SNACK; valid if `acknowledge` is set.
    pub ttt: Option<Ttt>,
    /// ExpCmdSN: the next command number that the target expects.
    pub exp_cmd_sn: CmdSn,
    /// MaxCmdSN: the highest command number that the target accepts.
    pub max_cmd_sn: CmdSn,
    /// DataSN: counts from 0 for each command.
    pub data_sn: DataSn,
    /// Buffer Offset: position of the data segment in the data of the command, in bytes.
    pub buffer_offset: u32,
}

/// The fields of a Data-In PDU that are valid only if the S bit is set.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DataInStatus {
    /// SCSI status. One with sense data needs a SCSI Response instead (RFC 7143 11.7.3).
    pub status: u8,
    /// Residual Count, against the Expected Data Transfer Length.
    pub residual: Residual,
    /// StatSN of this response.
    pub stat_sn: StatSn,
}

impl DataIn {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x25;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        let flag = |bit: u8| bhs[1] & bit != 0;
        let status = if flag(STATUS) {
            if !flag(FINAL) {
                return Err(PduError::StatusNotLast);
            }
            Some(DataInStatus {
                status: bhs[3],
                residual: Residual::decode(flag(OVERFLOW), flag(UNDERFLOW), be32::<44>(bhs))?,
                stat_sn: StatSn(be32::<24>(bhs)),
            })
        } else {
            None
        };
        Ok(Self {
            last: flag(FINAL),
            acknowledge: flag(ACKNOWLEDGE),
            status,
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            ttt: Ttt::from_wire(be32::<20>(bhs)),
            exp_cmd_sn: CmdSn(be32::<28>(bhs)),
            max_cmd_sn: CmdSn(be32::<32>(bhs)),
            data_sn: DataSn(be32::<36>(bhs)),
            buffer_offset: be32::<40>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0. With `status`, F is set as well as S.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = Self::OPCODE;
        bhs[1] = u8::from(self.last) << 7 | u8::from(self.acknowledge) << 6;
        if let Some(status) = &self.status {
            let (flags, count) = status.residual.encode();
            bhs[1] |= FINAL | STATUS | flags << 1;
            bhs[3] = status.status;
            put32::<24>(bhs, status.stat_sn.0);
            put32::<44>(bhs, count);
        }
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, Ttt::to_wire(self.ttt));
        put32::<28>(bhs, self.exp_cmd_sn.0);
        put32::<32>(bhs, self.max_cmd_sn.0);
        put32::<36>(bhs, self.data_sn.0);
        put32::<40>(bhs, self.buffer_offset);
    }
}

const ACKNOWLEDGE: u8 = 0x40;
const OVERFLOW: u8 = 0x04;
const UNDERFLOW: u8 = 0x02;
const STATUS: u8 = 0x01;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    #[rustfmt::skip]
    const GOLDEN: Bhs = [
        0x25, 0x83, 0, 0, 0, 0, 0, 0,           // F, U, S; GOOD
        0, 0, 0, 0, 0, 0, 0, 0,
        0, 0, 0, 7, 0xff, 0xff, 0xff, 0xff,     // ITT 7, no TTT
        0, 0, 0, 11, 0, 0, 0, 10,               // StatSN 11, ExpCmdSN 10
        0, 0, 0, 42, 0, 0, 0, 1,                // MaxCmdSN 42, DataSN 1
        0, 0, 0x20, 0, 0, 0, 1, 0,              // offset 8 KiB; underflow of 256 bytes
    ];

    const LAST: DataIn = DataIn {
        last: true,
        acknowledge: false,
        status: Some(DataInStatus { status: 0, residual: Residual::Underflow(256), stat_sn: StatSn(11) }),
        lun: [0; 8],
        itt: Itt(7),
        ttt: None,
        exp_cmd_sn: CmdSn(10),
        max_cmd_sn: CmdSn(42),
        data_sn: DataSn(1),
        buffer_offset: 8192,
    };

    #[test]
    fn golden_bytes_with_status() {
        assert_golden(&GOLDEN, LAST);
    }

    #[test]
    fn golden_bytes_without_status() {
        let mut golden = GOLDEN;
        golden[1] = 0x40;
        golden[9] = 3;
        golden[20..24].copy_from_slice(&[0, 0, 0, 5]);
        golden[24..28].fill(0);
        golden[44..48].fill(0);
        let lun = [0, 3, 0, 0, 0, 0, 0, 0];
        let ttt = Some(Ttt(5));
        assert_golden(&golden, DataIn { last: false, acknowledge: true, status: None, lun, ttt, ..LAST });
    }

    #[test]
    fn overflow_with_status() {
        let mut golden = GOLDEN;
        golden[1] = 0x85;
        golden[3] = 4;
        let status = Some(DataInStatus { status: 4, residual: Residual::Overflow(256), stat_sn: StatSn(11) });
        assert_golden(&golden, DataIn { status, ..LAST });
    }

    #[test]
    fn status_sets_the_f_bit() {
        let mut out = [0; crate::pdu::BHS_LEN];
        DataIn { last: false, ..LAST }.encode(&mut out);
        assert_eq!(out, GOLDEN);
    }

    #[test]
    fn status_without_the_f_bit_is_an_error() {
        let mut bytes = GOLDEN;
        bytes[1] = 0x01;
        assert_eq!(DataIn::decode(&bytes), Err(PduError::StatusNotLast));
    }
}
