//! The sessions of a shard with their connections. Connections with something to send and connections that drain are
//! listed here.

use std::ops::{Index, IndexMut};
use std::time::Instant;

use iscsi_proto::ids::{Cid, Tsih};
use slab::Slab;

use super::session::Session;
use crate::iscsi::connection::respond::Window;
use crate::iscsi::connection::{Connection, NewConnection};
use crate::keys::{ConnectionIndex, SessionIndex};
use crate::limits::DRAIN_TIMEOUT;

/// Sessions and connections by their indices.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: Slab<Session>,
    connections: Slab<Connection>,
    /// Connections with `touched` set, each once.
    touched: Vec<ConnectionIndex>,
    draining: Vec<Draining>,
    /// Connections that had an incomplete PDU at the last check, or have one since.
    incomplete: Vec<ConnectionIndex>,
    /// Sessions whose commands waited at the last check for one that has not arrived, or do since.
    gaps: Vec<SessionIndex>,
}

/// A connection that is closed once all responses are sent.
#[derive(Debug)]
struct Draining {
    connection: ConnectionIndex,
    /// It is closed then even if responses are left; set by the first tick.
    deadline: Option<Instant>,
}

impl Sessions {
    /// Adds a session without connections.
    pub(super) fn insert(&mut self, session: Session) -> SessionIndex {
        SessionIndex::new(self.sessions.insert(session))
    }

    /// Adds a connection to a session.
    pub(super) fn connect(
        &mut self,
        session: SessionIndex,
        new: NewConnection<'_>,
        now: Instant,
    ) -> ConnectionIndex {
        let connection = Connection::new(session, self[session].account(), new, now);
        let connection = ConnectionIndex::new(self.connections.insert(connection));
        self[session].add_connection(connection);
        connection
    }

    /// Removes a session.
    pub(super) fn remove(&mut self, session: SessionIndex) -> Session {
        self.sessions.remove(session.get())
    }

    /// Removes a connection that is closed, so that its index can be used again.
    pub(super) fn release(&mut self, connection: ConnectionIndex) {
        if self.connection(connection).is_some_and(Connection::is_closed) {
            self.connections.remove(connection.get());
        }
    }

    /// The session, if there is one.
    pub(super) fn get(&self, session: SessionIndex) -> Option<&Session> {
        self.sessions.get(session.get())
    }

    /// The session, if there is one.
    pub(super) fn get_mut(&mut self, session: SessionIndex) -> Option<&mut Session> {
        self.sessions.get_mut(session.get())
    }

    /// The connection, if there is one.
    pub(super) fn connection(&self, connection: ConnectionIndex) -> Option<&Connection> {
        self.connections.get(connection.get())
    }

    /// The connection, if there is one.
    #[inline]
    pub(super) fn connection_mut(&mut self, connection: ConnectionIndex) -> Option<&mut Connection> {
        self.connections.get_mut(connection.get())
    }

    /// Whether the connection is there and open.
    pub(super) fn is_open(&self, connection: ConnectionIndex) -> bool {
        self.connection(connection).is_some_and(Connection::is_open)
    }

    /// A connection with its session.
    #[inline]
    pub(super) fn with_session(&mut self, connection: ConnectionIndex) -> (&mut Session, &mut Connection) {
        let connection = &mut self.connections[connection.get()];
        (&mut self.sessions[connection.session().get()], connection)
    }

    /// The session with this handle, unless it is closing.
    pub(super) fn find(&self, tsih: Tsih) -> Option<SessionIndex> {
        let found = self.iter().find(|(_, session)| session.tsih() == tsih && !session.is_closing());
        found.map(|(index, _)| index)
    }

    /// A connection by its session's handle and its own number.
    pub(super) fn find_connection(&self, tsih: Tsih, cid: Cid) -> Option<ConnectionIndex> {
        let connections = self[self.find(tsih)?].connections();
        connections.iter().copied().find(|&connection| self[connection].cid() == cid)
    }

