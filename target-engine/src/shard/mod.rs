//! One target on one loop: its sessions with their connections, its ports on the units, its running commands. It
//! mediates between connections, which know no units, and units, which know no connections. Everything it needs of
//! the world comes in as an [`Env`]; what the world must do comes out as [`ShardEvent`]s.

mod ask;
mod bulk;
mod closing;
mod command;
mod data_in;
mod deferred;
mod ending;
mod finish;
#[doc(hidden)]
pub mod fuzzing;
mod health;
mod quarantine;
mod receive;
pub mod session;
pub mod settings;
pub mod task_management;
pub mod tasks;
#[cfg(test)]
mod tests;
mod transfer;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::pdu::AsyncEvent;
use scsi_core::device::port::UnitPort;
use scsi_core::device::unit::Unit;
use scsi_core::device::{NexusId, NexusIndex, TargetView};
use scsi_core::lun::Lun;
use scsi_core::store::{self, Backstore, Engines, IoError};
use slab::Slab;

use self::bulk::Long;
use self::closing::{Closing, UnitLife};
use self::health::Health;
use self::quarantine::Pulse;
use self::session::Session;
use self::settings::TargetSettings;
use self::task_management::{Reach, Waits};
use self::tasks::{Aborted, TaskIndex, Tasks};
use crate::buffers::Pool;
use crate::iscsi::connection::respond::Window;
use crate::iscsi::connection::{Connection, ConnectionState, NewConnection, PingDue};
use crate::limits::{LAST_WORDS, TICK};
use crate::warnings::Warnings;

/// A target's sessions, units and commands on one loop.
pub struct TargetShard {
    id: u16,
    settings: Arc<TargetSettings>,
    units: Vec<Option<UnitEntry>>,
    luns: Luns,
    sessions: Slab<Session>,
    connections: Slab<Connection>,
    tasks: Tasks,
    /// Tasks that may go on: their turn in the task set has come, or what they waited for.
    ready: VecDeque<(TaskIndex, u16)>,
    /// Long steps, which have to let others in between.
    long: Long,
    /// Tasks that found no memory to ask for their data, by place and generation.
    starved: VecDeque<(TaskIndex, u16)>,
    waits: Waits,
    siblings: usize,
    closing: Closing,
    /// Connections that are closed once all is sent, and when at the latest.
    draining: Vec<(usize, Option<Instant>)>,
    warnings: Warnings,
    /// Failures of stores wait for their line in the log.
    failures_left_out: bool,
    /// Memory came back since the starved were last looked at.
    freed: bool,
    /// Engines have something that waits for `kick`.
    submitted: bool,
    events: Vec<ShardEvent>,
    touched: Vec<usize>,
    next_tick: Option<Instant>,
}

/// The world around a shard, lent for one call.
pub struct Env<'a> {
    /// The loop's engines.
    pub engines: &'a mut Engines,
    /// The loop's buffers.
    pub pool: &'a mut Pool,
    /// The time, read once a turn.
    pub now: Instant,
}

/// What happened; the runtime tells the rest of the world.
#[derive(Debug, Eq, PartialEq)]
pub enum ShardEvent {
    /// Close this connection's socket and `release` its place.
    ConnectionClosed(usize),
    /// A session's connection is gone, the session goes on; or none is left, but commands that have yet to end.
    ConnectionEnded(Tsih, Cid),
    /// The session is gone, with all that ran in it.
    SessionEnded(Tsih, NexusId),
    /// The unit is forgotten: its last operation is in.
    UnitGone(Lun),
    /// Nothing runs at the unit that was to stop.
    UnitIdle(Lun),
    /// The loops that serve the same target must end their commands too, and answer `sibling_reset_done`.
    ResetSiblings(Reach, u64),
    /// A sibling's reset is done here.
    ResetDone(u64),
}

/// A unit as the shard reaches it.
struct UnitEntry {
    port: UnitPort,
    store: Option<store::Port>,
    medium: Option<Arc<dyn Backstore>>,
    /// What its operations must be a multiple of, in bytes.
    alignment: u32,
    /// The unit's generation the store is of.
    seen: u64,
    /// Commands that run on it.
    tasks: usize,
    pulse: Pulse,
    health: Health,
    /// What follows when the last has ended.
    life: UnitLife,
}

