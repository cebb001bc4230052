//! What an administrator sets of a unit: identity, geometry, behaviour. Plain data; no state of the medium.

/// Everything about a unit that does not come from its store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct UnitConfig {
    /// Which command set it serves.
    pub device_type: DeviceType,
    /// T10 VENDOR IDENTIFICATION; 8 bytes are shown.
    pub vendor_id: String,
    /// PRODUCT IDENTIFICATION; 16 bytes are shown.
    pub product_id: String,
    /// PRODUCT REVISION LEVEL; 4 bytes are shown.
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
    /// RMB: the medium can be ejected.
    pub removable: bool,
    /// Writes are refused, whatever the store allows.
    pub read_only: bool,
    /// The medium is there.
    pub online: bool,
    /// Logical block provisioning is offered, where the store can discard.
    pub thin_provisioning: bool,
    /// WCE: writes may be acknowledged from the store's volatile cache.
    pub write_cache: bool,
    /// SWP: software write protect.
    pub swp: bool,
    /// D_SENSE: sense data in descriptor format.
    pub sense_descriptor: bool,
    /// MEDIUM ROTATION RATE of VPD page B1h: 0 not reported, 1 not rotating, else rotations per minute.
    pub rotation_rate: u16,
    /// LOGICAL BLOCKS PER PHYSICAL BLOCK EXPONENT; `None`: from the store's geometry.
    pub lbppbe: Option<u8>,
    /// LOWEST ALIGNED LOGICAL BLOCK ADDRESS (14 bits).
    pub la_lba: u16,
    /// OPTIMAL TRANSFER LENGTH GRANULARITY in blocks; 0 not reported.
    pub optimal_xfer_gran: u16,
    /// OPTIMAL TRANSFER LENGTH in blocks; 0 not reported.
    pub optimal_xfer_len: u32,
    /// Mode pages that replace or join the built-in ones; none of their bits are changeable.
    pub mode_pages: Vec<ModePage>,
}

/// A unit's command set (PERIPHERAL DEVICE TYPE, SPC-4 6.6.2).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum DeviceType {
    /// Direct access block device (SBC-3).
    Disk = 0x00,
    /// Storage array controller (SCC-2): the unit at LUN 0, without a medium.
    Controller = 0x0c,
}

/// A mode page as an administrator gives it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ModePage {
    /// PAGE CODE, below 3Fh.
    pub page: u8,
    /// SUBPAGE CODE, below FFh.
    pub subpage: u8,
    /// What follows the page's header.
    pub bytes: Vec<u8>,
}

const CACHING: (u8, u8) = (0x08, 0);
const CONTROL: (u8, u8) = (0x0a, 0);

impl UnitConfig {
    /// The length in bytes to which `scsi_id` and `scsi_sn` are cut.
    pub const IDENTIFIER_LEN: usize = 36;

    /// A disk of 512-byte blocks with the identity that tgt gives it.
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

    /// The controller of a target, which stands at LUN 0.
    #[must_use]
    pub fn controller(tid: u32) -> Self {
        Self {
            device_type: DeviceType::Controller,
            product_id: "Controller".to_owned(),
            ..Self::disk(tid, 0)
        }
    }

    /// The registered extended designator that tgt makes of a SCSI ID: its characters as hexadecimal digits,
    /// right-aligned; what is no digit counts as 0.
    #[must_use]
    pub fn naa_of_digits(scsi_id: &str) -> u128 {
        let digits = scsi_id.chars().take(Self::IDENTIFIER_LEN).map(|digit| digit.to_digit(16).unwrap_or(0));
        digits.fold(0, |number, digit| number << 4 | u128::from(digit))
    }

    /// Replaces or adds a mode page; of a page without subpage 255 bytes are kept, more it cannot have. Of the caching
    /// and control pages the bits the unit obeys (WCE, SWP, D_SENSE) take effect.
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
    fn identities_are_those_of_tgt() {
        let disk = UnitConfig::disk(1, 11);
        assert_eq!((disk.scsi_id.as_str(), disk.scsi_sn.as_str()), ("IET     0001000b", "beaf111"));
        assert_eq!(UnitConfig::controller(3).scsi_id, "IET     00030000");
    }

    #[test]
    fn a_given_mode_page_replaces_its_elder_and_takes_effect() {
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
