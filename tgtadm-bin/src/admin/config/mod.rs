//! `targets.conf`: text to lines (`lines`), lines to a tree (`tree`), the tree to what it means (`meaning`).
//!
//! Nothing here touches the system: files come through [`Files`].

mod directives;
pub mod fuzzing;
mod lines;
mod meaning;
mod tree;

pub use meaning::{Account, Config, Parameter, Refused, Store, StoreKind, Target, WriteCache, understand};
pub use tree::{Block, Entry, Item, read};

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// Where the files come from.
pub trait Files {
    /// What stands in it.
    ///
    /// # Errors
    /// It is not there, or must not be read.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// The files in a folder in the order of their names, or `None` when it is not a folder.
    fn folder(&self, path: &Path) -> Option<Vec<PathBuf>>;
    /// What a pattern with `* ? [ ]` names, in order.
    fn matching(&self, pattern: &str) -> Vec<PathBuf>;
    /// Whether there is such a file or folder.
    fn exists(&self, path: &Path) -> bool;
}

/// An `initiator-address` that nobody has, so that rules by name can stand alone.
pub(super) const NO_ADDRESS: &str = "none";

/// A store's path that begins so has no medium behind it.
pub(super) const NO_MEDIUM: &str = "NONE:";

/// What a dump has for a password.
pub(super) const PASSWORD_TO_CORRECT: &str = "PLEASE_CORRECT_THE_PASSWORD";

/// A line of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Place {
    /// Which file, as it was named.
    pub file: Rc<Path>,
    /// Which line, from 1.
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// What is wrong, where, and what would be right.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// One line.
    pub text: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.text)
    }
}

/// A mistake in a file that its reader knows.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Fault {
    line: u32,
    text: String,
}
