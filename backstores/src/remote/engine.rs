//! The engine of one loop for all stores with one protocol.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::epoll::{Event, EventFlags};
use scsi_core::store::{
    BlockOp, Completed, Completion, InlineOp, IoEngine, IoError, IoTag, Notice, Now, Slot,
};
use slab::Slab;

use super::link::{Context, SCRATCH_LEN};
use super::operations::Operations;
use super::protocol::Protocol;
use super::server::Server;
use super::session::{Resources, Session};
use super::watch::{ConnectionKey, Watcher};
use crate::layer::into_block;

/// The engine of one loop for all stores with the protocol `P`.
///
/// Its event descriptor watches the sockets of all stores. Operations are sent by `kick`, all of a connection with one
/// system call, and answers are received by `event_ready`. Connections are established by `handle_timeout`. The data of a
/// write is sent from its block; the data of a read that is not received yet when its header is, is received into its
/// block.
pub(crate) struct Engine<P: Protocol> {
    sessions: Slab<Session<P>>,
    operations: Operations<P::Progress>,
    done: Vec<Completion>,
    watcher: Watcher,
    scratch: Vec<u8>,
    /// Sessions that have something to send.
    dirty: Vec<usize>,
    /// The time of the last `handle_timeout`.
    now: Instant,
    /// See [`IoEngine::poll_timeout`].
    due: Option<Instant>,
    /// Reused by every `event_ready`.
    ready: Vec<(ConnectionKey, EventFlags)>,
    events: Vec<Event>,
}

impl<P: Protocol> Engine<P> {
    /// An engine without stores.
    ///
    /// # Errors
    /// [`IoError::NOT_READY`] if there is no descriptor.
    pub(crate) fn new() -> Result<Self, IoError> {
        let watcher = Watcher::new().map_err(|errno| {
            log::error!("cannot create an epoll descriptor for the connections of stores: {errno}");
            IoError::NOT_READY
        })?;
        Ok(Self {
            sessions: Slab::new(),
            operations: Operations::default(),
            done: Vec::new(),
            watcher,
            scratch: vec![0; SCRATCH_LEN],
            dirty: Vec::new(),
            now: Instant::now(),
            due: None,
            ready: Vec::new(),
            events: Vec::new(),
        })
    }

    /// Adds a store, whose connections are established later.
    pub(crate) fn attach(&mut self, server: Arc<Server<P>>) -> Slot {
        let index = self.sessions.vacant_key();
        let session = Session::new(index, server, &mut self.split().1);
        self.sessions.insert(session);
        self.update_due(true);
        Slot(index as u32)
    }

    /// The sessions, and what they use.
    fn split(&mut self) -> (&mut Slab<Session<P>>, Resources<'_, P::Progress>) {
        let context = Context { operations: &mut self.operations, done: &mut self.done };
        let scratch = &mut self.scratch[..];
        let resources = Resources { context, watcher: &mut self.watcher, scratch, now: self.now };
        (&mut self.sessions, resources)
    }

    fn handle(&mut self, key: ConnectionKey, flags: EventFlags) {
        let (sessions, mut resources) = self.split();
        if let Some(session) = sessions.get_mut(key.session) {
            session.handle_ready(key.connection, flags, &mut resources);
        }
    }

    /// Reads the times of all sessions, if they may have changed.
    fn update_due(&mut self, changed: bool) {
        if self.watcher.take_due() || changed {
            let now = self.now;
            self.due = self.sessions.iter().filter_map(|(_, session)| session.poll_timeout(now)).min();
        }
    }
}

impl<P: Protocol> IoEngine for Engine<P> {
    fn try_now(&mut self, _: Slot, _: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, mut op: BlockOp) {
        let empty = op.block_mut().is_some_and(|block| block.is_empty());
        let Some(session) = self.sessions.get_mut(slot.0 as usize).filter(|_| !empty) else {
            let result = if empty { Ok(Completed::Done) } else { Err(IoError::NOT_READY) };
            return self.done.push(Completion { tag, block: into_block(op), result });
        };
        if session.submit(tag, op, self.now, &mut self.operations) {
            self.watcher.set_due();
        }
        if !std::mem::replace(&mut session.dirty, true) {
            self.dirty.push(slot.0 as usize);
        }
    }

    fn kick(&mut self) {
        let mut dirty = std::mem::take(&mut self.dirty);
        let (sessions, mut resources) = self.split();
        for index in dirty.drain(..) {
            if let Some(session) = sessions.get_mut(index) {
                session.dirty = false;
                session.kick(&mut resources);
            }
        }
        self.dirty = dirty;
        self.update_due(false);
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.watcher.event_fd())
    }

    fn event_ready(&mut self) {
        match self.watcher.only() {
            Some(key) => self.handle(key, EventFlags::IN | EventFlags::OUT),
            None => {
                let mut ready = std::mem::take(&mut self.ready);
                self.watcher.ready(&mut ready, &mut self.events);
                for (key, flags) in ready.drain(..) {
                    self.handle(key, flags);
                }
                self.ready = ready;
            }
        }
        self.update_due(false);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.due
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        if !self.done.is_empty() {
            // The device server must know these before it is notified that writes may be lost.
            self.due = Some(now);
            return;
        }
        let (sessions, mut resources) = self.split();
        for (_, session) in sessions {
            session.handle_timeout(&mut resources);
        }
        self.update_due(true);
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        for (index, session) in &mut self.sessions {
            into.extend(session.notices().map(|notice| (Slot(index as u32), notice)));
        }
    }

    fn cancel(&mut self, tag: IoTag) {
        let found = self.operations.iter().find(|(_, operation)| operation.tag == tag);
        let Some((cookie, session)) = found.map(|(cookie, operation)| (cookie, operation.session)) else {
            return;
        };
        let mut context = Context { operations: &mut self.operations, done: &mut self.done };
        if let Some(session) = self.sessions.get_mut(session) {
            session.cancel(cookie, &mut context);
        }
    }

    fn detach(&mut self, slot: Slot) {
        if let Some(session) = self.sessions.try_remove(slot.0 as usize) {
            session.detach(&mut self.watcher);
        }
    }
}
