//! Where the disk images and sockets lie during a run; removed when it is over.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// Disk images of each kind, and so targets of each kind.
pub(super) const UNITS: usize = 3;
const MIB: usize = 1 << 20;

/// What is behind a logical unit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Backing {
    /// A file on a disk, in the page cache.
    File,
    /// A file on tmpfs.
    Tmpfs,
    /// Nothing: the store `null`.
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

/// Two folders: one on a disk, one on tmpfs.
pub(super) struct Site {
    work: PathBuf,
    shm: PathBuf,
}

impl Site {
    /// Makes the folders below those given, and the images.
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

    /// An image. The null store has none, but stock tgtd wants to be told one.
    pub(super) fn image(&self, backing: Backing, unit: usize) -> PathBuf {
        let folder = if backing == Backing::Tmpfs { &self.shm } else { &self.work };
        folder.join(format!("unit{unit}.img"))
    }

    /// A small image of that name on tmpfs, with nothing in it.
    pub(super) fn sparse(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.shm.join(name);
        File::create(&path)?.set_len(MIB as u64)?;
        Ok(path)
    }

    /// A folder of a peer's own.
    pub(super) fn folder(&self, peer: &str) -> io::Result<PathBuf> {
        let folder = self.work.join(peer);
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// Brings the images into the page cache.
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
                eprintln!("bench: {} stays: {error}", folder.display());
            }
        }
    }
}