    /// All sessions.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SessionIndex, &Session)> {
        self.sessions.iter().map(|(index, session)| (SessionIndex::new(index), session))
    }

    /// The indices of all connections, closed ones included.
    pub(super) fn connection_indices(&self) -> Vec<ConnectionIndex> {
        self.connections.iter().map(|(index, _)| ConnectionIndex::new(index)).collect()
    }

    /// How many sessions there are.
    pub(super) fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether there is no session.
    pub(super) fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether there is a connection.
    pub(super) fn has_connections(&self) -> bool {
        !self.connections.is_empty()
    }

    /// A connection to queue a PDU on, and the command window to announce.
    #[inline]
    pub(super) fn sender(&mut self, connection: ConnectionIndex) -> (&mut Connection, Window) {
        let own = &mut self.connections[connection.get()];
        let window = self.sessions[own.session().get()].window();
        if own.touch() {
            self.touched.push(connection);
        }
        (own, window)
    }

    /// Queues a PDU on a connection: `queue` gets what `sender` returns.
    #[inline]
    pub(super) fn send(&mut self, connection: ConnectionIndex, queue: impl FnOnce(&mut Connection, Window)) {
        let (own, window) = self.sender(connection);
        queue(own, window);
    }

    /// Lists a connection as one with something to send.
    #[inline]
    pub(super) fn touch(&mut self, connection: ConnectionIndex) {
        if self.connections[connection.get()].touch() {
            self.touched.push(connection);
        }
    }

    /// Moves the list of touched connections to `into`.
    #[inline]
    pub(super) fn take_touched(&mut self, into: &mut Vec<ConnectionIndex>) {
        for connection in self.touched.drain(..) {
            if let Some(own) = self.connections.get_mut(connection.get()) {
                own.untouch();
                into.push(connection);
            }
        }
    }

    /// Gives back the memory of sessions that have ended and of responses that were sent.
    pub(super) fn shrink(&mut self) {
        if self.connections.len() < self.connections.capacity() / 2 {
            self.sessions.shrink_to_fit();
            self.connections.shrink_to_fit();
        }
        self.connections.iter_mut().for_each(|(_, own)| own.shrink());
    }

    /// Lists a connection with an incomplete PDU.
    pub(super) fn list_incomplete(&mut self, connection: ConnectionIndex) {
        self.incomplete.push(connection);
    }

    /// Takes out the list of connections with incomplete PDUs.
    pub(super) fn take_incomplete(&mut self) -> Vec<ConnectionIndex> {
        std::mem::take(&mut self.incomplete)
    }

    /// Lists a session whose commands wait for one that has not arrived.
    pub(super) fn list_gap(&mut self, session: SessionIndex) {
        self.gaps.push(session);
    }

    /// Takes out the list of sessions whose commands wait for one that has not arrived.
    pub(super) fn take_gaps(&mut self) -> Vec<SessionIndex> {
        std::mem::take(&mut self.gaps)
    }

    /// Whether an initiator is to send the rest of a PDU or a missing command.
    #[inline]
    pub(super) fn awaits_pdus(&self) -> bool {
        !self.incomplete.is_empty() || !self.gaps.is_empty()
    }

    /// Stops receiving on an open connection; it is closed once all is sent.
    pub(super) fn drain(&mut self, connection: ConnectionIndex) {
        if self[connection].drain() {
            self.draining.push(Draining { connection, deadline: None });
            self.touch(connection);
        }
    }

    /// Whether connections drain.
    pub(super) fn is_draining(&self) -> bool {
        !self.draining.is_empty()
    }

    /// A draining connection was closed.
    pub(super) fn end_drain(&mut self, connection: ConnectionIndex) {
        self.draining.retain(|draining| draining.connection != connection);
    }

    /// Draining connections whose final responses were not sent within [`DRAIN_TIMEOUT`].
    pub(super) fn drained_too_long(&mut self, now: Instant) -> Vec<ConnectionIndex> {
        let late = |draining: &mut Draining| {
            let deadline = *draining.deadline.get_or_insert(now + DRAIN_TIMEOUT);
            (deadline <= now).then_some(draining.connection)
        };
        self.draining.iter_mut().filter_map(late).collect()
    }
}

impl Index<SessionIndex> for Sessions {
    type Output = Session;

    #[inline]
    fn index(&self, session: SessionIndex) -> &Session {
        &self.sessions[session.get()]
    }
}

impl IndexMut<SessionIndex> for Sessions {
    #[inline]
    fn index_mut(&mut self, session: SessionIndex) -> &mut Session {
        &mut self.sessions[session.get()]
    }
}

impl Index<ConnectionIndex> for Sessions {
    type Output = Connection;

    #[inline]
    fn index(&self, connection: ConnectionIndex) -> &Connection {
        &self.connections[connection.get()]
    }
}

impl IndexMut<ConnectionIndex> for Sessions {
    #[inline]
    fn index_mut(&mut self, connection: ConnectionIndex) -> &mut Connection {
        &mut self.connections[connection.get()]
    }
}
