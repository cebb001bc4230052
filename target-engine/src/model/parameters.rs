//! A target's session parameters: one table of keys, their defaults and what they may be.

use iscsi_proto::text::negotiate::DigestChoice;

use super::error::ParameterError;
use super::number::c_number;

/// The values of one target, in the order of `KEYS`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parameters {
    values: [u32; KEYS.len()],
}

/// A session parameter; the discriminant is its row in `KEYS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[allow(missing_docs, reason = "the keys of RFC 7143 chapter 13 and tgt's own, by their names")]
pub enum Key {
    MaxRecvDataSegmentLength,
    HeaderDigest,
    DataDigest,
    InitialR2T,
    MaxOutstandingR2T,
    ImmediateData,
    FirstBurstLength,
    MaxBurstLength,
    DataPDUInOrder,
    DataSequenceInOrder,
    ErrorRecoveryLevel,
    IFMarker,
    OFMarker,
    DefaultTime2Wait,
    DefaultTime2Retain,
    OFMarkInt,
    IFMarkInt,
    MaxConnections,
    RDMAExtensions,
    TargetRecvDataSegmentLength,
    InitiatorRecvDataSegmentLength,
    MaxOutstandingUnexpectedPDUs,
    MaxXmitDataSegmentLength,
    MaxQueueCmd,
}

/// A parameter's value, as reports have it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Value {
    /// A number.
    Number(u32),
    /// Yes or no.
    Switch(bool),
    /// One of some words.
    Word(&'static str),
}

impl std::fmt::Display for Value {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(out),
            Self::Switch(on) => ["No", "Yes"][usize::from(*on)].fmt(out),
            Self::Word(word) => word.fmt(out),
        }
    }
}

struct Row {
    key: Key,
    name: &'static str,
    default: u32,
    kind: Kind,
}

#[derive(Clone, Copy)]
enum Kind {
    /// From, to.
    Number(u32, u32),
    Bool,
    /// A list of `None` and `CRC32C`: an index into [`DIGESTS`].
    Digest,
    /// Markers are obsolete (RFC 7143 13.25): the interval is kept, the marker itself stays off.
    MarkerInterval,
    /// A number of which only the lowest is supported.
    OnlyLowest(u32, u32),
    /// A switch that can only be off.
    OnlyOff,
}

/// Not set: shown as `None`, and CRC32C for an initiator that wants it.
const DIGEST_UNSET: u32 = 0;
const DIGESTS: [(&str, DigestChoice); 5] = [
    ("", DigestChoice::PreferNone),
    ("None", DigestChoice::None),
    ("CRC32C", DigestChoice::Crc32c),
    ("None,CRC32C", DigestChoice::PreferNone),
    ("CRC32C,None", DigestChoice::PreferCrc32c),
];
const LEN_MAX: u32 = (1 << 24) - 1;

const fn row(key: Key, name: &'static str, default: u32, kind: Kind) -> Row {
    Row { key, name, default, kind }
}

/// In the order of `target show`.
const KEYS: [Row; 24] = [
    row(Key::MaxRecvDataSegmentLength, "MaxRecvDataSegmentLength", 8192, Kind::Number(512, LEN_MAX)),
    row(Key::HeaderDigest, "HeaderDigest", DIGEST_UNSET, Kind::Digest),
    row(Key::DataDigest, "DataDigest", DIGEST_UNSET, Kind::Digest),
    row(Key::InitialR2T, "InitialR2T", 1, Kind::Bool),
    row(Key::MaxOutstandingR2T, "MaxOutstandingR2T", 1, Kind::Number(1, 65535)),
    row(Key::ImmediateData, "ImmediateData", 1, Kind::Bool),
    row(Key::FirstBurstLength, "FirstBurstLength", 65536, Kind::Number(512, LEN_MAX)),
    row(Key::MaxBurstLength, "MaxBurstLength", 262_144, Kind::Number(512, LEN_MAX)),
    row(Key::DataPDUInOrder, "DataPDUInOrder", 1, Kind::Bool),
    row(Key::DataSequenceInOrder, "DataSequenceInOrder", 1, Kind::Bool),
    row(Key::ErrorRecoveryLevel, "ErrorRecoveryLevel", 0, Kind::OnlyLowest(0, 2)),
    row(Key::IFMarker, "IFMarker", 0, Kind::OnlyOff),
    row(Key::OFMarker, "OFMarker", 0, Kind::OnlyOff),
    row(Key::DefaultTime2Wait, "DefaultTime2Wait", 2, Kind::Number(0, 3600)),
    row(Key::DefaultTime2Retain, "DefaultTime2Retain", 20, Kind::Number(0, 3600)),
    row(Key::OFMarkInt, "OFMarkInt", 0, Kind::MarkerInterval),
    row(Key::IFMarkInt, "IFMarkInt", 0, Kind::MarkerInterval),
    row(Key::MaxConnections, "MaxConnections", 1, Kind::Number(1, 65535)),
    row(Key::RDMAExtensions, "RDMAExtensions", 1, Kind::Bool),
    row(Key::TargetRecvDataSegmentLength, "TargetRecvDataSegmentLength", 262_144, Kind::Number(512, LEN_MAX)),
    row(
        Key::InitiatorRecvDataSegmentLength,
        "InitiatorRecvDataSegmentLength",
        262_144,
        Kind::Number(512, LEN_MAX),
    ),
    row(Key::MaxOutstandingUnexpectedPDUs, "MaxOutstandingUnexpectedPDUs", 0, Kind::Number(0, u32::MAX)),
    row(Key::MaxXmitDataSegmentLength, "MaxXmitDataSegmentLength", 8192, Kind::Number(512, LEN_MAX)),
    row(Key::MaxQueueCmd, "MaxQueueCmd", 128, Kind::Number(1, 512)),
];

