//! Descriptions of stores, and the interface that opens them.

use std::sync::Arc;

use scsi_core::store::Backstore;

use super::error::ModelError;

/// Opens stores. It may block: it is called on opener threads only.
pub trait StoreOpener: Send + Sync {
    /// Returns the kinds of stores, in the order of `--mode system --op show`. Called once, before the server serves.
    fn kinds(&self) -> Vec<StoreKind>;

    /// Returns a remark on the I/O interface for `--mode system --op show`, if it is not the usual one.
    fn remark(&self) -> Option<String> {
        None
    }

    /// Opens a store. It is dropped on an opener thread as well, when no unit uses it any more.
    ///
    /// # Errors
    /// The reason, for the log and the client; it names the path.
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String>;
}

/// A kind of store, as `--mode system --op show` lists it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreKind {
    /// Its name: `rdwr`, `null` …
    pub name: &'static str,
    /// Whether it accepts the flags `sync` and `direct`.
    pub takes_flags: bool,
    /// Whether a unit of it is refused without a path. A unit of another kind is a drive without a medium then, as with
    /// tgt.
    pub needs_medium: bool,
}

/// Describes a store.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreSpec {
    /// The name of its kind.
    pub kind: String,
    /// The path of a file or device, or what its kind uses it for.
    pub path: String,
    /// `--bsopts`, parsed by its kind.
    pub options: String,
    /// `--bsoflags`.
    pub flags: OpenFlags,
    /// The unit's logical block length in bytes.
    pub block_len: u32,
    /// Whether it is opened for reading only.
    pub read_only: bool,
}

/// Identifies an open store: the number of the ticket with which it was opened, so never used twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StoreId(pub u64);

/// Flags for opening the files of a store.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenFlags {
    /// `O_SYNC`.
    pub sync: bool,
    /// `O_DIRECT`.
    pub direct: bool,
}

impl OpenFlags {
    /// Parses `sync`, `direct`, or both with `:` between.
    ///
    /// # Errors
    /// It is any other word.
    pub fn parse(text: &str) -> Result<Self, ModelError> {
        let mut flags = Self::default();
        for word in text.split(':').filter(|word| !word.is_empty()) {
            match word {
                "sync" => flags.sync = true,
                "direct" => flags.direct = true,
                _ => {
                    return Err(ModelError::OpenFlag { flags: text.to_owned(), word: word.to_owned() });
                }
            }
        }
        Ok(flags)
    }

    /// Returns whether no flag is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Returns the text for reports.
    #[must_use]
    pub fn word(self) -> &'static str {
        match (self.sync, self.direct) {
            (false, false) => "",
            (true, false) => "sync",
            (false, true) => "direct",
            (true, true) => "sync:direct",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_parsed() {
        for text in ["", "sync", "direct", "sync:direct"] {
            assert_eq!(OpenFlags::parse(text).map(OpenFlags::word), Ok(text));
        }
        assert_eq!(OpenFlags::parse("direct:sync").map(OpenFlags::word), Ok("sync:direct"));
        let refused = OpenFlags::parse("sync:async");
        assert_eq!(
            refused,
            Err(ModelError::OpenFlag { flags: "sync:async".to_owned(), word: "async".to_owned() })
        );
    }
}
