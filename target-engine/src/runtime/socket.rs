//! The socket of an attached connection, and its registration with the poller of its loop.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags};

use super::poller::Key;
use crate::loop_state::stream::ByteStream;

/// A non-blocking socket.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) socket: TcpStream,
    /// Its registration; `None`: the poller has refused it.
    pub(super) key: Option<Key>,
}

impl ByteStream for Socket {
    #[inline]
    fn read(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
        Ok(match buffers {
            [buffer] => rustix::net::recv(&self.socket, &mut **buffer, RecvFlags::empty())?.0,
            _ => rustix::io::readv(&self.socket, buffers)?,
        })
    }

    #[inline]
    fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut nothing = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(&self.socket, buffers, &mut nothing, SendFlags::NOSIGNAL)?)
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