/// What operations of a medium must be a multiple of, in bytes.
fn alignment_of(medium: Option<&Arc<dyn Backstore>>) -> u32 {
    medium.map_or(1, |store| store.capabilities().alignment)
}

/// The units' numbers, for REPORT LUNS.
#[derive(Debug, Default)]
struct Luns(Vec<Lun>);

impl TargetView for Luns {
    fn luns(&self) -> &[Lun] {
        &self.0
    }
}

impl TargetShard {
    /// A target without units and sessions; `id` goes into the tags of its operations.
    #[must_use]
    pub fn new(id: u16, settings: Arc<TargetSettings>) -> Self {
        Self {
            id,
            settings,
            units: Vec::new(),
            luns: Luns::default(),
            sessions: Slab::new(),
            connections: Slab::new(),
            tasks: Tasks::default(),
            ready: VecDeque::new(),
            long: Long::default(),
            starved: VecDeque::new(),
            waits: Waits::default(),
            siblings: 0,
            closing: Closing::default(),
            draining: Vec::new(),
            warnings: Warnings::default(),
            failures_left_out: false,
            freed: false,
            submitted: false,
            events: Vec::new(),
            touched: Vec::new(),
            next_tick: None,
        }
    }

    /// The target's parameters.
    #[must_use]
    pub fn settings(&self) -> &TargetSettings {
        &self.settings
    }

    /// The target's parameters changed.
    pub fn set_settings(&mut self, settings: Arc<TargetSettings>) {
        self.settings = settings;
    }

    /// How many other loops serve the same target.
    pub fn set_siblings(&mut self, count: usize) {
        self.siblings = count;
    }

    /// Serves a unit. That the list of units changed is for the unit attentions of the caller to tell.
    ///
    /// # Errors
    /// The store cannot be reached from this loop.
    pub fn add_unit(&mut self, lun: Lun, unit: Arc<Unit>, env: &mut Env<'_>) -> Result<(), IoError> {
        let seen = unit.generation();
        let medium = unit.store();
        let store = medium.as_ref().map(|store| env.engines.attach(&**store)).transpose()?;
        let mut port = UnitPort::new(unit);
        for (index, session) in &self.sessions {
            port.attach_nexus(NexusIndex(index as u32), session.nexus.clone());
            session.stats.begin(lun);
        }
        let place = usize::from(lun.number());
        if self.units.len() <= place {
            self.units.resize_with(place + 1, || None);
        }
        let (alignment, life) = (alignment_of(medium.as_ref()), UnitLife::Serving);
        let (pulse, health) = (Pulse::default(), Health::default());
        let entry = UnitEntry { port, store, medium, alignment, seen, tasks: 0, pulse, health, life };
        self.units[place] = Some(entry);
        self.luns_changed();
        Ok(())
    }

    /// Whether commands run on a unit; `None`: no such unit.
    #[must_use]
    pub fn unit_tasks(&self, lun: Lun) -> Option<usize> {
        self.unit(lun).map(|unit| unit.tasks)
    }

    /// A session begins with its first connection; answers the connection's place.
    pub fn open(&mut self, session: Session, connection: NewConnection<'_>, now: Instant) -> usize {
        let (nexus, stats) = (session.nexus.clone(), Arc::clone(&session.stats));
        let index = self.sessions.insert(session);
        for (number, unit) in self.units.iter_mut().enumerate() {
            if let (Some(unit), Some(lun)) = (unit, Lun::new(number as u64)) {
                unit.port.attach_nexus(NexusIndex(index as u32), nexus.clone());
                stats.begin(lun);
            }
        }
        self.add_connection(index, connection, now)
    }

    /// A connection joins its session, in place of one of the same number if there is one, which ends with its
    /// commands (RFC 7143 6.3.4); `None` where the session is gone.
    pub fn join(&mut self, tsih: Tsih, connection: NewConnection<'_>, env: &mut Env<'_>) -> Option<usize> {
        let index = self.find_session(tsih)?;
        let former = self.find_connection(tsih, connection.cid);
        let place = self.add_connection(index, connection, env.now);
        if let Some(former) = former {
            self.close_connection(former, env);
        }
        Some(place)
    }

