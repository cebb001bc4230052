//! The table of keys (RFC 7143 12.1, 13; RFC 7144 7.1; RFC 7145 6.3).

use super::preferences::{DigestChoice, Preferences};
use crate::params::{ConnectionParams, SessionParams};

/// Role of one side of a connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Role {
    /// The side that opens the connection.
    Initiator,
    /// The side that accepts the connection.
    Target,
}

impl Role {
    /// The role of the other side.
    pub fn peer(self) -> Self {
        match self {
            Self::Initiator => Self::Target,
            Self::Target => Self::Initiator,
        }
    }
}

/// The roles that may send a key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Senders {
    /// The initiator only.
    Initiator,
    /// The target only.
    Target,
    /// Both roles.
    Both,
}

impl Senders {
    /// Whether this role may send the key.
    pub fn include(self, role: Role) -> bool {
        match self {
            Self::Initiator => role == Role::Initiator,
            Self::Target => role == Role::Target,
            Self::Both => true,
        }
    }
}

/// Phase in which a key may be used; in parentheses the abbreviation of RFC 7143 13.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// During any login (IO).
    Login,
    /// During the login of a session's leading connection (LO).
    LeadingLogin,
    /// In the full feature phase (FFPO).
    FullFeature,
    /// At any time (ALL).
    Always,
}

/// How the preferences of both sides are combined.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Pick {
    /// The smaller number; for booleans Yes if both sides say Yes (AND).
    Smaller,
    /// The larger number; for booleans Yes if either side says Yes (OR).
    Larger,
}

impl Pick {
    /// Combines two preferences. A preference `p` permits the result `r` if `p` combined with `r` is `r`.
    pub(super) fn combine<T: Ord>(self, a: T, b: T) -> T {
        match self {
            Self::Smaller => a.min(b),
            Self::Larger => a.max(b),
        }
    }
}

/// How the value of a key is negotiated.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Part of an authentication, which the caller performs.
    Security,
    /// Declared by one side, without an answer.
    Declared,
    /// A request with an answer of its own.
    Request,
    /// MaxRecvDataSegmentLength: each side declares its own.
    ReceiveLimit,
    /// Yes or No, from the preferences of both sides.
    Boolean {
        /// How the preferences are combined: AND or OR.
        pick: Pick,
        /// Reads the parameter.
        get: fn(&SessionParams) -> bool,
        /// Writes the parameter.
        set: fn(&mut SessionParams, bool),
    },
    /// A number, from the preferences of both sides.
    Number {
        /// How the preferences are combined: minimum or maximum.
        pick: Pick,
        /// Smallest valid value.
        min: u32,
        /// Largest valid value.
        max: u32,
        /// Reads the parameter.
        get: fn(&SessionParams) -> u32,
        /// Writes the parameter; the value is within `min..=max`.
        set: fn(&mut SessionParams, u32),
    },
    /// A digest: the first value of a list that the other side accepts.
    Digest {
        /// Reads what a side offers and accepts.
        choice: fn(&Preferences) -> DigestChoice,
        /// Whether CRC32C is in use.
        get: fn(&ConnectionParams) -> bool,
        /// Sets whether CRC32C is in use.
        set: fn(&mut ConnectionParams, bool),
    },
    /// TaskReporting: the first value of a list that the other side accepts.
    TaskReporting,
    /// An unsupported feature, with the fixed answer that the standard defines.
    Constant(&'static str),
}

/// A row of the table of keys.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The key.
    pub key: Key,
    /// Name of the key, which is case-sensitive.
    pub name: &'static str,
    /// How the value is negotiated.
    pub rule: Rule,
    /// When the key may be used.
    pub usage: Use,
    /// Who may send the key.
    pub senders: Senders,
    /// Whether the key is relevant in a discovery session.
    pub in_discovery: bool,
}

