//! Sessions and connections: how they begin and end, and how much time an initiator gets for it.

use std::time::Duration;

use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::pdu::AsyncEvent;

use super::TargetShard;
use super::abort::Whose;
use super::driver::{Env, ShardEvent};
use super::session::Session;
use super::task::{Aborted, Task};
use crate::buffers::Pool;
use crate::iscsi::connection::respond::Window;
use crate::iscsi::connection::{Connection, NewConnection, PingDue};
use crate::keys::{ConnectionIndex, SessionIndex};

impl TargetShard {
    /// Begins a session with its first connection.
    pub fn open(
        &mut self,
        mut session: Session,
        connection: NewConnection<'_>,
        env: &mut Env<'_>,
    ) -> ConnectionIndex {
        session.set_account(env.pool.open());
        let index = self.sessions.insert(session);
        self.units.attach(index, &self.sessions[index]);
        self.sessions.connect(index, connection, env.now)
    }

    /// Adds a connection to a session. A connection with the same CID is closed with its commands (RFC 7143 6.3.4).
    /// Returns `None` if the session has ended.
    pub fn join(
        &mut self,
        tsih: Tsih,
        connection: NewConnection<'_>,
        env: &mut Env<'_>,
    ) -> Option<ConnectionIndex> {
        let session = self.sessions.find(tsih)?;
        let former = self.sessions.find_connection(tsih, connection.cid);
        let joined = self.sessions.connect(session, connection, env.now);
        if let Some(former) = former {
            self.close_connection(former, env);
        }
        Some(joined)
    }

    /// The index of a connection by its session's handle and its own number.
    #[must_use]
    pub fn find_connection(&self, tsih: Tsih, cid: Cid) -> Option<ConnectionIndex> {
        self.sessions.find_connection(tsih, cid)
    }

    /// A connection, for its bytes.
    pub fn connection(&mut self, connection: ConnectionIndex) -> Option<&mut Connection> {
        self.sessions.connection_mut(connection)
    }

    /// The command window to announce in a connection's next response.
    pub fn window_of(&mut self, connection: ConnectionIndex) -> Option<Window> {
        let session = self.sessions.connection(connection)?.session();
        Some(self.sessions[session].window())
    }

    /// Whether the driver must not read from the connection's socket now: the connection is not open, or too many of
    /// its responses wait to be sent.
    #[must_use]
    pub fn is_receive_paused(&self, connection: ConnectionIndex, pool: &Pool) -> bool {
        self.sessions.connection(connection).is_none_or(|own| own.is_receive_paused(pool))
    }

    /// Ends a session with all its connections and commands. `SessionEnded` follows when the last command has ended.
    pub fn close_session(&mut self, tsih: Tsih, env: &mut Env<'_>) {
        let Some(session) = self.sessions.find(tsih) else { return };
        for connection in self.sessions[session].connections().to_vec() {
            self.close_connection(connection, env);
        }
    }

    /// Ends every session.
    pub fn close_all(&mut self, env: &mut Env<'_>) {
        for connection in self.sessions.connection_indices() {
            self.close_connection(connection, env);
        }
    }

    /// Ends a connection with its commands. If it was the last of its session, the session ends, too. Call it when the
    /// socket has ended, and when a draining connection has sent everything.
    pub fn close_connection(&mut self, connection: ConnectionIndex, env: &mut Env<'_>) {
        let Some(own) = self.sessions.connection_mut(connection) else { return };
        if own.is_closed() {
            return;
        }
        own.close(env.pool);
        self.queues.memory_freed();
        let (session, cid) = (own.session(), own.cid());
        self.events.push(ShardEvent::ConnectionClosed(connection));
        self.functions.forget_connection(connection);
        self.sessions.end_drain(connection);
        let which = |task: &Task| task.connection() == connection;
        self.abort_where(Whose::Session(session), which, &Aborted::default(), env);
        let Some(own) = self.sessions.get_mut(session) else { return };
        own.remove_connection(connection);
        own.drop_held(connection, env.pool);
        let tsih = own.tsih();
        self.reap_session(session, env);
        // The session goes on if it has other connections, or commands that are still at a store.
        if self.sessions.get(session).is_some() {
            self.events.push(ShardEvent::ConnectionEnded(tsih, cid));
        }
    }

    /// The connection's socket is closed: its index may be used again.
    pub fn release(&mut self, connection: ConnectionIndex) {
        self.sessions.release(connection);
    }

    /// Asks every initiator to log out within `time` (RFC 7143 11.9).
    pub fn ask_for_logout(&mut self, time: Duration) {
        let seconds = u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
        for connection in self.sessions.connection_indices() {
            if self.sessions.is_open(connection) {
                self.sessions.send(connection, |to, window| {
                    to.async_message(AsyncEvent::LOGOUT_REQUEST, (0, seconds), window);
                });
            }
        }
    }

    /// Removes a session that is closing and has no commands.
    pub(super) fn reap_session(&mut self, session: SessionIndex, env: &mut Env<'_>) {
        if !self.sessions.get(session).is_some_and(Session::is_over) {
            return;
        }
        let ended = self.sessions.remove(session);
        env.pool.close(ended.account());
        self.units.detach(session);
        self.events.push(ShardEvent::SessionEnded(ended.tsih(), ended.nexus().id));
    }

    /// Closes draining connections whose final responses were not sent within
    /// [`DRAIN_TIMEOUT`](crate::limits::DRAIN_TIMEOUT).
    pub(super) fn close_drained(&mut self, env: &mut Env<'_>) {
        for connection in self.sessions.drained_too_long(env.now) {
            self.close_connection(connection, env);
        }
    }

    /// Sends a NOP-In to silent initiators, and closes connections whose initiators do not answer.
    pub(super) fn ping(&mut self, env: &mut Env<'_>) {
        let (interval, count) = (self.settings.nop_interval, self.settings.nop_count);
        for connection in self.sessions.connection_indices() {
            let own = &mut self.sessions[connection];
            match own.ping_due(interval, count, env.now) {
                PingDue::No => {}
                PingDue::Send(ttt) => self.sessions.send(connection, |to, window| to.ping(ttt, window)),
                PingDue::Dead => {
                    let peer = own.peer();
                    self.warnings.warn(env.now, format_args!("{peer}: silent for {count} pings, closed"));
                    self.close_connection(connection, env);
                }
            }
        }
    }
}
