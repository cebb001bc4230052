//! Lines to a tree: options, blocks, and files that are included where they are named.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::lines::{Line, Statement, lines};
use super::{Fault, Files, Mistake, Place};

/// An option or a block, in the order of the files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    /// The first word.
    pub key: String,
    /// Where it begins.
    pub place: Place,
    /// What comes with it.
    pub item: Item,
}

/// What a key has.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Item {
    /// `KEY VALUE`; `None` for a key alone.
    Value(Option<String>),
    /// `<KEY NAME>` to `</KEY>`.
    Block(Block),
}

/// What stands in a block.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Block {
    /// What follows the key in the block's first line.
    pub name: Option<String>,
    /// In their order.
    pub entries: Vec<Entry>,
}

/// Reads a file and all it includes.
///
/// # Errors
/// The first mistake.
pub fn read(path: &Path, files: &dyn Files) -> Result<Vec<Entry>, Mistake> {
    let home = path.parent().map(Path::to_owned).unwrap_or_default();
    let mut reader =
        Reader { files, home, read: BTreeSet::new(), open: Vec::new(), top: Vec::new(), depth: 0 };
    let start = Place { file: path.into(), line: 0 };
    reader.file(path, &start)?;
    match reader.open.pop() {
        None => Ok(reader.top),
        Some(Open { key, place, .. }) => {
            Err(Mistake { place, text: format!("the block <{key}> never ends; end it with </{key}>") })
        }
    }
}

struct Reader<'files> {
    files: &'files dyn Files,
    /// The first file's folder, where included files are looked for second.
    home: PathBuf,
    /// A file is read once.
    read: BTreeSet<PathBuf>,
    open: Vec<Open>,
    top: Vec<Entry>,
    depth: usize,
}

struct Open {
    key: String,
    place: Place,
    block: Block,
}

