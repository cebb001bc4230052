//! Opens files and block devices: flags, creation, read-only files.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

use rustix::fs::{FileType, OFlags};
use rustix::io::Errno;
use scsi_core::store::Backstore;

use super::flush::Flushes;
use super::geometry::{self, Medium, MediumError, Mode};
use super::short::ShortEnd;
use super::{File, OpenFile};
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};
use crate::workers::Workers;

/// The kind `rdwr`: files and block devices through the page cache.
#[must_use]
pub fn rdwr() -> Kind {
    Kind {
        name: "rdwr",
        summary: "a file or block device, through the page cache unless the flag 'direct' is set",
        sync: true,
        direct: true,
        path: PathUse::File,
        options: &[],
        open: Arc::new(|options| open("rdwr", options, options.bsoflags.direct)),
    }
}

/// The kind `aio`: files and block devices with direct I/O.
#[must_use]
pub fn aio() -> Kind {
    Kind {
        name: "aio",
        summary: "a file or block device, with direct I/O (O_DIRECT)",
        sync: false,
        direct: false,
        path: PathUse::File,
        options: &[],
        open: Arc::new(|options| open("aio", options, true)),
    }
}

fn open(kind: &'static str, options: &OpenOptions, direct: bool) -> Result<Arc<dyn Backstore>, OpenError> {
    Ok(Arc::new(open_file(kind, options, direct, Workers::shared())?))
}

/// Opens a file or device whose blocking operations go to a pool of workers.
pub(crate) fn open_file(
    kind: &'static str,
    options: &OpenOptions,
    direct: bool,
    workers: &Workers,
) -> Result<File, OpenError> {
    let path = &options.path;
    let io = |errno| io_error(path, errno);
    refuse_other_types(path)?;
    if let Some(size) = options.size {
        create(path, size)?;
    }
    let sync = options.bsoflags.sync;
    let (fd, read_only) = open_writable_or_not(path, flags(sync, direct), options.read_only)?;
    let witness = second_description(path, fd.as_fd()).map_err(io)?;
    let medium = Medium::of(fd.as_fd()).map_err(|what| match what {
        MediumError::Errno(errno) => io(errno),
        MediumError::Type(what) => OpenError::WrongFileType { path: path.clone(), what },
    })?;
    let read_only = read_only || geometry::device_is_read_only(fd.as_fd(), medium);
    let mode = Mode { read_only, sync, direct };
    let size = geometry::size(fd.as_fd(), medium).map_err(io)?;
    let block_len = options.block_len;
    if size < u64::from(block_len.max(1)) {
        return Err(OpenError::TooSmall { path: path.clone(), size, block_len });
    }
    if direct {
        let alignment = geometry::direct_alignment(fd.as_fd(), medium)
            .ok_or_else(|| OpenError::NoDirect { path: path.clone() })?;
        if !block_len.is_multiple_of(alignment) {
            return Err(OpenError::Alignment { path: path.clone(), alignment, block_len });
        }
    }
    let file = OpenFile {
        path: path.clone(),
        medium,
        mode,
        size: AtomicU64::new(size),
        short: ShortEnd::new(),
        takes_threads: geometry::takes_threads(fd.as_fd(), medium),
        ignores_nowait: geometry::ignores_nowait(fd.as_fd()),
        physical_block_len: geometry::physical_block_len(fd.as_fd(), medium),
        capabilities: geometry::capabilities(fd.as_fd(), medium, mode, size),
        zero_range: AtomicBool::new(true),
        workers: workers.unit(),
        flushes: Flushes::new(witness, workers.serial()),
        fd,
    };
    Ok(File { kind, file: Arc::new(file) })
}

/// Refuses paths that are neither a file nor a block device before they are opened: opening a pipe blocks, and the
/// error for a directory is misleading.
fn refuse_other_types(path: &Path) -> Result<(), OpenError> {
    match rustix::fs::stat(path) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::BlockDevice => Ok(()),
            other => {
                Err(OpenError::WrongFileType { path: path.to_owned(), what: geometry::type_name(other) })
            }
        },
        // Opening the path returns the same error.
        Err(_) => Ok(()),
    }
}

/// Creates a sparse file of `size` bytes if the file does not exist.
fn create(path: &Path, size: u64) -> Result<(), OpenError> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    match rustix::fs::open(path, flags, 0o644.into()) {
        Ok(fd) => rustix::fs::ftruncate(&fd, size).map_err(|errno| {
            let _ = std::fs::remove_file(path);
            io_error(path, errno)
        }),
        Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(io_error(path, errno)),
    }
}

fn flags(sync: bool, direct: bool) -> OFlags {
    let mut flags = OFlags::CLOEXEC | OFlags::NOCTTY;
    flags.set(OFlags::DSYNC, sync);
    flags.set(OFlags::DIRECT, direct);
    flags
}

/// Opens for writing unless `read_only`, or for reading if writing is not permitted; returns the descriptor and whether
/// it is read-only.
fn open_writable_or_not(path: &Path, flags: OFlags, read_only: bool) -> Result<(OwnedFd, bool), OpenError> {
    if !read_only {
        match rustix::fs::open(path, flags | OFlags::RDWR, 0.into()) {
            Ok(fd) => return Ok((fd, false)),
            Err(Errno::ACCESS | Errno::ROFS | Errno::PERM) => {
                log::warn!("{}: no permission to write, opened read-only", path.display());
            }
            Err(errno) => return Err(refused(path, flags, errno)),
        }
    }
    match rustix::fs::open(path, flags | OFlags::RDONLY, 0.into()) {
        Ok(fd) => Ok((fd, true)),
        Err(errno) => Err(refused(path, flags, errno)),
    }
}

/// Opens the file again. The kernel reports a failed write-back once to each open file description.
///
/// # Errors
/// `ESTALE` if the path leads to another file by now.
fn second_description(path: &Path, fd: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
    let second = rustix::fs::open(path, flags, 0.into())?;
    let (one, other) = (rustix::fs::fstat(fd)?, rustix::fs::fstat(&second)?);
    let same = (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino);
    if same { Ok(second) } else { Err(Errno::STALE) }
}

/// Converts an error of opening the file.
fn refused(path: &Path, flags: OFlags, errno: Errno) -> OpenError {
    if errno == Errno::INVAL && flags.contains(OFlags::DIRECT) {
        return OpenError::NoDirect { path: path.to_owned() };
    }
    io_error(path, errno)
}

fn io_error(path: &Path, errno: Errno) -> OpenError {
    OpenError::Io { path: path.to_owned(), source: errno.into() }
}
