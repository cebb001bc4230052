//! Entry point for fuzzing the parser of configuration files.

use std::io;
use std::path::{Path, PathBuf};

use super::{Files, interpret, read};

/// Parses the bytes as a file that may include itself and a directory of itself.
///
/// # Panics
/// An error or warning has a location outside of the file, or a target occurs twice.
pub fn targets_conf(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let checked = |error: &super::ConfigError| {
        assert!(error.location.line as usize <= lines, "{error}");
        assert!(!error.text.is_empty() && !error.text.contains('\n'), "{error}");
    };
    match read(Path::new("targets.conf"), &SameFile(bytes)).map_err(|error| vec![error]).and_then(interpret) {
        Ok(config) => {
            config.warnings.iter().for_each(checked);
            config.refused.iter().flat_map(|refused| &refused.errors).for_each(checked);
            assert!(config.targets.is_sorted_by(|one, other| one.name < other.name), "each target once");
        }
        Err(errors) => errors.iter().for_each(checked),
    }
}

/// A file system in which every file has the same bytes.
struct SameFile<'bytes>(&'bytes [u8]);

impl Files for SameFile<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn directory(&self, path: &Path) -> Option<Vec<PathBuf>> {
        path.ends_with("conf.d").then(|| vec![path.join("1"), path.join("2")])
    }

    fn matching(&self, pattern: &str) -> Vec<PathBuf> {
        vec![pattern.into()]
    }

    fn exists(&self, path: &Path) -> bool {
        path.as_os_str().len() < 20
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Fragments of valid files, so that random combinations reach deep into the parser.
    const PIECES: [&str; 20] = [
        "<target a>\n",
        "<backing-store /x>\n",
        "</target>\n",
        "</backing-store>\n",
        "include conf.d\n",
        "lun 1\n",
        "lun 2\n",
        "incominguser a b\n",
        "controller_tid 1\n",
        "write-cache",
        " ",
        "\n",
        "\"",
        "\\",
        "#",
        "<",
        ">",
        "/*",
        "a <<E\n",
        "E\n",
    ];

    proptest! {
        #[test]
        fn no_text_panics(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
            super::targets_conf(pieces.concat().as_bytes());
        }

        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            super::targets_conf(&bytes);
        }
    }
}
