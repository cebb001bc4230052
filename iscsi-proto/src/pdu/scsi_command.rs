//! SCSI Command (RFC 7143 11.3).

use super::header::{
    Bhs, FINAL, PduError, be32, bytes, expect, is_immediate, put_bytes, put32, request, task_tag,
};
use crate::ids::Itt;
use crate::sn::{CmdSn, StatSn};

/// SCSI Command. The data segment is immediate data of a write.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ScsiCommand {
    /// I: immediate delivery, outside of the command window (RFC 7143 4.2.2.1).
    pub immediate: bool,
    /// F: no unsolicited Data-Out PDU follows.
    pub last: bool,
    /// R: the initiator expects read data.
    pub read: bool,
    /// W: the initiator expects to send write data.
    pub write: bool,
    /// ATTR: the task attribute.
    pub attribute: TaskAttribute,
    /// Logical unit number, in the format of SAM-5 4.7.
    pub lun: [u8; 8],
    /// Initiator Task Tag of the task.
    pub itt: Itt,
    /// Expected Data Transfer Length in bytes; of the write data if `read` and `write` are both set.
    pub expected_len: u32,
    /// CmdSN of the command; an immediate command has that of the next one.
    pub cmd_sn: CmdSn,
    /// ExpStatSN: acknowledges all responses with a lower StatSN.
    pub exp_stat_sn: StatSn,
    /// The CDB, or its first 16 bytes; the rest is in an [extended CDB segment](super::ahs::Ahs::ExtendedCdb).
    pub cdb: [u8; 16],
}

/// Task attribute (RFC 7143 11.3.1, SAM-5 8.9).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
#[repr(u8)]
pub enum TaskAttribute {
    /// Untagged; handled as simple.
    Untagged = 0,
    /// Runs in any order among other simple tasks.
    #[default]
    Simple = 1,
    /// Runs after all older tasks and before all newer ones.
    Ordered = 2,
    /// Runs before all tasks that have not started.
    HeadOfQueue = 3,
    /// Permitted during an auto contingent allegiance condition.
    Aca = 4,
}

impl ScsiCommand {
    /// Opcode, without the immediate bit.
    pub const OPCODE: u8 = 0x01;

    /// Decodes a basic header segment.
    #[inline]
    pub fn decode(bhs: &Bhs) -> Result<Self, PduError> {
        expect(bhs, Self::OPCODE)?;
        Ok(Self {
            immediate: is_immediate(bhs),
            last: bhs[1] & FINAL != 0,
            read: bhs[1] & READ != 0,
            write: bhs[1] & WRITE != 0,
            attribute: TaskAttribute::from_bits(bhs[1] & ATTRIBUTE)?,
            lun: bytes::<8, 8>(bhs),
            itt: task_tag(bhs)?,
            expected_len: be32::<20>(bhs),
            cmd_sn: CmdSn(be32::<24>(bhs)),
            exp_stat_sn: StatSn(be32::<28>(bhs)),
            cdb: bytes::<32, 16>(bhs),
        })
    }

    /// Encodes all 48 bytes of the header; TotalAHSLength and DataSegmentLength are 0.
    #[inline]
    pub fn encode(&self, bhs: &mut Bhs) {
        bhs.fill(0);
        bhs[0] = request(Self::OPCODE, self.immediate);
        bhs[1] = u8::from(self.last) << 7
            | u8::from(self.read) << 6
            | u8::from(self.write) << 5
            | self.attribute as u8;
        put_bytes::<8, 8>(bhs, self.lun);
        put32::<16>(bhs, self.itt.0);
        put32::<20>(bhs, self.expected_len);
        put32::<24>(bhs, self.cmd_sn.0);
        put32::<28>(bhs, self.exp_stat_sn.0);
        put_bytes::<32, 16>(bhs, self.cdb);
    }
}

impl TaskAttribute {
    #[inline]
    fn from_bits(bits: u8) -> Result<Self, PduError> {
        Ok(match bits {
            0 => Self::Untagged,
            1 => Self::Simple,
            2 => Self::Ordered,
            3 => Self::HeadOfQueue,
            4 => Self::Aca,
            reserved => return Err(PduError::TaskAttribute(reserved)),
        })
    }
}

const READ: u8 = 0x40;
const WRITE: u8 = 0x20;
const ATTRIBUTE: u8 = 0x07;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pdu::tests::assert_golden;

    /// READ (10), LBA 8, one block.
    #[rustfmt::skip]
    const READ_10: Bhs = [
        0x01, 0xc1, 0, 0, 0, 0, 0, 0,           // opcode; F, R, SIMPLE; lengths
        0, 1, 0, 0, 0, 0, 0, 0,                 // LUN 1
        0, 0, 0, 7, 0, 0, 2, 0,                 // ITT 7; 512 bytes expected
        0, 0, 0, 9, 0, 0, 0, 11,                // CmdSN 9, ExpStatSN 11
        0x28, 0, 0, 0, 0, 8, 0, 0,              // CDB
        1, 0, 0, 0, 0, 0, 0, 0,
    ];

    const COMMAND: ScsiCommand = ScsiCommand {
        immediate: false,
        last: true,
        read: true,
        write: false,
        attribute: TaskAttribute::Simple,
        lun: [0, 1, 0, 0, 0, 0, 0, 0],
        itt: Itt(7),
        expected_len: 512,
        cmd_sn: CmdSn(9),
        exp_stat_sn: StatSn(11),
        cdb: [0x28, 0, 0, 0, 0, 8, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    };

    #[test]
    fn golden_bytes() {
        assert_golden(&READ_10, COMMAND);
    }

    #[test]
    fn golden_bytes_of_an_immediate_write() {
        let mut golden = READ_10;
        golden[0] = 0x41;
        golden[1] = 0x23;
        let (last, read, write) = (false, false, true);
        assert_golden(
            &golden,
            ScsiCommand {
                immediate: true,
                last,
                read,
                write,
                attribute: TaskAttribute::HeadOfQueue,
                ..COMMAND
            },
        );
    }

    #[test]
    fn reserved_attribute_is_an_error() {
        let mut bytes = READ_10;
        bytes[1] = 0x87;
        assert_eq!(ScsiCommand::decode(&bytes), Err(PduError::TaskAttribute(7)));
    }

    #[test]
    fn reserved_task_tag_is_an_error() {
        let mut bytes = READ_10;
        bytes[16..20].fill(0xff);
        assert_eq!(ScsiCommand::decode(&bytes), Err(PduError::ReservedItt));
    }

    #[test]
    fn reserved_bits_are_ignored() {
        let mut bytes = READ_10;
        (bytes[0], bytes[2], bytes[3]) = (0x81, 0xff, 0xff);
        bytes[1] |= 0x18;
        assert_eq!(ScsiCommand::decode(&bytes), Ok(COMMAND));
    }
}
