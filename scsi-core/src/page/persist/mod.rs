//! Parameter data of PERSISTENT RESERVE IN (SPC-4 6.15). [`out`] has the lists of PERSISTENT RESERVE OUT, and
//! [`transport_id`] the identifiers of initiator ports.

pub mod out;
pub mod transport_id;

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use self::transport_id::TransportId;
use super::{PageError, flag, is_set, truncated};
use crate::cdb::persist::{ReservationType, ScopeType};

/// Encodes READ KEYS data (SPC-4 6.15.2): PRGENERATION and the key of each registration.
#[must_use]
pub fn read_keys(generation: u32, keys: impl IntoIterator<Item = u64>) -> Vec<u8> {
    with_header(generation, |out| keys.into_iter().for_each(|key| out.extend(key.to_be_bytes())))
}

/// Decodes READ KEYS data, which may be truncated: PRGENERATION and the complete keys.
///
/// # Errors
/// [`PageError::Truncated`] if the data has less than 8 bytes.
pub fn decode_keys(bytes: &[u8]) -> Result<(u32, Vec<u64>), PageError> {
    let (generation, rest) = header(bytes)?;
    Ok((generation, rest.as_chunks().0.iter().map(|key| u64::from_be_bytes(*key)).collect()))
}

/// Encodes READ RESERVATION data (SPC-4 6.15.3): PRGENERATION, key of the holder (0 if all registrants hold the
/// reservation) and type.
#[must_use]
pub fn read_reservation(generation: u32, reservation: Option<(u64, ReservationType)>) -> Vec<u8> {
    let descriptor = reservation.map(|(key, kind)| {
        let [a, b, c, d, e, f, g, h] = key.to_be_bytes();
        [a, b, c, d, e, f, g, h, 0, 0, 0, 0, 0, kind as u8, 0, 0]
    });
    with_header(generation, |out| out.extend(descriptor.into_iter().flatten()))
}

/// Decodes READ RESERVATION data: PRGENERATION, and key and type if there is a reservation.
///
/// # Errors
/// [`PageError::Truncated`] if the data is incomplete.
pub fn decode_reservation(bytes: &[u8]) -> Result<(u32, Option<(u64, ScopeType)>), PageError> {
    let (generation, rest) = header(bytes)?;
    if rest.is_empty() {
        return Ok((generation, None));
    }
    let (_, (key, _, what)) = (be_u64, take(5usize), be_u8).parse(rest).map_err(truncated)?;
    Ok((generation, Some((key, ScopeType(what)))))
}

/// Parameter data of REPORT CAPABILITIES (SPC-4 6.15.4).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Capabilities {
    /// CRH: RESERVE (6) and RELEASE (6) of a nexus that the reservation admits end with GOOD, without effect.
    pub compatible_reservations: bool,
    /// SIP_C: SPEC_I_PT is supported.
    pub specify_initiator_ports: bool,
    /// ATP_C: ALL_TG_PT is supported.
    pub all_target_ports: bool,
    /// PTPL_C: persistence through power loss is supported.
    pub persist_through_power_loss: bool,
    /// PTPL_A: persistence through power loss is activated.
    pub power_loss_activated: bool,
}

impl Capabilities {
    /// Encodes the data. All types of reservation are reported as supported.
    #[must_use]
    pub fn encode(self) -> Vec<u8> {
        let flags = flag(self.compatible_reservations, 4)
            | flag(self.specify_initiator_ports, 3)
            | flag(self.all_target_ports, 2)
            | flag(self.persist_through_power_loss, 0);
        vec![0, 8, flags, TYPE_MASK_VALID | flag(self.power_loss_activated, 0), TYPES[0], TYPES[1], 0, 0]
    }

    /// Decodes the data.
    ///
    /// # Errors
    /// [`PageError::Truncated`] if the data has less than 8 bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, PageError> {
        let (_, (_, flags, activated, _)) = (be_u16, be_u8, be_u8, be_u32).parse(bytes).map_err(truncated)?;
        Ok(Self {
            compatible_reservations: is_set(flags, 4),
            specify_initiator_ports: is_set(flags, 3),
            all_target_ports: is_set(flags, 2),
            persist_through_power_loss: is_set(flags, 0),
            power_loss_activated: is_set(activated, 0),
        })
    }
}

/// A full status descriptor of READ FULL STATUS (SPC-4 6.15.5): one registration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FullStatus {
    /// RESERVATION KEY.
    pub key: u64,
    /// R_HOLDER, with SCOPE and TYPE of the reservation.
    pub holds: Option<ScopeType>,
    /// RELATIVE TARGET PORT IDENTIFIER.
    pub target_port: u16,
    /// TRANSPORTID.
    pub initiator: TransportId,
}

/// Encodes READ FULL STATUS data: PRGENERATION and the registrations.
#[must_use]
pub fn read_full_status(generation: u32, registrations: impl IntoIterator<Item = FullStatus>) -> Vec<u8> {
    with_header(generation, |out| registrations.into_iter().for_each(|status| status.encode(out)))
}

