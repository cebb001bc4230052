//! VPD pages of block devices: Block Limits, Block Device Characteristics, Logical Block Provisioning
//! (SBC-3 6.6.3, 6.6.2, 6.6.4).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use super::{body, code, page};
use crate::page::{PageError, Peripheral, flag, is_set, truncated};

/// Block Limits. Lengths are in blocks; 0 means "not reported" unless stated otherwise.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlockLimits {
    /// WSNZ: WRITE SAME of 0 blocks is refused, else it extends to the end of the medium.
    pub write_same_non_zero: bool,
    /// MAXIMUM COMPARE AND WRITE LENGTH; 0 if not supported.
    pub max_compare_and_write: u8,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY.
    pub optimal_transfer_granularity: u16,
    /// MAXIMUM TRANSFER LENGTH.
    pub max_transfer: u32,
    /// OPTIMAL TRANSFER LENGTH.
    pub optimal_transfer: u32,
    /// MAXIMUM PREFETCH LENGTH.
    pub max_prefetch: u32,
    /// MAXIMUM UNMAP LBA COUNT; 0 without UNMAP, ffffffffh without a limit.
    pub max_unmap_blocks: u32,
    /// MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT; 0 without UNMAP, ffffffffh without a limit.
    pub max_unmap_descriptors: u32,
    /// OPTIMAL UNMAP GRANULARITY.
    pub unmap_granularity: u32,
    /// UNMAP GRANULARITY ALIGNMENT, 31 bits; `Some` sets UGAVALID.
    pub unmap_alignment: Option<u32>,
    /// MAXIMUM WRITE SAME LENGTH.
    pub max_write_same: u64,
}

impl BlockLimits {
    /// Encodes all 64 bytes of the page.
    #[must_use]
    pub fn encode(&self, peripheral: Peripheral) -> Vec<u8> {
        let alignment = self.unmap_alignment.map_or(0, |alignment| alignment | 1 << 31);
        let mut out = Vec::with_capacity(BODY_LEN);
        out.extend([flag(self.write_same_non_zero, 0), self.max_compare_and_write]);
        out.extend(self.optimal_transfer_granularity.to_be_bytes());
        for field in [
            self.max_transfer,
            self.optimal_transfer,
            self.max_prefetch,
            self.max_unmap_blocks,
            self.max_unmap_descriptors,
            self.unmap_granularity,
            alignment,
        ] {
            out.extend(field.to_be_bytes());
        }
        out.extend(self.max_write_same.to_be_bytes());
        out.resize(BODY_LEN, 0);
        page(peripheral, code::BLOCK_LIMITS, &out)
    }

    /// Decodes the page.
    ///
    /// # Errors
    /// The errors of [`body`]; [`PageError::Truncated`] if it has less than 44 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let body = body(bytes, code::BLOCK_LIMITS)?;
        let transfer = (be_u8, be_u8, be_u16, be_u32, be_u32, be_u32);
        let unmap = (be_u32, be_u32, be_u32, be_u32, be_u64);
        let (
            _,
            ((flags, compare, granularity, max, optimal, prefetch), (blocks, count, grain, aligned, same)),
        ) = (transfer, unmap).parse(body).map_err(truncated)?;
        Ok(Self {
            write_same_non_zero: is_set(flags, 0),
            max_compare_and_write: compare,
            optimal_transfer_granularity: granularity,
            max_transfer: max,
            optimal_transfer: optimal,
            max_prefetch: prefetch,
            max_unmap_blocks: blocks,
            max_unmap_descriptors: count,
            unmap_granularity: grain,
            unmap_alignment: (aligned >> 31 != 0).then_some(aligned & 0x7fff_ffff),
            max_write_same: same,
        })
    }
}

