//! BLKDISCARD, the only request to a block device without a safe wrapper.
#![allow(unsafe_code)] // ioctl(2) takes an untyped pointer.

use std::os::fd::BorrowedFd;

use rustix::ioctl::{Opcode, Setter, ioctl};

/// Discards a range of a block device, in bytes. What the range reads as afterwards depends on the device.
pub(crate) fn discard(device: BorrowedFd<'_>, offset: u64, len: u64) -> rustix::io::Result<()> {
    // SAFETY: BLKDISCARD reads two u64 (start, length) from the pointer it is given and writes nothing back;
    // `Setter` passes a pointer to exactly that array, which lives until the call returns.
    unsafe { ioctl(device, Setter::<BLKDISCARD, [u64; 2]>::new([offset, len])) }
}

/// `_IO(0x12, 119)`, linux/fs.h.
const BLKDISCARD: Opcode = 0x1277;
