//! Designators of the Device Identification page (SPC-4 7.8.6.2).

use nom::Parser;
use nom::multi::length_data;
use nom::number::complete::be_u8;

use crate::page::{Failure, flag, is_set};

/// A designation descriptor: an identifier of a logical unit, a target port or a target device.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Designator {
    /// PROTOCOL IDENTIFIER, if PIV is set: 5 is iSCSI.
    pub protocol: Option<u8>,
    /// CODE SET.
    pub code_set: CodeSet,
    /// ASSOCIATION.
    pub association: Association,
    /// DESIGNATOR TYPE.
    pub kind: DesignatorType,
    /// DESIGNATOR, up to 255 bytes.
    pub value: Vec<u8>,
}

/// CODE SET.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CodeSet(pub u8);

impl CodeSet {
    /// 1h: binary.
    pub const BINARY: Self = Self(1);
    /// 2h: printable ASCII.
    pub const ASCII: Self = Self(2);
    /// 3h: UTF-8.
    pub const UTF_8: Self = Self(3);
}

/// DESIGNATOR TYPE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DesignatorType(pub u8);

impl DesignatorType {
    /// T10 vendor ID based.
    pub const T10_VENDOR_ID: Self = Self(1);
    /// NAA.
    pub const NAA: Self = Self(3);
    /// Relative target port identifier.
    pub const RELATIVE_TARGET_PORT: Self = Self(4);
    /// Target port group.
    pub const TARGET_PORT_GROUP: Self = Self(5);
    /// SCSI name string.
    pub const SCSI_NAME: Self = Self(8);
}

/// ASSOCIATION: the object that the designator identifies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Association {
    /// The logical unit.
    LogicalUnit = 0,
    /// The target port that received the command.
    TargetPort = 1,
    /// The target device.
    TargetDevice = 2,
}

impl Designator {
    /// A T10 vendor ID based designator; the first 8 characters are the vendor identification.
    #[must_use]
    pub fn t10_vendor_id(text: &[u8]) -> Self {
        Self::of_unit(CodeSet::ASCII, DesignatorType::T10_VENDOR_ID, text.to_vec())
    }

    /// An NAA 3h locally assigned designator, with the lower 60 bits of the number.
    #[must_use]
    pub fn naa_locally_assigned(number: u64) -> Self {
        let number = number & !(0xf << 60) | 3 << 60;
        Self::of_unit(CodeSet::BINARY, DesignatorType::NAA, number.to_be_bytes().to_vec())
    }

    /// An NAA 6h IEEE registered extended designator, with the lower 124 bits of the number.
    #[must_use]
    pub fn naa_registered_extended(number: u128) -> Self {
        let number = number & !(0xf << 124) | 6 << 124;
        Self::of_unit(CodeSet::BINARY, DesignatorType::NAA, number.to_be_bytes().to_vec())
    }

    /// The relative identifier of the target port that received the command.
    #[must_use]
    pub fn relative_target_port(port: u16) -> Self {
        Self::of_port(DesignatorType::RELATIVE_TARGET_PORT, port)
    }

    /// The target port group of the port that received the command.
    #[must_use]
    pub fn target_port_group(group: u16) -> Self {
        Self::of_port(DesignatorType::TARGET_PORT_GROUP, group)
    }

    /// The SCSI name string of an iSCSI port (`NAME,t,0xTPGT`) or device (`NAME`): NUL-terminated, padded to a multiple of
    /// 4 bytes, at most 252 bytes (RFC 7143 3.4, SPC-4 7.8.6.11).
    #[must_use]
    pub fn iscsi_name(association: Association, name: &str) -> Self {
        let mut value = name.as_bytes().to_vec();
        value.truncate(251);
        value.resize(value.len() / 4 * 4 + 4, 0);
        Self {
            protocol: Some(ISCSI),
            code_set: CodeSet::UTF_8,
            association,
            kind: DesignatorType::SCSI_NAME,
            value,
        }
    }

