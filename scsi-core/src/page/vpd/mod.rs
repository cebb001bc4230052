//! Vital product data (SPC-4 7.8, SBC-3 6.6).

mod block;
mod identification;

pub use block::{BlockCharacteristics, BlockLimits, LogicalBlockProvisioning, ProvisioningType};
pub use identification::{Association, CodeSet, Designator, DesignatorType};

use nom::Parser;
use nom::combinator::rest;
use nom::number::complete::{be_u8, be_u16};

use super::{PageError, Peripheral, text, truncated};

/// PAGE CODEs of the supported VPD pages.
pub mod code {
    /// Supported VPD Pages.
    pub const SUPPORTED_PAGES: u8 = 0x00;
    /// Unit Serial Number.
    pub const UNIT_SERIAL_NUMBER: u8 = 0x80;
    /// Device Identification.
    pub const DEVICE_IDENTIFICATION: u8 = 0x83;
    /// Block Limits.
    pub const BLOCK_LIMITS: u8 = 0xb0;
    /// Block Device Characteristics.
    pub const BLOCK_DEVICE_CHARACTERISTICS: u8 = 0xb1;
    /// Logical Block Provisioning.
    pub const LOGICAL_BLOCK_PROVISIONING: u8 = 0xb2;
}

/// Encodes a page: the header, then `body`.
#[must_use]
pub fn page(peripheral: Peripheral, code: u8, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + body.len());
    out.extend([peripheral.to_byte(), code]);
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

/// The body of a page, which may be truncated.
///
/// # Errors
/// [`PageError::OtherPage`] unless it is the page `code`; [`PageError::Truncated`] if it has less than 4 bytes.
pub fn body(bytes: &[u8], code: u8) -> Result<&[u8], PageError> {
    let (_, (_, found, len, body)) = (be_u8, be_u8, be_u16, rest).parse(bytes).map_err(truncated)?;
    if found != code {
        return Err(PageError::OtherPage(found));
    }
    Ok(&body[..body.len().min(len.into())])
}

/// Encodes Supported VPD Pages (SPC-4 7.8.10). The codes must be in ascending order.
#[must_use]
pub fn supported_pages(peripheral: Peripheral, codes: &[u8]) -> Vec<u8> {
    page(peripheral, code::SUPPORTED_PAGES, codes)
}

/// Encodes Unit Serial Number (SPC-4 7.8.15): right-aligned in `width` bytes, padded with spaces.
#[must_use]
pub fn unit_serial_number(peripheral: Peripheral, serial: &str, width: usize) -> Vec<u8> {
    let start = serial.len().saturating_sub(width);
    let serial = serial.as_bytes().get(start..).unwrap_or_default();
    let printable = serial.iter().map(|byte| if matches!(byte, 0x20..=0x7e) { *byte } else { b' ' });
    let body: Vec<u8> = std::iter::repeat_n(b' ', width - serial.len()).chain(printable).collect();
    page(peripheral, code::UNIT_SERIAL_NUMBER, &body)
}

/// Decodes Unit Serial Number, without the spaces around it.
///
/// # Errors
/// The errors of [`body`].
pub fn read_unit_serial_number(bytes: &[u8]) -> Result<String, PageError> {
    body(bytes, code::UNIT_SERIAL_NUMBER).map(text)
}

/// Encodes Device Identification (SPC-4 7.8.6).
#[must_use]
pub fn device_identification(peripheral: Peripheral, designators: &[Designator]) -> Vec<u8> {
    let mut body = Vec::with_capacity(256);
    for designator in designators {
        designator.encode(&mut body);
    }
    page(peripheral, code::DEVICE_IDENTIFICATION, &body)
}

/// Decodes the complete designators of Device Identification.
///
/// # Errors
/// The errors of [`body`].
pub fn read_device_identification(bytes: &[u8]) -> Result<Vec<Designator>, PageError> {
    let mut rest = body(bytes, code::DEVICE_IDENTIFICATION)?;
    let mut designators = Vec::new();
    while let Some((designator, after)) = Designator::decode(rest) {
        designators.push(designator);
        rest = after;
    }
    Ok(designators)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::page::PeripheralType;

    const DISK: Peripheral = Peripheral::connected(PeripheralType::DISK);

    #[test]
    fn header_and_body() {
        let bytes = supported_pages(Peripheral::connected(PeripheralType::CONTROLLER), &[0, 0x80, 0x83]);
        assert_eq!(bytes, [0x0c, 0, 0, 3, 0, 0x80, 0x83]);
        assert_eq!(body(&bytes, 0), Ok(&bytes[4..]));
        assert_eq!(body(&[&bytes[..], &[0xff]].concat(), 0), Ok(&bytes[4..]));
        assert_eq!(body(&bytes[..5], 0), Ok(&bytes[4..5]));
        assert_eq!(body(&bytes, 0x83), Err(PageError::OtherPage(0)));
        assert_eq!(body(&bytes[..3], 0), Err(PageError::Truncated));
        assert_eq!(page(DISK, 0xb0, &[0; 0x102])[..4], [0, 0xb0, 1, 2]);
    }

    #[test]
    fn serial_number_is_right_aligned() {
        let bytes = unit_serial_number(DISK, "beaf11", 8);
        assert_eq!(bytes, [0, 0x80, 0, 8, b' ', b' ', b'b', b'e', b'a', b'f', b'1', b'1']);
        assert_eq!(read_unit_serial_number(&bytes), Ok("beaf11".into()));
        assert_eq!(unit_serial_number(DISK, "123456", 4)[4..], *b"3456");
        assert_eq!(unit_serial_number(DISK, "\u{e9}1", 4)[4..], *b"   1");
    }

    #[test]
    fn designators_are_concatenated() {
        let designators = [Designator::relative_target_port(1), Designator::naa_locally_assigned(2)];
        let bytes = device_identification(DISK, &designators);
        assert_eq!(bytes[..4], [0, 0x83, 0, 20]);
        assert_eq!(read_device_identification(&bytes), Ok(designators.to_vec()));
        assert_eq!(read_device_identification(&bytes[..23]), Ok(designators[..1].to_vec()));
    }

    proptest! {
        #[test]
        fn no_input_panics(mut bytes in proptest::collection::vec(any::<u8>(), 0..128)) {
            for code in [0x80, 0x83, 0xb0, 0xb1, 0xb2] {
                if let Some(byte) = bytes.get_mut(1) {
                    *byte = code;
                }
                let _ = read_unit_serial_number(&bytes);
                let _ = read_device_identification(&bytes);
                let _ = BlockLimits::decode(&bytes);
                let _ = BlockCharacteristics::decode(&bytes);
                let _ = LogicalBlockProvisioning::decode(&bytes);
            }
        }

        #[test]
        fn any_serial_number_fits(serial in ".{0,60}", width in 0usize..40) {
            prop_assert_eq!(unit_serial_number(DISK, &serial, width).len(), 4 + width);
        }
    }
}
