//! Parses a text into key=value pairs, and builds one (RFC 7143 6.1).

use std::fmt::{self, Display, Write};

use bytes::{Bytes, BytesMut};
use nom::bytes::complete::take_while_m_n;
use nom::character::complete::char;
use nom::combinator::rest;
use nom::sequence::separated_pair;
use nom::{IResult, Parser};

/// Why a text is not accepted as key=value pairs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The text exceeds [`TextLimits::text_len_max`].
    #[error("text of {0} bytes is too long")]
    TooLong(usize),
    /// The text has more pairs than [`TextLimits::pairs_max`].
    #[error("more than {0} keys in one text")]
    TooManyPairs(usize),
    /// A value exceeds [`TextLimits::value_len_max`].
    #[error("value of {0} bytes is too long")]
    ValueTooLong(usize),
    /// The equals sign is missing, or the key name before it does not have 1 to 63 printable characters.
    #[error("not a key=value pair: {start} at byte {offset} of the text")]
    NotAPair {
        /// Where it starts, in bytes from the start of the text.
        offset: usize,
        /// Its first bytes.
        start: PairStart,
    },
    /// A value is not UTF-8.
    #[error("value is not UTF-8")]
    NotUtf8,
}

/// The first bytes of what should be a pair, at most [`PairStart::LEN_MAX`], and none of a value.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct PairStart {
    bytes: [u8; Self::LEN_MAX],
    len: usize,
}

impl PairStart {
    /// Maximum number of bytes.
    pub const LEN_MAX: usize = 16;

    fn of(line: &[u8]) -> Self {
        let key = line.split_inclusive(|byte| *byte == b'=').next().unwrap_or_default();
        let len = key.len().min(Self::LEN_MAX);
        let mut bytes = [0; Self::LEN_MAX];
        bytes[..len].copy_from_slice(&key[..len]);
        Self { bytes, len }
    }
}

/// In quotation marks; bytes that are not printable ASCII are escaped.
impl Display for PairStart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "\"{}\"", self.bytes[..self.len].escape_ascii())
    }
}

impl fmt::Debug for PairStart {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, out)
    }
}

/// Limits of a received text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TextLimits {
    /// Maximum length of the text in bytes.
    pub text_len_max: usize,
    /// Maximum number of pairs.
    pub pairs_max: usize,
    /// Maximum length of one value in bytes.
    pub value_len_max: usize,
}

impl Default for TextLimits {
    /// More than a login needs: 64 KiB, 256 pairs, 4 KiB for a value. The longest value of the standard is a CHAP
    /// challenge of 1024 bytes in hex.
    fn default() -> Self {
        Self { text_len_max: 65_536, pairs_max: PAIRS_MAX, value_len_max: VALUE_LEN_MAX }
    }
}

/// Iterates over the pairs of a text, which is the concatenation of the data segments of all PDUs that continue it. The
/// iterator ends after an error.
///
/// Empty pairs (NUL after NUL) are skipped, and the NUL of the last pair may be missing, as some initiators send both.
///
/// ```
/// use iscsi_proto::text::{TextLimits, pairs};
///
/// let text = b"InitiatorName=iqn.1993-08.org.debian:01:ab\0SessionType=Discovery\0";
/// let pairs: Result<Vec<_>, _> = pairs(text, &TextLimits::default()).collect();
/// assert_eq!(pairs?[1], ("SessionType", "Discovery"));
/// # Ok::<(), iscsi_proto::text::TextError>(())
/// ```
pub fn pairs<'a>(text: &'a [u8], limits: &TextLimits) -> Pairs<'a> {
    Pairs { rest: text, text_len: text.len(), left: limits.pairs_max, limits: *limits }
}

/// Iterator of [`pairs`].
#[derive(Clone, Debug)]
pub struct Pairs<'a> {
    rest: &'a [u8],
    /// Length of the whole text in bytes.
    text_len: usize,
    left: usize,
    limits: TextLimits,
}

