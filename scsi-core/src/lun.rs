//! Logical unit numbers: the 8-byte wire format (SAM-5 4.7), and the number that `tgtadm` uses.

/// Number of a logical unit, as in `tgtadm --lun`: 0 to [`Lun::MAX`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Lun(u16);

impl Lun {
    /// The highest number of flat space addressing.
    pub const MAX: u16 = 0x3fff;
    /// LUN 0, the address of the controller of a target.
    pub const ZERO: Self = Self(0);

    /// The LUN with this number; `None` above [`Lun::MAX`].
    #[must_use]
    pub const fn new(number: u64) -> Option<Self> {
        if number <= Self::MAX as u64 { Some(Self(number as u16)) } else { None }
    }

    /// The number of the LUN.
    #[must_use]
    pub const fn number(self) -> u16 {
        self.0
    }

    /// Decodes peripheral device addressing (bus 0) and flat space addressing of the first level. `None` for any other
    /// addressing method.
    #[must_use]
    pub fn from_wire(wire: [u8; 8]) -> Option<Self> {
        if wire[2..] != [0; 6] {
            return None;
        }
        match wire[0] >> 6 {
            0 if wire[0] == 0 => Some(Self(wire[1].into())),
            1 => Some(Self(u16::from_be_bytes([wire[0] & 0x3f, wire[1]]))),
            _ => None,
        }
    }

    /// Encodes the number: peripheral device addressing up to 255, flat space addressing above.
    #[must_use]
    pub fn to_wire(self) -> [u8; 8] {
        let [high, low] = self.0.to_be_bytes();
        let method = if self.0 > 255 { 0x40 } else { 0 };
        [method | high, low, 0, 0, 0, 0, 0, 0]
    }
}

impl std::fmt::Display for Lun {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_decodes_and_flat_addressing_of_small_numbers_too() {
        for number in 0..=Lun::MAX {
            let lun = Lun::new(number.into()).unwrap();
            assert_eq!(Lun::from_wire(lun.to_wire()), Some(lun));
        }
        assert_eq!(Lun::from_wire([0x40, 5, 0, 0, 0, 0, 0, 0]), Lun::new(5));
    }

    #[test]
    fn unsupported_addresses_are_none() {
        assert_eq!(Lun::new(0x4000), None);
        for wire in [
            [0x80, 0, 0, 0, 0, 0, 0, 0],
            [0xc1, 0, 0, 0, 0, 0, 0, 0],
            [0, 1, 0, 1, 0, 0, 0, 0],
            [1, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(Lun::from_wire(wire), None, "{wire:02x?}");
        }
    }
}
