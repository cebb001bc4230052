//! Splits text into logical lines: removes comments, joins continued lines, collects here-documents.
//!
//! The rules are those of Perl's Config::General, with which tgt reads `targets.conf`: `#` begins a comment anywhere
//! unless a backslash precedes it, also within quotes; a line that ends in a backslash continues in the next line; `/*`
//! at the beginning of a line begins a comment that ends at `*/`. Config::General silently ignores the rest of a file
//! after a comment, a here-document or a continued line that does not end; this parser reports an error.

/// A statement and the number of its first line, from 1.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Line {
    pub(super) number: u32,
    pub(super) statement: Statement,
    /// Whether a `#` directly after another character than white space cut the text off.
    pub(super) is_cut: bool,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Statement {
    /// Text without comments and without white space at its ends; never empty.
    Text(String),
    /// A here-document `KEY <<END` with its lines joined.
    Here { key: String, value: String },
}

/// An error in a file that the caller knows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct LineError {
    pub(super) line: u32,
    pub(super) text: String,
}

/// Splits a file into statements.
///
/// # Errors
/// Returns the line and what is wrong with it.
pub(super) fn lines(text: &[u8]) -> Result<Vec<Line>, LineError> {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let mut raw = text.split(|byte| *byte == b'\n').zip(1..);
    let mut found = Vec::new();
    while let Some((line, mut number)) = raw.next() {
        let mut is_cut = is_cut_by_comment(line);
        let mut line = uncomment(line);
        if line.trim_ascii_start().starts_with(b"/*") {
            (line, number) = skip_comment(number, line.trim_ascii_start(), &mut raw).ok_or_else(|| {
                line_error(number, "a comment begins with '/*' and does not end; end it with '*/'")
            })?;
        }
        let mut whole = without_inner_comment(line);
        while continues(&whole) {
            whole.pop();
            let Some((next, _)) = raw.next() else {
                return Err(line_error(number, "the last line ends in a backslash, but nothing follows it"));
            };
            is_cut |= is_cut_by_comment(next);
            whole.extend_from_slice(uncomment(next).trim_ascii_start());
        }
        let statement = String::from_utf8(whole.trim_ascii().to_vec())
            .map_err(|_| line_error(number, "not UTF-8; only comments may contain other bytes"))?;
        if statement.starts_with("*/") {
            return Err(line_error(number, "'*/' without a '/*' at the beginning of a line"));
        }
        if let Some((key, end)) = here_document(&statement) {
            let value = collect(end, &mut raw).ok_or_else(|| {
                line_error(number, format!("the text of '{key}' does not end; end it with a line '{end}'"))
            })?;
            let value = String::from_utf8(value).map_err(|_| line_error(number, "the text is not UTF-8"))?;
            let statement = Statement::Here { key: key.to_owned(), value };
            found.push(Line { number, statement, is_cut: false });
        } else if !statement.is_empty() {
            found.push(Line { number, statement: Statement::Text(statement), is_cut });
        }
    }
    Ok(found)
}

fn line_error(line: u32, text: impl Into<String>) -> LineError {
    LineError { line, text: text.into() }
}

/// Removes a comment and the carriage return of a DOS line.
fn uncomment(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let marks = line.iter().enumerate().filter(|(_, byte)| **byte == b'#').map(|(at, _)| at);
    let first = marks.into_iter().find(|at| *at == 0 || line[at - 1] != b'\\');
    first.map_or(line, |at| &line[..at])
}

/// Whether a comment of the line begins directly after another character than white space.
fn is_cut_by_comment(line: &[u8]) -> bool {
    let text = uncomment(line);
    line.get(text.len()) == Some(&b'#') && text.last().is_some_and(|byte| !byte.is_ascii_whitespace())
}

/// Skips a comment that begins with `/*`, including comments within it. Returns the text after `*/` and the number of
/// its line; `None` if the comment does not end.
fn skip_comment<'text>(
    mut number: u32,
    first: &'text [u8],
    raw: &mut impl Iterator<Item = (&'text [u8], u32)>,
) -> Option<(&'text [u8], u32)> {
    let mut line = &first[2..];
    loop {
        if let Some(end) = position(line, b"*/") {
            return Some((uncomment(&line[end + 2..]), number));
        }
        (line, number) = raw.next()?;
        while line.trim_ascii_start().starts_with(b"/*") {
            (line, number) = raw.next()?;
        }
    }
}

