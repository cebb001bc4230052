//! Numbers as operators write them.

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

#[cfg(test)]
mod tests {
    use super::*;

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
