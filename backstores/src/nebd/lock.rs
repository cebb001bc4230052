//! The lock file of a volume, which NEBD's clients on a host (QEMU, this one) hold while the volume is open.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

/// A held lock. It is released, and its file removed, when it is dropped.
#[derive(Debug)]
pub(super) struct LockFile {
    path: PathBuf,
    _file: File,
}

impl LockFile {
    /// Takes the lock of a volume in `directory`, without waiting.
    ///
    /// # Errors
    /// `WouldBlock` if another client holds it; otherwise the file cannot be created or locked.
    pub(super) fn take(directory: &Path, volume: &str) -> io::Result<Self> {
        let path = Self::path(directory, volume);
        loop {
            let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o644).open(&path)?;
            flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            // The holder before may have removed the file after it was opened here.
            if is_at(&file, &path)? {
                return Ok(Self { path, _file: file });
            }
        }
    }

    /// Path of the lock file of a volume.
    pub(super) fn path(directory: &Path, volume: &str) -> PathBuf {
        directory.join(volume.replace('/', "+"))
    }
}

fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let held = file.metadata()?;
    match path.symlink_metadata() {
        Ok(found) => Ok((found.dev(), found.ino()) == (held.dev(), held.ino())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// The file is removed while it is locked, so that no other client's file is removed.
impl Drop for LockFile {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            log::warn!("{}: cannot remove the lock file: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_is_exclusive_and_its_file_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("cbd:pool++dir+vol_user_");
        let held = LockFile::take(directory.path(), "cbd:pool//dir/vol_user_").unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o644);
        let refused = LockFile::take(directory.path(), "cbd:pool//dir/vol_user_").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        drop(held);
        assert!(!path.exists());
        LockFile::take(directory.path(), "cbd:pool//dir/vol_user_").unwrap();
    }

    /// Without the check of the inode, two clients would hold the lock, one of them on a file without a name.
    #[test]
    fn lock_on_a_removed_file_does_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("v");
        let file = File::create(&path).unwrap();
        assert!(is_at(&file, &path).unwrap());
        std::fs::remove_file(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
        File::create(&path).unwrap();
        assert!(!is_at(&file, &path).unwrap());
    }
}
