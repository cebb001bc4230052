//! Names given by numbers: tags, sessions, connections (RFC 7143 11.1 – 11.13).

/// The value that says "no tag" on the wire, for both kinds of tags.
const RESERVED: u32 = 0xffff_ffff;

/// Initiator Task Tag: the initiator's name for a task (RFC 7143 11.2.1.8). Where a PDU may go without one
/// (the reserved 0xffffffff) the field is an `Option`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Itt(pub u32);

/// Target Transfer Tag: the target's name for a solicited transfer or a negotiation (RFC 7143 11.7.4). The
/// reserved 0xffffffff is `None`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ttt(pub u32);

impl Itt {
    /// From its wire value; `None` is the reserved 0xffffffff.
    #[inline]
    pub fn from_wire(value: u32) -> Option<Self> {
        (value != RESERVED).then_some(Self(value))
    }

    /// To its wire value.
    #[inline]
    pub fn to_wire(tag: Option<Self>) -> u32 {
        tag.map_or(RESERVED, |tag| tag.0)
    }
}

impl Ttt {
    /// From its wire value; `None` is the reserved 0xffffffff.
    #[inline]
    pub fn from_wire(value: u32) -> Option<Self> {
        (value != RESERVED).then_some(Self(value))
    }

    /// To its wire value.
    #[inline]
    pub fn to_wire(tag: Option<Self>) -> u32 {
        tag.map_or(RESERVED, |tag| tag.0)
    }
}

/// Initiator Session ID: with the initiator's name, the initiator port (RFC 7143 11.12.5).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Isid(pub [u8; 6]);

/// Target Session Identifying Handle (RFC 7143 11.12.6).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Tsih(pub u16);

impl Tsih {
    /// What an initiator sends to ask for a new session.
    pub const NEW: Self = Self(0);

    /// Whether this asks for a new session.
    #[inline]
    pub fn is_new(self) -> bool {
        self == Self::NEW
    }
}

/// Connection ID: one of a session's connections (RFC 7143 11.12.7).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Cid(pub u16);

impl std::fmt::Display for Isid {
    /// Twelve lower-case hex digits with a leading 0x, the notation of RFC 7143 4.2.7.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserved_tag_is_none() {
        assert_eq!(Itt::from_wire(0xffff_ffff), None);
        assert_eq!(Ttt::from_wire(0xffff_ffff), None);
        assert_eq!(Itt::from_wire(0xffff_fffe), Some(Itt(0xffff_fffe)));
        assert_eq!(Ttt::to_wire(None), 0xffff_ffff);
        assert_eq!(Itt::to_wire(Some(Itt(5))), 5);
    }

    #[test]
    fn isid_prints_as_hex() {
        assert_eq!(Isid([0, 0x2, 0x3d, 0, 0, 0x1f]).to_string(), "0x00023d00001f");
    }
}
