//! Kinds of stores by name, and the options they are opened with (`bsopts`, `bsoflags`).

use std::path::{Path, PathBuf};
use std::sync::Arc;

use scsi_core::store::Backstore;

/// The kinds of stores a daemon can open.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: Vec<Kind>,
}

/// One kind of store: all that is known of it before one is opened.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Its name, as in `--bstype`.
    pub name: &'static str,
    /// One line for people.
    pub summary: &'static str,
    /// Whether the open flag `sync` has a meaning.
    pub sync: bool,
    /// Whether the open flag `direct` has a meaning.
    pub direct: bool,
    /// Whether a path must be given.
    pub needs_path: bool,
    /// The keys it accepts in `bsopts`.
    pub options: &'static [&'static str],
    /// Opens one. Options and flags were checked against the fields above. May block.
    pub open: fn(&OpenOptions) -> Result<Arc<dyn Backstore>, OpenError>,
}

/// What a store is opened with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenOptions {
    /// File or device; empty where the kind has none.
    pub path: PathBuf,
    /// `key=value;key=value`.
    pub bsopts: String,
    /// How to open it.
    pub bsoflags: OpenFlags,
    /// Do not even try to open it for writing.
    pub read_only: bool,
    /// The unit's block length in bytes: direct I/O must be able to do that.
    pub block_len: u32,
    /// A file that does not exist is made with this size in bytes; a store without a file has this size unless
    /// `bsopts` names one.
    pub size: Option<u64>,
}

/// Open flags (`bsoflags`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenFlags {
    /// Every write is on the medium when it completes (`O_DSYNC`).
    pub sync: bool,
    /// Past the page cache (`O_DIRECT`).
    pub direct: bool,
}

/// Why a store could not be opened. The messages are for the one who asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// No such kind.
    #[error("no backing store is called '{name}'; there are: {known}")]
    UnknownKind {
        /// As asked.
        name: String,
        /// All names.
        known: String,
    },
    /// The kind wants a path.
    #[error("backing store '{0}' needs a path")]
    PathMissing(&'static str),
    /// A key in `bsopts` that the kind does not know.
    #[error("'{kind}' knows no option '{key}' in bsopts; it accepts: {accepted}")]
    UnknownOption {
        /// The store's kind.
        kind: &'static str,
        /// As given.
        key: String,
        /// The keys it knows.
        accepted: String,
    },
    /// A value in `bsopts` that makes no sense.
    #[error("option '{key}' in bsopts has the value '{value}': {why}")]
    BadOption {
        /// The key.
        key: &'static str,
        /// As given.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A flag nobody knows.
    #[error("no open flag is called '{0}'; there are: sync, direct")]
    UnknownFlag(String),
    /// A flag that has no meaning for the kind.
    #[error("'{kind}' has no open flag '{flag}'")]
    FlagRefused {
        /// The store's kind.
        kind: &'static str,
        /// The flag.
        flag: &'static str,
    },
    /// The file system or device said no.
    #[error("{path}: {source}")]
    Io {
        /// What was to be opened.
        path: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// Neither a regular file nor a block device.
    #[error("{path}: neither a regular file nor a block device, but {what}")]
    WrongFileType {
        /// What was to be opened.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// It has not one whole block.
    #[error("{path}: has {size} bytes, and a unit needs at least one block of {block_len}")]
    TooSmall {
        /// What was to be opened.
        path: PathBuf,
        /// What it has, in bytes.
        size: u64,
        /// The logical block's length, in bytes.
        block_len: u32,
    },
    /// The file system has no direct I/O.
    #[error("{path}: its file system does not do direct I/O; use 'rdwr' without the flag 'direct'")]
    NoDirect {
        /// What was to be opened.
        path: PathBuf,
    },
    /// Blocks are smaller than direct I/O can do there.
    #[error(
        "{path}: direct I/O is done in units of {alignment} bytes there, but the block length is {block_len}"
    )]
    Alignment {
        /// What was to be opened.
        path: PathBuf,
        /// What it can do, in bytes.
        alignment: u32,
        /// What was asked, in bytes.
        block_len: u32,
    },
}

impl Registry {
    /// A registry without kinds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind; one of the same name is replaced.
    pub fn add(&mut self, kind: Kind) {
        match self.kinds.iter_mut().find(|known| known.name == kind.name) {
            Some(known) => *known = kind,
            None => self.kinds.push(kind),
        }
    }

    /// All kinds, in the order in which they were added.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// The kind of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// Opens a store. Blocks as long as the file system does.
    ///
    /// # Errors
    /// The name, an option or a flag is not known, or the store refuses.
    pub fn open(&self, name: &str, options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
        let Some(kind) = self.find(name) else {
            return Err(OpenError::UnknownKind { name: name.to_owned(), known: self.names() });
        };
        kind.check(options)?;
        (kind.open)(options)
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self.kinds.iter().map(|kind| kind.name).collect();
        names.join(", ")
    }
}

impl Kind {
    /// The flags it accepts, as `sync:direct`; empty where it has none.
    #[must_use]
    pub fn flags(&self) -> &'static str {
        OpenFlags { sync: self.sync, direct: self.direct }.as_str()
    }

    fn check(&self, options: &OpenOptions) -> Result<(), OpenError> {
        if self.needs_path && options.path.as_os_str().is_empty() {
            return Err(OpenError::PathMissing(self.name));
        }
        for (flag, asked, known) in
            [("sync", options.bsoflags.sync, self.sync), ("direct", options.bsoflags.direct, self.direct)]
        {
            if asked && !known {
                return Err(OpenError::FlagRefused { kind: self.name, flag });
            }
        }
        for (key, _) in options.pairs() {
            if !self.options.contains(&key) {
                let accepted =
                    if self.options.is_empty() { "none".to_owned() } else { self.options.join(", ") };
                return Err(OpenError::UnknownOption { kind: self.name, key: key.to_owned(), accepted });
            }
        }
        Ok(())
    }
}

