//! Builds a tree of options and blocks from lines and includes files.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::lines::{Line, LineError, Statement, lines};
use super::{ConfigError, Location};

/// Provides configuration files.
pub trait Files {
    /// The contents of a file.
    ///
    /// # Errors
    /// The file does not exist or cannot be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The contents of an included file.
    ///
    /// # Errors
    /// Those of [`Files::read`], or the file must not be included.
    fn read_included(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read(path)
    }
    /// The files of a directory in the order of their names; `None` if the path is not a directory.
    fn directory(&self, path: &Path) -> Option<Vec<PathBuf>>;
    /// The files that match a pattern with `* ? [ ]`, in order.
    fn matching(&self, pattern: &str) -> Vec<PathBuf>;
    /// Whether a file or directory exists.
    fn exists(&self, path: &Path) -> bool;
}

/// A text that is every file; it includes none.
pub struct OneText<'text>(pub &'text str);

impl Files for OneText<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.as_bytes().to_vec())
    }

    fn directory(&self, _: &Path) -> Option<Vec<PathBuf>> {
        None
    }

    fn matching(&self, _: &str) -> Vec<PathBuf> {
        Vec::new()
    }

    fn exists(&self, _: &Path) -> bool {
        false
    }
}

/// An option or a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The first word of the line.
    pub key: String,
    /// The first line.
    pub location: Location,
    /// The value or the contents of the block.
    pub item: EntryItem,
    /// Whether a `#` directly after another character than white space cut the value off.
    pub is_cut: bool,
}

/// The value of an option, or a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum EntryItem {
    /// `KEY VALUE`; `None` for a key without a value.
    Value(Option<String>),
    /// `<KEY NAME>` to `</KEY>`.
    Block(Block),
}

/// The name and the entries of a block.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// The text after the key in the first line of the block.
    pub name: Option<String>,
    /// The entries in the order of the file.
    pub entries: Vec<Entry>,
}

/// Reads a file and the files that it includes.
///
/// # Errors
/// Returns the first error.
pub fn read(path: &Path, files: &dyn Files) -> Result<Vec<Entry>, ConfigError> {
    let base = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut reader =
        Reader { files, base, read: BTreeSet::new(), open: Vec::new(), top: Vec::new(), depth: 0 };
    let start = Location { file: path.into(), line: 0 };
    reader.file(path, &start)?;
    match reader.open.pop() {
        None => Ok(reader.top),
        Some(Open { key, location, .. }) => Err(ConfigError {
            location,
            text: format!("the block <{key}> does not end; end it with </{key}>"),
        }),
    }
}

/// Reads files into a tree.
struct Reader<'files> {
    files: &'files dyn Files,
    /// The directory of the first file, the second place to look for included files.
    base: PathBuf,
    /// Files that have been read; each is read once.
    read: BTreeSet<PathBuf>,
    open: Vec<Open>,
    top: Vec<Entry>,
    depth: usize,
}

/// A block whose end has not been read.
struct Open {
    key: String,
    location: Location,
    block: Block,
}

