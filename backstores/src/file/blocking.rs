//! Operations as system calls that may block, for workers and for inline operations.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, SeekFrom};
use rustix::io::{Errno, ReadWriteFlags};
use scsi_core::store::{Block, BlockOp, Completed, IoError};

use super::error::retry;
use super::flush::FlushNumber;
use super::geometry::Medium;
use super::ioctl;
use super::{OpenFile, range};

/// Does an operation. `flush` is its number if it is a flush.
pub(crate) fn perform(file: &OpenFile, op: &mut BlockOp, flush: FlushNumber) -> Result<Completed, IoError> {
    // The end may have become known since the operation was queued.
    let (offset, len) = range(op);
    if let Some(error) = file.short.refusal(offset, len) {
        return Err(error);
    }
    match op {
        BlockOp::Read { offset, into } => read(file, *offset, into)?,
        BlockOp::Write { offset, from, fua } => write(file, *offset, from, *fua)?,
        BlockOp::Flush => file.flushes.flush(flush, &file.path)?,
        BlockOp::Discard { offset, len } => discard(file, *offset, *len)?,
        BlockOp::WriteZeroes { offset, len, may_unmap } => write_zeroes(file, *offset, *len, *may_unmap)?,
        BlockOp::Allocation { offset, len } => return allocation(file, *offset, *len),
    }
    Ok(Completed::Done)
}

/// Fills `into` from byte `offset`.
///
/// # Errors
/// [`IoError::OUT_OF_RANGE`] if the file ends before `into` is full.
pub(crate) fn read(file: &OpenFile, offset: u64, into: &mut [u8]) -> Result<(), IoError> {
    let mut moved = 0;
    while moved < into.len() {
        let at = offset + moved as u64;
        match retry(|| rustix::io::pread(&file.fd, &mut into[moved..], at)) {
            Ok(0) => return Err(file.ends_at(at, at)),
            Ok(n) => moved += n,
            Err(errno) => return Err(file.error(errno, at)),
        }
    }
    Ok(())
}

/// Writes all of `from` at byte `offset`, with `fua` to the medium.
pub(crate) fn write(file: &OpenFile, offset: u64, from: &[u8], fua: bool) -> Result<(), IoError> {
    let flags = if fua { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
    let mut moved = 0;
    while moved < from.len() {
        let at = offset + moved as u64;
        match retry(|| rustix::io::pwritev2(&file.fd, &[IoSlice::new(&from[moved..])], at, flags)) {
            Ok(0) => return Err(IoError::medium(at)),
            Ok(n) => moved += n,
            Err(errno) => return Err(file.error(errno, at)),
        }
    }
    Ok(())
}

/// Reads from the page cache without waiting; returns how many bytes of `into` were filled.
pub(crate) fn read_cached(file: &OpenFile, offset: u64, into: &mut [u8]) -> rustix::io::Result<usize> {
    rustix::io::preadv2(&file.fd, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT)
}

/// Writes to the page cache without waiting; returns how many bytes of `from` were written.
pub(crate) fn write_cached(file: &OpenFile, offset: u64, from: &[u8]) -> rustix::io::Result<usize> {
    rustix::io::pwritev2(&file.fd, &[IoSlice::new(from)], offset, ReadWriteFlags::NOWAIT)
}

fn discard(file: &OpenFile, offset: u64, len: u64) -> Result<(), IoError> {
    let done = match file.medium {
        Medium::Device => retry(|| ioctl::discard(file.fd.as_fd(), offset, len)),
        Medium::File | Medium::MemoryFile => {
            retry(|| rustix::fs::fallocate(&file.fd, PUNCH_HOLE, offset, len))
        }
    };
    done.map_err(|errno| file.error(errno, offset))?;
    sync(file)
}

fn write_zeroes(file: &OpenFile, offset: u64, len: u64, may_unmap: bool) -> Result<(), IoError> {
    zero(file, offset, len, may_unmap)?;
    sync(file)
}

/// Writes the changes of an operation that ignores O_DSYNC to the medium, if the file was opened with it: initiators do
/// not flush a unit without a cache. A failure counts as that of a flush, because the kernel reports it once.
fn sync(file: &OpenFile) -> Result<(), IoError> {
    if !file.mode.sync {
        return Ok(());
    }
    retry(|| rustix::fs::fdatasync(&file.fd)).map_err(|errno| file.flushes.fail(errno, &file.path))
}

/// Zeroes a range by a hole if `may_unmap`, by fallocate, or by writing zeroes.
fn zero(file: &OpenFile, offset: u64, len: u64, may_unmap: bool) -> Result<(), IoError> {
    if may_unmap && file.capabilities.discard {
        match retry(|| rustix::fs::fallocate(&file.fd, PUNCH_HOLE, offset, len)) {
            Err(Errno::OPNOTSUPP) => {}
            done => return done.map_err(|errno| file.error(errno, offset)),
        }
    }
    if file.zero_range.load(Ordering::Relaxed) {
        match retry(|| rustix::fs::fallocate(&file.fd, ZERO_RANGE, offset, len)) {
            Err(Errno::OPNOTSUPP) => file.zero_range.store(false, Ordering::Relaxed),
            done => return done.map_err(|errno| file.error(errno, offset)),
        }
    }
    let zeroes = Block::new(len.min(ZEROES_LEN) as usize);
    let mut moved = 0;
    while moved < len {
        let piece = (len - moved).min(ZEROES_LEN) as usize;
        write(file, offset + moved, &zeroes[..piece], false)?;
        moved += piece as u64;
    }
    Ok(())
}

fn allocation(file: &OpenFile, offset: u64, len: u64) -> Result<Completed, IoError> {
    let seek = |from| match retry(|| rustix::fs::seek(&file.fd, from)) {
        // There is no data up to the end.
        Err(Errno::NXIO) => Ok(u64::MAX),
        found => found.map_err(|errno| file.error(errno, offset)),
    };
    let data = seek(SeekFrom::Data(offset))?;
    if data > offset {
        return Ok(Completed::Allocation { len: len.min(data - offset), hole: true });
    }
    let hole = seek(SeekFrom::Hole(offset))?.max(offset + 1);
    Ok(Completed::Allocation { len: len.min(hole - offset), hole: false })
}

/// Replaces a range by a hole, which reads as zeroes.
pub(crate) const PUNCH_HOLE: FallocateFlags = FallocateFlags::PUNCH_HOLE.union(FallocateFlags::KEEP_SIZE);
/// Zeroes a range and keeps its space.
pub(crate) const ZERO_RANGE: FallocateFlags = FallocateFlags::ZERO_RANGE.union(FallocateFlags::KEEP_SIZE);
/// Maximum number of bytes of one write of zeroes.
const ZEROES_LEN: u64 = 256 << 10;
