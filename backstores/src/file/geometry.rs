//! Size, block lengths, alignment and capabilities of files and block devices.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FallocateFlags, FileType, SeekFrom, StatxFlags};
use rustix::io::Errno;
use scsi_core::store::{BLOCK_ALIGNMENT, Block, Capabilities};

/// The kind of the medium.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Medium {
    /// A regular file.
    File,
    /// A file in memory (tmpfs, ramfs): I/O never waits for a device.
    MemoryFile,
    /// A block device.
    Device,
}

/// The mode in which a file was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mode {
    pub(crate) read_only: bool,
    pub(crate) sync: bool,
    pub(crate) direct: bool,
}

impl Medium {
    /// Returns the medium of an open file.
    ///
    /// # Errors
    /// The file is neither a regular file nor a block device, or a system call failed.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, MediumError> {
        let stat = rustix::fs::fstat(fd).map_err(MediumError::Errno)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => Ok(Self::Device),
            FileType::RegularFile => {
                let magic = rustix::fs::fstatfs(fd).map_err(MediumError::Errno)?.f_type as u32;
                Ok(if matches!(magic, TMPFS_MAGIC | RAMFS_MAGIC) { Self::MemoryFile } else { Self::File })
            }
            other => Err(MediumError::Type(type_name(other))),
        }
    }
}

/// Why an open file has no [`Medium`].
#[derive(Debug)]
pub(crate) enum MediumError {
    Errno(Errno),
    Type(&'static str),
}

/// Whether each io_uring request on the file may occupy a kernel thread. This is so for network file systems, for those
/// in user space, and for unknown ones.
pub(crate) fn takes_threads(fd: BorrowedFd<'_>, medium: Medium) -> bool {
    let known =
        || rustix::fs::fstatfs(fd).is_ok_and(|stat| WAIT_WITHOUT_THREADS.contains(&(stat.f_type as u32)));
    medium == Medium::File && !known()
}

/// Whether I/O with RWF_NOWAIT may block. FUSE blocks if the page cache does not suffice, although its files claim to
/// support the flag.
pub(crate) fn ignores_nowait(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as u32 == FUSE_MAGIC)
}

/// The name of a type of file, for messages.
pub(crate) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "something else",
    }
}

/// Reads the size in bytes.
pub(crate) fn size(fd: BorrowedFd<'_>, medium: Medium) -> rustix::io::Result<u64> {
    match medium {
        Medium::File | Medium::MemoryFile => Ok(rustix::fs::fstat(fd)?.st_size as u64),
        Medium::Device => rustix::fs::seek(fd, SeekFrom::End(0)),
    }
}

/// The physical block length to report, in bytes: a power of two, at least 512. As in tgt, it is the st_blksize of a
/// file, and 512 for a device, so that an initiator sees the same disk whichever daemon serves it.
pub(crate) fn physical_block_len(fd: BorrowedFd<'_>, medium: Medium) -> u32 {
    match medium {
        Medium::Device => PHYSICAL_LEN_MIN,
        Medium::File | Medium::MemoryFile => {
            rustix::fs::fstat(fd).map_or(PHYSICAL_LEN_MIN, |stat| reported_len(stat.st_blksize as u64))
        }
    }
}

/// Rounds a length in bytes up to the power of two that READ CAPACITY (16) can report for logical blocks of 512 bytes.
fn reported_len(len: u64) -> u32 {
    let len = len.clamp(PHYSICAL_LEN_MIN.into(), PHYSICAL_LEN_MAX.into());
    len.next_power_of_two() as u32
}

/// The length of blocks that the file system writes without reading them first and frees as a whole, in bytes: a power
/// of two, at least 512.
fn preferred_len(fd: BorrowedFd<'_>) -> u32 {
    let found = rustix::fs::fstat(fd).ok().and_then(|stat| u32::try_from(stat.st_blksize).ok());
    match found {
        Some(len) if len.is_power_of_two() && (512..=BLOCK_LEN_MAX).contains(&len) => len,
        Some(len) if len > BLOCK_LEN_MAX => 4096,
        _ => 512,
    }
}

