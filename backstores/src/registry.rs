//! Kinds of stores by name, and the options that stores are opened with (`bsopts`, `bsoflags`).

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use scsi_core::store::Backstore;

/// The kinds of stores that a server can open.
#[derive(Clone, Debug, Default)]
pub struct Registry {
    kinds: Vec<Kind>,
}

/// One kind of store: its name, the options it accepts, and the function that opens a store.
#[derive(Clone)]
pub struct Kind {
    /// The name, as in `--bstype`.
    pub name: &'static str,
    /// A description of one line for operators.
    pub summary: &'static str,
    /// Whether the kind accepts the open flag `sync`.
    pub sync: bool,
    /// Whether the kind accepts the open flag `direct`.
    pub direct: bool,
    /// What the path of a store is.
    pub path: PathUse,
    /// The keys that the kind accepts in `bsopts`.
    pub options: &'static [&'static str],
    /// Opens a store. It may keep state of its product, which all stores of the kind share.
    pub open: Arc<Opener>,
}

/// The function of a [`Kind`] that opens a store. [`Registry::open`] has checked path, options and flags against the fields
/// of the kind. It may block, and is called on several threads at a time.
pub type Opener = dyn Fn(&OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> + Send + Sync;

/// What the path of a store (`--backing-store`) is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PathUse {
    /// The kind ignores it.
    Unused,
    /// A file or device of this machine.
    File,
    /// A name that only the kind understands, such as a URI. It passes through the control plane unchanged, and no file of
    /// that name needs to exist. It cannot contain a comma, because `tgtadm` separates its options by commas.
    Name,
}

/// The parameters of opening a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct OpenOptions {
    /// The path as the operator wrote it; see [`Kind::path`]. [`OpenOptions::name`] returns it as text.
    pub path: PathBuf,
    /// Options of the kind: `key=value;key=value`.
    pub bsopts: String,
    /// Flags of opening the file.
    pub bsoflags: OpenFlags,
    /// Open the store for reading only, also if it could be written.
    pub read_only: bool,
    /// Logical block length of the unit, in bytes. Direct I/O must support it.
    pub block_len: u32,
    /// Size in bytes of a file that is created if it does not exist, or of a store without a file if `bsopts` has no
    /// size.
    pub size: Option<u64>,
}

/// Flags of opening a file (`bsoflags`).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenFlags {
    /// Each write is on the medium when it completes (`O_DSYNC`).
    pub sync: bool,
    /// I/O bypasses the page cache (`O_DIRECT`).
    pub direct: bool,
}

/// Why a store cannot be opened. The messages are for the operator.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The registry has no kind of this name.
    #[error("unknown backing store '{name}'; valid: {known}")]
    UnknownKind {
        /// The requested name.
        name: String,
        /// All names of the registry.
        known: String,
    },
    /// The kind needs a path and none is given.
    #[error("backing store '{0}' needs a path")]
    PathMissing(&'static str),
    /// The kind does not accept a key in `bsopts`.
    #[error("'{kind}' does not accept option '{key}' in bsopts; it accepts: {accepted}")]
    UnknownOption {
        /// The name of the kind.
        kind: &'static str,
        /// The key as given.
        key: String,
        /// The keys that the kind accepts.
        accepted: String,
    },
    /// A value in `bsopts` is invalid.
    #[error("option '{key}' in bsopts has the value '{value}': {why}")]
    BadOption {
        /// The key in `bsopts`.
        key: &'static str,
        /// The value as given.
        value: String,
        /// What is accepted.
        why: &'static str,
    },
    /// The kind needs an option in `bsopts` and it is not given.
    #[error("backing store '{kind}' needs the option '{key}' in bsopts, for example {example}")]
    OptionMissing {
        /// The name of the kind.
        kind: &'static str,
        /// The key in `bsopts`.
        key: &'static str,
        /// The option with a value.
        example: &'static str,
    },
    /// The open flag does not exist.
    #[error("unknown open flag '{0}'; valid: sync, direct")]
    UnknownFlag(String),
    /// The kind does not accept the flag.
    #[error("'{kind}' has no open flag '{flag}'")]
    FlagRefused {
        /// The name of the kind.
        kind: &'static str,
        /// The name of the flag.
        flag: &'static str,
    },
    /// A system call on the file or device failed.
    #[error("{path}: {source}")]
    Io {
        /// The file or device.
        path: PathBuf,
        /// The error of the system call.
        source: std::io::Error,
    },
    /// The store refuses to be opened, for a reason that its kind gives.
    #[error("{name}: {why}")]
    Refused {
        /// The path as the operator wrote it.
        name: String,
        /// What failed, and what is accepted.
        why: String,
    },
    /// The path is neither a regular file nor a block device.
    #[error("{path}: neither a regular file nor a block device, but {what}")]
    WrongFileType {
        /// The file or device.
        path: PathBuf,
        /// The type of the file.
        what: &'static str,
    },
    /// The file is smaller than one logical block.
    #[error("{path}: has {size} bytes, and a unit needs at least one block of {block_len}")]
    TooSmall {
        /// The file or device.
        path: PathBuf,
        /// The size of the file, in bytes.
        size: u64,
        /// The logical block length, in bytes.
        block_len: u32,
    },
    /// The file system does not support direct I/O.
    #[error("{path}: its file system does not support direct I/O; use 'rdwr' without the flag 'direct'")]
    NoDirect {
        /// The file or device.
        path: PathBuf,
    },
    /// The logical blocks are smaller than the unit of direct I/O.
    #[error("{path}: direct I/O needs multiples of {alignment} bytes, but the block length is {block_len}")]
    Alignment {
        /// The file or device.
        path: PathBuf,
        /// The alignment that direct I/O needs, in bytes.
        alignment: u32,
        /// The logical block length, in bytes.
        block_len: u32,
    },
}