    fn add_connection(&mut self, session: usize, connection: NewConnection<'_>, now: Instant) -> usize {
        let place = self.connections.insert(Connection::new(NewConnection { session, ..connection }, now));
        self.sessions[session].connections.push(place);
        place
    }

    /// The session with this handle.
    #[must_use]
    pub fn find_session(&self, tsih: Tsih) -> Option<usize> {
        self.sessions
            .iter()
            .find(|(_, session)| session.tsih == tsih && !session.closing)
            .map(|(index, _)| index)
    }

    /// A connection of a session, by its number.
    #[must_use]
    pub fn find_connection(&self, tsih: Tsih, cid: Cid) -> Option<usize> {
        let session = self.find_session(tsih)?;
        let of_session = &self.sessions[session].connections;
        of_session.iter().copied().find(|&place| self.connections[place].cid == cid)
    }

    /// A connection.
    pub fn connection(&mut self, place: usize) -> Option<&mut Connection> {
        self.connections.get_mut(place)
    }

    /// The command window to be told in a session's next response.
    pub fn window_of(&mut self, connection: usize) -> Option<Window> {
        let session = self.connections.get(connection)?.session;
        Some(self.window(session))
    }

    /// Ends a session with all its connections and commands. `SessionEnded` follows when the last is over.
    pub fn close_session(&mut self, tsih: Tsih, env: &mut Env<'_>) {
        let Some(index) = self.find_session(tsih) else { return };
        for connection in self.sessions[index].connections.clone() {
            self.close_connection(connection, env);
        }
    }

    /// Ends every session.
    pub fn close_all(&mut self, env: &mut Env<'_>) {
        for connection in self.connections.iter().map(|(place, _)| place).collect::<Vec<_>>() {
            self.close_connection(connection, env);
        }
    }

    /// Ends a connection with its commands; its session with it if it was the last.
    pub fn close_connection(&mut self, place: usize, env: &mut Env<'_>) {
        let Some(connection) = self.connections.get_mut(place) else { return };
        if connection.state == ConnectionState::Closed {
            return;
        }
        connection.close(env.pool);
        let (index, cid) = (connection.session, connection.cid);
        self.events.push(ShardEvent::ConnectionClosed(place));
        self.waits.forget_connection(place);
        self.draining.retain(|&(other, _)| other != place);
        self.abort_where(|task| task.connection == place, Aborted::default(), env);
        let Some(session) = self.sessions.get_mut(index) else { return };
        session.connections.retain(|&other| other != place);
        session.drop_held(|held| held.connection == place, env.pool);
        session.closing |= session.connections.is_empty();
        let tsih = session.tsih;
        self.reap_session(index);
        // It has other connections, or commands that have yet to come back from a store.
        if self.sessions.contains(index) {
            self.events.push(ShardEvent::ConnectionEnded(tsih, cid));
        }
    }

    /// The runtime has closed the socket; the place may be given to another.
    pub fn release(&mut self, place: usize) {
        if self.connections.get(place).is_some_and(|connection| connection.state == ConnectionState::Closed) {
            self.connections.remove(place);
        }
    }

    /// Asks every initiator to log out within `time` (RFC 7143 11.9).
    pub fn ask_for_logout(&mut self, time: Duration) {
        let seconds = u16::try_from(time.as_secs()).unwrap_or(u16::MAX);
        for place in self.connections.iter().map(|(place, _)| place).collect::<Vec<_>>() {
            if self.connections[place].state == ConnectionState::Open {
                let window = self.window(self.connections[place].session);
                let connection = &mut self.connections[place];
                connection.async_message(AsyncEvent::LOGOUT_REQUEST, (0, seconds), window);
                self.touch(place);
            }
        }
    }

