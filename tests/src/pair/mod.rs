//! The target's side of the tests in memory: one target on one loop, its logins, the bytes between it and its initiators,
//! and the simulated clock. It does the work of the control thread and of a loop without sockets and threads.

mod logins;

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use iscsi_proto::params::SessionParams;
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::Engines;
use target_engine::buffers::Pool;
use target_engine::iscsi::connection::ConnectionState;
use target_engine::iscsi::discovery::Discovery;
use target_engine::iscsi::login::{Login, LoginConfig};
use target_engine::keys::ConnectionIndex;
use target_engine::model::sessions::SessionDirectory;
use target_engine::shard::{Env, ShardEvent, TargetShard};

use crate::clock::Clock;
use crate::setup::Setup;

/// The target's side, shared by its initiators.
#[derive(Clone)]
pub struct Pair(Rc<RefCell<Side>>);

/// The shared state of a [`Pair`].
pub struct Side {
    /// The target's loop.
    pub shard: TargetShard,
    /// The loop's engines.
    pub engines: Engines,
    /// The loop's buffers.
    pub pool: Pool,
    /// The time.
    pub clock: Clock,
    /// The sessions.
    pub directory: SessionDirectory,
    /// Its parameters; `chunk`, `refuse` and `auth` may be changed at any time.
    pub setup: Setup,
    /// Events that are for other loops or for the control thread.
    pub events: Vec<ShardEvent>,
    /// The test calls `step` and `settle` itself.
    pub manual: bool,
    wires: Vec<Wire>,
    negotiated: BTreeMap<u16, SessionParams>,
}

/// A TCP connection in memory.
struct Wire {
    phase: Phase,
    to_initiator: Vec<u8>,
    /// The initiator reads nothing.
    stalled: bool,
}

enum Phase {
    Login(Box<Login>),
    Discovery(Box<Discovery>),
    /// A connection of the shard.
    Full(ConnectionIndex),
    Closed,
}

impl Pair {
    /// A target without sessions.
    ///
    /// # Panics
    /// A store cannot be attached.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        let mut side = Side {
            shard: TargetShard::new(1, Arc::new(setup.settings.clone())),
            engines: Engines::default(),
            pool: Pool::default(),
            clock: Clock::start(),
            directory: SessionDirectory::default(),
            setup: setup.clone(),
            events: Vec::new(),
            manual: false,
            wires: Vec::new(),
            negotiated: BTreeMap::new(),
        };
        for (lun, unit) in setup.units {
            side.add_unit(lun, unit);
        }
        Self(Rc::new(RefCell::new(side)))
    }

    /// The shared state.
    #[must_use]
    pub fn side(&self) -> RefMut<'_, Side> {
        self.0.borrow_mut()
    }

    /// Opens a connection. Returns its number.
    #[must_use]
    pub fn connect(&self) -> usize {
        let mut side = self.side();
        let login = Login::new(LoginConfig::default(), side.clock.now());
        side.wires.push(Wire {
            phase: Phase::Login(Box::new(login)),
            to_initiator: Vec::new(),
            stalled: false,
        });
        side.wires.len() - 1
    }

    /// Feeds bytes of an initiator, in pieces.
    pub fn deliver(&self, wire: usize, bytes: &[u8]) {
        let mut side = self.side();
        let chunk = side.setup.chunk;
        for piece in bytes.chunks(chunk.min(bytes.len().max(1))) {
            side.feed(wire, piece);
            side.after();
        }
        if !side.manual {
            side.settle();
        }
    }

    /// Closes the initiator's side of a connection.
    pub fn hang_up(&self, wire: usize) {
        let mut side = self.side();
        if let Phase::Full(index) = side.wires[wire].phase {
            side.with_env(|shard, env| shard.close_connection(index, env));
        }
        side.wires[wire].phase = Phase::Closed;
        if !side.manual {
            side.settle();
        }
    }

    /// The bytes that the target has sent since the last call.
    #[must_use]
    pub fn take(&self, wire: usize) -> Vec<u8> {
        std::mem::take(&mut self.side().wires[wire].to_initiator)
    }

    /// Whether the target has closed the connection.
    #[must_use]
    pub fn is_closed(&self, wire: usize) -> bool {
        matches!(self.side().wires[wire].phase, Phase::Closed)
    }

    /// The initiator stops reading, or goes on.
    pub fn stall(&self, wire: usize, stalled: bool) {
        let mut side = self.side();
        side.wires[wire].stalled = stalled;
        side.settle();
    }

    /// Advances the time; timeouts on the way are handled at their time.
    pub fn advance(&self, time: Duration) {
        let mut side = self.side();
        let until = side.clock.now() + time;
        while let Some(next) = side.next_timeout().filter(|next| *next <= until) {
            side.clock.move_to(next);
            side.handle_timeouts();
        }
        side.clock.move_to(until);
        side.handle_timeouts();
    }

    /// Runs the stores and the shard until nothing moves.
    pub fn settle(&self) {
        self.side().settle();
    }

    /// Asserts that nothing is left of any session.
    ///
    /// # Panics
    /// Something is left.
    pub fn assert_clean(&self) {
        let side = self.side();
        assert_eq!(side.shard.running(), 0, "tasks");
        assert_eq!(side.shard.session_count(), 0, "sessions");
        assert_eq!(side.pool.used_bytes(), 0, "pool bytes in use");
        assert_eq!(side.pool.reserved_bytes(), 0, "pool bytes set aside");
        assert!(side.directory.is_empty(), "directory entries");
    }
}

