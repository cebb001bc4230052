//! A store on one loop: its connections, and the operations that wait for one.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rustix::event::epoll::EventFlags;
use scsi_core::store::{BlockOp, IoError, IoTag, Notice};

use super::address::connect_result;
use super::backoff::Backoff;
use super::link::{Context, Link, Resized};
use super::operations::{LinkId, Location, Operations};
use super::protocol::{Broken, Cookie, Protocol};
use super::server::Server;
use super::watch::{ConnectionKey, Watcher};

/// A store on one loop.
pub(super) struct Session<P: Protocol> {
    /// Its index in the engine.
    index: usize,
    server: Arc<Server<P>>,
    connections: Vec<Connection<P>>,
    /// Operations that wait until a connection is ready, oldest first.
    waiting: Vec<Cookie>,
    /// [`Notice::Unreachable`] was reported.
    unreachable: bool,
    /// A connection was lost to a server with a volatile cache.
    forgotten: bool,
    notices: Vec<Notice>,
    /// The engine's `kick` has to send.
    pub(super) dirty: bool,
    /// Eighths of the timeout that have passed while there were operations.
    ticks: u32,
    /// When the next eighth has passed; `None`: there were no operations.
    next_tick: Option<Instant>,
    next_poll: Option<Instant>,
    /// The value of [`Server::resizes`] that was reported.
    resizes: u32,
}

/// A connection of a session, or its place while it is down.
struct Connection<P> {
    state: State<P>,
    backoff: Backoff,
    /// The reason that was logged last.
    logged: String,
}

enum State<P> {
    /// `due` is when it is established again; `None`: the next `handle_timeout` decides that.
    Down {
        due: Option<Instant>,
        up_since: Option<Instant>,
        violation: bool,
    },
    Connecting {
        fd: OwnedFd,
        deadline: Instant,
    },
    /// The protocol is not ready before `since` is set.
    Open {
        link: Box<Link<P>>,
        since: Option<Instant>,
        deadline: Instant,
        blocked: bool,
        /// It gets no further requests, and is established again when those that it has are answered.
        renew: bool,
    },
}

/// What a session uses of its engine.
pub(super) struct Resources<'a, T> {
    pub(super) context: Context<'a, T>,
    pub(super) watcher: &'a mut Watcher,
    pub(super) scratch: &'a mut [u8],
    /// The time of the last `handle_timeout`.
    pub(super) now: Instant,
}

/// An operation fails when so many parts of its timeout have passed completely.
const TICKS_PER_TIMEOUT: u32 = 8;

impl<P: Protocol> Session<P> {
    pub(super) fn new(
        index: usize,
        server: Arc<Server<P>>,
        resources: &mut Resources<'_, P::Progress>,
    ) -> Self {
        let resizes = server.resizes.load(Ordering::Relaxed);
        let mut session = Self {
            index,
            connections: Vec::with_capacity(server.settings.connections),
            server,
            waiting: Vec::new(),
            unreachable: false,
            forgotten: false,
            notices: Vec::new(),
            dirty: false,
            ticks: 0,
            next_tick: None,
            next_poll: None,
            resizes,
        };
        for at in 0..session.server.settings.connections {
            let state = State::Down { due: Some(resources.now), up_since: None, violation: false };
            session.connections.push(Connection {
                state,
                backoff: Backoff::default(),
                logged: String::new(),
            });
            if let Some(link) = session.server.unpark() {
                session.open(at, link, resources);
            }
        }
        session
    }

    /// Accepts an operation. Returns whether `poll_timeout` has changed.
    pub(super) fn submit(
        &mut self,
        tag: IoTag,
        op: BlockOp,
        now: Instant,
        operations: &mut Operations<P::Progress>,
    ) -> bool {
        let begins = self.server.settings.timeout.is_some() && self.next_tick.is_none();
        if begins {
            self.next_tick = Some(now);
        }
        let (index, ticks) = (self.index, self.ticks);
        match self.idlest() {
            Some(link) => {
                let len_max = |kind| link.protocol.len_max(kind);
                let cookie = operations.insert(index, tag, op, ticks, len_max);
                link.push(cookie, operations);
            }
            // It is split when a connection is ready.
            None => {
                let cookie = operations.insert(index, tag, op, ticks, |_| u64::MAX);
                self.waiting.push(cookie);
            }
        }
        begins
    }

    /// The connection that is ready and has the fewest requests.
    fn idlest(&mut self) -> Option<&mut Link<P>> {
        let ready = self.connections.iter_mut().filter_map(|connection| match &mut connection.state {
            State::Open { link, since: Some(_), renew: false, .. } => Some(&mut **link),
            _ => None,
        });
        ready.min_by_key(|link| link.load)
    }

