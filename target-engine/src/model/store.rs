//! What the engine must know to have a store opened, without knowing any store.

use std::sync::Arc;

use scsi_core::store::Backstore;

use super::error::ModelError;

/// Opens stores. It may take long: it is called on an opener thread only.
pub trait StoreOpener: Send + Sync {
    /// The kinds of stores there are, in the order of `sys show`; asked once, before the server serves.
    fn kinds(&self) -> Vec<StoreKind>;

    /// What `sys show` should say of how I/O is done here, where that is not the usual way.
    fn remark(&self) -> Option<String> {
        None
    }

    /// Opens one. It is dropped on such a thread too, when nothing uses it any more.
    ///
    /// # Errors
    /// Why not, for the log.
    fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String>;
}

/// A kind of store, as `sys show` lists it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct StoreKind {
    /// `rdwr`, `null` …
    pub name: &'static str,
    /// It can be opened with `sync` and `direct`.
    pub takes_flags: bool,
}

/// A store to be opened.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct StoreSpec {
    /// Which kind, by its name.
    pub kind: String,
    /// A file, a device, or what the kind makes of it.
    pub path: String,
    /// `--bsopts`, for the kind to read.
    pub options: String,
    /// `--bsoflags`.
    pub flags: OpenFlags,
    /// The unit's logical block length in bytes.
    pub block_len: u32,
    /// Open it for reading only.
    pub read_only: bool,
}

/// Names an open store: the number of the ticket it was opened by, so never used twice.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct StoreId(pub u64);

/// How a store's files are opened.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OpenFlags {
    /// `O_SYNC`.
    pub sync: bool,
    /// `O_DIRECT`.
    pub direct: bool,
}

impl OpenFlags {
    /// Reads `sync`, `direct`, or both with `:` between.
    ///
    /// # Errors
    /// Any other word.
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

    /// None is set.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// As reports have it.
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
    fn flags() {
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