impl<'a> Iterator for Pairs<'a> {
    type Item = Result<(&'a str, &'a str), TextError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.len() > self.limits.text_len_max {
            return self.fail(TextError::TooLong(self.rest.len()));
        }
        let start = self.rest.iter().position(|byte| *byte != 0)?;
        if self.left == 0 {
            return self.fail(TextError::TooManyPairs(self.limits.pairs_max));
        }
        self.left -= 1;
        let pair = &self.rest[start..];
        let offset = self.text_len - pair.len();
        let (line, after) = pair.split_at(pair.iter().position(|byte| *byte == 0).unwrap_or(pair.len()));
        self.rest = after;
        match self.pair(line, offset) {
            Ok(pair) => Some(Ok(pair)),
            Err(error) => self.fail(error),
        }
    }
}

impl<'a> Pairs<'a> {
    fn pair(&self, line: &'a [u8], offset: usize) -> Result<(&'a str, &'a str), TextError> {
        let not_a_pair = || TextError::NotAPair { offset, start: PairStart::of(line) };
        let (_, (key, value)) = key_and_value(line).map_err(|_| not_a_pair())?;
        if value.len() > self.limits.value_len_max {
            return Err(TextError::ValueTooLong(value.len()));
        }
        let key = str::from_utf8(key).map_err(|_| not_a_pair())?;
        let value = str::from_utf8(value).map_err(|_| TextError::NotUtf8)?;
        Ok((key, value))
    }

    fn fail(&mut self, error: TextError) -> Option<Result<(&'a str, &'a str), TextError>> {
        self.rest = &[];
        Some(Err(error))
    }
}

fn key_and_value(input: &[u8]) -> IResult<&[u8], (&[u8], &[u8])> {
    let key = take_while_m_n(1, KEY_LEN_MAX, |byte: u8| byte.is_ascii_graphic() && byte != b'=');
    separated_pair(key, char('='), rest).parse(input)
}

/// Builds a text.
#[derive(Clone, Debug, Default)]
pub struct TextBuilder {
    text: BytesMut,
}

impl TextBuilder {
    /// An empty text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a pair. A NUL in the value is replaced by a space, because it would end the value.
    pub fn pair(&mut self, key: &str, value: impl Display) {
        debug_assert!(!key.is_empty() && key.len() <= KEY_LEN_MAX, "key name {key:?}");
        self.text.extend_from_slice(key.as_bytes());
        self.text.extend_from_slice(b"=");
        let start = self.text.len();
        // Writing to a `BytesMut` cannot fail: it aborts if memory is exhausted.
        let _ = write!(self.text, "{value}");
        self.text[start..].iter_mut().filter(|byte| **byte == 0).for_each(|byte| *byte = b' ');
        self.text.extend_from_slice(&[0]);
    }

    /// Whether the text has no pair.
    pub fn is_empty(&self) -> bool {
        self.text.is_empty()
    }

    /// Length of the text in bytes.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// The complete text, which the caller splits into data segments.
    pub fn finish(self) -> Bytes {
        self.text.freeze()
    }
}

