//! A socket and its connection's place in a shard: bytes in by one readv, answers out by one sendmsg, both bounded
//! for a turn.

use std::io::{IoSlice, IoSliceMut};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags};

use crate::buffers::Pool;
use crate::iscsi::connection::{Connection, ConnectionState};
use crate::runtime::poller::{Interest, Key};

/// A migrated connection's socket.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    /// Its registration.
    pub key: Key,
    /// Which of the loop's shards.
    pub shard: usize,
    /// Which of the shard's connections.
    pub place: usize,
    /// What the poller watches it for.
    pub interest: Interest,
    /// The last send was short: wait for room.
    pub blocked: bool,
    /// Its connection is to go on in the next turn.
    pub unfinished: bool,
}

/// What a read brought.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Received {
    /// Bytes; what belonged to a payload is there already.
    Bytes {
        /// So many lie in the scratch.
        scratch: usize,
        /// So many came in all.
        all: usize,
        /// All that was asked for came, so there may be more.
        full: bool,
    },
    /// Nothing for now.
    Nothing,
    /// The other side is gone.
    Closed,
}

/// While long payloads come, this much is read beyond the payload in progress: a header and little more.
const SCRATCH_BULK: usize = 4096;
/// Slices of one send; a PDU has up to three.
const SLICES_MAX: usize = 256;
const SLICES_FEW: usize = 8;

impl Stream {
    /// A socket that is registered under `key`.
    #[must_use]
    pub fn new(socket: TcpStream, key: Key, shard: usize, place: usize) -> Self {
        Self { socket, key, shard, place, interest: Interest::Read, blocked: false, unfinished: false }
    }

    /// One readv: the rest of a payload to its place, the rest to the scratch, to each up to `most` bytes.
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

    /// Sends what the connection has until the socket is full; false when the other side is gone.
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

    /// One sendmsg; how much was offered, and how much was taken.
    fn send_some<const N: usize>(&self, connection: &Connection) -> (usize, rustix::io::Result<usize>) {
        let mut slices = [IoSlice::new(&[]); N];
        let filled = connection.transmit.slices(&mut slices);
        let offered = slices[..filled].iter().map(|slice| slice.len()).sum();
        let mut nothing = SendAncillaryBuffer::default();
        (offered, rustix::net::sendmsg(&self.socket, &slices[..filled], &mut nothing, SendFlags::NOSIGNAL))
    }

    /// What the poller should watch it for.
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
