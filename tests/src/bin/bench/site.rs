//! Directories of the disk images and sockets of a run; removed at its end.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Disk images of each kind, which is also the number of targets of each kind.
pub(super) const UNITS: usize = 3;
const MIB: usize = 1 << 20;

/// The backing store of a logical unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Backing {
    /// A file on a disk, in the page cache.
    File,
    /// A file on tmpfs.
    Tmpfs,
    /// The store `null`.
    Null,
}

impl Backing {
    pub(super) const ALL: [Self; 3] = [Self::File, Self::Tmpfs, Self::Null];
}

impl fmt::Display for Backing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "cached file",
            Self::Tmpfs => "tmpfs",
            Self::Null => "null store",
        })
    }
}

/// Two directories: one on a disk, one on tmpfs.
pub(super) struct Site {
    work: PathBuf,
    shm: PathBuf,
}

impl Site {
    /// Creates a directory with images in each of `work` and `shm`; `mib` is the size of an image.
    pub(super) fn new(work: Option<&Path>, shm: &Path, mib: u64) -> io::Result<Self> {
        let name = format!("tgt-bench-{}", std::process::id());
        let work = match work {
            Some(work) => work.to_owned(),
            None => std::env::current_exe()?.parent().map(Path::to_owned).unwrap_or_default(),
        };
        let site = Self { work: work.join(&name), shm: shm.join(&name) };
        let mut noise = vec![0; MIB];
        File::open("/dev/urandom")?.read_exact(&mut noise)?;
        for backing in [Backing::File, Backing::Tmpfs] {
            for unit in 0..UNITS {
                let path = site.image(backing, unit);
                fs::create_dir_all(path.parent().unwrap_or(&path))?;
                let mut file = File::create(&path)?;
                for _ in 0..mib {
                    file.write_all(&noise)?;
                }
                file.sync_all()?;
            }
        }
        Ok(site)
    }

    /// Path of an image. The null store does not use one, but tgt requires a path.
    pub(super) fn image(&self, backing: Backing, unit: usize) -> PathBuf {
        let folder = if backing == Backing::Tmpfs { &self.shm } else { &self.work };
        folder.join(format!("unit{unit}.img"))
    }

    /// Creates a sparse image of 1 MiB on tmpfs.
    pub(super) fn sparse(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.shm.join(name);
        File::create(&path)?.set_len(MIB as u64)?;
        Ok(path)
    }

    /// Creates a directory for one peer.
    pub(super) fn folder(&self, peer: &str) -> io::Result<PathBuf> {
        let folder = self.work.join(peer);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Reads the images into the page cache.
    pub(super) fn warm(&self, backing: Backing) -> io::Result<()> {
        if backing == Backing::File {
            let mut buffer = vec![0; MIB];
            for unit in 0..UNITS {
                let mut file = File::open(self.image(backing, unit))?;
                while file.read(&mut buffer)? > 0 {}
            }
        }
        Ok(())
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for folder in [&self.work, &self.shm] {
            if let Err(error) = fs::remove_dir_all(folder) {
                eprintln!("bench: cannot remove {}: {error}", folder.display());
            }
        }
    }
}
