//! How a loop reads from and writes to the socket of a connection: one read and one write at a time, both bounded for a
//! turn.

use std::io::{self, ErrorKind, IoSlice, IoSliceMut};

use crate::buffers::Pool;
use crate::iscsi::connection::{Connection, ConnectionState};
use crate::keys::ConnectionIndex;
use crate::limits::SHARE_LEN_MIN;

/// The socket of a connection. It does not block.
pub trait ByteStream {
    /// Fills the buffers in their order, as readv(2) does, and returns the number of bytes; 0: the peer has closed the
    /// connection.
    ///
    /// # Errors
    /// `WouldBlock`: no bytes wait. Every error but that and `Interrupted` closes the connection.
    fn read(&mut self, buffers: &mut [IoSliceMut<'_>]) -> io::Result<usize>;

    /// Sends from the buffers in their order, as writev(2) does, and returns the number of bytes that were taken.
    ///
    /// # Errors
    /// `WouldBlock`: no bytes were taken. Every error but that and `Interrupted` closes the connection.
    fn write(&mut self, buffers: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// Index of a connection in its loop. It is used again once the connection was closed.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct StreamIndex(pub(super) usize);

/// The events to watch a socket for. Errors and hang-ups are always watched.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Watch {
    /// Data.
    pub read: bool,
    /// Space to write.
    pub write: bool,
}

/// The events of a socket.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Readiness {
    /// Reading will not block: data, end of stream or an error.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The peer has closed the connection, or an error is pending.
    pub broken: bool,
}

/// A connection of the loop.
#[derive(Debug)]
pub(super) struct Stream<S> {
    pub(super) socket: S,
    /// The index of its target in the loop.
    pub(super) target: usize,
    /// The index of its connection in the shard.
    pub(super) place: ConnectionIndex,
    /// What the driver watches the socket for.
    pub(super) watch: Watch,
    /// The last write was short: wait until the socket is writable.
    pub(super) blocked: bool,
    /// The connection continues in the next turn.
    pub(super) unfinished: bool,
    /// Events that wait for that.
    pub(super) ready: Readiness,
    /// Bytes of requests that were there when the socket was read last; `None`: more than were read.
    pub(super) at_hand: Option<usize>,
    /// Requests that are left for the next turn wait because of [`Self::allowed_bytes`].
    pub(super) held_back: bool,
}

/// The result of a read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Received {
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

impl Readiness {
    /// Adds further events.
    pub(super) fn add(&mut self, other: Self) {
        self.readable |= other.readable;
        self.writable |= other.writable;
        self.broken |= other.broken;
    }
}

impl<S: ByteStream> Stream<S> {
    /// A connection whose socket is watched for data.
    pub(super) fn new(socket: S, target: usize, place: ConnectionIndex) -> Self {
        let watch = Watch { read: true, write: false };
        Self {
            socket,
            target,
            place,
            watch,
            blocked: false,
            unfinished: false,
            ready: Readiness::default(),
            at_hand: None,
            held_back: false,
        }
    }

    /// Bytes of requests after which no further one is executed in this turn, beside the share: one request and a quarter of
    /// those that are there for each [`SHARE_LEN_MIN`] of the share. It bounds connections that could have all their
    /// requests executed in a turn in which others cannot. Otherwise an initiator with four commands outstanding would be
    /// served four times as fast as one with one command; alone it is served about twice as fast.
    #[inline]
    pub(super) fn allowed_bytes(&self, share: usize, is_contended: bool) -> usize {
        match self.at_hand {
            Some(at_hand) if is_contended => share / SHARE_LEN_MIN * (at_hand / 4),
            _ => usize::MAX,
        }
    }

    /// Reads once: into the buffer of the payload in progress, then into the scratch buffer, up to `most` bytes each.
    pub(super) fn receive(
        &mut self,
        connection: &mut Connection,
        scratch: &mut [u8],
        most: usize,
    ) -> Received {
        let bulk = connection.expects_bulk();
        let mut wanted = scratch.len().min(if bulk { SCRATCH_BULK } else { most });
        let (space_len, result) = match connection.space() {
            Some(space) => {
                let space_len = space.len().min(most);
                if space_len < space.len() {
                    wanted = 0;
                }
                let mut buffers =
                    [IoSliceMut::new(&mut space[..space_len]), IoSliceMut::new(&mut scratch[..wanted])];
                (space_len, self.socket.read(&mut buffers))
            }
            None => (0, self.socket.read(&mut [IoSliceMut::new(&mut scratch[..wanted])])),
        };
        match result {
            Ok(0) => Received::Closed,
            Ok(count) => {
                connection.received(count, count.min(space_len));
                let full = count == space_len + wanted;
                Received::Bytes { scratch: count.saturating_sub(space_len), all: count, full }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                Received::Nothing
            }
            Err(error) => {
                log::debug!("{}: receive: {error}", connection.peer());
                Received::Closed
            }
        }
    }

    /// Sends what the connection has queued until the socket is full. `false`: the connection failed.
    pub(super) fn send(&mut self, connection: &mut Connection, pool: &mut Pool) -> bool {
        while connection.unsent() > 0 {
            let (offered, result) = if connection.unsent_pdus() <= SLICES_FEW / 3 {
                self.send_some::<SLICES_FEW>(connection)
            } else {
                self.send_some::<SLICES_MAX>(connection)
            };
            match result {
                Ok(count) => {
                    connection.sent(count, pool);
                    if count < offered {
                        self.blocked = true;
                        return true;
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => {
                        self.blocked = true;
                        return true;
                    }
                    ErrorKind::Interrupted => {}
                    _ => {
                        log::debug!("{}: send: {error}", connection.peer());
                        return false;
                    }
                },
            }
        }
        self.blocked = false;
        true
    }

    /// Sends once. Returns the number of bytes offered, and of those taken.
    fn send_some<const N: usize>(&mut self, connection: &Connection) -> (usize, io::Result<usize>) {
        let mut slices = [IoSlice::new(&[]); N];
        let filled = connection.slices(&mut slices);
        let offered = slices[..filled].iter().map(|slice| slice.len()).sum();
        (offered, self.socket.write(&slices[..filled]))
    }

    /// Returns what to watch the socket for.
    pub(super) fn wanted(&self, paused: bool, state: ConnectionState) -> Watch {
        Watch { read: !paused && state == ConnectionState::Open, write: self.blocked }
    }
}
