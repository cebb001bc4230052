//! Readiness of descriptors, in level mode. A key is an index and a generation: an event of a previous generation is
//! dropped, so that a registration never gets an event of the one that had its index before.
//!
//! Descriptors are registered through `polling`. The wait itself is `epoll_wait` on the poller's descriptor:
//! `Poller::wait` would re-arm its timer and its notifier with four more system calls each time.
//!
//! `polling` watches urgent data (`EPOLLPRI`) with every interest in data, and an event that nothing consumes ends every
//! wait. So a socket that is registered must deliver urgent data among the other data: see [`take_urgent_data`].
#![allow(unsafe_code)] // `polling` asks the caller to deregister what it registered.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use polling::{Event, PollMode};
use rustix::event::{Timespec, epoll};
use slab::Slab;
use socket2::SockRef;

use crate::limits::EVENTS_MAX;

/// Has a socket deliver urgent data among the other data, so that reading consumes it. iSCSI has no urgent data.
///
/// # Errors
/// The descriptor is no socket.
pub fn take_urgent_data(socket: &impl AsFd) -> io::Result<()> {
    SockRef::from(socket).set_out_of_band_inline(true)
}

/// A set of descriptors, each with a `T` that identifies it.
pub struct Poller<T> {
    poller: polling::Poller,
    entries: Slab<Entry<T>>,
    generation: u32,
}

#[derive(Debug)]
struct Entry<T> {
    what: T,
    generation: u32,
}

/// Identifies a registration; invalid once it is deregistered.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key(u64);

/// The events to wait for. Errors and hang-ups are always reported.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Interest {
    /// Errors and hang-ups only.
    None,
    /// Data, or a connection to accept.
    Read,
    /// Space to write.
    Write,
    /// Data and space to write.
    Both,
}

/// The interest in data, and in space to write.
#[must_use]
pub fn interest(read: bool, write: bool) -> Interest {
    match (read, write) {
        (true, true) => Interest::Both,
        (true, false) => Interest::Read,
        (false, true) => Interest::Write,
        (false, false) => Interest::None,
    }
}

/// A descriptor that is ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Ready<T> {
    /// Its registration.
    pub key: Key,
    /// What it was registered as.
    pub what: T,
    /// Reading will not block: data, end of stream or an error.
    pub readable: bool,
    /// Writing will not block.
    pub writable: bool,
    /// The peer has closed the connection, or an error is pending.
    pub broken: bool,
}

impl<T: Copy> Poller<T> {
    /// Makes an empty set.
    ///
    /// # Errors
    /// No descriptors are left.
    pub fn new() -> io::Result<Self> {
        Ok(Self { poller: polling::Poller::new()?, entries: Slab::new(), generation: 0 })
    }

    /// Watches `source` until `deregister`, in level mode.
    ///
    /// # Errors
    /// The kernel refuses (no memory, watched already).
    pub fn register(&mut self, source: &impl AsFd, what: T, interest: Interest) -> io::Result<Key> {
        self.generation = self.generation.wrapping_add(1) & 0x7fff_ffff;
        let entry = self.entries.vacant_entry();
        let key = Key(u64::from(self.generation) << 32 | entry.key() as u64);
        // SAFETY: the descriptor is open here, and epoll forgets it by itself when it is closed; an event of a
        // closed one is dropped by its generation.
        unsafe {
            self.poller.add_with_mode(source.as_fd().as_raw_fd(), event(key, interest), PollMode::Level)?;
        }
        entry.insert(Entry { what, generation: self.generation });
        Ok(key)
    }