/// The values of a new target.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Defaults {
    /// Values that are fast without tuning.
    #[default]
    Fast,
    /// Those of tgt, which are the defaults of RFC 7143 chapter 13.
    Tgt,
}

/// The fast defaults that differ from tgt's. Longer lengths brought no more throughput.
const FAST: [(Key, u32); 6] = [
    (Key::MaxRecvDataSegmentLength, 262_144),
    (Key::MaxXmitDataSegmentLength, 262_144),
    (Key::InitialR2T, 0),
    (Key::MaxOutstandingR2T, 8),
    (Key::FirstBurstLength, 262_144),
    (Key::MaxBurstLength, 16_776_192),
];

impl Parameters {
    /// A new target's.
    #[must_use]
    pub fn new(defaults: Defaults) -> Self {
        let mut parameters = Self { values: KEYS.map(|row| row.default) };
        if defaults == Defaults::Fast {
            for (key, value) in FAST {
                parameters.values[key as usize] = value;
            }
        }
        parameters
    }

    /// Changes one by its name, in any case.
    ///
    /// # Errors
    /// The value is not one of the key's, or it is not supported. Returns `None` for an unknown name.
    pub fn set(&mut self, name: &str, text: &str) -> Option<Result<(), ParameterError>> {
        let row = KEYS.iter().find(|row| row.name.eq_ignore_ascii_case(name))?;
        let (value, accepted) = (text.to_owned(), row.kind.accepted());
        Some(match row.kind.parse(text) {
            Parsed::Value(value) => {
                self.values[row.key as usize] = value;
                Ok(())
            }
            Parsed::Unsupported => Err(ParameterError::Unsupported { name: row.name, value, accepted }),
            Parsed::Wrong => Err(ParameterError::Value { name: row.name.to_owned(), value, accepted }),
        })
    }

    /// The names of all keys.
    pub fn names() -> impl Iterator<Item = &'static str> {
        KEYS.iter().map(|row| row.name)
    }

    /// A number.
    #[must_use]
    pub fn number(&self, key: Key) -> u32 {
        self.values[key as usize]
    }

    /// A switch.
    #[must_use]
    pub fn flag(&self, key: Key) -> bool {
        self.number(key) != 0
    }

    /// `HeaderDigest` or `DataDigest`.
    #[must_use]
    pub fn digests(&self, key: Key) -> DigestChoice {
        DIGESTS.get(self.number(key) as usize).map_or(DigestChoice::None, |(_, choice)| *choice)
    }

    /// Names and values as `target show` has them, in its order.
    pub fn shown(&self) -> impl Iterator<Item = (&'static str, Value)> {
        KEYS.iter().zip(self.values).map(|(row, value)| (row.name, row.kind.show(value)))
    }
}

/// A value as given.
#[derive(Clone, Copy)]
enum Parsed {
    Value(u32),
    /// It is one of the key's values, but not supported.
    Unsupported,
    /// It is none of the key's values.
    Wrong,
}

impl Kind {
    fn parse(self, text: &str) -> Parsed {
        let number = |low: u32, high: u32| {
            let number = c_number(text).and_then(|number| u32::try_from(number).ok());
            number.filter(|number| (low..=high).contains(number))
        };
        let (value, supported) = match self {
            Self::Number(low, high) => (number(low, high), None),
            Self::MarkerInterval => (number(1, 65535), None),
            Self::Bool => (yes_no(text), None),
            Self::Digest => (digests(text), None),
            Self::OnlyLowest(low, high) => (number(low, high), Some(low)),
            Self::OnlyOff => (yes_no(text), Some(0)),
        };
        match value {
            None => Parsed::Wrong,
            Some(value) if supported.is_some_and(|supported| supported != value) => Parsed::Unsupported,
            Some(value) => Parsed::Value(value),
        }
    }

    /// For a refusal.
    fn accepted(self) -> String {
        match self {
            Self::Number(low, high) => format!("{low} to {high}"),
            Self::MarkerInterval => "1 to 65535".to_owned(),
            Self::Bool => "Yes, No".to_owned(),
            Self::Digest => DIGESTS[1..].iter().map(|(list, _)| *list).collect::<Vec<_>>().join(" or "),
            Self::OnlyLowest(low, _) => low.to_string(),
            Self::OnlyOff => "No".to_owned(),
        }
    }