impl Side {
    /// Adds a unit.
    ///
    /// # Panics
    /// Its store cannot be attached.
    pub fn add_unit(&mut self, lun: u64, unit: Arc<Unit>) {
        let lun = Lun::new(lun).expect("a number of a unit");
        self.with_env(|shard, env| shard.add_unit(lun, unit, env)).expect("the store can be attached");
    }

    /// The shard's connection of a wire that is logged in.
    #[must_use]
    pub fn connection_of(&self, wire: usize) -> Option<ConnectionIndex> {
        match self.wires.get(wire)?.phase {
            Phase::Full(connection) => Some(connection),
            _ => None,
        }
    }

    /// Calls the shard with its environment.
    pub fn with_env<T>(&mut self, call: impl FnOnce(&mut TargetShard, &mut Env<'_>) -> T) -> T {
        let now = self.clock.now();
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now };
        call(&mut self.shard, &mut env)
    }

    /// Runs one turn of the stores and of the shard. Returns false if nothing moved.
    pub fn step(&mut self) -> bool {
        let mut done = Vec::new();
        self.engines.kick();
        self.engines.reap(&mut done);
        let ready = self.shard.has_ready();
        let lost = done.is_empty() && self.engines.take_lost();
        if lost {
            self.with_env(TargetShard::fail_lost);
        }
        let moved = ready || lost || !done.is_empty();
        for completion in done {
            self.with_env(|shard, env| shard.complete(completion, env));
        }
        if ready {
            self.with_env(TargetShard::run_ready);
        }
        self.after();
        moved
    }

    /// Steps until nothing moves.
    pub fn settle(&mut self) {
        self.after();
        while self.step() {}
    }

    fn feed(&mut self, wire: usize, mut piece: &[u8]) {
        let now = self.clock.now();
        match &mut self.wires[wire].phase {
            Phase::Login(login) => {
                login.receive(piece, now);
                self.drive_login(wire);
            }
            Phase::Discovery(discovery) => {
                discovery.receive(piece, now);
                self.drive_discovery(wire);
            }
            Phase::Full(index) => {
                let index = *index;
                // As one readv does it: first the payload that is being received, then the scratch.
                if let Some(connection) = self.shard.connection(index)
                    && let Some(space) = connection.receiver.space()
                {
                    let count = space.len().min(piece.len());
                    space[..count].copy_from_slice(&piece[..count]);
                    connection.receiver.filled(count);
                    piece = &piece[count..];
                }
                self.with_env(|shard, env| shard.receive(index, piece, env));
            }
            Phase::Closed => {}
        }
    }

    /// Sends queued bytes and acts on events, as a driver does after each call.
    fn after(&mut self) {
        if self.shard.take_submitted() {
            self.engines.kick();
        }
        self.shard.take_touched(&mut Vec::new());
        for wire in 0..self.wires.len() {
            self.flush(wire);
        }
        let mut events = Vec::new();
        self.shard.take_events(&mut events);
        events.into_iter().for_each(|event| self.event(event));
    }

    fn flush(&mut self, wire: usize) {
        let (Phase::Full(index), false) = (&self.wires[wire].phase, self.wires[wire].stalled) else { return };
        let (index, chunk) = (*index, self.setup.chunk);
        loop {
            let Some(connection) = self.shard.connection(index) else { return };
            while !connection.transmit.is_empty() {
                let mut slices = [IoSlice::new(&[]); 64];
                let filled = connection.transmit.slices(&mut slices);
                let mut count = 0;
                for slice in &slices[..filled] {
                    let take = slice.len().min(chunk - count);
                    self.wires[wire].to_initiator.extend_from_slice(&slice[..take]);
                    count += take;
                    if count == chunk {
                        break;
                    }
                }
                connection.transmit.advance(count, &mut self.pool);
            }
            if connection.state == ConnectionState::Draining {
                return self.with_env(|shard, env| shard.close_connection(index, env));
            }
            let more = self.with_env(|shard, env| shard.resume_reads(index, env));
            let empty = self.shard.connection(index).is_none_or(|connection| connection.transmit.is_empty());
            if empty && !more {
                return;
            }
        }
    }

    fn event(&mut self, event: ShardEvent) {
        match event {
            ShardEvent::ConnectionClosed(index) => {
                self.shard.release(index);
                let wires = self.wires.iter_mut();
                wires
                    .filter(|wire| matches!(wire.phase, Phase::Full(own) if own == index))
                    .for_each(|wire| wire.phase = Phase::Closed);
            }
            ShardEvent::ConnectionEnded(tsih, cid) => {
                if let Some(session) = self.directory.get_mut(tsih, None) {
                    session.connections.retain(|connection| connection.cid != cid);
                }
            }
            ShardEvent::SessionEnded(tsih, nexus) => {
                self.directory.end(tsih, nexus);
            }
            other => self.events.push(other),
        }
    }

    fn next_timeout(&mut self) -> Option<std::time::Instant> {
        let now = self.clock.now();
        let logins = self.wires.iter().filter_map(|wire| match &wire.phase {
            Phase::Login(login) => login.poll_timeout(),
            Phase::Discovery(discovery) => discovery.poll_timeout(),
            _ => None,
        });
        logins.chain(self.shard.poll_timeout(now)).min().filter(|next| *next > now)
    }

    fn handle_timeouts(&mut self) {
        let now = self.clock.now();
        for wire in 0..self.wires.len() {
            match &mut self.wires[wire].phase {
                Phase::Login(login) => login.handle_timeout(now),
                Phase::Discovery(discovery) => discovery.handle_timeout(now),
                _ => continue,
            }
            self.drive_login(wire);
            self.drive_discovery(wire);
        }
        if self.shard.poll_timeout(now).is_some_and(|due| due <= now) {
            self.with_env(TargetShard::handle_timeout);
        }
        self.settle();
    }
}
