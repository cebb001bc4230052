//! The parameter lists of PERSISTENT RESERVE OUT (SPC-4 6.16.3, 6.16.4).

use nom::Parser;
use nom::bytes::complete::take;
use nom::number::complete::{be_u8, be_u16, be_u32, be_u64};

use super::transport_id::TransportId;
use crate::page::{ParameterError, flag, is_set, length_error};

/// The parameter list of all service actions but REGISTER AND MOVE.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct BasicList {
    /// RESERVATION KEY: the registered key of the sender.
    pub reservation_key: u64,
    /// SERVICE ACTION RESERVATION KEY.
    pub service_action_key: u64,
    /// ALL_TG_PT: apply the registration to all target ports.
    pub all_target_ports: bool,
    /// APTPL: registrations and reservation persist through a power loss.
    pub persist_through_power_loss: bool,
    /// SPEC_I_PT: further initiators to register.
    pub initiators: Option<Vec<TransportId>>,
}

/// The parameter list of REGISTER AND MOVE.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct MoveList {
    /// RESERVATION KEY: the registered key of the sender.
    pub reservation_key: u64,
    /// SERVICE ACTION RESERVATION KEY: the key of the new holder.
    pub service_action_key: u64,
    /// UNREG: remove the registration of the sender.
    pub unregister: bool,
    /// APTPL: registrations and reservation persist through a power loss.
    pub persist_through_power_loss: bool,
    /// RELATIVE TARGET PORT IDENTIFIER of the new holder.
    pub target_port: u16,
    /// TransportID of the new holder.
    pub initiator: TransportId,
}

impl BasicList {
    /// Decodes a list, which must be complete and without further bytes.
    ///
    /// # Errors
    /// [`ParameterError::Length`] if the length of the list does not match its fields; [`ParameterError::InvalidField`] for
    /// an invalid TransportID.
    pub fn parse(list: &[u8]) -> Result<Self, ParameterError> {
        let (rest, (reservation_key, service_action_key, _, flags, _)) =
            (be_u64, be_u64, be_u32, be_u8, take(3usize)).parse(list).map_err(length_error)?;
        let initiators = if is_set(flags, 3) {
            Some(transport_ids(rest)?)
        } else if rest.is_empty() {
            None
        } else {
            return Err(ParameterError::Length);
        };
        Ok(Self {
            reservation_key,
            service_action_key,
            all_target_ports: is_set(flags, 2),
            persist_through_power_loss: is_set(flags, 0),
            initiators,
        })
    }

    /// Encodes the list.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let flags = flag(self.initiators.is_some(), 3)
            | flag(self.all_target_ports, 2)
            | flag(self.persist_through_power_loss, 0);
        let mut out = Vec::from(self.reservation_key.to_be_bytes());
        out.extend(self.service_action_key.to_be_bytes());
        out.extend([0, 0, 0, 0, flags, 0, 0, 0]);
        if let Some(initiators) = &self.initiators {
            let ids: Vec<u8> = initiators.iter().flat_map(TransportId::encode).collect();
            out.extend((ids.len() as u32).to_be_bytes());
            out.extend(ids);
        }
        out
    }
}

impl MoveList {
    /// Decodes a list.
    ///
    /// # Errors
    /// The errors of [`BasicList::parse`].
    pub fn parse(list: &[u8]) -> Result<Self, ParameterError> {
        let (rest, (reservation_key, service_action_key, _, flags, target_port, len)) =
            (be_u64, be_u64, be_u8, be_u8, be_u16, be_u32).parse(list).map_err(length_error)?;
        if usize::try_from(len) != Ok(rest.len()) {
            return Err(ParameterError::Length);
        }
        let (initiator, used) = TransportId::parse(rest, MOVE_HEADER_LEN)?;
        if used != rest.len() {
            return Err(ParameterError::InvalidField { byte: MOVE_HEADER_LEN - 4, bit: None });
        }
        Ok(Self {
            reservation_key,
            service_action_key,
            unregister: is_set(flags, 1),
            persist_through_power_loss: is_set(flags, 0),
            target_port,
            initiator,
        })
    }

    /// Encodes the list.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::from(self.reservation_key.to_be_bytes());
        out.extend(self.service_action_key.to_be_bytes());
        out.extend([0, flag(self.unregister, 1) | flag(self.persist_through_power_loss, 0)]);
        out.extend(self.target_port.to_be_bytes());
        let id = self.initiator.encode();
        out.extend((id.len() as u32).to_be_bytes());
        out.extend(id);
        out
    }
}

