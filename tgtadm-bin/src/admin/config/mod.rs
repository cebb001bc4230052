//! Reads `targets.conf`: text to lines (`lines`), lines to a tree (`tree`), the tree to a configuration (`meaning`).
//!
//! The module does not access the system: [`Files`] provides the files.

mod directives;
pub mod fuzzing;
mod lines;
mod meaning;
mod tree;

pub use meaning::{Account, Config, Parameter, Refused, Store, StoreKind, Target, WriteCache, interpret};
pub use tree::{Block, Entry, EntryItem, Files, OneText, read};

use std::fmt;
use std::path::Path;
use std::rc::Rc;

/// An `initiator-address` that no initiator has, so that rules on names are the only ones.
pub(super) const NO_ADDRESS: &str = "none";

/// The path of a store that begins so has no medium.
pub(super) const NO_MEDIUM: &str = "NONE:";

/// The placeholder of `--dump` for a password.
pub(super) const PASSWORD_PLACEHOLDER: &str = "PLEASE_CORRECT_THE_PASSWORD";

/// A line of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Location {
    /// The path of the file as it was named.
    pub file: Rc<Path>,
    /// The number of the line, from 1.
    pub line: u32,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// An error or a warning about a line of a file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConfigError {
    /// The line.
    pub location: Location,
    /// What is wrong and what is accepted, in one line.
    pub text: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.location, self.text)
    }
}