    fn link_mut(&mut self, id: LinkId) -> Option<&mut Link<P>> {
        self.connections.iter_mut().find_map(|connection| match &mut connection.state {
            State::Open { link, .. } if link.id == id => Some(&mut **link),
            _ => None,
        })
    }

    /// Sends what is queued on the connections whose sockets are not full.
    pub(super) fn kick(&mut self, resources: &mut Resources<'_, P::Progress>) {
        for at in 0..self.connections.len() {
            if let State::Open { link, blocked: false, .. } = &self.connections[at].state
                && link.has_output()
            {
                self.send(at, resources);
            }
        }
    }

    fn send(&mut self, at: usize, resources: &mut Resources<'_, P::Progress>) {
        let key = self.key(at);
        let State::Open { link, blocked, .. } = &mut self.connections[at].state else { return };
        match link.send(&mut resources.context) {
            Ok(sent) => {
                if *blocked == sent {
                    *blocked = !sent;
                    resources.watcher.modify(link.stream.socket(), key, interest(!sent));
                }
            }
            Err(why) => self.lose(at, &why, resources),
        }
    }

    /// The socket of a connection is ready.
    pub(super) fn handle_ready(
        &mut self,
        at: usize,
        flags: EventFlags,
        resources: &mut Resources<'_, P::Progress>,
    ) {
        let Some(connection) = self.connections.get_mut(at) else { return };
        match &mut connection.state {
            State::Down { .. } => {}
            State::Connecting { fd, .. } => match connect_result(fd) {
                Ok(()) => self.connected(at, resources),
                Err(errno) => self.lose(at, &Broken::Socket(errno), resources),
            },
            State::Open { link, blocked, .. } => {
                if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR)
                    && let Err(why) = link.receive(resources.scratch, &mut resources.context)
                {
                    return self.lose(at, &why, resources);
                }
                let writable = !*blocked || flags.contains(EventFlags::OUT);
                if let Some(Resized(resized)) = link.became_ready.take() {
                    self.ready(at, resized, resources);
                } else if writable && link.has_output() {
                    self.send(at, resources);
                }
                self.renew(at, resources);
            }
        }
    }

    /// Starts to connect.
    fn connect(&mut self, at: usize, resources: &mut Resources<'_, P::Progress>) {
        let failures = self.connections[at].backoff.failures;
        let Some(endpoint) = self.server.endpoint(failures) else { return };
        let connected = endpoint.connect().and_then(|fd| {
            resources.watcher.add(&fd, self.key(at), EventFlags::OUT)?;
            Ok(fd)
        });
        match connected {
            Ok(fd) => {
                let deadline = resources.now + self.server.settings.open_timeout;
                self.connections[at].state = State::Connecting { fd, deadline };
            }
            Err(errno) => self.lose(at, &Broken::Socket(errno), resources),
        }
    }

    /// The socket is connected: the protocol begins.
    fn connected(&mut self, at: usize, resources: &mut Resources<'_, P::Progress>) {
        let down = State::Down { due: None, up_since: None, violation: false };
        let state = std::mem::replace(&mut self.connections[at].state, down);
        let State::Connecting { fd, .. } = state else { return };
        resources.watcher.remove(&fd);
        let link = self.server.link(LinkId(0), fd);
        self.open(at, link, resources);
    }

    /// Takes a connection over.
    fn open(&mut self, at: usize, mut link: Link<P>, resources: &mut Resources<'_, P::Progress>) {
        link.id = resources.watcher.new_link();
        let ready = link.became_ready.take().filter(|_| link.ready);
        if resources.watcher.add(link.stream.socket(), self.key(at), interest(false)).is_err() {
            return;
        }
        let deadline = resources.now + self.server.settings.open_timeout;
        let was_ready = link.ready;
        self.connections[at].state =
            State::Open { link: Box::new(link), since: None, deadline, blocked: false, renew: false };
        if was_ready {
            self.ready(at, ready == Some(Resized(true)), resources);
        } else {
            self.send(at, resources);
        }
    }

    /// The protocol of a connection is ready: the waiting operations are sent.
    fn ready(&mut self, at: usize, resized: bool, resources: &mut Resources<'_, P::Progress>) {
        let connection = &mut self.connections[at];
        if let State::Open { since, .. } = &mut connection.state {
            *since = Some(resources.now);
        }
        if !connection.logged.is_empty() {
            connection.logged.clear();
            log::info!("{}: connected again", self.server.settings.name);
        }
        if std::mem::take(&mut self.unreachable) {
            self.notices.push(Notice::Back);
        }
        if resized {
            self.notices.push(Notice::Resized);
        }
        for waiting in std::mem::take(&mut self.waiting) {
            let Some(link) = self.idlest() else { return };
            let operations = &mut *resources.context.operations;
            let Some(from) = operations.get(waiting).map(|operation| operation.piece.offset) else {
                continue;
            };
            let len_max = |kind| link.protocol.len_max(kind);
            if let Some(cookie) = operations.set_piece(waiting, from, len_max) {
                link.push(cookie, operations);
            }
        }
        self.kick(resources);
    }

    /// Establishes a connection again that is to be renewed and has no requests.
    fn renew(&mut self, at: usize, resources: &mut Resources<'_, P::Progress>) {
        let State::Open { link, since, renew: true, .. } = &mut self.connections[at].state else { return };
        if link.load > 0 {
            return;
        }
        resources.watcher.remove(link.stream.socket());
        resources.watcher.set_due();
        link.with_own(|protocol, out| protocol.end(out));
        // The server may not take it; the end of the connection says the same.
        let _ = link.send(&mut resources.context);
        let up_since = since.take();
        self.connections[at].state = State::Down { due: Some(resources.now), up_since, violation: false };
    }

    /// A connection is lost, or could not be established.
    fn lose(&mut self, at: usize, why: &Broken, resources: &mut Resources<'_, P::Progress>) {
        let violation = matches!(why, Broken::Violation(_));
        let down = State::Down { due: None, up_since: None, violation };
        match std::mem::replace(&mut self.connections[at].state, down) {
            State::Down { .. } => {}
            State::Connecting { fd, .. } => resources.watcher.remove(&fd),
            State::Open { link, since, .. } => {
                resources.watcher.remove(link.stream.socket());
                self.connections[at].state = State::Down { due: None, up_since: since, violation };
                self.forgotten |= since.is_some()
                    && link.protocol.has_volatile_cache()
                    && !self.server.settings.trusts_server;
                self.take_back(&link, resources);
            }
        }
        resources.watcher.set_due();
        let (name, address) = (&self.server.settings.name, &self.server.settings.address);
        let why = why.to_string();
        let logged = &mut self.connections[at].logged;
        if *logged != why {
            log::warn!("{name}: the connection to {address} is lost: {why}; it is established again");
            *logged = why;
        }
    }

    /// The operations of a lost connection wait for another one, except those that were cancelled.
    fn take_back(&mut self, link: &Link<P>, resources: &mut Resources<'_, P::Progress>) {
        let Context { operations, done } = &mut resources.context;
        let mut cancelled = Vec::new();
        let mut waiting = Vec::new();
        for (cookie, operation) in operations.iter() {
            let lost = match operation.location {
                Location::Queued(id) | Location::Sent(id) => id == link.id,
                Location::Waiting => operation.session == self.index,
            };
            if lost && operation.cancelled {
                cancelled.push(cookie);
            } else if lost {
                waiting.push((operation.order, operation.piece.offset, cookie));
            }
        }
        for cookie in cancelled {
            done.extend(operations.remove(cookie).map(|operation| operation.fail(IoError::CANCELLED)));
        }
        waiting.sort_unstable_by_key(|(order, ..)| *order);
        let again = waiting.into_iter();
        self.waiting =
            again.filter_map(|(_, from, cookie)| operations.set_piece(cookie, from, |_| u64::MAX)).collect();
        // Another connection may be ready.
        let ready = |connection: &Connection<P>| {
            matches!(connection.state, State::Open { since: Some(_), renew: false, .. })
        };
        if let Some(at) = self.connections.iter().position(ready) {
            self.ready(at, false, resources);
        }
    }

    /// Cancels an operation: one that was not sent ends at once.
    pub(super) fn cancel(&mut self, cookie: Cookie, context: &mut Context<'_, P::Progress>) {
        let Some(operation) = context.operations.get(cookie) else { return };
        match operation.location {
            Location::Sent(_) => return operation.cancelled = true,
            Location::Waiting => {}
            Location::Queued(id) => {
                if let Some(link) = self.link_mut(id) {
                    link.load -= 1;
                }
            }
        }
        let operation = context.operations.remove(cookie);
        context.done.extend(operation.map(|operation| operation.fail(IoError::CANCELLED)));
    }

    pub(super) fn notices(&mut self) -> impl Iterator<Item = Notice> {
        self.notices.drain(..)
    }

    /// The connections that are ready and idle are kept for the flush before the store is closed.
    pub(super) fn detach(self, watcher: &mut Watcher) {
        for connection in self.connections {
            match connection.state {
                State::Down { .. } => {}
                State::Connecting { fd, .. } => watcher.remove(&fd),
                State::Open { link, since, .. } => {
                    watcher.remove(link.stream.socket());
                    if since.is_some() && link.load == 0 && !link.has_output() {
                        self.server.park(*link);
                    }
                }
            }
        }
    }

    fn key(&self, connection: usize) -> ConnectionKey {
        ConnectionKey { session: self.index, connection }
    }
}

fn interest(blocked: bool) -> EventFlags {
    if blocked { EventFlags::IN | EventFlags::OUT } else { EventFlags::IN }
}

mod timeouts;
