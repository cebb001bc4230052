//! Sending and receiving on a socket that does not block.

use std::io::{IoSlice, IoSliceMut};
use std::os::fd::BorrowedFd;

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

/// Sends on a socket without SIGPIPE.
pub(super) fn send(fd: BorrowedFd<'_>, from: &[IoSlice<'_>]) -> Result<usize, Errno> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    loop {
        match rustix::net::sendmsg(fd, from, &mut SendAncillaryBuffer::default(), flags) {
            Err(Errno::INTR) => {}
            sent => return sent,
        }
    }
}

/// Receives on a socket; 0: the peer has closed the connection.
pub(super) fn receive(fd: BorrowedFd<'_>, into: &mut [IoSliceMut<'_>]) -> Result<usize, Errno> {
    loop {
        match rustix::io::readv(fd, into) {
            Err(Errno::INTR) => {}
            received => return received,
        }
    }
}
