//! Configuration of a unit by the administrator: identity, geometry, behaviour.

/// The properties of a unit that do not come from its store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnitConfig {
    /// Device type, which selects the command set.
    pub device_type: DeviceType,
    /// T10 VENDOR IDENTIFICATION; the first 8 bytes are reported.
    pub vendor_id: String,
    /// PRODUCT IDENTIFICATION; the first 16 bytes are reported.
    pub product_id: String,
    /// PRODUCT REVISION LEVEL; the first 4 bytes are reported.
    pub product_rev: String,
    /// The T10 vendor ID based designator of VPD page 83h.
    pub scsi_id: String,
    /// PRODUCT SERIAL NUMBER of VPD page 80h.
    pub scsi_sn: String,
    /// The locally assigned designator of VPD page 83h (NAA 3h): its lower 60 bits.
    pub naa_local: u64,
    /// The IEEE registered extended designator of VPD page 83h (NAA 6h): its lower 124 bits.
    pub naa_extended: u128,
    /// Logical block length in bytes: a power of two, at least 512.
    pub block_len: u32,
    /// RMB: the medium is removable.
    pub removable: bool,
    /// Writes are refused, also if the store permits them.
    pub read_only: bool,
    /// The medium is present.
    pub online: bool,
    /// Logical block provisioning is supported, if the store can discard.
    pub thin_provisioning: bool,
    /// WCE: writes complete when they are in the volatile cache of the store.
    pub write_cache: bool,
    /// SWP: software write protect.
    pub swp: bool,
    /// D_SENSE: sense data in descriptor format.
    pub sense_descriptor: bool,
    /// MEDIUM ROTATION RATE of VPD page B1h: 0 not reported, 1 non-rotating, else rotations per minute.
    pub rotation_rate: u16,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT; `None` derives it from the geometry of the store.
    pub lbppbe: Option<u8>,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS (14 bits).
    pub la_lba: u16,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY in blocks; 0 if not reported.
    pub optimal_xfer_gran: u16,
    /// OPTIMAL TRANSFER LENGTH in blocks; 0 if not reported.
    pub optimal_xfer_len: u32,
    /// Mode pages that replace the built-in ones or are added to them. None of their bits are changeable.
    pub mode_pages: Vec<ModePage>,
}

/// PERIPHERAL DEVICE TYPE (SPC-4 6.6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DeviceType {
    /// Direct access block device (SBC-3).
    Disk = 0x00,
    /// Storage array controller (SCC-2), without a medium; at LUN 0 of each target.
    Controller = 0x0c,
}

/// A mode page that the administrator configures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModePage {
    /// PAGE CODE, below 3Fh.
    pub page: u8,
    /// SUBPAGE CODE, below FFh.
    pub subpage: u8,
    /// Bytes after the page header.
    pub bytes: Vec<u8>,
}

const CACHING: (u8, u8) = (0x08, 0);
const CONTROL: (u8, u8) = (0x0a, 0);

impl UnitConfig {
    /// Maximum length of `scsi_id` and `scsi_sn` in bytes; more is truncated.
    pub const IDENTIFIER_LEN: usize = 36;

    /// A disk with blocks of 512 bytes and the identity that tgt derives from `tid` and `lun`.
    #[must_use]
    pub fn disk(tid: u32, lun: u32) -> Self {
        let scsi_id = format!("IET     {tid:04x}{lun:04x}");
        Self {
            device_type: DeviceType::Disk,
            vendor_id: "IET".to_owned(),
            product_id: "VIRTUAL-DISK".to_owned(),
            product_rev: "0001".to_owned(),
            naa_extended: Self::naa_of_digits(&scsi_id),
            scsi_id,
            scsi_sn: format!("beaf{tid}{lun}"),
            naa_local: u64::from(tid) << 32 | u64::from(lun),
            block_len: 512,
            removable: false,
            read_only: false,
            online: true,
            thin_provisioning: false,
            write_cache: true,
            swp: false,
            sense_descriptor: false,
            rotation_rate: 0,
            lbppbe: None,
            la_lba: 0,
            optimal_xfer_gran: 0,
            optimal_xfer_len: 0,
            mode_pages: Vec::new(),
        }
    }

    /// The controller at LUN 0 of a target.
    #[must_use]
    pub fn controller(tid: u32) -> Self {
        Self {
            device_type: DeviceType::Controller,
            product_id: "Controller".to_owned(),
            ..Self::disk(tid, 0)
        }
    }

    /// The registered extended designator that tgt derives from a SCSI ID: its characters as hexadecimal digits,
    /// right-aligned, with 0 for characters that are no digits.
    #[must_use]
    pub fn naa_of_digits(scsi_id: &str) -> u128 {
        let digits = scsi_id.chars().take(Self::IDENTIFIER_LEN).map(|digit| digit.to_digit(16).unwrap_or(0));
        digits.fold(0, |number, digit| number << 4 | u128::from(digit))
    }

    /// Replaces or adds a mode page. A page without a subpage is truncated to 255 bytes, the maximum of its format. WCE of
    /// the caching page, and SWP and D_SENSE of the control page, take effect.
    pub fn set_mode_page(&mut self, mut page: ModePage) {
        if page.subpage == 0 {
            page.bytes.truncate(u8::MAX.into());
        }
        let byte = |index: usize| page.bytes.get(index).copied().unwrap_or(0);
        match (page.page, page.subpage) {
            CACHING => self.write_cache = byte(0) & 0x04 != 0,
            CONTROL => {
                self.sense_descriptor = byte(0) & 0x04 != 0;
                self.swp = byte(2) & 0x08 != 0;
            }
            _ => {}
        }
        match self
            .mode_pages
            .iter_mut()
            .find(|known| (known.page, known.subpage) == (page.page, page.subpage))
        {
            Some(known) => *known = page,
            None => self.mode_pages.push(page),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_matches_tgt() {
        let disk = UnitConfig::disk(1, 11);
        assert_eq!((disk.scsi_id.as_str(), disk.scsi_sn.as_str()), ("IET     0001000b", "beaf111"));
        assert_eq!(UnitConfig::controller(3).scsi_id, "IET     00030000");
    }

    #[test]
    fn configured_mode_page_replaces_the_previous_one_and_takes_effect() {
        let mut config = UnitConfig::disk(1, 1);
        let caching = |first| ModePage { page: 8, subpage: 0, bytes: vec![first, 0, 0] };
        config.set_mode_page(caching(0x10));
        assert!(!config.write_cache);
        config.set_mode_page(caching(0x14));
        assert!(config.write_cache);
        assert_eq!(config.mode_pages, [caching(0x14)]);

        config.set_mode_page(ModePage { page: 0x20, subpage: 0, bytes: vec![0; 256] });
        assert_eq!(config.mode_pages[1].bytes.len(), 255);

        config.set_mode_page(ModePage { page: 0x0a, subpage: 0, bytes: vec![0x04, 0, 0x08] });
        assert!(config.swp && config.sense_descriptor);
    }
}
