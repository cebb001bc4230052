//! Identifiers of tasks, transfers, sessions and connections (RFC 7143 11.2 to 11.12).

/// The reserved value of both tags, which means "no tag".
const RESERVED: u32 = 0xffff_ffff;

/// Initiator Task Tag: identifies a task within a session (RFC 7143 11.2.1.8). PDU fields that may hold the reserved
/// 0xffffffff are an `Option`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Itt(pub u32);

/// Target Transfer Tag: identifies a solicited transfer, a text exchange or a ping of the target (RFC 7143 11.7.4). PDU
/// fields that may hold the reserved 0xffffffff are an `Option`.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Ttt(pub u32);

impl Itt {
    /// Decodes the tag; the reserved 0xffffffff is `None`.
    #[inline]
    pub fn from_wire(value: u32) -> Option<Self> {
        (value != RESERVED).then_some(Self(value))
    }

    /// Encodes the tag; `None` is the reserved 0xffffffff.
    #[inline]
    pub fn to_wire(tag: Option<Self>) -> u32 {
        tag.map_or(RESERVED, |tag| tag.0)
    }
}

impl Ttt {
    /// Decodes the tag; the reserved 0xffffffff is `None`.
    #[inline]
    pub fn from_wire(value: u32) -> Option<Self> {
        (value != RESERVED).then_some(Self(value))
    }

    /// Encodes the tag; `None` is the reserved 0xffffffff.
    #[inline]
    pub fn to_wire(tag: Option<Self>) -> u32 {
        tag.map_or(RESERVED, |tag| tag.0)
    }
}

/// Initiator Session ID (RFC 7143 11.12.5). Together with the name of the initiator it names the initiator port.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Isid(pub [u8; 6]);

/// Target Session Identifying Handle: the target's part of the session identifier (RFC 7143 11.12.6).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Tsih(pub u16);

impl Tsih {
    /// Value in a Login Request for a new session.
    pub const NEW: Self = Self(0);

    /// Whether a Login Request with this value requests a new session.
    #[inline]
    pub fn is_new(self) -> bool {
        self == Self::NEW
    }
}

/// Connection ID: identifies a connection within its session (RFC 7143 11.12.7).
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Cid(pub u16);

impl std::fmt::Display for Isid {
    /// `0x` and twelve lower-case hex digits, the notation of RFC 7143 4.2.7.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_tag_is_none() {
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