/// Removes a comment within a line: `a /* b */ c` becomes `a c`. `/*` counts only after white space, because `/dev/*/x`
/// is a pattern.
fn without_inner_comment(line: &[u8]) -> Vec<u8> {
    let opening = line.windows(3).position(|three| three[0].is_ascii_whitespace() && &three[1..] == b"/*");
    let closing = opening.and_then(|open| Some(open + 3 + position(&line[open + 3..], b"*/")?));
    match (opening, closing) {
        (Some(open), Some(close)) => [&line[..open], &line[close + 2..]].concat(),
        _ => line.to_vec(),
    }
}

/// Whether the line ends in a backslash that is not escaped.
fn continues(line: &[u8]) -> bool {
    line.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

/// The key and the end mark of `KEY <<MARK` or `KEY = <<MARK`.
fn here_document(statement: &str) -> Option<(&str, &str)> {
    let (key, mark) = statement.split_once("<<")?;
    let bare = key.trim_end();
    let name = bare.strip_suffix('=').unwrap_or(bare).trim_end();
    let mark = mark.trim();
    let alone = !name.is_empty() && !name.contains(|sign: char| sign.is_whitespace() || sign == '=');
    (alone && key.len() > name.len() && !mark.is_empty()).then_some((name, mark))
}

/// Collects the lines before the end mark, without the indentation of the mark.
fn collect<'text>(mark: &str, raw: &mut impl Iterator<Item = (&'text [u8], u32)>) -> Option<Vec<u8>> {
    let mut lines = Vec::new();
    loop {
        let (line, _) = raw.next()?;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.trim_ascii() == mark.as_bytes() {
            let indent = &line[..line.len() - line.trim_ascii_start().len()];
            let cut = |line: &'text [u8]| line.strip_prefix(indent).unwrap_or(line);
            return Some(lines.into_iter().map(cut).collect::<Vec<_>>().join(&b'\n'));
        }
        lines.push(line);
    }
}

fn position(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window == what)
}

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

#[cfg(test)]
mod tests {
    use super::*;

    /// Statements in short form: the number of the line, then the text; a here-document as `key<<text`.
    fn short(text: &str) -> String {
        let line = |line: Line| match line.statement {
            Statement::Text(text) => format!("{}:{text}", line.number),
            Statement::Here { key, value } => format!("{}:{key}<<{value}", line.number),
        };
        match lines(text.as_bytes()) {
            Ok(lines) => lines.into_iter().map(line).collect::<Vec<_>>().join("|"),
            Err(line_error) => format!("{}! {}", line_error.line, line_error.text),
        }
    }

    #[test]
    fn text_is_split_into_statements() {
        #[rustfmt::skip]
        let cases = [
            ("",                                  ""),
            ("a b\n\n  c\td  \r\n",               "1:a b|3:c\td"),
            ("\u{feff}a b",                       "1:a b"),
            ("# c\na b # c\na b#c\n\t# c",        "2:a b|3:a b"),
            ("a \"b # c\"",                       "1:a \"b"),
            (r"a b \# c",                         r"1:a b \# c"),
            ("a b \\\n   c\\\nd\ne",              "1:a b cd|4:e"),
            ("a b\\\\\nc",                        "1:a b\\\\|2:c"),
            ("a b \\\n# c\nd",                    "1:a b|3:d"),
            ("# c \\\na",                         "2:a"),
            ("/* c */\na",                        "2:a"),
            ("/* c\n# */ a b\nc",                 "2:a b|3:c"),
            ("/*\na\n/* b */\nc */\nd",             "5:d"),
            ("a /* b */ c\n/* d */ e",            "1:a c|2:e"),
            ("a /x/*/y\na /*",                    "1:a /x/*/y|2:a /*"),
            ("a <<E\nx # y\n z\nE\nb",            "1:a<<x # y\n z|5:b"),
            ("a = << E F\n  x\n   y\n  E F\nb",   "1:a<<x\n y|5:b"),
            ("a <<E\nE",                          "1:a<<"),
            ("a b <<E\na<<E\na <<",               "1:a b <<E|2:a<<E|3:a <<"),
            ("a\n/* b\n",                         "2! a comment begins with '/*' and does not end; end it with '*/'"),
            ("a\n */ b",                          "2! '*/' without a '/*' at the beginning of a line"),
            ("a\nb \\\n",                         "2! the last line ends in a backslash, but nothing follows it"),
            ("a <<E\nx",                          "1! the text of 'a' does not end; end it with a line 'E'"),
        ];
        for (text, expected) in cases {
            assert_eq!(short(text), expected, "{text:?}");
        }
        assert_eq!(lines(b"# \xff\na"), lines(b"#\na"));
        assert_eq!(lines(b"b\na \xff").unwrap_err().line, 2);
    }
}
