//! The state of an admin connection.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use crate::control::audit::{Change, Peer};
use crate::control::wire::{Form, RecordReader};
use crate::runtime::poller::Key;

/// An admin connection.
pub(super) struct Client {
    pub(super) stream: UnixStream,
    pub(super) peer: Peer,
    pub(super) key: Key,
    pub(super) state: ClientState,
    /// The change it asked for, until the reply.
    pub(super) change: Option<Change>,
    /// The form of its reply.
    pub(super) form: Form,
    /// When it is closed, unless it sends or receives before.
    pub(super) deadline: Instant,
}

/// What a client waits for.
pub(super) enum ClientState {
    /// The request is incomplete.
    Reading(RecordReader),
    /// The request is being executed.
    Waiting,
    /// The reply, and the number of bytes sent.
    Replying(Vec<u8>, usize),
}

impl Client {
    pub(super) fn has_reply(&self) -> bool {
        matches!(self.state, ClientState::Replying(..))
    }
}