/// Decodes TRANSPORTID PARAMETER DATA LENGTH and the TransportIDs.
fn transport_ids(rest: &[u8]) -> Result<Vec<TransportId>, ParameterError> {
    let (mut rest, len) = be_u32.parse(rest).map_err(length_error)?;
    if usize::try_from(len) != Ok(rest.len()) {
        return Err(ParameterError::Length);
    }
    let mut ids = Vec::new();
    let mut at = BASIC_LIST_LEN + 4;
    while !rest.is_empty() {
        let (id, used) = TransportId::parse(rest, at)?;
        ids.push(id);
        at = at.saturating_add(used as u16);
        rest = &rest[used..];
    }
    Ok(ids)
}

/// Length of the list without SPEC_I_PT, in bytes.
const BASIC_LIST_LEN: u16 = 24;
/// Offset of the TransportID in the list of REGISTER AND MOVE.
const MOVE_HEADER_LEN: u16 = 24;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn initiator() -> TransportId {
        TransportId::named("iqn.a,i,0x000000000001")
    }

    #[test]
    fn golden_basic_list() {
        let list = BasicList { reservation_key: 1, service_action_key: 0x0102 << 48, ..BasicList::default() };
        let bytes = [0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(list.encode(), bytes);
        assert_eq!(BasicList::parse(&bytes), Ok(list.clone()));
        #[rustfmt::skip]
        let cases = [
            (BasicList { persist_through_power_loss: true, ..list.clone() }, 0x01),
            (BasicList { all_target_ports: true, ..list.clone() },           0x04),
            (BasicList { initiators: Some(vec![initiator(), TransportId::named("iqn.b")]), ..list }, 0x08),
        ];
        for (list, flags) in cases {
            let bytes = list.encode();
            assert_eq!(bytes[20], flags);
            assert_eq!(BasicList::parse(&bytes), Ok(list));
        }
    }

    #[test]
    fn golden_move_list() {
        let list = MoveList {
            reservation_key: 1,
            service_action_key: 2,
            unregister: true,
            persist_through_power_loss: false,
            target_port: 0x0304,
            initiator: initiator(),
        };
        let bytes = list.encode();
        assert_eq!(bytes[8..24], [0, 0, 0, 0, 0, 0, 0, 2, 0, 2, 3, 4, 0, 0, 0, 28]);
        assert_eq!(MoveList::parse(&bytes), Ok(list.clone()));
        let other = MoveList { unregister: false, persist_through_power_loss: true, ..list };
        assert_eq!(other.encode()[17], 1);
        assert_eq!(MoveList::parse(&other.encode()), Ok(other));
    }

    #[test]
    fn list_length_must_match_its_fields() {
        let basic = BasicList::default().encode();
        let with_ids = BasicList { initiators: Some(vec![initiator()]), ..BasicList::default() }.encode();
        for list in [&basic[..23], &[&basic[..], &[0]].concat(), &with_ids[..27], &with_ids[..55], &[]] {
            assert_eq!(BasicList::parse(list), Err(ParameterError::Length), "{list:02x?}");
        }
        let mut cut = with_ids.clone();
        cut[27] = 24;
        cut.truncate(52);
        assert_eq!(
            BasicList::parse(&cut),
            Err(ParameterError::InvalidField { byte: 30, bit: None }),
            "the list ends within a TransportID"
        );
        let mut moved = [0; 24].to_vec();
        moved[23] = 56;
        moved.extend(initiator().encode());
        assert_eq!(MoveList::parse(&moved), Err(ParameterError::Length));
        assert_eq!(MoveList::parse(&moved[..20]), Err(ParameterError::Length));
        moved.extend(initiator().encode());
        assert_eq!(MoveList::parse(&moved), Err(ParameterError::InvalidField { byte: 20, bit: None }));
    }

    proptest! {
        #[test]
        fn no_input_panics(mut list in proptest::collection::vec(any::<u8>(), 0..120), len in 0..120u8) {
            if list.len() > 28 {
                list[20] |= 8;
                list[24..28].copy_from_slice(&[0, 0, 0, len]);
                list[28] = 0x45;
            }
            if let Ok(parsed) = BasicList::parse(&list) {
                prop_assert_eq!(BasicList::parse(&parsed.encode()), Ok(parsed));
            }
            if let Ok(parsed) = MoveList::parse(&list) {
                prop_assert_eq!(MoveList::parse(&parsed.encode()), Ok(parsed));
            }
        }
    }
}