impl Registry {
    /// Returns a registry without kinds.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a kind. It replaces a kind of the same name.
    pub fn add(&mut self, kind: Kind) {
        match self.kinds.iter_mut().find(|known| known.name == kind.name) {
            Some(known) => *known = kind,
            None => self.kinds.push(kind),
        }
    }

    /// Returns all kinds in the order in which they were added.
    #[must_use]
    pub fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    /// Returns the kind of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Kind> {
        self.kinds.iter().find(|kind| kind.name == name)
    }

    /// Opens a store of the named kind. Blocks while the file system does.
    ///
    /// # Errors
    /// The name is unknown, the kind does not accept an option or a flag, or the store cannot be opened.
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

impl OpenError {
    /// The reason `why` for which the store at `path` is not opened.
    #[must_use]
    pub fn refused(path: &Path, why: impl Into<String>) -> Self {
        Self::Refused { name: path.display().to_string(), why: why.into() }
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kind").field("name", &self.name).finish_non_exhaustive()
    }
}

impl Kind {
    /// Returns the flags that the kind accepts, as `sync:direct`; empty if it accepts none.
    #[must_use]
    pub fn flags(&self) -> &'static str {
        OpenFlags { sync: self.sync, direct: self.direct }.as_str()
    }

    /// Checks path, flags and keys of options.
    fn check(&self, options: &OpenOptions) -> Result<(), OpenError> {
        if self.path != PathUse::Unused && options.path.as_os_str().is_empty() {
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
    /// Returns options for a path, with defaults for everything else.
    #[must_use]
    pub fn for_path(path: &Path) -> Self {
        Self { path: path.to_owned(), ..Self::default() }
    }

    /// Returns the path of a store whose kind uses it as a [`PathUse::Name`].
    ///
    /// # Errors
    /// It is not UTF-8.
    pub fn name(&self) -> Result<&str, OpenError> {
        self.path.to_str().ok_or_else(|| OpenError::refused(&self.path, "expected UTF-8"))
    }

    /// Returns the last value of a key in `bsopts`.
    #[must_use]
    pub fn option(&self, key: &str) -> Option<&str> {
        self.pairs().filter(|(known, _)| *known == key).last().map(|(_, value)| value)
    }

    /// Returns the value of the option `size` in bytes, as [`parse_size`] reads it.
    ///
    /// # Errors
    /// The value is not a size, is 0, or is not a multiple of the block length.
    pub fn size_option(&self) -> Result<Option<u64>, OpenError> {
        let Some(value) = self.option("size") else { return Ok(None) };
        let bad = |why| OpenError::BadOption { key: "size", value: value.to_owned(), why };
        let size = parse_size(value).ok_or_else(|| bad("expected a number of bytes, with K, M, G or T"))?;
        if size == 0 || !size.is_multiple_of(u64::from(self.block_len.max(1))) {
            return Err(bad("expected a multiple of the block length, more than 0"));
        }
        Ok(Some(size))
    }

    /// Keys and values in `bsopts`.
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
    /// Returns `sync`, `direct`, `sync:direct` or the empty string.
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

/// Parses flags separated by colons, in any order; the empty string has no flags.
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

/// Parses a number of bytes with an optional binary suffix `K`, `M`, `G` or `T`; `None` if it is invalid or exceeds 64
/// bits.
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

    /// `unwrap_err` cannot be used, because `Arc<dyn Backstore>` does not implement `Debug`.
    fn refusal(name: &str, options: &OpenOptions) -> String {
        match Registry::builtin().open(name, options) {
            Ok(_) => panic!("{name} opened with {options:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn builtin_kinds_and_their_flags_are_listed_in_order() {
        let listed: Vec<_> =
            Registry::builtin().kinds().iter().map(|kind| (kind.name, kind.flags())).collect();
        let remote = [
            ("rbd", "sync:direct"),
            ("glfs", "sync:direct"),
            ("curve", "sync:direct"),
            ("longhorn", ""),
            ("nbd", ""),
        ];
        let local = [("null", ""), ("memory", ""), ("rdwr", "sync:direct"), ("aio", "")];
        assert_eq!(listed, [&remote[..], &local].concat());
    }

    #[test]
    fn flags_are_parsed_and_errors_name_unknown_ones() {
        let parse = |text: &str| text.parse::<OpenFlags>();
        assert_eq!(parse("").unwrap(), OpenFlags::default());
        assert_eq!(parse("sync:direct").unwrap(), OpenFlags { sync: true, direct: true });
        assert_eq!(parse("direct").unwrap().as_str(), "direct");
        assert!(parse("sync:fast").unwrap_err().to_string().contains("'fast'"));
    }

    #[test]
    fn size_suffixes_are_binary_and_overflow_is_refused() {
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
    fn errors_name_what_is_unknown_and_what_is_accepted() {
        let with = |bsopts: &str, flags: &str| OpenOptions {
            path: "/nowhere".into(),
            bsopts: bsopts.into(),
            bsoflags: flags.parse().unwrap(),
            ..OpenOptions::default()
        };
        assert!(
            refusal("sheepdog", &with("", ""))
                .contains("rbd, glfs, curve, longhorn, nbd, null, memory, rdwr, aio")
        );
        assert!(refusal("rdwr", &OpenOptions::default()).contains("needs a path"));
        assert!(refusal("null", &with("speed=9", "")).contains("it accepts: size"));
        assert!(refusal("rdwr", &with("speed=9", "")).contains("it accepts: none"));
        assert!(refusal("null", &with("size=7", "")).contains("multiple of the block length"));
        assert!(refusal("aio", &with("", "direct")).contains("'aio' has no open flag 'direct'"));
        assert!(refusal("rdwr", &with("", "")).contains("/nowhere"));
    }

    #[test]
    fn kind_keeps_the_state_of_its_product_and_gets_the_name_as_written() {
        let opened = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let names = Arc::clone(&opened);
        let mut registry = Registry::new();
        registry.add(Kind {
            name: "product",
            summary: "a store of a product",
            sync: false,
            direct: false,
            path: PathUse::Name,
            options: &[],
            open: Arc::new(move |options| {
                names.lock().push(options.name()?.to_owned());
                Err(OpenError::refused(&options.path, "no such volume; accepted: volume1"))
            }),
        });
        let options = OpenOptions::for_path(Path::new("proto://host:1/a%2Cb?x=/y"));
        let refused = registry.open("product", &options).err().unwrap();
        assert_eq!(refused.to_string(), "proto://host:1/a%2Cb?x=/y: no such volume; accepted: volume1");
        assert_eq!(*opened.lock(), ["proto://host:1/a%2Cb?x=/y"]);
        let missing = registry.open("product", &OpenOptions::default()).err().unwrap();
        assert!(matches!(missing, OpenError::PathMissing("product")));
    }
}