    /// Changes the interest.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn modify(&self, key: Key, source: &impl AsFd, interest: Interest) -> io::Result<()> {
        self.poller.modify_with_mode(source.as_fd(), event(key, interest), PollMode::Level)
    }

    /// Stops watching; its pending events are dropped.
    pub fn deregister(&mut self, key: Key, source: &impl AsFd) {
        if self.find(key.0).is_some() {
            self.entries.remove(key.index());
            // The descriptor is open here, even if the peer has closed the connection.
            let _ = self.poller.delete(source.as_fd());
        }
    }

    /// Waits until a descriptor is ready or the timeout is over (`None`: no timeout), and appends the ready ones, at most
    /// [`EVENTS_MAX`]; the others are first in the next wait.
    ///
    /// # Errors
    /// The kernel refuses; an interrupted wait is no error and reports nothing.
    pub fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready<T>>) -> io::Result<()> {
        let timeout = timeout.map(|time| Timespec {
            tv_sec: time.as_secs().min(86_400).cast_signed(),
            tv_nsec: time.subsec_nanos().into(),
        });
        let mut buffer = [const { MaybeUninit::uninit() }; EVENTS_MAX];
        let events = match epoll::wait(&self.poller, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for raw in events {
            let flags = raw.flags;
            let Some(what) = self.find(raw.data.u64()) else { continue };
            let broken = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            let readable = broken || flags.intersects(epoll::EventFlags::IN | epoll::EventFlags::RDHUP);
            ready.push(Ready {
                key: Key(raw.data.u64()),
                what,
                readable,
                writable: broken || flags.contains(epoll::EventFlags::OUT),
                broken,
            });
        }
        Ok(())
    }

    fn find(&self, key: u64) -> Option<T> {
        let entry = self.entries.get(Key(key).index())?;
        (u64::from(entry.generation) == key >> 32).then_some(entry.what)
    }
}

impl Key {
    fn index(self) -> usize {
        (self.0 & 0xffff_ffff) as usize
    }
}

fn event(key: Key, interest: Interest) -> Event {
    let key = key.0 as usize;
    match interest {
        Interest::None => Event::none(key),
        Interest::Read => Event::readable(key),
        Interest::Write => Event::writable(key),
        Interest::Both => Event::all(key),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use rustix::net::SendFlags;

    use super::*;

    fn wait(poller: &mut Poller<u8>) -> Vec<Ready<u8>> {
        let mut ready = Vec::new();
        poller.wait(Some(Duration::ZERO), &mut ready).unwrap();
        ready
    }

    #[test]
    fn readiness_is_reported_while_it_lasts() {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        let key = poller.register(&theirs, 7, Interest::Read).unwrap();
        assert_eq!(wait(&mut poller), []);
        ours.write_all(b"x").unwrap();
        let read = Ready { key, what: 7, readable: true, writable: false, broken: false };
        assert_eq!(wait(&mut poller), [read]);
        assert_eq!(wait(&mut poller), [read]);
        poller.modify(key, &theirs, Interest::Write).unwrap();
        assert_eq!(
            wait(&mut poller),
            [Ready { key, what: 7, readable: false, writable: true, broken: false }]
        );
        poller.modify(key, &theirs, Interest::None).unwrap();
        assert_eq!(wait(&mut poller), []);
        drop(ours);
        assert!(wait(&mut poller)[0].broken);
    }

    #[test]
    fn stale_key_does_not_match_a_later_registration() {
        let (mut first, watched_first) = UnixStream::pair().unwrap();
        let (_second, watched_second) = UnixStream::pair().unwrap();
        let mut poller = Poller::new().unwrap();
        let old = poller.register(&watched_first, 1, Interest::Read).unwrap();
        first.write_all(b"x").unwrap();
        poller.deregister(old, &watched_first);
        let new = poller.register(&watched_second, 2, Interest::Read).unwrap();
        assert_eq!(new.index(), old.index());
        assert_eq!(poller.find(old.0), None);
        assert_eq!(poller.find(new.0), Some(2));
        poller.deregister(old, &watched_second);
        assert_eq!(poller.find(new.0), Some(2), "an old key deregisters nothing");
        assert_eq!(wait(&mut poller), []);
    }

    #[test]
    fn urgent_data_is_read_with_the_other_data_and_is_no_event_after_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        take_urgent_data(&theirs).unwrap();
        let mut poller = Poller::new().unwrap();
        let key = poller.register(&theirs, 7, Interest::Read).unwrap();
        rustix::net::send(&ours, b"urgent!", SendFlags::OOB).unwrap();
        let mut received = [0; 7];
        theirs.read_exact(&mut received).unwrap();
        assert_eq!(&received, b"urgent!");
        assert_eq!(wait(&mut poller), [], "nothing is left");
        rustix::net::send(&ours, b"more", SendFlags::empty()).unwrap();
        let read = Ready { key, what: 7, readable: true, writable: false, broken: false };
        while wait(&mut poller) != [read] {}
    }
}