impl Reader<'_> {
    /// Reads a file that the line `from` names.
    fn file(&mut self, path: &Path, from: &Location) -> Result<(), ConfigError> {
        if !self.read.insert(path.to_owned()) {
            return Ok(());
        }
        let text = if self.depth == 0 { self.files.read(path) } else { self.files.read_included(path) };
        let text = text.map_err(|error| error_at(from, format!("{}: {error}", path.display())))?;
        let file: Rc<Path> = path.into();
        let location = |line| Location { file: Rc::clone(&file), line };
        let lines = lines(&text)
            .map_err(|LineError { line, text }| ConfigError { location: location(line), text })?;
        for Line { number, statement, is_cut } in lines {
            let location = location(number);
            match statement {
                Statement::Text(text) => self.statement(&text, location, is_cut)?,
                Statement::Here { key, value } => {
                    let item = EntryItem::Value(Some(unescape(&value)));
                    self.add(Entry { key, location, item, is_cut });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) {
        self.open.last_mut().map_or(&mut self.top, |open| &mut open.block.entries).push(entry);
    }

    fn statement(&mut self, text: &str, location: Location, is_cut: bool) -> Result<(), ConfigError> {
        if text.starts_with("</") {
            return self.close(text, &location);
        }
        if let Some(inner) = text.strip_prefix('<') {
            let Some(inner) = inner.strip_suffix('>') else {
                return Err(error_at(
                    &location,
                    "a block begins with '<NAME>' alone on its line; the '>' is missing",
                ));
            };
            return self.begin(inner, location);
        }
        if let Some((pattern, optional)) = included(text) {
            return self.include(pattern, optional, &location);
        }
        let (key, value) = split(text);
        if key.is_empty() {
            return Err(error_at(&location, "no key before the '='; write 'KEY VALUE'"));
        }
        self.add(Entry {
            key: key.to_owned(),
            location,
            item: EntryItem::Value(value.map(unquoted)),
            is_cut,
        });
        Ok(())
    }

    fn begin(&mut self, inner: &str, location: Location) -> Result<(), ConfigError> {
        let (inner, empty) = inner.strip_suffix('/').map_or((inner, false), |rest| (rest, true));
        let inner = inner.trim();
        let (key, name) = match inner.strip_prefix('"').and_then(|rest| rest.split_once('"')) {
            Some((key, rest)) => (key, rest.trim()),
            None => match inner.split_once(char::is_whitespace) {
                Some((key, name)) => (key, name.trim()),
                None => (inner, ""),
            },
        };
        if key.is_empty() {
            return Err(error_at(&location, "a block has no name; write '<NAME>' or '<NAME VALUE>'"));
        }
        let name = (!name.is_empty()).then(|| unquote(name).to_owned());
        let block = Block { name, entries: Vec::new() };
        if empty {
            self.add(Entry { key: key.to_owned(), location, item: EntryItem::Block(block), is_cut: false });
        } else if self.open.len() == BLOCKS_MAX {
            return Err(error_at(&location, format!("blocks are nested more than {BLOCKS_MAX} deep")));
        } else {
            self.open.push(Open { key: key.to_owned(), location, block });
        }
        Ok(())
    }

    /// Ends the innermost block, regardless of the name in the end tag, as tgt does.
    fn close(&mut self, text: &str, location: &Location) -> Result<(), ConfigError> {
        let Some(name) =
            text.strip_prefix("</").and_then(|rest| rest.strip_suffix('>')).filter(|name| !name.is_empty())
        else {
            return Err(error_at(location, "a block ends with '</NAME>' alone on its line"));
        };
        let Some(Open { key, location, block }) = self.open.pop() else {
            return Err(error_at(location, format!("</{name}> has no matching <{name}>")));
        };
        self.add(Entry { key, location, item: EntryItem::Block(block), is_cut: false });
        Ok(())
    }

    fn include(&mut self, pattern: &str, optional: bool, location: &Location) -> Result<(), ConfigError> {
        if self.depth == INCLUDES_MAX {
            return Err(error_at(location, format!("files are included more than {INCLUDES_MAX} deep")));
        }
        let found = self.find(pattern);
        if found.is_empty() && !optional && !pattern.contains(PATTERN_CHARS) {
            return Err(error_at(location, format!("there is no file '{pattern}' to include")));
        }
        self.depth += 1;
        for path in found {
            match self.files.directory(&path) {
                Some(inside) => inside.iter().try_for_each(|path| self.file(path, location))?,
                None => self.file(&path, location)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// The files that match a pattern in the working directory or, if there are none, in the directory of the first
    /// file.
    fn find(&self, pattern: &str) -> Vec<PathBuf> {
        let base = self.base.join(pattern);
        for pattern in [Path::new(pattern), &base] {
            let text = pattern.to_string_lossy();
            let found: Vec<PathBuf> = if self.files.exists(pattern) {
                vec![pattern.to_owned()]
            } else if text.contains(PATTERN_CHARS) {
                alternatives(&text).iter().flat_map(|pattern| self.files.matching(pattern)).collect()
            } else {
                Vec::new()
            };
            if !found.is_empty() {
                return found;
            }
        }
        Vec::new()
    }
}

fn error_at(location: &Location, text: impl Into<String>) -> ConfigError {
    ConfigError { location: location.clone(), text: text.into() }
}

/// The pattern of an `include` or `includeoptional` line, and whether the file is optional. Case does not matter.
fn included(text: &str) -> Option<(&str, bool)> {
    let (word, pattern) = text.split_once(char::is_whitespace)?;
    let optional = word.eq_ignore_ascii_case("includeoptional");
    let pattern = pattern.trim();
    let inner = |quote| pattern.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    let pattern = inner('"').or_else(|| inner('\'')).unwrap_or(pattern);
    (optional || word.eq_ignore_ascii_case("include")).then_some((pattern, optional))
}

/// Splits `KEY VALUE`, `KEY = VALUE`, `KEY=` or `KEY`.
fn split(text: &str) -> (&str, Option<&str>) {
    let end = text.find(|sign: char| sign.is_whitespace() || sign == '=').unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let rest = rest.trim();
    let value = rest.strip_prefix('=').map_or(rest, str::trim);
    (key, (!rest.is_empty()).then_some(value))
}

/// A value without its quotes and escapes.
fn unquoted(value: &str) -> String {
    unescape(unquote(value))
}

/// Removes quotes around the whole value. A single quote is an empty value.
fn unquote(value: &str) -> &str {
    match value.strip_prefix('"') {
        Some("") => "",
        Some(rest) => rest.strip_suffix('"').unwrap_or(value),
        None => value,
    }
}

/// Removes the backslash before `$ \ " #`. Before other characters it is literal.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut signs = value.chars().peekable();
    while let Some(sign) = signs.next() {
        let escaped = signs.next_if(|next| sign == '\\' && ['$', '\\', '"', '#'].contains(next));
        plain.push(escaped.unwrap_or(sign));
    }
    plain
}

/// Expands braces: `a{b,c}d` becomes `abd` and `acd`. Braces do not nest.
fn alternatives(pattern: &str) -> Vec<String> {
    let mut found = vec![String::new()];
    let mut rest = pattern;
    while let Some((before, inner, after)) = rest
        .split_once('{')
        .and_then(|(before, rest)| rest.split_once('}').map(|(inner, after)| (before, inner, after)))
    {
        let one = |start: &String| {
            inner.split(',').map(|word| format!("{start}{before}{word}")).collect::<Vec<_>>()
        };
        let more: Vec<String> = found.iter().flat_map(one).take(ALTERNATIVES_MAX).collect();
        found = more;
        rest = after;
    }
    found.into_iter().map(|start| start + rest).collect()
}

/// Characters that make a path a pattern.
const PATTERN_CHARS: [char; 4] = ['*', '?', '[', '{'];
/// The maximum depth of blocks. A configuration needs two: targets and their stores.
const BLOCKS_MAX: usize = 32;
/// The maximum depth of included files.
const INCLUDES_MAX: usize = 32;
/// The maximum number of paths that braces expand to.
const ALTERNATIVES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