/// The alignment of offsets and lengths for direct I/O, in bytes; `None` if direct I/O is not supported.
pub(crate) fn direct_alignment(fd: BorrowedFd<'_>, medium: Medium) -> Option<u32> {
    if let Ok(found) = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        && StatxFlags::from_bits_retain(found.stx_mask).contains(StatxFlags::DIOALIGN)
    {
        let fits = found.stx_dio_mem_align as usize <= BLOCK_ALIGNMENT && found.stx_dio_offset_align > 0;
        return fits.then_some(found.stx_dio_offset_align.max(512));
    }
    match medium {
        Medium::Device => rustix::fs::ioctl_blksszget(fd).ok(),
        Medium::MemoryFile => Some(512),
        Medium::File => Some(probed_alignment(fd)),
    }
}

/// Finds the alignment by reads, which fail with EINVAL if their alignment does not suffice: kernels before 6.1 do not
/// report it.
fn probed_alignment(fd: BorrowedFd<'_>) -> u32 {
    let mut block = Block::new(4096);
    for alignment in [512, 1024, 2048] {
        block.set_len(alignment as usize);
        if rustix::io::pread(fd, &mut block[..], u64::from(alignment)) != Err(Errno::INVAL) {
            return alignment;
        }
    }
    4096
}

/// Determines the capabilities by queries and by trying operations. May block.
pub(crate) fn capabilities(fd: BorrowedFd<'_>, medium: Medium, mode: Mode, size: u64) -> Capabilities {
    let writable = !mode.read_only;
    let alignment = if mode.direct { direct_alignment(fd, medium).unwrap_or(4096) } else { 1 };
    let (discard, granularity) = match medium {
        _ if !writable => (false, 0),
        Medium::Device => device_discard(fd),
        Medium::File | Medium::MemoryFile => {
            let punches = can_punch(fd, size);
            (punches, if punches { preferred_len(fd) } else { 0 })
        }
    };
    Capabilities {
        read_only: mode.read_only,
        volatile_cache: !mode.sync,
        fua: true,
        discard,
        // A discarded range of a device may read as anything; a hole in a file reads as zeroes.
        discard_zeroes: discard && medium != Medium::Device,
        write_zeroes: writable,
        allocation: medium != Medium::Device,
        may_shrink: writable,
        alignment,
        discard_granularity: granularity,
        ..Capabilities::NONE
    }
}

/// Whether the file system supports holes: tries to punch one far beyond the end of the file, where there is no data.
fn can_punch(fd: BorrowedFd<'_>, size: u64) -> bool {
    let beyond = size.next_multiple_of(1 << 20) + (1 << 20);
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(fd, flags, beyond, 4096).is_ok()
}

/// Whether a device supports discard, and its granularity in bytes.
fn device_discard(fd: BorrowedFd<'_>) -> (bool, u32) {
    // The limits of a partition are in the directory of its disk.
    let limit = |name: &str| {
        ["queue", "../queue"]
            .iter()
            .find_map(|queue| device_attribute(fd, &format!("{queue}/{name}")))
            .unwrap_or(0)
    };
    if limit("discard_max_bytes") == 0 {
        return (false, 0);
    }
    (true, u32::try_from(limit("discard_granularity")).unwrap_or(0))
}

/// Whether a device refuses writes. It can be opened for writing nevertheless.
pub(crate) fn device_is_read_only(fd: BorrowedFd<'_>, medium: Medium) -> bool {
    medium == Medium::Device && device_attribute(fd, "ro").is_some_and(|read_only| read_only != 0)
}

/// Reads a number from the directory of a device in sysfs.
fn device_attribute(fd: BorrowedFd<'_>, name: &str) -> Option<u64> {
    let device = rustix::fs::fstat(fd).ok()?.st_rdev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/{name}")).ok()?.trim().parse().ok()
}

/// Magic numbers of file systems whose requests wait without a thread: ext2 to ext4, XFS, Btrfs, F2FS.
const WAIT_WITHOUT_THREADS: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];
const FUSE_MAGIC: u32 = 0x6573_5546;
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;
/// Limits of [`physical_block_len`], in bytes.
const PHYSICAL_LEN_MIN: u32 = 512;
const PHYSICAL_LEN_MAX: u32 = 512 << 15;
/// Largest value of st_blksize that is a block length, in bytes; network file systems report their transfer size.
const BLOCK_LEN_MAX: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reported_lengths_are_powers_of_two_within_the_range_of_the_exponent() {
        let lengths = [0, 256, 512, 3000, 4096, 12_288, 1 << 20, 16 << 20, 32 << 20, u64::MAX];
        let reported = [512, 512, 512, 4096, 4096, 16_384, 1 << 20, 16 << 20, 16 << 20, 16 << 20];
        assert_eq!(lengths.map(reported_len), reported);
    }
}
