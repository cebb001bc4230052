//! Formats of values (RFC 7143 6.1): booleans, numbers, ranges, lists, binary data in hex or base64.

use base64ct::{Base64, Encoding};

/// Parses `Yes` or `No`.
pub fn parse_bool(value: &str) -> Option<bool> {
    match value {
        "Yes" => Some(true),
        "No" => Some(false),
        _ => None,
    }
}

/// Formats a boolean as `Yes` or `No`.
pub fn format_bool(value: bool) -> &'static str {
    if value { "Yes" } else { "No" }
}

/// Parses a number of up to 64 bits in decimal, or in hex after `0x` or `0X`, without sign and blanks.
pub fn parse_number(value: &str) -> Option<u64> {
    let (digits, radix) = match value.strip_prefix("0x").or_else(|| value.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (value, 10),
    };
    // `from_str_radix` accepts a sign, which the standard does not permit.
    if digits.starts_with(['+', '-']) {
        return None;
    }
    u64::from_str_radix(digits, radix).ok()
}

/// Parses a range: two numbers separated by a tilde, the first not above the second.
pub fn parse_range(value: &str) -> Option<(u64, u64)> {
    let (first, last) = value.split_once('~')?;
    let (first, last) = (parse_number(first)?, parse_number(last)?);
    (first <= last).then_some((first, last))
}

/// Iterates over the members of a list, which are in order of preference.
pub fn list(value: &str) -> impl Iterator<Item = &str> {
    value.split(',')
}

/// Parses binary data: hex after `0x` or `0X`, or base64 after `0b` or `0B`. `None` if it is malformed or longer than
/// `max` bytes. An odd number of hex digits means a leading zero digit.
pub fn parse_binary(value: &str, max: usize) -> Option<Vec<u8>> {
    let (prefix, digits) = value.split_at_checked(2)?;
    // The length of both formats is checked before memory is allocated.
    let len_max = match prefix {
        "0x" | "0X" => digits.len().div_ceil(2),
        "0b" | "0B" => digits.len() / 4 * 3,
        _ => return None,
    };
    if digits.is_empty() || len_max > max.saturating_add(2) {
        return None;
    }
    let bytes = match prefix {
        "0x" | "0X" => parse_hex(digits.as_bytes()),
        _ => Base64::decode_vec(digits).ok(),
    }?;
    (bytes.len() <= max).then_some(bytes)
}

/// Formats binary data in hex after `0x`, the format that every implementation supports.
pub fn format_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    "0x".chars().chain(digits.map(|digit| char::from(DIGITS[usize::from(digit)]))).collect()
}

/// Formats binary data in base64 after `0b`.
pub fn format_base64(bytes: &[u8]) -> String {
    format!("0b{}", Base64::encode_string(bytes))
}

fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).map(|nibble| nibble as u8);
    let (odd, even) = digits.split_at(digits.len() % 2);
    let first = odd.iter().map(nibble);
    let (pairs, _) = even.as_chunks::<2>();
    first.chain(pairs.iter().map(|[high, low]| Some(nibble(high)? << 4 | nibble(low)?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn booleans_are_case_sensitive() {
        assert_eq!((parse_bool("Yes"), parse_bool("No")), (Some(true), Some(false)));
        assert!(["yes", "NO", "", "Yes ", "1"].into_iter().all(|value| parse_bool(value).is_none()));
        assert_eq!(parse_bool(format_bool(true)), Some(true));
        assert_eq!(parse_bool(format_bool(false)), Some(false));
    }

    #[test]
    fn numbers_are_decimal_or_hex() {
        let cases = [
            ("8192", Some(8192)),
            ("0", Some(0)),
            ("0x2000", Some(8192)),
            ("0XfF", Some(255)),
            ("18446744073709551615", Some(u64::MAX)),
            ("18446744073709551616", None),
            ("", None),
            ("0x", None),
            ("+1", None),
            ("-1", None),
            ("0x+1", None),
            (" 1", None),
            ("1k", None),
        ];
        for (value, number) in cases {
            assert_eq!(parse_number(value), number, "{value:?}");
        }
    }

    #[test]
    fn ranges_have_two_ordered_ends() {
        assert_eq!(parse_range("2048~0x4000"), Some((2048, 16384)));
        assert_eq!(parse_range("5~5"), Some((5, 5)));
        assert!(["5~4", "5", "~5", "5~", "1~2~3"].into_iter().all(|value| parse_range(value).is_none()));
    }

    #[test]
    fn lists_keep_their_order() {
        assert_eq!(list("CRC32C,None").collect::<Vec<_>>(), ["CRC32C", "None"]);
        assert_eq!(list("None").collect::<Vec<_>>(), ["None"]);
    }

    #[test]
    fn binary_in_hex_and_base64() {
        let cases: [(&str, Option<&[u8]>); 12] = [
            ("0x00ffA0", Some(&[0, 0xff, 0xa0])),
            ("0Xf", Some(&[15])),
            ("0bAP+g", Some(&[0, 0xff, 0xa0])),
            ("0BAA==", Some(&[0])),
            ("0x", None),
            ("0b", None),
            ("0xgg", None),
            ("0bAA", None),
            ("0b!!!!", None),
            ("00ff", None),
            ("0", None),
            ("ä", None),
        ];
        for (value, bytes) in cases {
            assert_eq!(parse_binary(value, 3).as_deref(), bytes, "{value:?}");
        }
        assert_eq!(parse_binary("0x00ffa0", 2), None);
        assert_eq!(parse_binary("0bAP+g", 2), None);
        assert_eq!(format_hex(&[0, 0xff, 0xa0]), "0x00ffa0");
        assert_eq!(format_base64(&[0, 0xff, 0xa0]), "0bAP+g");
    }

    proptest! {
        #[test]
        fn parser_returns_what_was_formatted(bytes in prop::collection::vec(any::<u8>(), 1..100)) {
            prop_assert_eq!(parse_binary(&format_hex(&bytes), bytes.len()), Some(bytes.clone()));
            prop_assert_eq!(parse_binary(&format_base64(&bytes), bytes.len()), Some(bytes.clone()));
        }

        #[test]
        fn parsers_accept_any_text_without_panic(value in "(0[xXbB])?\\PC{0,20}", max in 0usize..20) {
            prop_assert!(parse_binary(&value, max).is_none_or(|bytes| bytes.len() <= max));
            let _ = (parse_number(&value), parse_range(&value));
        }
    }
}
