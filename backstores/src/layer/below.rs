//! The engines of the stores under a layer, on one loop, and one descriptor for all their events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll;
use scsi_core::store::{Backstore, Completion, Engines, IoEngine, IoError, IoTag, Port, Slot};

/// The engines under one layer's engine.
pub(crate) struct Below {
    engines: Engines,
    /// An epoll descriptor: readable when an engine's event or an added descriptor is.
    events: OwnedFd,
    /// Number of engines whose event is in `events`.
    watched: usize,
    /// Reused by every `reap`.
    reaped: Vec<Completion>,
}

impl Below {
    pub(crate) fn new() -> Result<Self, IoError> {
        let events = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| no_descriptor(&errno))?;
        Ok(Self { engines: Engines::default(), events, watched: 0, reaped: Vec::new() })
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

    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    pub(crate) fn cancel(&mut self, tag: IoTag) {
        self.engines.iter_mut().for_each(|(_, engine)| engine.cancel(tag));
    }
}

fn watch(events: &OwnedFd, fd: BorrowedFd<'_>) -> Result<(), IoError> {
    let data = epoll::EventData::new_u64(0);
    epoll::add(events, fd, data, epoll::EventFlags::IN).map_err(|errno| no_descriptor(&errno))
}

/// Logs that a descriptor cannot be created, and returns the error for `attach`.
pub(crate) fn no_descriptor(errno: &rustix::io::Errno) -> IoError {
    log::error!("cannot create an event descriptor for a layer: {errno}");
    IoError::NOT_READY
}
