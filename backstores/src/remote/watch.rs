//! The epoll descriptor of an engine, which watches the sockets of all its connections.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::operations::LinkId;

/// Watches sockets.
pub(super) struct Watcher {
    epoll: OwnedFd,
    watched: usize,
    /// The only socket, if there is one only.
    last_added: Option<ConnectionKey>,
    links: u64,
    due: bool,
}

/// Indices of a session in its engine and of a connection in its session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct ConnectionKey {
    pub(super) session: usize,
    pub(super) connection: usize,
}

/// Number of sockets that are handled at a time.
const EVENTS_MAX: usize = 64;

impl Watcher {
    pub(super) fn new() -> rustix::io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, watched: 0, last_added: None, links: 0, due: true })
    }

    /// Readable while a socket is ready.
    pub(super) fn event_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(super) fn add(
        &mut self,
        socket: &OwnedFd,
        key: ConnectionKey,
        interest: EventFlags,
    ) -> rustix::io::Result<()> {
        epoll::add(&self.epoll, socket, data(key), interest)?;
        self.watched += 1;
        self.last_added = Some(key);
        Ok(())
    }

    pub(super) fn modify(&mut self, socket: &OwnedFd, key: ConnectionKey, interest: EventFlags) {
        if let Err(errno) = epoll::modify(&self.epoll, socket, data(key), interest) {
            log::error!("cannot watch the connection of a store: {errno}");
        }
    }

    pub(super) fn remove(&mut self, socket: &OwnedFd) {
        if epoll::delete(&self.epoll, socket).is_ok() {
            self.watched -= 1;
            self.last_added = None;
        }
    }

    /// The only socket that is watched, if that is known: it need not be searched.
    pub(super) fn only(&self) -> Option<ConnectionKey> {
        self.last_added.filter(|_| self.watched == 1)
    }

    /// Appends the sockets that are ready.
    pub(super) fn ready(&self, into: &mut Vec<(ConnectionKey, EventFlags)>, events: &mut Vec<Event>) {
        events.clear();
        events.reserve(EVENTS_MAX);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        if epoll::wait(&self.epoll, spare_capacity(events), Some(&now)).is_err() {
            return;
        }
        into.extend(events.iter().map(|event| (key(event.data), event.flags)));
    }

    /// An identity for a connection.
    pub(super) fn new_link(&mut self) -> LinkId {
        self.links += 1;
        LinkId(self.links)
    }

    /// The times of the sessions have changed.
    pub(super) fn set_due(&mut self) {
        self.due = true;
    }

    pub(super) fn take_due(&mut self) -> bool {
        std::mem::take(&mut self.due)
    }
}

fn data(key: ConnectionKey) -> EventData {
    EventData::new_u64((key.session as u64) << 8 | key.connection as u64)
}

fn key(data: EventData) -> ConnectionKey {
    let data = data.u64();
    ConnectionKey { session: (data >> 8) as usize, connection: (data & 0xff) as usize }
}
