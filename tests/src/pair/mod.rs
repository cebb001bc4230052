//! The target's side of the tests in memory: the control plane, its loops, the bytes between them and the initiators, and
//! the simulated clock. It drives the same [`Control`] and [`LoopState`](target_engine::loop_state::LoopState) as the
//! daemon, without sockets and threads.

mod logins;
mod world;

use std::cell::{RefCell, RefMut};
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use target_engine::buffers::Pool;
use target_engine::control::dispatch::{Control, Outside};
use target_engine::control::jobs::JobDone;
use target_engine::control::messages::{LoopError, Ticket, ToLoop};
use target_engine::control::pending::ClientId;
use target_engine::control::report::Reply;
use target_engine::control::request::{Binding, Request};
use target_engine::iscsi::discovery::Discovery;
use target_engine::iscsi::login::{Login, LoginConfig};
use target_engine::model::Tid;

pub use self::world::World;
use self::world::{Fixed, OWN_TICKETS};
use crate::clock::Clock;
use crate::setup::{Setup, TARGET};
use crate::wire::Wire;

/// The target's side, shared by its initiators.
#[derive(Clone)]
pub struct Pair(Rc<RefCell<Side>>);

/// The shared state of a [`Pair`].
pub struct Side {
    /// The control plane.
    pub control: Control,
    /// Its loops, and what it has asked for.
    pub world: World,
    /// The time.
    pub clock: Clock,
    /// The target's parameters; `chunk`, `refuse` and `auth` may be changed at any time.
    pub setup: Setup,
    /// The test calls `step` and `settle` itself: what initiators send is received, but stores complete nothing.
    pub manual: bool,
    connections: Vec<Connection>,
    tickets: u64,
}

/// A connection of an initiator.
struct Connection {
    wire: Wire,
    phase: Phase,
}

enum Phase {
    Login(Box<Login>),
    Discovery(Box<Discovery>),
    /// The loop of its session serves it.
    Attached,
}

impl Pair {
    /// A target without sessions, on one loop.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn new(setup: Setup) -> Self {
        Self::with_loops(setup, 1)
    }

    /// A target without sessions, on this many loops.
    ///
    /// # Panics
    /// It cannot be made.
    #[must_use]
    pub fn with_loops(setup: Setup, loops: usize) -> Self {
        let pair = Self::managed(setup);
        let mut side = pair.side();
        let settings = Arc::new(side.setup.settings.clone());
        let unit = |(lun, unit): &(u64, Arc<Unit>)| (Lun::new(*lun).expect("a LUN"), Arc::clone(unit));
        let units = side.setup.units.iter().map(unit).collect();
        side.world.fixed = Some(Fixed { settings, units });
        let update = |name: &str, value: usize| Request::TargetUpdate {
            tid: TID,
            name: name.to_owned(),
            value: value.to_string(),
        };
        let connections = side.setup.keys.session.max_connections.into();
        let rule = Binding::Initiators { address: Some("ALL".to_owned()), name: None };
        for request in [
            Request::TargetNew { tid: TID, name: TARGET.to_owned() },
            Request::TargetBind { tid: TID, rule },
            update("MaxConnections", connections),
            update("loops", loops),
        ] {
            let reply = side.request(ClientId(0), request).expect("these are answered at once");
            reply.expect("the target can be made");
        }
        side.settle();
        drop(side);
        pair
    }

    /// A control plane without targets.
    #[must_use]
    pub fn managed(setup: Setup) -> Self {
        let clock = Clock::start();
        Self(Rc::new(RefCell::new(Side {
            control: Control::default(),
            world: World::new(clock.now()),
            clock,
            setup,
            manual: false,
            connections: Vec::new(),
            tickets: OWN_TICKETS,
        })))
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
        let login = Box::new(Login::new(LoginConfig::default(), side.clock.now()));
        side.connections.push(Connection { wire: Wire::default(), phase: Phase::Login(login) });
        side.connections.len() - 1
    }

    /// Sends bytes of an initiator, in pieces.
    pub fn deliver(&self, connection: usize, bytes: &[u8]) {
        let mut side = self.side();
        let logs_in = !matches!(side.connections[connection].phase, Phase::Attached);
        side.feed(connection, bytes);
        if !side.manual || logs_in {
            side.settle();
        } else {
            side.receive();
        }
    }

    /// Closes the initiator's side of a connection.
    pub fn hang_up(&self, connection: usize) {
        let mut side = self.side();
        side.connections[connection].wire.hang_up();
        if side.manual {
            side.receive();
        } else {
            side.settle();
        }
    }

    /// The bytes that the target has sent since the last call.
    #[must_use]
    pub fn take(&self, connection: usize) -> Vec<u8> {
        self.wire(connection).read_all(<[u8]>::to_vec)
    }

    /// A connection.
    #[must_use]
    pub fn wire(&self, connection: usize) -> Wire {
        self.side().connections[connection].wire.clone()
    }

    /// Whether a side has closed the connection.
    #[must_use]
    pub fn is_closed(&self, connection: usize) -> bool {
        self.wire(connection).is_closed()
    }

    /// The initiator stops reading, or goes on.
    pub fn stall(&self, connection: usize, stalled: bool) {
        self.wire(connection).stall(stalled);
        self.settle();
    }

    /// Advances the time; timeouts on the way are handled at their time.
    pub fn advance(&self, time: Duration) {
        self.side().advance(time);
    }

    /// Runs the stores and the loops until nothing moves.
    pub fn settle(&self) {
        self.side().settle();
    }

    /// Asserts that nothing is left of any session.
    ///
    /// # Panics
    /// Something is left.
    pub fn assert_clean(&self) {
        let side = self.side();
        assert_eq!(side.running(), 0, "tasks");
        assert_eq!(side.session_count(), 0, "sessions");
        for state in side.world.states() {
            assert_eq!(state.pool().used_bytes(), 0, "pool bytes in use");
            assert_eq!(state.pool().reserved_bytes(), 0, "pool bytes set aside");
        }
        assert!(side.control.sessions().is_empty(), "directory entries");
    }
}

