//! Readiness of descriptors, by epoll in level mode. A key is an index and a generation: an event of a previous
//! generation is dropped, so that a registration never gets an event of the one that had its index before.
//!
//! Only the events of an [`Interest`] are watched. Urgent data (`EPOLLPRI`) is not, since nothing reads it: as in tgt the
//! kernel skips the urgent byte. An event that nothing consumes would end every wait.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use slab::Slab;

use crate::limits::EVENTS_MAX;

/// A set of descriptors, each with a `T` that identifies it.
pub struct Poller<T> {
    epoll: OwnedFd,
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
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        Ok(Self { epoll, entries: Slab::new(), generation: 0 })
    }

    /// Watches `source` until `deregister`, in level mode.
    ///
    /// # Errors
    /// The kernel refuses (no memory, watched already).
    pub fn register(&mut self, source: &impl AsFd, what: T, interest: Interest) -> io::Result<Key> {
        self.generation = self.generation.wrapping_add(1) & 0x7fff_ffff;
        let entry = self.entries.vacant_entry();
        let key = Key(u64::from(self.generation) << 32 | entry.key() as u64);
        // The kernel forgets the descriptor when it is closed; pending events are dropped by their generation.
        epoll::add(&self.epoll, source, epoll::EventData::new_u64(key.0), interest.flags())?;
        entry.insert(Entry { what, generation: self.generation });
        Ok(key)
    }

    /// Changes the interest.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn modify(&self, key: Key, source: &impl AsFd, interest: Interest) -> io::Result<()> {
        Ok(epoll::modify(&self.epoll, source, epoll::EventData::new_u64(key.0), interest.flags())?)
    }

    /// Stops watching; its pending events are dropped.
    pub fn deregister(&mut self, key: Key, source: &impl AsFd) {
        if self.find(key.0).is_some() {
            self.entries.remove(key.index());
            // The descriptor is open here, even if the peer has closed the connection.
            let _ = epoll::delete(&self.epoll, source);
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
        let events = match epoll::wait(&self.epoll, &mut buffer, timeout.as_ref()) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for raw in events {
            let flags = raw.flags;
            let Some(what) = self.find(raw.data.u64()) else { continue };
            let broken = flags.intersects(epoll::EventFlags::HUP | epoll::EventFlags::ERR);
            let readable = broken || flags.contains(epoll::EventFlags::IN);
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

impl Interest {
    fn flags(self) -> epoll::EventFlags {
        use epoll::EventFlags;
        match self {
            Self::None => EventFlags::empty(),
            Self::Read => EventFlags::IN,
            Self::Write => EventFlags::OUT,
            Self::Both => EventFlags::IN | EventFlags::OUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixStream;

    use rustix::net::{RecvFlags, SendFlags};

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
    fn urgent_data_is_no_event() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let ours = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut theirs, _) = listener.accept().unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut poller = Poller::new().unwrap();
        let key = poller.register(&theirs, 7, Interest::Read).unwrap();
        rustix::net::send(&ours, b"!", SendFlags::OOB).unwrap();
        // The segment has arrived when the urgent byte can be read.
        while rustix::net::recv(&theirs, &mut [0; 1][..], RecvFlags::OOB | RecvFlags::PEEK).is_err() {}
        assert_eq!(wait(&mut poller), []);
        rustix::net::send(&ours, b"data", SendFlags::empty()).unwrap();
        let read = Ready { key, what: 7, readable: true, writable: false, broken: false };
        while wait(&mut poller) != [read] {}
        let mut received = Vec::new();
        while received.len() < 4 {
            let mut bytes = [0; 8];
            if let Ok(count) = theirs.read(&mut bytes) {
                received.extend_from_slice(&bytes[..count]);
            }
        }
        assert_eq!(received, b"data", "the urgent byte is skipped");
        assert_eq!(wait(&mut poller), []);
    }
}