    /// Whether nothing is left: no session, no command.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.sessions.is_empty() && self.tasks.is_empty()
    }

    /// Commands that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.tasks.len()
    }

    /// Sessions, closing ones included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// What happened since the last call.
    pub fn take_events(&mut self, into: &mut Vec<ShardEvent>) {
        into.append(&mut self.events);
    }

    /// Connections that have something to be sent, or room for more.
    pub fn take_touched(&mut self, into: &mut Vec<usize>) {
        for place in self.touched.drain(..) {
            if let Some(connection) = self.connections.get_mut(place) {
                connection.touched = false;
                into.push(place);
            }
        }
    }

    /// Whether engines wait for `kick`; asks once.
    pub fn take_submitted(&mut self) -> bool {
        std::mem::take(&mut self.submitted)
    }

    /// When `handle_timeout` is due.
    #[must_use]
    pub fn poll_timeout(&mut self, now: Instant) -> Option<Instant> {
        let pings = !self.settings.nop_interval.is_zero() && !self.connections.is_empty();
        let ends = !self.draining.is_empty() || !self.closing.is_empty() || self.failures_left_out;
        if !pings && !ends && self.waits.is_empty() && self.tasks.is_empty() {
            self.next_tick = None;
            return None;
        }
        Some(*self.next_tick.get_or_insert(now + TICK))
    }

    /// Pings silent initiators and gives up what took too long.
    pub fn handle_timeout(&mut self, env: &mut Env<'_>) {
        if self.next_tick.is_some_and(|tick| env.now < tick) {
            return;
        }
        self.next_tick = Some(env.now + TICK);
        self.expire_data(env);
        self.expire_waits(env);
        self.feel_pulses(env);
        self.say_late_failures(env.now);
        self.ask_starved(env);
        self.close_drained(env);
        self.end_late(env);
        self.close_if_done(env);
        let (interval, count) = (self.settings.nop_interval, self.settings.nop_count);
        for place in self.connections.iter().map(|(place, _)| place).collect::<Vec<_>>() {
            if self.connections[place].state == ConnectionState::Closed {
                // Its session may be gone already; it waits for its release.
                continue;
            }
            let window = self.window(self.connections[place].session);
            let connection = &mut self.connections[place];
            match connection.ping_due(interval, count, env.now) {
                PingDue::No => {}
                PingDue::Ask(ttt) => {
                    connection.ping(ttt, window);
                    self.touch(place);
                }
                PingDue::Dead => {
                    let peer = connection.peer;
                    self.warnings.warn(env.now, format_args!("{peer}: silent for {count} pings, closed"));
                    self.close_connection(place, env);
                }
            }
        }
    }

    /// A connection takes nothing more in, and is closed once all is sent.
    fn drain(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if connection.state == ConnectionState::Open {
            connection.state = ConnectionState::Draining;
            self.draining.push((place, None));
            self.touch(place);
        }
    }

    /// Who does not take its last answers in time goes without them.
    fn close_drained(&mut self, env: &mut Env<'_>) {
        let mut late = Vec::new();
        for (place, deadline) in &mut self.draining {
            if *deadline.get_or_insert(env.now + LAST_WORDS) <= env.now {
                late.push(*place);
            }
        }
        late.into_iter().for_each(|place| self.close_connection(place, env));
    }

    /// Puts a connection on the list of those to be written to.
    #[inline]
    fn touch(&mut self, place: usize) {
        let connection = &mut self.connections[place];
        if !connection.touched {
            connection.touched = true;
            self.touched.push(place);
        }
    }

    #[inline]
    fn window(&mut self, session: usize) -> Window {
        self.sessions[session].window()
    }

    #[inline]
    fn unit(&self, lun: Lun) -> Option<&UnitEntry> {
        self.units.get(usize::from(lun.number()))?.as_ref()
    }

    #[inline]
    fn unit_mut(&mut self, lun: Lun) -> Option<&mut UnitEntry> {
        self.units.get_mut(usize::from(lun.number()))?.as_mut()
    }

    /// Forgets a session that is closing and has nothing running.
    fn reap_session(&mut self, index: usize) {
        let Some(session) = self.sessions.get(index) else { return };
        if !session.closing || session.tasks > 0 {
            return;
        }
        let session = self.sessions.remove(index);
        for unit in self.units.iter_mut().flatten() {
            unit.port.detach_nexus(NexusIndex(index as u32));
        }
        self.events.push(ShardEvent::SessionEnded(session.tsih, session.nexus.id));
    }

    fn luns_changed(&mut self) {
        self.luns.0.clear();
        for (number, unit) in self.units.iter().enumerate() {
            if let (Some(unit), Some(lun)) = (unit, Lun::new(number as u64))
                && unit.life != UnitLife::Leaving
            {
                self.luns.0.push(lun);
            }
        }
    }
}