    fn show(self, value: u32) -> Value {
        match self {
            Self::Number(..) | Self::OnlyLowest(..) => Value::Number(value),
            Self::Bool | Self::OnlyOff => Value::Switch(value != 0),
            Self::Digest => Value::Word(["None", "CRC32C"][usize::from(value > 1)]),
            Self::MarkerInterval => Value::Word(["Reject", "Irrelevant"][usize::from(value != 0)]),
        }
    }
}

fn yes_no(text: &str) -> Option<u32> {
    match text {
        "Yes" => Some(1),
        "No" => Some(0),
        _ => None,
    }
}

fn digests(text: &str) -> Option<u32> {
    let found = (0..).zip(DIGESTS).skip(1).find(|(_, (list, _))| *list == text);
    found.map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_at_its_row() {
        for (index, row) in KEYS.iter().enumerate() {
            assert_eq!(row.key as usize, index, "{}", row.name);
        }
    }

    #[test]
    fn fast_defaults_are_values_that_could_be_set() {
        let fast = Parameters::new(Defaults::Fast);
        let mut set = Parameters::new(Defaults::Tgt);
        for (name, value) in
            fast.shown().filter(|(name, _)| !name.ends_with("Digest") && !name.ends_with("MarkInt"))
        {
            set.set(name, &value.to_string()).unwrap().unwrap();
        }
        assert_eq!(set, fast);
        assert!(!fast.flag(Key::InitialR2T) && Parameters::new(Defaults::Tgt).flag(Key::InitialR2T));
    }

    #[test]
    fn accepted_values() {
        let mut parameters = Parameters::new(Defaults::Tgt);
        let cases = [
            ("maxrecvdatasegmentlength", "4096", 4096),
            ("MaxRecvDataSegmentLength", "16777215", 0xff_ffff),
            ("MaxBurstLength", "0x40000", 262_144),
            ("InitialR2T", "No", 0),
            ("HeaderDigest", "None,CRC32C", 3),
            ("DataDigest", "CRC32C", 2),
            ("MaxQueueCmd", "512", 512),
            ("DefaultTime2Wait", "3600", 3600),
            ("ErrorRecoveryLevel", "0", 0),
            ("IFMarker", "No", 0),
            ("OFMarkInt", "2048", 2048),
            ("MaxConnections", "8", 8),
        ];
        for (name, value, expected) in cases {
            assert_eq!(parameters.set(name, value), Some(Ok(())), "{name}={value}");
            let row = KEYS.iter().find(|row| row.name.eq_ignore_ascii_case(name)).unwrap();
            assert_eq!(parameters.number(row.key), expected, "{name}={value}");
        }
        assert_eq!(parameters.digests(Key::HeaderDigest), DigestChoice::PreferNone);
        assert_eq!(parameters.digests(Key::DataDigest), DigestChoice::Crc32c);
        assert_eq!(Parameters::new(Defaults::Tgt).digests(Key::DataDigest), DigestChoice::PreferNone);
        assert!(!parameters.flag(Key::InitialR2T));
    }

    #[test]
    fn refused_values_change_nothing() {
        let mut parameters = Parameters::new(Defaults::Tgt);
        let cases = [
            ("MaxRecvDataSegmentLength", "511"),
            ("MaxRecvDataSegmentLength", "16777216"),
            ("MaxRecvDataSegmentLength", "x"),
            ("InitialR2T", "no"),
            ("HeaderDigest", "crc"),
            ("HeaderDigest", ""),
            ("MaxQueueCmd", "0"),
            ("MaxQueueCmd", "513"),
            ("MaxConnections", "0"),
            ("ErrorRecoveryLevel", "3"),
        ];
        for (name, value) in cases {
            let answer = parameters.set(name, value);
            assert!(matches!(answer, Some(Err(ParameterError::Value { .. }))), "{name}={value}: {answer:?}");
        }
        for (name, value) in [("ErrorRecoveryLevel", "1"), ("IFMarker", "Yes")] {
            let answer = parameters.set(name, value);
            assert!(
                matches!(answer, Some(Err(ParameterError::Unsupported { .. }))),
                "{name}={value}: {answer:?}"
            );
        }
        for name in ["Colour", ""] {
            assert_eq!(parameters.set(name, "1"), None);
        }
        assert_eq!(parameters, Parameters::new(Defaults::Tgt));
    }

    #[test]
    fn values_are_shown_in_tgts_words() {
        let mut parameters = Parameters::new(Defaults::Tgt);
        parameters.set("HeaderDigest", "None,CRC32C").unwrap().unwrap();
        parameters.set("IFMarkInt", "1").unwrap().unwrap();
        let shown: Vec<_> = parameters.shown().collect();
        let text = |index: usize| format!("{}={}", shown[index].0, shown[index].1);
        assert_eq!(text(1), "HeaderDigest=CRC32C");
        assert_eq!(text(2), "DataDigest=None");
        assert_eq!(text(3), "InitialR2T=Yes");
        assert_eq!(text(11), "IFMarker=No");
        assert_eq!(text(15), "OFMarkInt=Reject");
        assert_eq!(text(16), "IFMarkInt=Irrelevant");
        assert_eq!(text(23), "MaxQueueCmd=128");
    }
}