impl Reader<'_> {
    /// `from` is where the file is named.
    fn file(&mut self, path: &Path, from: &Place) -> Result<(), Mistake> {
        if !self.read.insert(path.to_owned()) {
            return Ok(());
        }
        let text =
            self.files.read(path).map_err(|error| mistake(from, format!("{}: {error}", path.display())))?;
        let file: Rc<Path> = path.into();
        let place = |line| Place { file: Rc::clone(&file), line };
        let lines = lines(&text).map_err(|Fault { line, text }| Mistake { place: place(line), text })?;
        for Line { number, statement } in lines {
            let place = place(number);
            match statement {
                Statement::Text(text) => self.statement(&text, place)?,
                Statement::Here { key, value } => {
                    self.add(Entry { key, place, item: Item::Value(Some(unescape(&value))) });
                }
            }
        }
        Ok(())
    }

    fn add(&mut self, entry: Entry) {
        self.open.last_mut().map_or(&mut self.top, |open| &mut open.block.entries).push(entry);
    }

    fn statement(&mut self, text: &str, place: Place) -> Result<(), Mistake> {
        if text.starts_with("</") {
            return self.close(text, &place);
        }
        if let Some(inner) = text.strip_prefix('<') {
            let Some(inner) = inner.strip_suffix('>') else {
                return Err(mistake(
                    &place,
                    "a block begins with '<NAME>' alone on its line; here the '>' is missing",
                ));
            };
            return self.begin(inner, place);
        }
        if let Some((pattern, optional)) = included(text) {
            return self.include(pattern, optional, &place);
        }
        let (key, value) = split(text);
        if key.is_empty() {
            return Err(mistake(&place, "nothing stands before the '='; write 'KEY VALUE'"));
        }
        self.add(Entry { key: key.to_owned(), place, item: Item::Value(value.map(plain)) });
        Ok(())
    }

    fn begin(&mut self, inner: &str, place: Place) -> Result<(), Mistake> {
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
            return Err(mistake(&place, "a block has no name; write '<NAME>' or '<NAME VALUE>'"));
        }
        let name = (!name.is_empty()).then(|| unquote(name).to_owned());
        let block = Block { name, entries: Vec::new() };
        if empty {
            self.add(Entry { key: key.to_owned(), place, item: Item::Block(block) });
        } else if self.open.len() == BLOCKS_MAX {
            return Err(mistake(&place, format!("more than {BLOCKS_MAX} blocks within one another")));
        } else {
            self.open.push(Open { key: key.to_owned(), place, block });
        }
        Ok(())
    }

    /// Whatever name the end has, it ends the innermost block, as it does for stock.
    fn close(&mut self, text: &str, place: &Place) -> Result<(), Mistake> {
        let Some(name) =
            text.strip_prefix("</").and_then(|rest| rest.strip_suffix('>')).filter(|name| !name.is_empty())
        else {
            return Err(mistake(place, "a block ends with '</NAME>' alone on its line"));
        };
        let Some(Open { key, place, block }) = self.open.pop() else {
            return Err(mistake(place, format!("</{name}> ends a block that no <{name}> began")));
        };
        self.add(Entry { key, place, item: Item::Block(block) });
        Ok(())
    }

    fn include(&mut self, pattern: &str, optional: bool, place: &Place) -> Result<(), Mistake> {
        if self.depth == INCLUDES_MAX {
            return Err(mistake(place, format!("more than {INCLUDES_MAX} files include one another")));
        }
        let found = self.find(pattern);
        if found.is_empty() && !optional && !pattern.contains(PATTERN_SIGNS) {
            return Err(mistake(place, format!("there is no file '{pattern}' to include")));
        }
        self.depth += 1;
        for path in found {
            match self.files.folder(&path) {
                Some(inside) => inside.iter().try_for_each(|path| self.file(path, place))?,
                None => self.file(&path, place)?,
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// From where we stand; if there is nothing, from the folder of the first file.
    fn find(&self, pattern: &str) -> Vec<PathBuf> {
        let home = self.home.join(pattern);
        for pattern in [Path::new(pattern), &home] {
            let text = pattern.to_string_lossy();
            let found: Vec<PathBuf> = if self.files.exists(pattern) {
                vec![pattern.to_owned()]
            } else if text.contains(PATTERN_SIGNS) {
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

fn mistake(place: &Place, text: impl Into<String>) -> Mistake {
    Mistake { place: place.clone(), text: text.into() }
}

/// `include PATTERN` or `includeoptional PATTERN`, in any case; whether it need not exist.
fn included(text: &str) -> Option<(&str, bool)> {
    let (word, pattern) = text.split_once(char::is_whitespace)?;
    let optional = word.eq_ignore_ascii_case("includeoptional");
    let pattern = pattern.trim();
    let inner = |quote| pattern.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    let pattern = inner('"').or_else(|| inner('\'')).unwrap_or(pattern);
    (optional || word.eq_ignore_ascii_case("include")).then_some((pattern, optional))
}

/// `KEY VALUE`, `KEY = VALUE`, `KEY=` or `KEY`.
fn split(text: &str) -> (&str, Option<&str>) {
    let end = text.find(|sign: char| sign.is_whitespace() || sign == '=').unwrap_or(text.len());
    let (key, rest) = text.split_at(end);
    let rest = rest.trim();
    let value = rest.strip_prefix('=').map_or(rest, str::trim);
    (key, (!rest.is_empty()).then_some(value))
}

/// A value without its quotes and escapes.
fn plain(value: &str) -> String {
    unescape(unquote(value))
}

/// Without the quotes around all of it; a quote alone is nothing.
fn unquote(value: &str) -> &str {
    match value.strip_prefix('"') {
        Some("") => "",
        Some(rest) => rest.strip_suffix('"').unwrap_or(value),
        None => value,
    }
}

/// A backslash takes the meaning from `$ \ " #`; before any other sign it stands for itself.
fn unescape(value: &str) -> String {
    let mut plain = String::with_capacity(value.len());
    let mut signs = value.chars().peekable();
    while let Some(sign) = signs.next() {
        let escaped = signs.next_if(|next| sign == '\\' && ['$', '\\', '"', '#'].contains(next));
        plain.push(escaped.unwrap_or(sign));
    }
    plain
}

/// `a{b,c}d` is `abd` and `acd`; the first braces first, no braces within braces.
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

const PATTERN_SIGNS: [char; 4] = ['*', '?', '[', '{'];
/// A configuration has two: targets and their stores.
const BLOCKS_MAX: usize = 32;
const INCLUDES_MAX: usize = 32;
const ALTERNATIVES_MAX: usize = 1024;

#[cfg(test)]
mod tests;
