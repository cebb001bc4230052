//! Entry point for fuzzers: anything may stand in a configuration file.

use std::io;
use std::path::{Path, PathBuf};

use super::{Files, read, understand};

/// The bytes as a file that may include itself and a folder of itself: read and understood, or refused with a place in
/// that file.
///
/// # Panics
/// A mistake is said to be in another file, or behind the file's end.
pub fn targets_conf(bytes: &[u8]) {
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let checked = |mistake: &super::Mistake| {
        assert!(mistake.place.line as usize <= lines, "{mistake}");
        assert!(!mistake.text.is_empty() && !mistake.text.contains('\n'), "{mistake}");
    };
    match read(Path::new("targets.conf"), &Same(bytes)).map_err(|mistake| vec![mistake]).and_then(understand)
    {
        Ok(config) => {
            config.warnings.iter().for_each(checked);
            config.refused.iter().flat_map(|refused| &refused.mistakes).for_each(checked);
            assert!(config.targets.is_sorted_by(|one, other| one.name < other.name), "each target once");
        }
        Err(mistakes) => mistakes.iter().for_each(checked),
    }
}

/// Every name is a file with the same bytes.
struct Same<'bytes>(&'bytes [u8]);

impl Files for Same<'_> {
    fn read(&self, _: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.to_vec())
    }

    fn folder(&self, path: &Path) -> Option<Vec<PathBuf>> {
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

    /// Pieces that a file is made of, so that what is put together by chance gets somewhere.
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