/// Decodes READ FULL STATUS data, which may be truncated: PRGENERATION and the complete registrations.
///
/// # Errors
/// [`PageError::Truncated`] if the data has less than 8 bytes.
pub fn decode_full_status(bytes: &[u8]) -> Result<(u32, Vec<FullStatus>), PageError> {
    let (generation, mut rest) = header(bytes)?;
    let mut registrations = Vec::new();
    let mut layout = (be_u64, take(4usize), be_u8, be_u8, take(4usize), be_u16, be_u32);
    while let Ok((after, (key, _, flags, what, _, target_port, len))) = layout.parse(rest).map_err(truncated)
    {
        let end = usize::try_from(len).unwrap_or(usize::MAX).min(after.len());
        let Ok((initiator, _)) = TransportId::parse(&after[..end], 0) else { break };
        let holds = is_set(flags, 0).then_some(ScopeType(what));
        registrations.push(FullStatus { key, holds, target_port, initiator });
        rest = &after[end..];
    }
    Ok((generation, registrations))
}

impl FullStatus {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend(self.key.to_be_bytes());
        out.extend([0; 4]);
        out.extend([u8::from(self.holds.is_some()), self.holds.map_or(0, |what| what.0), 0, 0, 0, 0]);
        out.extend(self.target_port.to_be_bytes());
        let at = out.len();
        out.extend([0; 4]);
        self.initiator.encode_to(out);
        let len = (out.len() - at - 4) as u32;
        out[at..at + 4].copy_from_slice(&len.to_be_bytes());
    }
}

/// Encodes PRGENERATION and ADDITIONAL LENGTH before the `rest`.
fn with_header(generation: u32, rest: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::from(generation.to_be_bytes());
    out.extend([0; 4]);
    rest(&mut out);
    let len = out.len() as u32 - 8;
    out[4..8].copy_from_slice(&len.to_be_bytes());
    out
}

fn header(bytes: &[u8]) -> Result<(u32, &[u8]), PageError> {
    let (rest, (generation, len)) = (be_u32, be_u32).parse(bytes).map_err(truncated)?;
    Ok((generation, &rest[..rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))]))
}

/// TMV: the type mask is valid.
const TYPE_MASK_VALID: u8 = 0x80;
/// PERSISTENT RESERVATION TYPE MASK: types 7, 6, 5, 3 and 1 in the first byte, type 8 in the second.
const TYPES: [u8; 2] = [0xea, 0x01];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_reservation() {
        let keys = [0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8];
        assert_eq!(read_keys(3, [1, 0x0102_0304_0506_0708]), keys);
        assert_eq!(decode_keys(&keys), Ok((3, vec![1, 0x0102_0304_0506_0708])));
        assert_eq!(decode_keys(&keys[..20]), Ok((3, vec![1])));
        assert_eq!(decode_keys(&keys[..7]), Err(PageError::Truncated));

        let kind = ReservationType::ExclusiveAccessRegistrantsOnly;
        let held = [0, 0, 0, 3, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 6, 0, 0];
        assert_eq!(read_reservation(3, Some((9, kind))), held);
        assert_eq!(decode_reservation(&held), Ok((3, Some((9, ScopeType(6))))));
        assert_eq!(read_reservation(3, None), [0, 0, 0, 3, 0, 0, 0, 0]);
        assert_eq!(decode_reservation(&held[..8]), Ok((3, None)));
        assert_eq!(decode_reservation(&held[..16]), Err(PageError::Truncated));
    }

    #[test]
    fn capabilities() {
        let none = Capabilities::default();
        assert_eq!(none.encode(), [0, 8, 0, 0x80, 0xea, 0x01, 0, 0]);
        #[rustfmt::skip]
        let cases = [
            (Capabilities { compatible_reservations: true, ..none },    [0x10, 0x80]),
            (Capabilities { specify_initiator_ports: true, ..none },    [0x08, 0x80]),
            (Capabilities { all_target_ports: true, ..none },           [0x04, 0x80]),
            (Capabilities { persist_through_power_loss: true, ..none }, [0x01, 0x80]),
            (Capabilities { power_loss_activated: true, ..none },       [0x00, 0x81]),
        ];
        for (capabilities, flags) in cases {
            let bytes = capabilities.encode();
            assert_eq!(bytes[2..4], flags, "{capabilities:?}");
            assert_eq!(Capabilities::decode(&bytes), Ok(capabilities));
        }
        assert_eq!(Capabilities::decode(&[0, 8, 0]), Err(PageError::Truncated));
    }

    #[test]
    fn full_status() {
        let initiator = |name: &str| TransportId::Port(format!("{name},i,0x000000000001"));
        let registrations = [
            FullStatus { key: 5, holds: Some(ScopeType(3)), target_port: 1, initiator: initiator("iqn.a") },
            FullStatus { key: 6, holds: None, target_port: 2, initiator: initiator("iqn.2001-04.com.b") },
        ];
        let bytes = read_full_status(7, registrations.clone());
        #[rustfmt::skip]
        assert_eq!(bytes[..40], [
            0, 0, 0, 7, 0, 0, 0, 24 + 28 + 24 + 40,
            0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0, 1, 0, 0, 0, 28,
            0x45, 0, 0, 24, b'i', b'q', b'n', b'.',
        ]);
        assert_eq!(bytes.len(), 8 + 24 + 28 + 24 + 40);
        assert_eq!(decode_full_status(&bytes), Ok((7, registrations.to_vec())));
        assert_eq!(decode_full_status(&bytes[..70]), Ok((7, registrations[..1].to_vec())));
    }
}
