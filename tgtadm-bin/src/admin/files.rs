//! Files of this machine.

use std::fs::{self, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::config::Files;

/// The real file system.
pub(super) struct Disk;

impl Files for Disk {
    /// Reads a named pipe too, for `-c /dev/stdin`, unless it is empty and has no writer: then it has no configuration,
    /// and opening it for reading would block.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let kind = fs::metadata(path)?.file_type();
        if kind.is_dir() {
            return Ok(Vec::new());
        }
        if !kind.is_fifo() {
            return fs::read(path);
        }
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let mut pipe = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
        rustix::fs::fcntl_setfl(&pipe, OFlags::empty())?;
        let mut text = Vec::new();
        pipe.read_to_end(&mut text)?;
        if text.is_empty() { Err(io::Error::other("this pipe is empty and has no writer")) } else { Ok(text) }
    }

    /// Reads regular files only. `/dev/null` is an empty one: a link to it disables a file.
    fn read_included(&self, path: &Path) -> io::Result<Vec<u8>> {
        let kind = fs::metadata(path)?.file_type();
        if kind.is_dir() || fs::canonicalize(path).is_ok_and(|path| path == Path::new("/dev/null")) {
            return Ok(Vec::new());
        }
        if kind.is_file() { fs::read(path) } else { Err(io::Error::other("not a regular file")) }
    }

    fn directory(&self, path: &Path) -> Option<Vec<PathBuf>> {
        let entries = path.is_dir().then(|| fs::read_dir(path).into_iter().flatten().flatten())?;
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode};

    use super::*;
    use crate::admin::config;

    #[test]
    fn only_regular_files_are_included() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("conf.d")).unwrap();
        fs::write(at("targets.conf"), "default-driver iscsi\ninclude conf.d/*.conf\n").unwrap();
        fs::write(at("a.inc"), "incomingdiscoveryuser a b\n").unwrap();
        symlink(at("a.inc"), at("conf.d/a.conf")).unwrap();
        symlink("/dev/null", at("conf.d/b.conf")).unwrap();
        assert_eq!(config::read(&at("targets.conf"), &Disk).unwrap().len(), 2);
        rustix::fs::mkfifoat(CWD, at("pipe"), Mode::RUSR | Mode::WUSR).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        for special in [at("pipe"), at("socket"), "/dev/zero".into()] {
            symlink(special, at("conf.d/c.conf")).unwrap();
            let error = config::read(&at("targets.conf"), &Disk).unwrap_err().to_string();
            let [conf, file] = ["targets.conf", "conf.d/c.conf"].map(|name| at(name).display().to_string());
            assert_eq!(error, format!("{conf}:2: {file}: not a regular file"));
            fs::remove_file(at("conf.d/c.conf")).unwrap();
        }
    }

    #[test]
    fn pipe_is_a_configuration_file_if_it_has_a_writer() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let error = Disk.read(&pipe).unwrap_err().to_string();
        assert_eq!(error, "this pipe is empty and has no writer");
        let (reader, mut writer) = io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
        let writing = std::thread::spawn(move || {
            std::thread::sleep(std::time::Duration::from_millis(20));
            io::Write::write_all(&mut writer, b"default-driver iscsi\n").unwrap();
        });
        assert_eq!(Disk.read(Path::new(&path)).unwrap(), b"default-driver iscsi\n");
        writing.join().unwrap();
    }
}
