//! Standard INQUIRY data (SPC-4 6.6.2).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::be_u8;

use super::{PageError, Peripheral, ascii, flag, is_set, text, truncated};

/// Standard INQUIRY data.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct StandardInquiry {
    /// PERIPHERAL QUALIFIER and PERIPHERAL DEVICE TYPE.
    pub peripheral: Peripheral,
    /// RMB: the medium is removable.
    pub removable: bool,
    /// VERSION: 5 is SPC-3, 6 is SPC-4.
    pub version: u8,
    /// HISUP: LUNs use hierarchical addressing.
    pub hierarchical: bool,
    /// TPGS: support of target port groups, 0 to 3.
    pub target_port_groups: u8,
    /// 3PC: third-party copy commands are supported.
    pub third_party_copy: bool,
    /// PROTECT: protection information is supported.
    pub protect: bool,
    /// MULTIP: the target has more than one port.
    pub multi_port: bool,
    /// CMDQUE: command queuing is supported.
    pub command_queuing: bool,
    /// T10 VENDOR IDENTIFICATION; 8 characters are encoded.
    pub vendor_id: String,
    /// PRODUCT IDENTIFICATION; 16 characters are encoded.
    pub product_id: String,
    /// PRODUCT REVISION LEVEL; 4 characters are encoded.
    pub product_revision: String,
    /// VERSION DESCRIPTORS; at most 8 are encoded.
    pub version_descriptors: Vec<u16>,
}

impl StandardInquiry {
    /// Length of the encoded data in bytes, up to the version descriptors.
    pub const LEN: usize = 74;

    /// Encodes all [`Self::LEN`] bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Self::LEN);
        out.extend([
            self.peripheral.to_byte(),
            flag(self.removable, 7),
            self.version,
            flag(self.hierarchical, 4) | RESPONSE_DATA_FORMAT,
            Self::LEN as u8 - 5,
            (self.target_port_groups & 0x03) << 4 | flag(self.third_party_copy, 3) | flag(self.protect, 0),
            flag(self.multi_port, 4),
            flag(self.command_queuing, 1),
        ]);
        out.extend(ascii::<8>(&self.vendor_id));
        out.extend(ascii::<16>(&self.product_id));
        out.extend(ascii::<4>(&self.product_revision));
        out.resize(VERSION_DESCRIPTORS, 0);
        out.extend(self.version_descriptors.iter().flat_map(|descriptor| descriptor.to_be_bytes()));
        out.resize(Self::LEN, 0);
        out
    }

    /// Decodes standard INQUIRY data. The version descriptors end at the first 0.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the data has less than 36 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let layout = (be_u8, be_u8, be_u8, be_u8, be_u8, be_u8, be_u8, be_u8);
        let strings = (take(8usize), take(16usize), take(4usize));
        let (_, ((first, rmb, version, format, len, five, six, seven), (vendor, product, revision))) =
            (layout, strings).parse(bytes).map_err(truncated)?;
        let end = bytes.len().min(5 + usize::from(len)).min(Self::LEN);
        let version_descriptors = bytes.get(VERSION_DESCRIPTORS..end).unwrap_or_default();
        Ok(Self {
            peripheral: Peripheral::from_byte(first),
            removable: is_set(rmb, 7),
            version,
            hierarchical: is_set(format, 4),
            target_port_groups: five >> 4 & 0x03,
            third_party_copy: is_set(five, 3),
            protect: is_set(five, 0),
            multi_port: is_set(six, 4),
            command_queuing: is_set(seven, 1),
            vendor_id: text(vendor),
            product_id: text(product),
            product_revision: text(revision),
            version_descriptors: version_descriptors
                .as_chunks()
                .0
                .iter()
                .map(|bytes| u16::from_be_bytes(*bytes))
                .take_while(|descriptor| *descriptor != 0)
                .collect(),
        })
    }
}

/// VERSION DESCRIPTORS of standards (SPC-4 table 144), without a revision.
pub mod version {
    /// SAM-5.
    pub const SAM_5: u16 = 0x00a0;
    /// SPC-3.
    pub const SPC_3: u16 = 0x0300;
    /// SPC-4.
    pub const SPC_4: u16 = 0x0460;
    /// SBC-3.
    pub const SBC_3: u16 = 0x04c0;
    /// iSCSI (RFC 7143).
    pub const ISCSI: u16 = 0x0960;
    /// SCC-2, for storage array controllers.
    pub const SCC_2: u16 = 0x01e0;
}

const RESPONSE_DATA_FORMAT: u8 = 2;
const VERSION_DESCRIPTORS: usize = 58;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PeripheralType;

    fn disk() -> StandardInquiry {
        StandardInquiry {
            peripheral: Peripheral::connected(PeripheralType::DISK),
            removable: true,
            version: 6,
            hierarchical: true,
            target_port_groups: 1,
            third_party_copy: true,
            command_queuing: true,
            vendor_id: "IET".into(),
            product_id: "VIRTUAL-DISK".into(),
            product_revision: "0001".into(),
            version_descriptors: vec![version::SAM_5, version::ISCSI],
            ..StandardInquiry::default()
        }
    }

    #[test]
    fn golden_bytes() {
        let bytes = disk().encode();
        assert_eq!(bytes[..8], [0x00, 0x80, 6, 0x12, 69, 0x18, 0, 2]);
        assert_eq!(&bytes[8..36], b"IET     VIRTUAL-DISK    0001");
        assert_eq!(bytes[36..58], [0; 22]);
        assert_eq!(bytes[58..62], [0, 0xa0, 0x09, 0x60]);
        assert_eq!(bytes[62..], [0; 12]);
        let many = StandardInquiry { version_descriptors: vec![1; 9], ..disk() };
        assert_eq!(many.encode().len(), StandardInquiry::LEN);
    }

    #[test]
    fn decode_returns_what_was_encoded() {
        assert_eq!(StandardInquiry::decode(&disk().encode()), Ok(disk()));
        let other = StandardInquiry {
            peripheral: Peripheral::ABSENT,
            protect: true,
            multi_port: true,
            target_port_groups: 2,
            ..StandardInquiry::default()
        };
        assert_eq!(StandardInquiry::decode(&other.encode()), Ok(other));
    }

    #[test]
    fn decode_needs_36_bytes() {
        let bytes = disk().encode();
        let short = StandardInquiry { version_descriptors: Vec::new(), ..disk() };
        assert_eq!(StandardInquiry::decode(&bytes[..36]), Ok(short.clone()));
        let mut counted = bytes.clone();
        counted[4] = 31;
        assert_eq!(StandardInquiry::decode(&counted), Ok(short));
        assert_eq!(StandardInquiry::decode(&bytes[..35]), Err(PageError::Truncated));
    }
}
