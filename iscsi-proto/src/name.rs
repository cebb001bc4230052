//! iSCSI names (RFC 7143 4.2.7, RFC 3722, RFC 3980) in the iqn., eui. and naa. formats.

use std::fmt::{self, Display};
use std::hash::{Hash, Hasher};

use nom::bytes::complete::{tag, take_while_m_n, take_while1};
use nom::character::complete::char;
use nom::combinator::{all_consuming, opt, verify};
use nom::multi::separated_list1;
use nom::sequence::preceded;
use nom::{IResult, Parser};

/// The name of an initiator or a target, with its original spelling.
///
/// Names that differ only in case are equal (RFC 3722 5).
#[derive(Clone)]
pub struct IscsiName {
    text: String,
    /// The name in lower case, if that differs.
    normal: Option<String>,
}

/// Format of a name.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum NameType {
    /// `iqn.` year-month `.` reversed domain, and perhaps `:` and more.
    Iqn,
    /// `eui.` and 16 hex digits.
    Eui,
    /// `naa.` and 16 or 32 hex digits.
    Naa,
    /// Another format.
    Other,
}

/// Why a text is not accepted as a name.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// The text is empty.
    #[error("name is empty")]
    Empty,
    /// The text is longer than [`NAME_LEN_MAX`].
    #[error("name is longer than 223 bytes")]
    TooLong,
    /// The text has a character that no name may have: a blank, or a control or formatting character, which could break
    /// a line of a log.
    #[error("name has a character that is not allowed")]
    Character,
    /// The text has none of the three standard formats.
    #[error("name is neither iqn., eui. nor naa. as RFC 7143 defines them")]
    Form,
}

/// Maximum length of a name in bytes (RFC 7143 4.2.7.1).
///
/// Hit by: any peer. Scope: name. Over it: the login is refused with 0200, initiator error. Seen: log.
pub const NAME_LEN_MAX: usize = 223;

impl IscsiName {
    /// Parses a name in one of the standard formats.
    ///
    /// # Errors
    /// [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        let name = Self::parse_any(text)?;
        if name.kind() == NameType::Other { Err(NameError::Form) } else { Ok(name) }
    }

    /// Parses a name in any format, as many names in use have none of the standard ones. Length and characters are
    /// checked.
    ///
    /// # Errors
    /// [`NameError`], but for [`NameError::Form`].
    pub fn parse_any(text: &str) -> Result<Self, NameError> {
        if text.is_empty() {
            return Err(NameError::Empty);
        }
        if text.len() > NAME_LEN_MAX {
            return Err(NameError::TooLong);
        }
        if !text.chars().all(is_safe) {
            return Err(NameError::Character);
        }
        let normal: String = text.chars().map(lower).collect();
        Ok(Self { text: text.to_owned(), normal: (normal != text).then_some(normal) })
    }

    /// The name with its original spelling.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The name in lower case, which comparison uses.
    pub fn normalized(&self) -> &str {
        self.normal.as_deref().unwrap_or(&self.text)
    }

    /// Format of the name.
    pub fn kind(&self) -> NameType {
        let name = self.normalized();
        if all_consuming(iqn).parse(name).is_ok() {
            NameType::Iqn
        } else if all_consuming(preceded(tag("eui."), hex_digits(16))).parse(name).is_ok() {
            NameType::Eui
        } else if all_consuming(preceded(tag("naa."), hex_digits(16))).parse(name).is_ok()
            || all_consuming(preceded(tag("naa."), hex_digits(32))).parse(name).is_ok()
        {
            NameType::Naa
        } else {
            NameType::Other
        }
    }
}

impl PartialEq for IscsiName {
    fn eq(&self, other: &Self) -> bool {
        self.normalized() == other.normalized()
    }
}

impl Eq for IscsiName {}

impl Hash for IscsiName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.normalized().hash(state);
    }
}

impl Display for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for IscsiName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IscsiName({})", self.text)
    }
}

/// The lower-case form of a character, or the character itself if that form has several characters.
fn lower(character: char) -> char {
    let mut lower = character.to_lowercase();
    match (lower.next(), lower.next()) {
        (Some(single), None) => single,
        _ => character,
    }
}

/// Accepts graphic ASCII, and alphanumeric characters outside of ASCII, which RFC 3722 permits in part.
fn is_safe(character: char) -> bool {
    character.is_ascii_graphic() || (!character.is_ascii() && character.is_alphanumeric())
}