    fn of_unit(code_set: CodeSet, kind: DesignatorType, value: Vec<u8>) -> Self {
        Self { protocol: None, code_set, association: Association::LogicalUnit, kind, value }
    }

    fn of_port(kind: DesignatorType, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self {
            protocol: Some(ISCSI),
            code_set: CodeSet::BINARY,
            association: Association::TargetPort,
            kind,
            value: vec![0, 0, high, low],
        }
    }

    /// Appends the descriptor; a designator of more than 255 bytes is truncated.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let value = &self.value[..self.value.len().min(255)];
        out.extend([
            self.protocol.unwrap_or(0) << 4 | self.code_set.0 & 0x0f,
            flag(self.protocol.is_some(), 7) | (self.association as u8) << 4 | self.kind.0 & 0x0f,
            0,
            value.len() as u8,
        ]);
        out.extend(value);
    }

    /// Decodes one descriptor and returns the bytes after it. `None` if it is incomplete or its association is reserved.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let layout = (be_u8::<&[u8], Failure<'_>>, be_u8, be_u8, length_data(be_u8));
        let (rest, (first, second, _, value)) = { layout }.parse(bytes).ok()?;
        let association = match second >> 4 & 0x03 {
            0 => Association::LogicalUnit,
            1 => Association::TargetPort,
            2 => Association::TargetDevice,
            _ => return None,
        };
        let designator = Self {
            protocol: is_set(second, 7).then_some(first >> 4),
            code_set: CodeSet(first & 0x0f),
            association,
            kind: DesignatorType(second & 0x0f),
            value: value.to_vec(),
        };
        Some((designator, rest))
    }
}

const ISCSI: u8 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(designator: &Designator) -> Vec<u8> {
        let mut out = Vec::new();
        designator.encode(&mut out);
        out
    }

    #[test]
    fn golden_bytes_encode_and_decode() {
        #[rustfmt::skip]
        let cases: &[(Designator, &[u8])] = &[
            (Designator::t10_vendor_id(b"IET     1"),
             &[0x02, 0x01, 0, 9, b'I', b'E', b'T', b' ', b' ', b' ', b' ', b' ', b'1']),
            (Designator::naa_locally_assigned(0xf000_0001_0000_0002),
             &[0x01, 0x03, 0, 8, 0x30, 0, 0, 1, 0, 0, 0, 2]),
            (Designator::naa_registered_extended(0xf000_0000_0000_0000_0e00_0000_0001_0001),
             &[0x01, 0x03, 0, 16, 0x60, 0, 0, 0, 0, 0, 0, 0, 0x0e, 0, 0, 0, 0, 1, 0, 1]),
            (Designator::relative_target_port(0x0102),
             &[0x51, 0x94, 0, 4, 0, 0, 1, 2]),
            (Designator::target_port_group(7),
             &[0x51, 0x95, 0, 4, 0, 0, 0, 7]),
            (Designator::iscsi_name(Association::TargetPort, "iqn.a,t,0x0001"),
             b"\x53\x98\x00\x10iqn.a,t,0x0001\0\0"),
            (Designator::iscsi_name(Association::TargetDevice, "iqn.a:bc"),
             b"\x53\xa8\x00\x0ciqn.a:bc\0\0\0\0"),
        ];
        for (designator, bytes) in cases {
            assert_eq!(encoded(designator), *bytes);
            assert_eq!(Designator::decode(bytes), Some((designator.clone(), &[][..])));
        }
    }

    #[test]
    fn long_name_keeps_its_terminating_nul() {
        let name = Designator::iscsi_name(Association::TargetDevice, &"n".repeat(300));
        assert_eq!((name.value.len(), name.value.last()), (252, Some(&0)));
    }

    #[test]
    fn incomplete_or_reserved_descriptor_is_none() {
        let bytes = encoded(&Designator::relative_target_port(1));
        assert_eq!(Designator::decode(&bytes[..7]), None);
        assert_eq!(Designator::decode(&[0x51, 0xb4, 0, 0]), None);
    }
}