impl OpenOptions {
    /// Options for a path, all else as by default.
    #[must_use]
    pub fn for_path(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// The value of a key in `bsopts`; the last one counts.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        self.pairs().filter(|(known, _)| *known == key).last().map(|(_, value)| value)
    }

    /// The option `size`, in bytes; `K`, `M`, `G` and `T` are binary.
    ///
    /// # Errors
    /// It is no size, or not a multiple of the block length.
    pub fn size_option(&self) -> Result<Option<u64>, OpenError> {
        let Some(value) = self.option("size") else { return Ok(None) };
        let bad = |why| OpenError::BadOption { key: "size", value: value.to_owned(), why };
        let size = parse_size(value).ok_or_else(|| bad("expected a number of bytes, with K, M, G or T"))?;
        if size == 0 || !size.is_multiple_of(u64::from(self.block_len.max(1))) {
            return Err(bad("expected a multiple of the block length, more than 0"));
        }
        Ok(Some(size))
    }

    fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.bsopts.split(';').map(str::trim).filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (key.trim(), value.trim())
        })
    }
}

impl Default for OpenOptions {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            bsopts: String::new(),
            bsoflags: OpenFlags::default(),
            read_only: false,
            block_len: 512,
            size: None,
        }
    }
}

impl OpenFlags {
    /// As listed: `sync`, `direct`, `sync:direct` or nothing.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match (self.sync, self.direct) {
            (false, false) => "",
            (true, false) => "sync",
            (false, true) => "direct",
            (true, true) => "sync:direct",
        }
    }
}

/// From `sync`, `direct`, `sync:direct`, in any order; nothing is no flag.
impl std::str::FromStr for OpenFlags {
    type Err = OpenError;

    fn from_str(text: &str) -> Result<Self, OpenError> {
        let mut flags = Self::default();
        for flag in text.split(':').map(str::trim).filter(|flag| !flag.is_empty()) {
            match flag {
                "sync" => flags.sync = true,
                "direct" => flags.direct = true,
                unknown => return Err(OpenError::UnknownFlag(unknown.to_owned())),
            }
        }
        Ok(flags)
    }
}

/// A number of bytes, with an optional binary suffix `K`, `M`, `G` or `T`.
#[must_use]
pub fn parse_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Arc<dyn Backstore>` has no `Debug`, so `unwrap_err` does not serve.
    fn refusal(name: &str, options: &OpenOptions) -> String {
        match Registry::builtin().open(name, options) {
            Ok(_) => panic!("{name} opened with {options:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn the_kinds_and_their_flags_are_listed_in_order() {
        let listed: Vec<_> =
            Registry::builtin().kinds().iter().map(|kind| (kind.name, kind.flags())).collect();
        assert_eq!(listed, [("null", ""), ("memory", ""), ("rdwr", "sync:direct"), ("aio", "")]);
    }

    #[test]
    fn flags_are_parsed_and_unknown_ones_named() {
        let parse = |text: &str| text.parse::<OpenFlags>();
        assert_eq!(parse("").unwrap(), OpenFlags::default());
        assert_eq!(parse("sync:direct").unwrap(), OpenFlags { sync: true, direct: true });
        assert_eq!(parse("direct").unwrap().as_str(), "direct");
        assert!(parse("sync:fast").unwrap_err().to_string().contains("'fast'"));
    }

    #[test]
    fn sizes_are_binary_and_never_overflow() {
        let cases = [
            ("512", Some(512)),
            ("4k", Some(4096)),
            ("3G", Some(3 << 30)),
            ("1T", Some(1 << 40)),
            ("", None),
            ("M", None),
            ("-1", None),
            ("+1", None),
            ("1.5G", None),
            ("99999999T", None),
            ("12é", None),
        ];
        for (text, size) in cases {
            assert_eq!(parse_size(text), size, "{text}");
        }
    }

    #[test]
    fn what_is_not_known_is_refused_by_name() {
        let with = |bsopts: &str, flags: &str| OpenOptions {
            path: "/nowhere".into(),
            bsopts: bsopts.into(),
            bsoflags: flags.parse().unwrap(),
            ..OpenOptions::default()
        };
        assert!(refusal("rbd", &with("", "")).contains("null, memory, rdwr, aio"));
        assert!(refusal("rdwr", &OpenOptions::default()).contains("needs a path"));
        assert!(refusal("null", &with("speed=9", "")).contains("it accepts: size"));
        assert!(refusal("rdwr", &with("speed=9", "")).contains("it accepts: none"));
        assert!(refusal("null", &with("size=7", "")).contains("multiple of the block length"));
        assert!(refusal("aio", &with("", "direct")).contains("'aio' has no open flag 'direct'"));
        assert!(refusal("rdwr", &with("", "")).contains("/nowhere"));
    }
}
