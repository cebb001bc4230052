//! The socket of an attached connection: it receives by one readv and sends by one sendmsg, both bounded for a turn.

use std::io::{IoSlice, IoSliceMut};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::buffers::Pool;
use crate::iscsi::connection::{Connection, ConnectionState};
use crate::keys::ConnectionIndex;
use crate::runtime::poller::{Interest, Key};

/// The socket of a connection, and its state in the loop.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// Its registration with the poller.
    pub key: Key,
    /// The index of its shard in the loop.
    pub shard: usize,
    /// The index of its connection in the shard.
    pub place: ConnectionIndex,
    /// What the poller watches it for.
    pub interest: Interest,
    /// The last send was short: wait until the socket is writable.
    pub blocked: bool,
    /// The connection continues in the next turn.
    pub unfinished: bool,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// Bytes were read. Those of the payload in progress are in its buffer.
    Bytes {
        /// The number of bytes in the scratch buffer.
        scratch: usize,
        /// The number of all bytes.
        all: usize,
        /// The read was filled, so more bytes may wait.
        full: bool,
    },
    /// No bytes wait.
    Nothing,
    /// The peer has closed the connection, or it failed.
    Closed,
}

/// Bytes read beyond a long payload in progress: a header and little more.
const SCRATCH_BULK: usize = 4096;
/// Slices of one send; a PDU has up to three.
const SLICES_MAX: usize = 256;
const SLICES_FEW: usize = 8;

impl Stream {
    /// Takes over a socket that is registered as `key`.
    #[must_use]
    pub fn new(socket: TcpStream, key: Key, shard: usize, place: ConnectionIndex) -> Self {
        Self { socket, key, shard, place, interest: Interest::Read, blocked: false, unfinished: false }
    }

    /// Reads once: into the buffer of the payload in progress, then into the scratch buffer, up to `most` bytes each.
    pub fn receive(&self, connection: &mut Connection, scratch: &mut [u8], most: usize) -> Received {
        let bulk = connection.receiver.expects_bulk();
        let mut wanted = scratch.len().min(if bulk { SCRATCH_BULK } else { most });
        let (space_len, result) = match connection.receiver.space() {
            Some(space) => {
                let space_len = space.len().min(most);
                if space_len < space.len() {
                    wanted = 0;
                }
                let mut slices =
                    [IoSliceMut::new(&mut space[..space_len]), IoSliceMut::new(&mut scratch[..wanted])];
                (space_len, rustix::io::readv(&self.socket, &mut slices))
            }
            None => (
                0,
                rustix::net::recv(&self.socket, &mut scratch[..wanted], rustix::net::RecvFlags::empty())
                    .map(|(_, len)| len),
            ),
        };
        match result {
            Ok(0) => Received::Closed,
            Ok(count) => {
                connection.stats.received(count);
                connection.receiver.filled(count.min(space_len));
                let full = count == space_len + wanted;
                Received::Bytes { scratch: count.saturating_sub(space_len), all: count, full }
            }
            Err(Errno::AGAIN | Errno::INTR) => Received::Nothing,
            Err(error) => {
                log::debug!("{}: receive: {error}", connection.peer);
                Received::Closed
            }
        }
    }

    /// Sends what the connection has queued until the socket is full. `false`: the connection failed.
    pub fn send(&mut self, connection: &mut Connection, pool: &mut Pool) -> bool {
        while !connection.transmit.is_empty() {
            let (offered, result) = if connection.transmit.pdus() <= SLICES_FEW / 3 {
                self.send_some::<SLICES_FEW>(connection)
            } else {
                self.send_some::<SLICES_MAX>(connection)
            };
            match result {
                Ok(count) => {
                    connection.stats.sent(count);
                    connection.transmit.advance(count, pool);
                    if count < offered {
                        self.blocked = true;
                        return true;
                    }
                }
                Err(Errno::AGAIN) => {
                    self.blocked = true;
                    return true;
                }
                Err(Errno::INTR) => {}
                Err(error) => {
                    log::debug!("{}: send: {error}", connection.peer);
                    return false;
                }
            }
        }
        self.blocked = false;
        true
    }

    /// Sends once. Returns the number of bytes offered, and of those taken.
    fn send_some<const N: usize>(&self, connection: &Connection) -> (usize, rustix::io::Result<usize>) {
        let mut slices = [IoSlice::new(&[]); N];
        let filled = connection.transmit.slices(&mut slices);
        let offered = slices[..filled].iter().map(|slice| slice.len()).sum();
        let mut nothing = SendAncillaryBuffer::default();
        (offered, rustix::net::sendmsg(&self.socket, &slices[..filled], &mut nothing, SendFlags::NOSIGNAL))
    }

    /// Returns the interest for the poller.
    #[must_use]
    pub fn wanted(&self, choked: bool, state: ConnectionState) -> Interest {
        match (!choked && state == ConnectionState::Open, self.blocked) {
            (true, false) => Interest::Read,
            (true, true) => Interest::Both,
            (false, true) => Interest::Write,
            (false, false) => Interest::None,
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