/// The number of the target of [`Pair::new`].
const TID: Tid = match Tid::new(1) {
    Some(tid) => tid,
    None => panic!("1 is a number of a target"),
};

impl Side {
    /// Commands that run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.world.commands_of(TID)
    }

    /// Sessions on the loops, closing ones included.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.world.sessions_of(TID)
    }

    /// The buffers of the first loop.
    ///
    /// # Panics
    /// There is no loop.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        self.world.states().next().expect("a loop").pool()
    }

    /// Asks the control plane. `None`: the reply comes later.
    pub fn request(&mut self, client: ClientId, request: Request) -> Option<Reply> {
        self.control.request(client, request, self.clock.now(), &mut self.world)
    }

    /// Gives the control plane the result of a job.
    pub fn job_done(&mut self, done: JobDone) {
        self.control.job_done(done, self.clock.now(), &mut self.world);
    }

    /// Sends a message to all loops, as the control plane does. Returns the ticket of its answer.
    pub fn send(&mut self, message: impl Fn(Tid, Ticket) -> ToLoop) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        for id in self.world.ids() {
            self.world.send(id, message(TID, ticket)).expect("the loop runs");
        }
        self.settle();
        ticket
    }

    /// The answer of a loop, the last one if several have answered.
    #[must_use]
    pub fn answer_to(&self, ticket: Ticket) -> Option<Result<(), LoopError>> {
        self.world.answers.get(&ticket).copied()
    }

    /// Adds a unit.
    ///
    /// # Errors
    /// Its store cannot be attached.
    ///
    /// # Panics
    /// The loop does not answer.
    pub fn add_unit(&mut self, lun: u64, unit: &Arc<Unit>) -> Result<(), LoopError> {
        let lun = Lun::new(lun).expect("a number of a unit");
        let ticket = self.send(|tid, ticket| ToLoop::AddUnit(tid, lun, Arc::clone(unit), ticket));
        self.answer_to(ticket).expect("it is answered at once")
    }

    /// Removes a unit now. The answer to the ticket comes when it is gone.
    ///
    /// # Panics
    /// It is no LUN.
    pub fn remove_unit(&mut self, lun: u64) -> Ticket {
        let (lun, by) = (Lun::new(lun).expect("a number of a unit"), Some(self.clock.now()));
        self.send(|tid, ticket| ToLoop::RemoveUnit { tid, lun, by, ticket })
    }

    /// Runs one turn of each loop, and then the control plane. Returns false if nothing moved.
    pub fn step(&mut self) -> bool {
        let now = self.clock.now();
        let moved = self.world.step(now, self.setup.chunk);
        let mut messages = false;
        while let Some(message) = self.world.to_control.pop_front() {
            messages = true;
            self.control.message(message, now, &mut self.world);
        }
        moved || messages
    }

    fn receive(&mut self) {
        let now = self.clock.now();
        self.world.receive(now, self.setup.chunk);
    }

    /// Steps until nothing moves.
    pub fn settle(&mut self) {
        while self.step() {}
    }

    fn feed(&mut self, number: usize, bytes: &[u8]) {
        let now = self.clock.now();
        for piece in bytes.chunks(self.setup.chunk.min(bytes.len().max(1))) {
            let connection = &mut self.connections[number];
            match &mut connection.phase {
                _ if connection.wire.is_closed() => return,
                Phase::Login(login) => {
                    login.receive(piece, now);
                    self.drive_login(number);
                }
                Phase::Discovery(discovery) => {
                    discovery.receive(piece, now);
                    self.drive_discovery(number);
                }
                Phase::Attached => connection.wire.push(piece),
            }
        }
    }

    fn advance(&mut self, time: Duration) {
        self.settle();
        let until = self.clock.now() + time;
        while let Some(next) = self.next_timeout().filter(|next| *next <= until) {
            self.clock.move_to(next);
            self.handle_timeouts();
        }
        self.clock.move_to(until);
        self.handle_timeouts();
    }

    fn next_timeout(&mut self) -> Option<Instant> {
        let now = self.clock.now();
        let open = self.connections.iter().filter(|connection| !connection.wire.is_closed());
        let logins = open.filter_map(|connection| match &connection.phase {
            Phase::Login(login) => login.poll_timeout(),
            Phase::Discovery(discovery) => discovery.poll_timeout(),
            Phase::Attached => None,
        });
        let others = self.world.next_timeout().into_iter().chain(self.control.next_deadline());
        logins.chain(others).filter(|next| *next > now).min()
    }

    fn handle_timeouts(&mut self) {
        let now = self.clock.now();
        for number in 0..self.connections.len() {
            match &mut self.connections[number].phase {
                Phase::Login(login) => login.handle_timeout(now),
                Phase::Discovery(discovery) => discovery.handle_timeout(now),
                Phase::Attached => continue,
            }
            self.drive_login(number);
            self.drive_discovery(number);
        }
        if self.control.next_deadline().is_some_and(|due| due <= now) {
            self.control.handle_timeout(now, &mut self.world);
        }
        self.settle();
    }
}