/// Block Device Characteristics.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct BlockCharacteristics {
    /// MEDIUM ROTATION RATE: 0 not reported, 1 non-rotating, else rotations per minute.
    pub rotation_rate: u16,
    /// PRODUCT TYPE; 0 if not indicated.
    pub product_type: u8,
    /// NOMINAL FORM FACTOR: 0 not reported, 1 to 4 for 5.25, 3.5, 2.5 and 1.8 inch, 5 for less.
    pub form_factor: u8,
    /// FUAB: FUA and SYNCHRONIZE CACHE write to the medium, not only to a non-volatile cache.
    pub fua_to_medium: bool,
    /// VBULS: VERIFY of unmapped blocks is supported.
    pub verify_unmapped: bool,
}

impl BlockCharacteristics {
    /// Encodes all 64 bytes of the page.
    #[must_use]
    pub fn encode(&self, peripheral: Peripheral) -> Vec<u8> {
        let [high, low] = self.rotation_rate.to_be_bytes();
        let flags = flag(self.fua_to_medium, 1) | flag(self.verify_unmapped, 0);
        let mut out = Vec::with_capacity(BODY_LEN);
        out.extend([high, low, self.product_type, self.form_factor & 0x0f, flags]);
        out.resize(BODY_LEN, 0);
        page(peripheral, code::BLOCK_DEVICE_CHARACTERISTICS, &out)
    }

    /// Decodes the page.
    ///
    /// # Errors
    /// The errors of [`body`]; [`PageError::Truncated`] if it has less than 9 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let body = body(bytes, code::BLOCK_DEVICE_CHARACTERISTICS)?;
        let (_, (rotation_rate, product_type, form_factor, flags)) =
            (be_u16, be_u8, be_u8, be_u8).parse(body).map_err(truncated)?;
        Ok(Self {
            rotation_rate,
            product_type,
            form_factor: form_factor & 0x0f,
            fua_to_medium: is_set(flags, 1),
            verify_unmapped: is_set(flags, 0),
        })
    }
}

/// PROVISIONING TYPE.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum ProvisioningType {
    /// 0: fully provisioned, or not reported.
    #[default]
    Full = 0,
    /// 1: resource provisioned.
    Resource = 1,
    /// 2: thin provisioned.
    Thin = 2,
}

/// Logical Block Provisioning.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct LogicalBlockProvisioning {
    /// THRESHOLD EXPONENT; 0 without thresholds.
    pub threshold_exponent: u8,
    /// LBPU: UNMAP is supported.
    pub unmap: bool,
    /// LBPWS: WRITE SAME (16) with UNMAP is supported.
    pub write_same_16: bool,
    /// LBPWS10: WRITE SAME (10) with UNMAP is supported.
    pub write_same_10: bool,
    /// LBPRZ: unmapped blocks read as zeroes.
    pub zeroes: bool,
    /// ANC_SUP: anchored blocks are supported.
    pub anchor: bool,
    /// PROVISIONING TYPE.
    pub provisioning: ProvisioningType,
}

impl LogicalBlockProvisioning {
    /// Encodes all 8 bytes of the page, without a provisioning group.
    #[must_use]
    pub fn encode(&self, peripheral: Peripheral) -> Vec<u8> {
        let flags = flag(self.unmap, 7)
            | flag(self.write_same_16, 6)
            | flag(self.write_same_10, 5)
            | flag(self.zeroes, 2)
            | flag(self.anchor, 1);
        let body = [self.threshold_exponent, flags, self.provisioning as u8, 0];
        page(peripheral, code::LOGICAL_BLOCK_PROVISIONING, &body)
    }

    /// Decodes the page. A reserved provisioning type decodes as [`ProvisioningType::Full`].
    ///
    /// # Errors
    /// The errors of [`body`]; [`PageError::Truncated`] if it has less than 7 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let body = body(bytes, code::LOGICAL_BLOCK_PROVISIONING)?;
        let (_, (exponent, flags, kind)) = (be_u8, be_u8, take(1usize)).parse(body).map_err(truncated)?;
        Ok(Self {
            threshold_exponent: exponent,
            unmap: is_set(flags, 7),
            write_same_16: is_set(flags, 6),
            write_same_10: is_set(flags, 5),
            zeroes: is_set(flags, 2),
            anchor: is_set(flags, 1),
            provisioning: match kind.first().map(|kind| kind & 0x07) {
                Some(1) => ProvisioningType::Resource,
                Some(2) => ProvisioningType::Thin,
                _ => ProvisioningType::Full,
            },
        })
    }
}