/// Maximum number of pairs of one text.
///
/// Hit by: any peer. Scope: login or text request. Over it: a login is refused with 0200, initiator error; a
/// text request is rejected. Seen: log, of a login.
const PAIRS_MAX: usize = 256;
/// Maximum length of one value in bytes.
///
/// Hit by: any peer. Scope: login or text request. Over it: a login is refused with 0200, initiator error; a
/// text request is rejected. Seen: log, of a login.
const VALUE_LEN_MAX: usize = 4096;
/// Maximum length of a key name in bytes (RFC 7143 6.1).
///
/// Hit by: any peer. Scope: login or text request. Over it: a login is refused with 0200, initiator error; a
/// text request is rejected. Seen: log, of a login.
pub(crate) const KEY_LEN_MAX: usize = 63;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &[u8]) -> Result<Vec<(&str, &str)>, TextError> {
        pairs(text, &TextLimits { text_len_max: 200, pairs_max: 3, value_len_max: 20 }).collect()
    }

    #[test]
    fn pairs_are_separated_by_nul() {
        assert_eq!(parse(b"A=1\0B=2\0"), Ok(vec![("A", "1"), ("B", "2")]));
        assert_eq!(parse(b"\0\0A=1\0\0B=2"), Ok(vec![("A", "1"), ("B", "2")]));
        assert_eq!(parse(b"\0\0"), Ok(vec![]));
        assert_eq!(parse(b""), Ok(vec![]));
    }

    #[test]
    fn a_value_may_be_empty_and_may_hold_an_equals_sign() {
        assert_eq!(parse(b"A=\0B==x=\0"), Ok(vec![("A", ""), ("B", "=x=")]));
    }

    #[test]
    fn malformed_pair_is_an_error() {
        for text in [&b"A\0"[..], b"=1\0", b"A B=1\0", b"A\xc3\xa4=1\0", b"A\x01=1\0"] {
            assert!(matches!(parse(text), Err(TextError::NotAPair { offset: 0, .. })), "{text:?}");
        }
        assert_eq!(parse(b"A=\xff\0"), Err(TextError::NotUtf8));
    }

    #[test]
    fn malformed_pair_is_reported_with_its_offset_and_first_bytes() {
        for (text, message) in [
            (&b"A=1\0\0Band\0"[..], r#"not a key=value pair: "Band" at byte 5 of the text"#),
            (b"=secret", r#"not a key=value pair: "=" at byte 0 of the text"#),
            (b"K\xe9y\"\n=secret", r#"not a key=value pair: "K\xe9y\"\n=" at byte 0 of the text"#),
            (&[b'k'; 99], r#"not a key=value pair: "kkkkkkkkkkkkkkkk" at byte 0 of the text"#),
        ] {
            assert_eq!(parse(text).unwrap_err().to_string(), message);
        }
    }

    #[test]
    fn limits_are_exact() {
        let key = |len: usize| [&vec![b'k'; len][..], b"=1\0"].concat();
        assert_eq!(parse(&key(63)).map(|pairs| pairs.len()), Ok(1));
        assert!(matches!(parse(&key(64)), Err(TextError::NotAPair { .. })));
        let value = |len: usize| [b"k=", &vec![b'v'; len][..]].concat();
        assert_eq!(parse(&value(20)).map(|pairs| pairs.len()), Ok(1));
        assert_eq!(parse(&value(21)), Err(TextError::ValueTooLong(21)));
        assert_eq!(parse(&[0; 200]), Ok(vec![]));
        assert_eq!(parse(&[0; 201]), Err(TextError::TooLong(201)));
        assert_eq!(parse(b"A=1\0B=1\0C=1\0\0").map(|pairs| pairs.len()), Ok(3));
        assert_eq!(parse(b"A=1\0B=1\0C=1\0D=1"), Err(TextError::TooManyPairs(3)));
    }

    #[test]
    fn iterator_ends_after_an_error() {
        let mut pairs = pairs(b"A\0B=1\0", &TextLimits::default());
        assert!(pairs.next().is_some_and(|pair| pair.is_err()));
        assert_eq!(pairs.next(), None);
    }

    #[test]
    fn builder_ends_every_pair_with_a_nul() {
        let mut text = TextBuilder::new();
        assert!(text.is_empty());
        text.pair("MaxBurstLength", 262_144);
        text.pair("TargetAlias", "a\0b");
        assert_eq!(text.len(), 38);
        assert_eq!(text.finish(), &b"MaxBurstLength=262144\0TargetAlias=a b\0"[..]);
    }

    proptest! {
        #[test]
        fn parser_returns_what_was_built(
            expected in prop::collection::vec(("[A-Za-z][A-Za-z0-9.+@_#-]{0,62}", "[^\0]{0,60}"), 0..20)
        ) {
            let mut text = TextBuilder::new();
            expected.iter().for_each(|(key, value)| text.pair(key, value));
            let text = text.finish();
            let parsed: Result<Vec<_>, _> = pairs(&text, &TextLimits::default()).collect();
            let parsed = parsed.unwrap();
            prop_assert_eq!(parsed.len(), expected.len());
            for (parsed, expected) in parsed.iter().zip(&expected) {
                prop_assert_eq!(*parsed, (&expected.0[..], &expected.1[..]));
            }
        }

        #[test]
        fn iterator_ends_for_any_input(text in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(pairs(&text, &TextLimits::default()).count() <= text.len());
        }
    }
}
