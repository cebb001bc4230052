//! What a file or block device is: its size, block lengths, alignment, and what it can do.

use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FallocateFlags, FileType, SeekFrom, StatxFlags};
use rustix::io::Errno;
use scsi_core::store::{BLOCK_ALIGNMENT, Block, Capabilities};

/// Where the bytes are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Medium {
    /// A regular file.
    File,
    /// A file whose file system is memory (tmpfs, ramfs): reading and writing never waits for a device.
    MemoryFile,
    /// A block device.
    Device,
}

/// How the file was opened.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Mode {
    pub(crate) read_only: bool,
    pub(crate) sync: bool,
    pub(crate) direct: bool,
}

impl Medium {
    /// `Err` names what it is instead.
    pub(crate) fn of(fd: BorrowedFd<'_>) -> Result<Self, WhatElse> {
        let stat = rustix::fs::fstat(fd).map_err(WhatElse::Errno)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::BlockDevice => Ok(Self::Device),
            FileType::RegularFile => {
                let magic = rustix::fs::fstatfs(fd).map_err(WhatElse::Errno)?.f_type as u32;
                Ok(if matches!(magic, TMPFS_MAGIC | RAMFS_MAGIC) { Self::MemoryFile } else { Self::File })
            }
            other => Err(WhatElse::Type(type_name(other))),
        }
    }
}

/// Why something is no [`Medium`].
#[derive(Debug)]
pub(crate) enum WhatElse {
    Errno(Errno),
    Type(&'static str),
}

/// Whether the kernel may need a thread of its own for each request of an io_uring, because the file system cannot
/// wait otherwise: those of the network and in user space, and all that are not known.
pub(crate) fn takes_threads(fd: BorrowedFd<'_>, medium: Medium) -> bool {
    let known =
        || rustix::fs::fstatfs(fd).is_ok_and(|stat| WAIT_WITHOUT_THREADS.contains(&(stat.f_type as u32)));
    medium == Medium::File && !known()
}

/// Whether reading and writing may wait even where the kernel is told that they must not: FUSE does, past the page
/// cache, although its files promise otherwise.
pub(crate) fn ignores_nowait(fd: BorrowedFd<'_>) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|stat| stat.f_type as u32 == FUSE_MAGIC)
}

/// What a file that is no store is called.
pub(crate) fn type_name(file_type: FileType) -> &'static str {
    match file_type {
        FileType::Directory => "a directory",
        FileType::CharacterDevice => "a character device",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "something else",
    }
}

/// The present size in bytes.
pub(crate) fn size(fd: BorrowedFd<'_>, medium: Medium) -> rustix::io::Result<u64> {
    match medium {
        Medium::File | Medium::MemoryFile => Ok(rustix::fs::fstat(fd)?.st_size as u64),
        Medium::Device => rustix::fs::seek(fd, SeekFrom::End(0)),
    }
}

/// The physical block length that initiators are told, in bytes: a power of two from 512 on. As tgt has it, so that an
/// initiator sees the same disk whichever daemon serves it: of a file its st_blksize, of a device nothing.
pub(crate) fn physical_block_len(fd: BorrowedFd<'_>, medium: Medium) -> u32 {
    match medium {
        Medium::Device => PHYSICAL_LEN_MIN,
        Medium::File | Medium::MemoryFile => {
            rustix::fs::fstat(fd).map_or(PHYSICAL_LEN_MIN, |stat| announced_len(stat.st_blksize as u64))
        }
    }
}

/// A block length as it is announced: the next power of two, within what the exponent of READ CAPACITY (16) can say for
/// logical blocks of 512 bytes.
fn announced_len(told: u64) -> u32 {
    let len = told.clamp(PHYSICAL_LEN_MIN.into(), PHYSICAL_LEN_MAX.into());
    len.next_power_of_two() as u32
}

/// What of a file is written without reading first, and freed as a whole, in bytes: a power of two, at least 512.
fn preferred_len(fd: BorrowedFd<'_>) -> u32 {
    let told = rustix::fs::fstat(fd).ok().and_then(|stat| u32::try_from(stat.st_blksize).ok());
    match told {
        Some(len) if len.is_power_of_two() && (512..=BLOCK_LEN_MAX).contains(&len) => len,
        Some(len) if len > BLOCK_LEN_MAX => 4096,
        _ => 512,
    }
}

/// What offsets and lengths of direct I/O must be a multiple of, in bytes; `None` if it cannot be done at all.
pub(crate) fn direct_alignment(fd: BorrowedFd<'_>, medium: Medium) -> Option<u32> {
    if let Ok(told) = rustix::fs::statx(fd, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN)
        && StatxFlags::from_bits_retain(told.stx_mask).contains(StatxFlags::DIOALIGN)
    {
        let fits = told.stx_dio_mem_align as usize <= BLOCK_ALIGNMENT && told.stx_dio_offset_align > 0;
        return fits.then_some(told.stx_dio_offset_align.max(512));
    }
    match medium {
        Medium::Device => rustix::fs::ioctl_blksszget(fd).ok(),
        Medium::MemoryFile => Some(512),
        Medium::File => Some(probed_alignment(fd)),
    }
}

/// Kernels before 6.1 do not tell; a read that is too fine is refused with EINVAL.
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

/// What can be done with it, found by asking and trying; may block.
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
        // BLKDISCARD promises nothing; a hole in a file reads as zeroes.
        discard_zeroes: discard && medium != Medium::Device,
        write_zeroes: writable,
        allocation: medium != Medium::Device,
        alignment,
        discard_granularity: granularity,
    }
}

/// Punches a hole far beyond the end, where there is nothing to lose.
fn can_punch(fd: BorrowedFd<'_>, size: u64) -> bool {
    let beyond = size.next_multiple_of(1 << 20) + (1 << 20);
    let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
    rustix::fs::fallocate(fd, flags, beyond, 4096).is_ok()
}

fn device_discard(fd: BorrowedFd<'_>) -> (bool, u32) {
    // A partition has its limits in its disk's directory.
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

/// Whether a device refuses writes; opening it for writing succeeds all the same.
pub(crate) fn device_is_read_only(fd: BorrowedFd<'_>, medium: Medium) -> bool {
    medium == Medium::Device && device_attribute(fd, "ro").is_some_and(|read_only| read_only != 0)
}

fn device_attribute(fd: BorrowedFd<'_>, name: &str) -> Option<u64> {
    let device = rustix::fs::fstat(fd).ok()?.st_rdev;
    let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
    std::fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/{name}")).ok()?.trim().parse().ok()
}

/// ext2 to ext4, XFS, Btrfs, F2FS.
const WAIT_WITHOUT_THREADS: [u32; 4] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010];
const FUSE_MAGIC: u32 = 0x6573_5546;
const TMPFS_MAGIC: u32 = 0x0102_1994;
const RAMFS_MAGIC: u32 = 0x8584_58f6;
/// Of what [`physical_block_len`] answers, in bytes.
const PHYSICAL_LEN_MIN: u32 = 512;
const PHYSICAL_LEN_MAX: u32 = 512 << 15;
/// Network file systems report a transfer size here, which is no block length.
const BLOCK_LEN_MAX: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn announced_lengths_are_powers_of_two_that_the_exponent_can_say() {
        let told = [0, 256, 512, 3000, 4096, 12_288, 1 << 20, 16 << 20, 32 << 20, u64::MAX];
        let announced = [512, 512, 512, 4096, 4096, 16_384, 1 << 20, 16 << 20, 16 << 20, 16 << 20];
        assert_eq!(told.map(announced_len), announced);
    }
}