/// Length in bytes of Block Limits and Block Device Characteristics.
const BODY_LEN: usize = 60;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::PeripheralType;

    const DISK: Peripheral = Peripheral::connected(PeripheralType::DISK);

    #[test]
    fn block_limits() {
        let limits = BlockLimits {
            write_same_non_zero: true,
            max_compare_and_write: 2,
            optimal_transfer_granularity: 0x0304,
            max_transfer: 5,
            optimal_transfer: 6,
            max_prefetch: 7,
            max_unmap_blocks: 0xffff_ffff,
            max_unmap_descriptors: 9,
            unmap_granularity: 10,
            unmap_alignment: Some(11),
            max_write_same: 0x1_0000_000c,
        };
        let bytes = limits.encode(DISK);
        #[rustfmt::skip]
        assert_eq!(bytes[..44], [
            0, 0xb0, 0, 60, 1, 2, 3, 4, // WSNZ, compare and write, granularity
            0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, // transfer lengths
            0xff, 0xff, 0xff, 0xff, 0, 0, 0, 9, // limits of UNMAP
            0, 0, 0, 10, 0x80, 0, 0, 11, // granularity, UGAVALID and alignment
            0, 0, 0, 1, 0, 0, 0, 12, // WRITE SAME
        ]);
        assert_eq!(bytes[44..], [0; 20]);
        assert_eq!(BlockLimits::decode(&bytes), Ok(limits));
        assert_eq!(BlockLimits::decode(&bytes[..43]), Err(PageError::Truncated));

        let none = BlockLimits::default();
        assert_eq!(none.encode(DISK)[4..], [0; 60]);
        assert_eq!(BlockLimits::decode(&none.encode(DISK)), Ok(none));
    }

    #[test]
    fn block_characteristics() {
        let ssd = BlockCharacteristics {
            rotation_rate: 1,
            product_type: 2,
            form_factor: 3,
            fua_to_medium: true,
            verify_unmapped: false,
        };
        let bytes = ssd.encode(DISK);
        assert_eq!(bytes[..9], [0, 0xb1, 0, 60, 0, 1, 2, 3, 2]);
        assert_eq!(bytes[9..], [0; 55]);
        assert_eq!(BlockCharacteristics::decode(&bytes), Ok(ssd));

        let other = BlockCharacteristics { rotation_rate: 7200, verify_unmapped: true, ..Default::default() };
        assert_eq!(other.encode(DISK)[4..9], [0x1c, 0x20, 0, 0, 1]);
        assert_eq!(BlockCharacteristics::decode(&other.encode(DISK)), Ok(other));
    }

    #[test]
    fn logical_block_provisioning() {
        let thin = LogicalBlockProvisioning {
            unmap: true,
            write_same_16: true,
            write_same_10: true,
            zeroes: true,
            provisioning: ProvisioningType::Thin,
            ..LogicalBlockProvisioning::default()
        };
        assert_eq!(thin.encode(DISK), [0, 0xb2, 0, 4, 0, 0xe4, 2, 0]);
        assert_eq!(LogicalBlockProvisioning::decode(&thin.encode(DISK)), Ok(thin));

        let other = LogicalBlockProvisioning {
            threshold_exponent: 3,
            anchor: true,
            provisioning: ProvisioningType::Resource,
            ..LogicalBlockProvisioning::default()
        };
        assert_eq!(other.encode(DISK), [0, 0xb2, 0, 4, 3, 0x02, 1, 0]);
        assert_eq!(LogicalBlockProvisioning::decode(&other.encode(DISK)), Ok(other));
    }
}
