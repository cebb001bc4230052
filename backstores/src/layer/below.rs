//! The engines of the stores under a layer, on one loop, and one descriptor for all their events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::epoll;
use scsi_core::store::{Backstore, Completion, Engines, IoEngine, IoError, IoTag, Notice, Port, Slot};

/// The engines under one layer's engine.
pub(crate) struct Below {
    engines: Engines,
    /// An epoll descriptor: readable when an engine's event or an added descriptor is.
    events: OwnedFd,
    /// Number of engines whose event is in `events`.
    watched: usize,
    /// Reused by every `reap`.
    reaped: Vec<Completion>,
    /// The latest time that the layer got; `None`: none yet.
    now: Option<Instant>,
    /// Number of engines that got a time.
    timed: usize,
    /// Reused by every `notices`.
    slots: Vec<(Slot, Notice)>,
}

impl Below {
    pub(crate) fn new() -> Result<Self, IoError> {
        Ok(Self {
            engines: Engines::default(),
            events: new_events()?,
            watched: 0,
            reaped: Vec::new(),
            now: None,
            timed: 0,
            slots: Vec::new(),
        })
    }

    pub(crate) fn attach(&mut self, store: &dyn Backstore) -> Result<Port, IoError> {
        let port = store.attach(&mut self.engines)?;
        for (_, engine) in self.engines.iter_mut().skip(self.watched) {
            if let Some(fd) = engine.event_fd() {
                watch(&self.events, fd)?;
            }
        }
        self.watched = self.engines.len();
        Ok(port)
    }

    /// Adds the event of the layer itself.
    pub(crate) fn watch(&self, fd: BorrowedFd<'_>) -> Result<(), IoError> {
        watch(&self.events, fd)
    }

    pub(crate) fn engine(&mut self, port: Port) -> (&mut dyn IoEngine, Slot) {
        (self.engines.engine(port.engine), port.slot)
    }

    pub(crate) fn kick(&mut self) {
        self.engines.iter_mut().for_each(|(_, engine)| engine.kick());
    }

    /// Returns the completions; `recycle` takes the empty vector back.
    pub(crate) fn reap(&mut self) -> Vec<Completion> {
        let mut reaped = std::mem::take(&mut self.reaped);
        self.engines.iter_mut().for_each(|(_, engine)| engine.reap(&mut reaped));
        reaped
    }

    pub(crate) fn recycle(&mut self, reaped: Vec<Completion>) {
        debug_assert!(reaped.is_empty());
        self.reaped = reaped;
    }

    /// One of the descriptors is readable. Which one is not checked: layers are for tests.
    pub(crate) fn event_ready(&mut self) {
        self.engines.iter_mut().for_each(|(_, engine)| engine.event_ready());
    }

    /// The earliest timeout of the engines; the present time if one of them is new.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        if self.timed < self.engines.len() {
            return self.now;
        }
        self.engines.iter().filter_map(IoEngine::poll_timeout).min()
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        self.now = Some(now);
        self.timed = self.engines.len();
        self.engines.iter_mut().for_each(|(_, engine)| engine.handle_timeout(now));
    }

    /// Appends the notices of the engines for the slots of the layer, which are at these ports.
    pub(crate) fn notices(
        &mut self,
        slots: impl Iterator<Item = (usize, Port)> + Clone,
        into: &mut Vec<(Slot, Notice)>,
    ) {
        for (engine, below) in self.engines.iter_mut() {
            below.notices(&mut self.slots);
            for (slot, notice) in self.slots.drain(..) {
                let of_port = slots.clone().filter(|(_, port)| *port == Port { engine, slot });
                into.extend(of_port.map(|(own, _)| (Slot(own as u32), notice)));
            }
        }
    }

    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    pub(crate) fn cancel(&mut self, tag: IoTag) {
        self.engines.iter_mut().for_each(|(_, engine)| engine.cancel(tag));
    }
}

/// A new epoll descriptor.
pub(super) fn new_events() -> Result<OwnedFd, IoError> {
    epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| no_descriptor(&errno))
}

/// Makes `events` readable while `fd` is.
pub(super) fn watch(events: &OwnedFd, fd: BorrowedFd<'_>) -> Result<(), IoError> {
    let data = epoll::EventData::new_u64(0);
    epoll::add(events, fd, data, epoll::EventFlags::IN).map_err(|errno| no_descriptor(&errno))
}

/// Logs that a descriptor cannot be created, and returns the error for `attach`.
pub(crate) fn no_descriptor(errno: &rustix::io::Errno) -> IoError {
    log::error!("cannot create an event descriptor for a layer: {errno}");
    IoError::NOT_READY
}