/// Declares the enum and the table from one list.
macro_rules! keys {
    ($($(#[$doc:meta])* $key:ident = $name:literal: $rule:expr, $usage:ident, $senders:ident, $in_discovery:ident;)*) => {
        /// A key that the standards define.
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum Key {
            $($(#[$doc])* $key,)*
        }

        /// All keys, in the order of [`Key`].
        pub const KEYS: &[Row] = &[
            $(Row {
                key: Key::$key,
                name: $name,
                rule: $rule,
                usage: Use::$usage,
                senders: Senders::$senders,
                in_discovery: Discovery::$in_discovery as u8 != 0,
            },)*
        ];
    };
}

/// Last column of the table: whether the key is relevant in a discovery session.
enum Discovery {
    Irrelevant,
    Relevant,
}

/// Rule of a boolean of [`SessionParams`].
macro_rules! boolean {
    ($pick:ident $field:ident) => {
        Rule::Boolean {
            pick: Pick::$pick,
            get: |params| params.$field,
            set: |params, value| params.$field = value,
        }
    };
}

/// Rule of a number of [`SessionParams`]; the bounds ensure that the value fits its field.
macro_rules! number {
    ($pick:ident $field:ident $min:literal ..= $max:expr) => {
        Rule::Number {
            pick: Pick::$pick,
            min: $min,
            max: $max,
            get: |params| u32::from(params.$field),
            set: |params, value| params.$field = value as _,
        }
    };
}

/// Rule of a digest of [`ConnectionParams`].
macro_rules! digest {
    ($field:ident) => {
        Rule::Digest {
            choice: |preferences| preferences.$field,
            get: |params| params.$field,
            set: |params, value| params.$field = value,
        }
    };
}

/// Maximum length of a data segment or burst, in bytes.
pub const LENGTH_MAX: u32 = 0x00ff_ffff;
/// Minimum of MaxRecvDataSegmentLength and of the burst lengths, in bytes.
pub const LENGTH_MIN: u32 = 512;

#[rustfmt::skip]
keys! {
    /// RFC 7143 12.1.
    AuthMethod = "AuthMethod": Rule::Security, Login, Both, Relevant;
    /// RFC 7143 12.1.3: list of offered algorithms, or the chosen one.
    ChapA = "CHAP_A": Rule::Security, Login, Both, Relevant;
    /// RFC 7143 12.1.3: identifier.
    ChapI = "CHAP_I": Rule::Security, Login, Both, Relevant;
    /// RFC 7143 12.1.3: challenge.
    ChapC = "CHAP_C": Rule::Security, Login, Both, Relevant;
    /// RFC 7143 12.1.3: name.
    ChapN = "CHAP_N": Rule::Security, Login, Both, Relevant;
    /// RFC 7143 12.1.3: response.
    ChapR = "CHAP_R": Rule::Security, Login, Both, Relevant;
    /// RFC 7143 13.1.
    HeaderDigest = "HeaderDigest": digest!(header_digest), Login, Both, Relevant;
    /// RFC 7143 13.1.
    DataDigest = "DataDigest": digest!(data_digest), Login, Both, Relevant;
    /// RFC 7143 13.2.
    MaxConnections = "MaxConnections": number!(Smaller max_connections 1..=65_535), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.3 and appendix C.
    SendTargets = "SendTargets": Rule::Request, FullFeature, Initiator, Relevant;
    /// RFC 7143 13.4. A target sends it in the answer to SendTargets.
    TargetName = "TargetName": Rule::Declared, Always, Both, Relevant;
    /// RFC 7143 13.5.
    InitiatorName = "InitiatorName": Rule::Declared, Login, Initiator, Relevant;
    /// RFC 7143 13.6.
    TargetAlias = "TargetAlias": Rule::Declared, Always, Target, Relevant;
    /// RFC 7143 13.7.
    InitiatorAlias = "InitiatorAlias": Rule::Declared, Always, Initiator, Relevant;
    /// RFC 7143 13.8.
    TargetAddress = "TargetAddress": Rule::Declared, Always, Target, Relevant;
    /// RFC 7143 13.9.
    TargetPortalGroupTag = "TargetPortalGroupTag": Rule::Declared, Login, Target, Relevant;
    /// RFC 7143 13.10.
    InitialR2t = "InitialR2T": boolean!(Larger initial_r2t), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.11.
    ImmediateData = "ImmediateData": boolean!(Smaller immediate_data), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.12.
    MaxRecvDataSegmentLength = "MaxRecvDataSegmentLength": Rule::ReceiveLimit, Always, Both, Relevant;
    /// RFC 7143 13.13. Precedes FirstBurstLength, which depends on it.
    MaxBurstLength = "MaxBurstLength": number!(Smaller max_burst_len 512..=LENGTH_MAX), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.14.
    FirstBurstLength = "FirstBurstLength": number!(Smaller first_burst_len 512..=LENGTH_MAX), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.15.
    DefaultTime2Wait = "DefaultTime2Wait": number!(Larger default_time2wait 0..=3600), LeadingLogin, Both, Relevant;
    /// RFC 7143 13.16.
    DefaultTime2Retain = "DefaultTime2Retain": number!(Smaller default_time2retain 0..=3600), LeadingLogin, Both, Relevant;
    /// RFC 7143 13.17.
    MaxOutstandingR2t = "MaxOutstandingR2T": number!(Smaller max_outstanding_r2t 1..=65_535), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.18.
    DataPduInOrder = "DataPDUInOrder": boolean!(Larger data_pdu_in_order), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.19.
    DataSequenceInOrder = "DataSequenceInOrder": boolean!(Larger data_sequence_in_order), LeadingLogin, Both, Irrelevant;
    /// RFC 7143 13.20.
    ErrorRecoveryLevel = "ErrorRecoveryLevel": number!(Smaller error_recovery_level 0..=2), LeadingLogin, Both, Relevant;
    /// RFC 7143 13.21. LO in the standard, but initiators declare it on every connection.
    SessionType = "SessionType": Rule::Declared, Login, Initiator, Relevant;
    /// RFC 7143 13.23.
    TaskReporting = "TaskReporting": Rule::TaskReporting, LeadingLogin, Both, Irrelevant;
    /// RFC 7144 7.1.1; registered by RFC 7143 13.24.
    ProtocolLevel = "iSCSIProtocolLevel": number!(Smaller protocol_level 0..=31), LeadingLogin, Both, Irrelevant;
    /// Obsolete; answered with No or Reject, but not NotUnderstood (RFC 7143 13.25). Every initiator accepts No.
    IfMarker = "IFMarker": Rule::Constant("No"), Login, Both, Relevant;
    /// Obsolete, see [`Key::IfMarker`].
    OfMarker = "OFMarker": Rule::Constant("No"), Login, Both, Relevant;
    /// Obsolete; answered with Reject (RFC 7143 13.25).
    IfMarkInt = "IFMarkInt": Rule::Constant("Reject"), Login, Both, Relevant;
    /// Obsolete, see [`Key::IfMarkInt`].
    OfMarkInt = "OFMarkInt": Rule::Constant("Reject"), Login, Both, Relevant;
    /// RFC 7145 6.3: iSER, which is not supported.
    RdmaExtensions = "RDMAExtensions": Rule::Constant("No"), LeadingLogin, Both, Irrelevant;
}

impl Key {
    /// Looks a key up by its name, which is case-sensitive.
    pub fn by_name(name: &str) -> Option<Self> {
        KEYS.iter().find(|row| row.name == name).map(|row| row.key)
    }

    /// The row of the key in [`KEYS`].
    pub const fn row(self) -> &'static Row {
        &KEYS[self as usize]
    }

    /// The name of the key.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// Whether one side may send the key more than once in a negotiation.
    pub fn may_repeat(self) -> bool {
        matches!(self, Self::TargetAddress)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of keys.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct KeySet(u64);

impl KeySet {
    /// Whether the set contains the key.
    pub fn contains(self, key: Key) -> bool {
        self.0 & Self::bit(key) != 0
    }

    /// Adds a key. Returns false if the set contained it.
    pub fn insert(&mut self, key: Key) -> bool {
        let new = !self.contains(key);
        self.0 |= Self::bit(key);
        new
    }

    /// Removes a key. Returns whether the set contained it.
    pub fn remove(&mut self, key: Key) -> bool {
        let old = self.contains(key);
        self.0 &= !Self::bit(key);
        old
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn bit(key: Key) -> u64 {
        1 << key as u8
    }
}

const _: () = assert!(KEYS.len() <= 64, "a KeySet has 64 bits");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_in_the_order_of_keys_and_found_by_name() {
        for (index, row) in KEYS.iter().enumerate() {
            assert_eq!(row.key as usize, index, "{}", row.name);
            assert_eq!(Key::by_name(row.name), Some(row.key));
            assert!(row.name.len() <= 63);
        }
        assert_eq!(Key::by_name("initialr2t"), None);
    }

    #[test]
    fn defaults_are_within_bounds_and_setters_match_getters() {
        for row in KEYS {
            let mut params = SessionParams::default();
            match row.rule {
                Rule::Number { min, max, get, set, .. } => {
                    assert!((min..=max).contains(&get(&params)), "{}", row.name);
                    for value in [min, max] {
                        set(&mut params, value);
                        assert_eq!(get(&params), value, "{}", row.name);
                    }
                }
                Rule::Boolean { get, set, .. } => {
                    let old = get(&params);
                    set(&mut params, !old);
                    assert_eq!(get(&params), !old, "{}", row.name);
                }
                _ => {}
            }
        }
    }

    #[test]
    fn each_field_belongs_to_one_key() {
        let changed = KEYS.iter().filter_map(|row| {
            let mut params = SessionParams::default();
            match row.rule {
                Rule::Number { min, max, get, set, .. } => {
                    let value = if get(&params) == min { max } else { min };
                    set(&mut params, value);
                }
                Rule::Boolean { get, set, .. } => {
                    let old = get(&params);
                    set(&mut params, !old);
                }
                _ => return None,
            }
            Some(params)
        });
        let changed: Vec<SessionParams> = changed.collect();
        for (index, params) in changed.iter().enumerate() {
            assert!(!changed[..index].contains(params), "{params:?}");
        }
        assert_eq!(changed.len(), 12);
    }

    #[test]
    fn key_set_inserts_and_removes() {
        let mut set = KeySet::default();
        assert!(set.is_empty() && set.insert(Key::RdmaExtensions) && !set.insert(Key::RdmaExtensions));
        assert!(set.contains(Key::RdmaExtensions) && !set.contains(Key::AuthMethod));
        assert!(set.remove(Key::RdmaExtensions) && !set.remove(Key::RdmaExtensions) && set.is_empty());
    }
}
