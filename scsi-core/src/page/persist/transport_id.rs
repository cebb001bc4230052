//! TransportIDs of iSCSI (SPC-4 7.6.4.6): identifiers of initiator ports in parameter lists.

use crate::page::ParameterError;

/// TransportID of an iSCSI initiator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TransportId {
    /// TPID FORMAT 01b: one initiator port, `NAME,i,0xISID` with twelve lower-case hex digits.
    Port(String),
    /// TPID FORMAT 00b: all initiator ports of the device with this name.
    Device(String),
}

impl TransportId {
    /// The TransportID for a name: of a port if it has an ISID, else of a device.
    #[must_use]
    pub fn named(name: &str) -> Self {
        if name.contains(SEPARATOR) { Self::Port(name.to_owned()) } else { Self::Device(name.to_owned()) }
    }

    /// Encodes the TransportID; the name is NUL-terminated and padded to a multiple of four bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode_to(&mut out);
        out
    }

    /// Appends the encoded TransportID.
    pub(super) fn encode_to(&self, out: &mut Vec<u8>) {
        let (format, name) = match self {
            Self::Port(name) => (1, name),
            Self::Device(name) => (0, name),
        };
        let name = name.as_bytes();
        let name = &name[..name.len().min(NAME_LEN_MAX)];
        let len = (name.len() + 1).next_multiple_of(4).max(ADDITIONAL_LEN_MIN);
        out.extend([format << 6 | ISCSI, 0]);
        out.extend((len as u16).to_be_bytes());
        out.extend(name);
        out.resize(out.len() + len - name.len(), 0);
    }

    /// Decodes the TransportID at the start of `bytes`, which is at offset `at` of a parameter list. Returns it with its
    /// length in bytes.
    ///
    /// # Errors
    /// [`ParameterError::InvalidField`] for another protocol or an invalid name.
    pub fn parse(bytes: &[u8], at: u16) -> Result<(Self, usize), ParameterError> {
        let invalid = |byte: u16| ParameterError::InvalidField { byte: at.saturating_add(byte), bit: None };
        let [first, _, high, low, rest @ ..] = bytes else { return Err(invalid(0)) };
        if first & 0x0f != ISCSI {
            return Err(ParameterError::InvalidField { byte: at, bit: Some(3) });
        }
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        let text = rest.get(..len).filter(|_| len >= ADDITIONAL_LEN_MIN && len.is_multiple_of(4));
        let text = text.ok_or(invalid(2))?;
        let end =
            text.iter().position(|byte| *byte == 0).filter(|end| *end <= NAME_LEN_MAX).ok_or(invalid(4))?;
        let name = std::str::from_utf8(&text[..end]).map_err(|_| invalid(4))?;
        let id = match first >> 6 {
            0 if !name.is_empty() && !name.contains(',') => Self::Device(name.to_lowercase()),
            1 => Self::Port(port_name(name).ok_or(invalid(4))?),
            0 => return Err(invalid(4)),
            _ => return Err(ParameterError::InvalidField { byte: at, bit: Some(7) }),
        };
        Ok((id, 4 + len))
    }
}

/// Normalizes the name of a port for comparison; `None` if it is invalid.
fn port_name(text: &str) -> Option<String> {
    let (name, isid) = text.split_once(SEPARATOR)?;
    let digits = (1..=12).contains(&isid.len()) && isid.bytes().all(|digit| digit.is_ascii_hexdigit());
    if name.is_empty() || name.contains(',') || !digits {
        return None;
    }
    let isid = u64::from_str_radix(isid, 16).ok()?;
    Some(format!("{}{SEPARATOR}{isid:012x}", name.to_lowercase()))
}

/// PROTOCOL IDENTIFIER of iSCSI.
const ISCSI: u8 = 5;
/// Separator of name and ISID.
const SEPARATOR: &str = ",i,0x";
/// Minimum of ADDITIONAL LENGTH.
const ADDITIONAL_LEN_MIN: usize = 20;
/// Maximum length of a port name: an iSCSI name of 223 bytes, the separator and the ISID.
const NAME_LEN_MAX: usize = 223 + 5 + 12;

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(first: u8, len: u16, text: &[u8]) -> Vec<u8> {
        [&[first, 0][..], &len.to_be_bytes(), text].concat()
    }

    #[test]
    fn golden_bytes() {
        let port = TransportId::named("iqn.1994-05.com.a,i,0x00023d000001");
        let text = b"iqn.1994-05.com.a,i,0x00023d000001\0\0";
        assert_eq!(port.encode(), bytes(0x45, 36, text));
        assert_eq!(TransportId::parse(&[&port.encode()[..], &[9; 5]].concat(), 24), Ok((port, 40)));

        let device = TransportId::named("iqn.a");
        assert_eq!(device.encode(), bytes(0x05, 20, b"iqn.a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
        assert_eq!(TransportId::parse(&device.encode(), 0), Ok((device, 24)));
    }

    #[test]
    fn port_names_are_normalized() {
        let short = bytes(0x45, 20, b"iqn.A,i,0x23D01\0\0\0\0\0");
        assert_eq!(
            TransportId::parse(&short, 0),
            Ok((TransportId::Port("iqn.a,i,0x000000023d01".to_owned()), 24))
        );
    }

    #[test]
    fn invalid_transport_ids_are_refused() {
        let text = b"iqn.a,i,0x1\0\0\0\0\0\0\0\0\0";
        assert!(TransportId::parse(&bytes(0x45, 20, text), 0).is_ok());
        #[rustfmt::skip]
        let cases = [
            (vec![0x45, 0, 0],                                   28, None),
            (bytes(0x46, 20, text),                              28, Some(3)),
            (bytes(0x85, 20, text),                              28, Some(7)),
            (bytes(0x45, 24, text),                              30, None),
            (bytes(0x45, 16, text),                              30, None),
            (bytes(0x45, 21, &[0; 21]),                          30, None),
            (bytes(0x45, 20, b"iqn.a,i,0x1aaaaaaaaa"),           32, None),
            (bytes(0x45, 20, b"iqn.a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"), 32, None),
            (bytes(0x45, 20, b"iqn.a,i,0x\0\0\0\0\0\0\0\0\0\0"), 32, None),
            (bytes(0x45, 20, b"iqn.a,i,0x+1\0\0\0\0\0\0\0\0"),   32, None),
            (bytes(0x45, 20, b"a,i,0x1,i,0x1\0\0\0\0\0\0\0"),    32, None),
            (bytes(0x45, 20, b"iqn.\xff,i,0x1\0\0\0\0\0\0\0\0\0"), 32, None),
            (bytes(0x05, 20, text),                              32, None),
            (bytes(0x05, 20, &[0; 20]),                          32, None),
        ];
        for (id, byte, bit) in cases {
            assert_eq!(
                TransportId::parse(&id, 28),
                Err(ParameterError::InvalidField { byte, bit }),
                "{id:02x?}"
            );
        }
    }
}
