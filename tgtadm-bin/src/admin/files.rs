//! Files of this machine.

use std::io;
use std::path::{Path, PathBuf};

use super::config::Files;

/// The real file system.
pub(super) struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        if path.is_dir() { Ok(Vec::new()) } else { std::fs::read(path) }
    }

    fn directory(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let entries = path.is_dir().then(|| std::fs::read_dir(path).into_iter().flatten().flatten())?;
        let mut inside: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| !path.is_dir()).collect();
        inside.sort();
        Some(inside)
    }

    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        // As in a shell, `*` does not match names that begin with a dot.
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..glob::MatchOptions::new() };
        let paths = glob::glob_with(pattern, options).into_iter().flatten();
        paths.flatten().collect()
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}
