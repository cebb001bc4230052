//! Numbers as operators write them.

use std::fmt::Display;
use std::str::FromStr;

/// Parses a number in decimal, in hexadecimal after `0x`, or in octal after `0`. Returns `None` for any other text.
#[must_use]
pub fn c_number(text: &str) -> Option<u64> {
    let text = text.trim();
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        u64::from_str_radix(hex, 16).ok()
    } else if text.len() > 1 && text.starts_with('0') {
        u64::from_str_radix(text, 8).ok()
    } else {
        text.parse().ok()
    }
}

/// Parses a decimal number from `least` to `most`.
///
/// # Errors
/// The text is none; the error says what is accepted.
pub fn number_within<T: FromStr + PartialOrd + Display>(text: &str, least: T, most: T) -> Result<T, String> {
    let number = text.parse().ok().filter(|number| (&least..=&most).contains(&number));
    number.ok_or_else(|| format!("expected a number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_within_its_bounds_is_accepted() {
        assert_eq!([number_within("1", 1, 9), number_within("9", 1, 9)], [Ok(1), Ok(9)]);
        for text in ["", "0", "10", "x", "-1", "0x1", "99999999999999999999"] {
            assert_eq!(
                number_within(text, 1_u8, 9),
                Err("expected a number from 1 to 9".to_owned()),
                "{text}"
            );
        }
    }

    #[test]
    fn numbers_of_three_bases_are_parsed() {
        let cases = [
            ("12", Some(12)),
            ("0x1F", Some(31)),
            ("010", Some(8)),
            ("0", Some(0)),
            ("", None),
            ("1k", None),
            ("-1", None),
        ];
        for (text, number) in cases {
            assert_eq!(c_number(text), number, "{text}");
        }
    }
}