/// Accepts the characters of an iqn name after preparation (RFC 3722 6.2).
fn is_prepared(character: char) -> bool {
    matches!(character, 'a'..='z' | '0'..='9' | '-' | '.' | ':') || !character.is_ascii()
}

fn iqn(input: &str) -> IResult<&str, ()> {
    let digits = |len| take_while_m_n(len, len, |character: char| character.is_ascii_digit());
    let month = verify(digits(2), |month: &str| ("01"..="12").contains(&month));
    let label = take_while1(|character: char| is_prepared(character) && !matches!(character, '.' | ':'));
    let rest = take_while1(is_prepared);
    let (input, _) = (tag("iqn."), digits(4), char('-'), month, char('.')).parse(input)?;
    let (input, _) = (separated_list1(char('.'), label), opt(preceded(char(':'), rest))).parse(input)?;
    Ok((input, ()))
}

fn hex_digits<'a>(len: usize) -> impl Parser<&'a str, Output = &'a str, Error = nom::error::Error<&'a str>> {
    take_while_m_n(len, len, |character: char| character.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_have_their_format() {
        let cases = [
            ("iqn.2001-04.com.example:storage:diskarrays-sn-a8675309", NameType::Iqn),
            ("iqn.2001-04.com.example", NameType::Iqn),
            ("IQN.2001-04.com.EXAMPLE:x", NameType::Iqn),
            ("iqn.2001-04.com.example:ünï", NameType::Iqn),
            ("eui.02004567A425678D", NameType::Eui),
            ("naa.52004567BA64678D", NameType::Naa),
            ("naa.62004567BA64678D0123456789ABCDEF", NameType::Naa),
            ("iqn.2001-13.com.example:x", NameType::Other),
            ("iqn.2001-00.com.example:x", NameType::Other),
            ("iqn.201-04.com.example:x", NameType::Other),
            ("iqn.2001-04.com..example", NameType::Other),
            ("iqn.2001-04.com.example:", NameType::Other),
            ("iqn.2001-04.com.example:a_b", NameType::Other),
            ("iqn.2001-04", NameType::Other),
            ("eui.02004567A425678", NameType::Other),
            ("eui.02004567A425678G", NameType::Other),
            ("naa.52004567BA64678D0", NameType::Other),
            ("disk1", NameType::Other),
        ];
        for (text, kind) in cases {
            assert_eq!(IscsiName::parse_any(text).unwrap().kind(), kind, "{text}");
            assert_eq!(IscsiName::parse(text).is_ok(), kind != NameType::Other, "{text}");
        }
    }

    #[test]
    fn unsafe_names_are_refused() {
        for text in ["iqn.2001-04.com.example:a b", "a\nb", "a\u{7f}", "a\u{202e}b", "a\u{a0}b", "a\0"] {
            assert_eq!(IscsiName::parse_any(text).err(), Some(NameError::Character), "{text:?}");
        }
        assert_eq!(IscsiName::parse_any("").err(), Some(NameError::Empty));
        assert!(IscsiName::parse_any(&"a".repeat(223)).is_ok());
        assert_eq!(IscsiName::parse_any(&"a".repeat(224)).err(), Some(NameError::TooLong));
    }

    #[test]
    fn names_keep_their_case_and_compare_without_it() {
        let upper = IscsiName::parse("iqn.2001-04.com.Example:Disk").unwrap();
        let lower = IscsiName::parse("iqn.2001-04.com.example:disk").unwrap();
        let other = IscsiName::parse("iqn.2001-04.com.example:disc").unwrap();
        assert_eq!(upper.to_string(), "iqn.2001-04.com.Example:Disk");
        assert_eq!(upper.normalized(), lower.as_str());
        assert_eq!((upper == lower, upper == other), (true, false));
        assert_eq!(HashSet::from([upper, lower, other]).len(), 2);
    }

    #[test]
    fn lower_case_form_is_safe_and_stable() {
        for character in ('\u{80}'..=char::MAX).filter(|character| is_safe(*character)) {
            let lower = lower(character);
            assert!(is_safe(lower) && super::lower(lower) == lower, "{character:?}");
        }
    }

    proptest! {
        #[test]
        fn parse_accepts_any_text_without_panic(text in "(iqn\\.2001-04\\.|eui\\.|naa\\.)?\\PC{0,40}") {
            if let Ok(name) = IscsiName::parse(&text) {
                prop_assert_eq!(name.as_str(), text);
                let again = IscsiName::parse(name.normalized());
                prop_assert_eq!(again.as_ref().map(IscsiName::normalized), Ok(name.normalized()));
            }
        }
    }
}
