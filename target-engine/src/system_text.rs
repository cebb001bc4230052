//! Texts of the operating system as an operator reads them.

use std::borrow::Cow;

/// Removes the error numbers that Rust adds to texts of the operating system, as in ` (os error 2)`. The text that is
/// left says the same in words.
#[must_use]
pub fn without_numbers(text: &str) -> Cow<'_, str> {
    let mut pieces = text.split(" (os error ");
    let first = pieces.next().unwrap_or_default();
    if first.len() == text.len() {
        return Cow::Borrowed(text);
    }
    let mut plain = first.to_owned();
    for piece in pieces {
        match piece.split_once(')') {
            Some((number, rest)) if number.parse::<i32>().is_ok() => plain.push_str(rest),
            _ => plain.extend([" (os error ", piece]),
        }
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn numbers_of_errors_are_removed_and_nothing_else() {
        let error = io::Error::from_raw_os_error(2);
        assert_eq!(
            without_numbers(&format!("/a: {error}; {error}.")),
            "/a: No such file or directory; No such file or directory."
        );
        for text in ["", "all is well", "a (os error 2", "/a (os error x): b", "(os error 2)"] {
            assert_eq!(without_numbers(text), text);
        }
    }
}
