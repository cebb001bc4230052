//! The configuration file of NEBD's clients, from which socket and lock directory are taken.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// What the file says about the server.
#[derive(Debug, Default, Eq, PartialEq)]
pub(super) struct ClientConf {
    /// `nebdserver.serverAddress`.
    pub(super) socket: Option<PathBuf>,
    /// `metacache.fileLockPath`.
    pub(super) lock_directory: Option<PathBuf>,
}

impl ClientConf {
    /// Reads a file.
    ///
    /// # Errors
    /// The file cannot be read, or is not text.
    pub(super) fn read(path: &Path) -> io::Result<Self> {
        let mut text = String::new();
        std::fs::File::open(path)?.take(FILE_LEN_MAX).read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    /// Lines are `key=value`; `#` begins a comment.
    fn parse(text: &str) -> Self {
        let value = |key: &str| {
            text.lines()
                .filter_map(|line| line.split('#').next()?.split_once('='))
                .filter(|(known, _)| known.trim() == key)
                .map(|(_, value)| value.trim())
                .rfind(|value| !value.is_empty())
        };
        let socket = value("nebdserver.serverAddress");
        Self {
            socket: socket.map(|path| PathBuf::from(path.strip_prefix("unix:").unwrap_or(path))),
            lock_directory: value("metacache.fileLockPath").map(PathBuf::from),
        }
    }
}

/// Bytes of the file that are read.
const FILE_LEN_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_and_lock_directory_are_read_and_comments_are_not() {
        let text = "# part2 socket file address\n\
            nebdserver.serverAddress=/curvebs/nebd/data/nebd.sock  # a template\n\
            #metacache.fileLockPath=/wrong\n\
            metacache.fileLockPath = /curvebs/nebd/data/lock\n\
            heartbeat.intervalS=5\n";
        let conf = ClientConf {
            socket: Some("/curvebs/nebd/data/nebd.sock".into()),
            lock_directory: Some("/curvebs/nebd/data/lock".into()),
        };
        assert_eq!(ClientConf::parse(text), conf);
        assert_eq!(ClientConf::parse("nebdserver.serverAddress=\n"), ClientConf::default());
        let unix = ClientConf::parse("nebdserver.serverAddress=unix:/a");
        assert_eq!(unix.socket, Some("/a".into()));
    }
}
