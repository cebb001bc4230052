//! Parameter data and parameter lists (SPC-4 6 and 7, SBC-3 5 and 6): encoders and decoders for targets and initiators.
//! The module has no state.

pub mod inquiry;
pub mod lba_status;
pub mod mode;
pub mod persist;
pub mod read_capacity;
pub mod report_luns;
pub mod supported;
pub mod unmap;
pub mod vpd;

/// Why a parameter list (data-out) is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ParameterError {
    /// PARAMETER LIST LENGTH ERROR: a header, descriptor or page is cut short.
    #[error("parameter list ends early")]
    Length,
    /// INVALID FIELD IN PARAMETER LIST, with the field pointer of the sense data.
    #[error("invalid field in byte {byte} of the parameter list")]
    InvalidField {
        /// Offset of the byte in the list.
        byte: u16,
        /// The most significant bit of a field of less than a byte.
        bit: Option<u8>,
    },
}

/// Why parameter data (data-in) was not decoded.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PageError {
    /// The data is truncated; a larger allocation length may help.
    #[error("parameter data ends early")]
    Truncated,
    /// The data is a page with this other code.
    #[error("page code {0:#04x} was not expected")]
    OtherPage(u8),
}

/// PERIPHERAL QUALIFIER (SPC-4 6.6.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[repr(u8)]
pub enum Qualifier {
    /// 000b: a logical unit is connected.
    #[default]
    Connected = 0,
    /// 001b: no logical unit is connected, but the target supports one at this LUN.
    NotConnected = 1,
    /// 011b: the target supports no logical unit at this LUN.
    NotCapable = 3,
}

/// PERIPHERAL DEVICE TYPE (SPC-4 6.6.2).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct PeripheralType(pub u8);

impl PeripheralType {
    /// Direct access block device.
    pub const DISK: Self = Self(0x00);
    /// Sequential access device.
    pub const TAPE: Self = Self(0x01);
    /// CD and DVD.
    pub const CD: Self = Self(0x05);
    /// Media changer.
    pub const CHANGER: Self = Self(0x08);
    /// Storage array controller.
    pub const CONTROLLER: Self = Self(0x0c);
    /// Object based storage.
    pub const OBJECT_STORAGE: Self = Self(0x11);
    /// Unknown device type, or no device.
    pub const UNKNOWN: Self = Self(0x1f);
}

/// The first byte of INQUIRY data and VPD pages.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Peripheral {
    /// PERIPHERAL QUALIFIER.
    pub qualifier: Qualifier,
    /// PERIPHERAL DEVICE TYPE.
    pub device_type: PeripheralType,
}

impl Peripheral {
    /// 7Fh, for a LUN without a logical unit.
    pub const ABSENT: Self = Self { qualifier: Qualifier::NotCapable, device_type: PeripheralType::UNKNOWN };

    /// A connected logical unit of this type.
    #[must_use]
    pub const fn connected(device_type: PeripheralType) -> Self {
        Self { qualifier: Qualifier::Connected, device_type }
    }

    /// Encodes the byte.
    #[must_use]
    pub const fn to_byte(self) -> u8 {
        (self.qualifier as u8) << 5 | self.device_type.0 & 0x1f
    }

    /// Decodes the byte. Vendor-specific and reserved qualifiers decode as [`Qualifier::NotCapable`].
    #[must_use]
    pub const fn from_byte(byte: u8) -> Self {
        let qualifier = match byte >> 5 {
            0 => Qualifier::Connected,
            1 => Qualifier::NotConnected,
            _ => Qualifier::NotCapable,
        };
        Self { qualifier, device_type: PeripheralType(byte & 0x1f) }
    }
}

/// Truncates data-in to the allocation length in bytes (SPC-4 4.2.5.6).
#[must_use]
pub fn cut(mut data: Vec<u8>, allocation_len: u32) -> Vec<u8> {
    data.truncate(usize::try_from(allocation_len).unwrap_or(usize::MAX));
    data
}

/// Encodes an ASCII field (SPC-4 4.4.1): left-aligned, padded with spaces, truncated to `N` bytes. Characters outside of
/// printable ASCII become spaces.
#[must_use]
pub fn ascii<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = if matches!(from, 0x20..=0x7e) { from } else { b' ' };
    }
    field
}

/// Decodes an ASCII field, without its padding.
fn text(field: &[u8]) -> String {
    String::from_utf8_lossy(field).trim_matches([' ', '\0']).to_owned()
}

type Failure<'a> = nom::error::Error<&'a [u8]>;

fn truncated(_: nom::Err<Failure<'_>>) -> PageError {
    PageError::Truncated
}

fn length_error(_: nom::Err<Failure<'_>>) -> ParameterError {
    ParameterError::Length
}

/// Encodes a flag at a bit.
const fn flag(set: bool, bit: u8) -> u8 {
    (set as u8) << bit
}

const fn is_set(byte: u8, bit: u8) -> bool {
    byte >> bit & 1 != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_fields_are_padded_truncated_and_printable() {
        assert_eq!(&ascii::<8>("IET"), b"IET     ");
        assert_eq!(&ascii::<4>("VIRTUAL"), b"VIRT");
        assert_eq!(&ascii::<4>("a\n\u{e9}"), b"a   ");
        assert_eq!(text(b"IET   \0\0"), "IET");
    }

    #[test]
    fn peripheral_byte_encodes_and_decodes() {
        assert_eq!(Peripheral::ABSENT.to_byte(), 0x7f);
        assert_eq!(Peripheral::connected(PeripheralType::CONTROLLER).to_byte(), 0x0c);
        assert_eq!(Peripheral::from_byte(0x7f), Peripheral::ABSENT);
        assert_eq!(Peripheral::connected(PeripheralType(0xff)).to_byte(), 0x1f);
        assert_eq!(Peripheral::from_byte(0x25).qualifier, Qualifier::NotConnected);
        assert_eq!(Peripheral::from_byte(0xe0).qualifier, Qualifier::NotCapable);
    }

    #[test]
    fn data_is_truncated_to_the_allocation_length() {
        assert_eq!(cut(vec![1, 2, 3], 2), [1, 2]);
        assert_eq!(cut(vec![1, 2, 3], u32::MAX), [1, 2, 3]);
    }
}
