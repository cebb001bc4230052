//! One loop as plain state: the targets that it serves, their connections, engines and buffers, without sockets, threads,
//! mailboxes and clock. Its driver is `runtime::target_loop`, or a test.
//!
//! - [`stream`]: how a loop reads from and writes to a connection
//! - [`effect`]: what a loop asks of its driver, and messages between the loops of a target
//! - `served`: a target on the loop
//! - `stores`: completions, timeouts and notices of the engines
//! - `messages`, `attach`, `events`, `serve`: the loop's methods, by topic

mod attach;
pub mod effect;
mod events;
mod messages;
mod serve;
mod served;
mod stores;
pub mod stream;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use scsi_core::store::{Completion, Engines};
use slab::Slab;

use self::effect::Effect;
use self::served::Served;
use self::stream::{ByteStream, Stream, StreamIndex};
use crate::buffers::Pool;
use crate::control::messages::{LoopError, LoopId, Ticket, ToControl};
use crate::keys::ConnectionIndex;
use crate::limits::{SCRATCH_LEN, SHARE_LEN_MIN, TRIM_EVERY, TURN_BYTES_MAX};
use crate::model::Tid;
use crate::shard::{Env, ShardEvent, TargetShard};
use crate::warnings::Warnings;

/// The minimum time between two checks of all timeouts.
const CHECK_EVERY: Duration = Duration::from_millis(100);

/// Unfinished connections that continue in one turn: as many as have a share of it. Further ones continue in the next turns,
/// so that connections with little to do are not behind all that have much.
const CONTINUING_MAX: usize = TURN_BYTES_MAX / SHARE_LEN_MIN;

/// Bytes that each of this many connections may receive in a turn, and send.
fn share(connections: usize) -> usize {
    let fair = TURN_BYTES_MAX / connections.max(1);
    (fair - fair % SHARE_LEN_MIN).max(SHARE_LEN_MIN)
}

/// A loop: the targets that it serves and their connections. An idle target costs nothing.
///
/// `S` is the socket of a connection, `A` the address of a loop for messages.
///
/// # Driving it
///
/// No method blocks, and none calls back except [`ByteStream::read`] and [`ByteStream::write`]. A turn is
///
/// 1. [`begin_turn`](Self::begin_turn), with the time and the connections that are ready, and
///    [`engine_ready`](Self::engine_ready) for each engine whose event descriptor is readable.
/// 2. The messages that have arrived: [`handle_control`](Self::handle_control), [`attach`](Self::attach),
///    [`set_siblings`](Self::set_siblings), [`reset`](Self::reset), [`reset_done`](Self::reset_done). They may also come
///    between turns; their time is that of the last turn.
/// 3. [`handle_ready`](Self::handle_ready) for each connection that is ready.
/// 4. [`finish_turn`](Self::finish_turn).
///
/// After each message and after each turn the driver acts on [`poll_effect`](Self::poll_effect) until it returns `None`.
/// Without that, no message and no answer leaves the loop, closed sockets stay open, and sockets are watched for the
/// wrong events. What an accepted connection has to send is sent by `finish_turn`, so its effects come first.
///
/// The next turn begins when a watched socket is ready, a message arrives, the event descriptor of an engine
/// ([`event_fd`](Self::event_fd)) is readable, or [`poll_timeout`](Self::poll_timeout) is due, and at once while
/// [`has_work`](Self::has_work); a turn without a reason does no harm. The loop is over once [`has_ended`](Self::has_ended).
pub struct LoopState<S, A> {
    /// Before the targets, so that the engines are dropped first: the shards hold the stores, whose files they use.
    resources: Resources,
    id: LoopId,
    /// The address of this loop.
    own: A,
    targets: Slab<Served<A>>,
    streams: Slab<Stream<S>>,
    effects: VecDeque<Effect<S, A>>,
    warnings: Warnings,
    /// The loop is ending: it accepts nothing new, and ends when all commands are done, at this time at the latest.
    end_by: Option<Instant>,
    scratch: Box<[u8]>,
    done: Vec<Completion>,
    events: Vec<ShardEvent>,
    touched: Vec<ConnectionIndex>,
    /// Commands received in this turn.
    commands: usize,
    /// Streams with more data to receive or to send than their share of one turn, each once.
    unfinished: VecDeque<StreamIndex>,
    /// How many of them continue in this turn.
    continuing: usize,
    /// Streams whose other requests wait for the next turn because of [`Stream::allowed_bytes`], each once. All of them
    /// continue in each turn.
    held_back: VecDeque<StreamIndex>,
    /// How many of them continue in this turn.
    continuing_held_back: usize,
    /// See [`share`].
    share: usize,
    /// Since the turn began, a connection has had more to do than its share.
    is_exhausted: bool,
    /// One had in the turn before, or has to wait for the next turn. See [`Stream::allowed_bytes`].
    is_contended: bool,
    /// Targets with commands that are ready to run.
    ready_targets: VecDeque<usize>,
    /// Targets that have got completions.
    completed: Vec<usize>,
    /// The engines may have more completions.
    more_done: bool,
    /// When the timeouts of the targets are to be checked, and when they were last.
    due: Option<Instant>,
    asked: Instant,
    /// When memory that is not used any more is given back next.
    trim_at: Instant,
}

/// What a loop lends to its shards.
struct Resources {
    engines: Engines,
    pool: Pool,
    now: Instant,
}

impl Resources {
    #[inline]
    fn env(&mut self) -> Env<'_> {
        Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now }
    }
}

impl<S: ByteStream, A: Clone> LoopState<S, A> {
    /// A loop without targets. `own` is its address for the other loops.
    #[must_use]
    pub fn new(id: LoopId, own: A, now: Instant) -> Self {
        Self {
            resources: Resources { engines: Engines::default(), pool: Pool::default(), now },
            id,
            own,
            targets: Slab::new(),
            streams: Slab::new(),
            effects: VecDeque::new(),
            warnings: Warnings::default(),
            end_by: None,
            scratch: vec![0; SCRATCH_LEN].into_boxed_slice(),
            done: Vec::new(),
            events: Vec::new(),
            touched: Vec::new(),
            commands: 0,
            unfinished: VecDeque::new(),
            continuing: 0,
            held_back: VecDeque::new(),
            continuing_held_back: 0,
            share: share(1),
            is_exhausted: false,
            is_contended: false,
            ready_targets: VecDeque::new(),
            completed: Vec::new(),
            more_done: false,
            due: None,
            asked: now,
            trim_at: now + TRIM_EVERY,
        }
    }

    /// Begins a turn at this time, in which these connections are ready.
    pub fn begin_turn(&mut self, now: Instant, ready: impl Iterator<Item = StreamIndex>) {
        self.resources.now = now;
        self.commands = 0;
        self.continuing = self.unfinished.len().min(CONTINUING_MAX);
        let is_exhausted = std::mem::take(&mut self.is_exhausted);
        self.is_contended = is_exhausted || self.unfinished.len() > self.continuing;
        let alone = |index: &StreamIndex| self.streams.get(index.0).is_some_and(|stream| !stream.unfinished);
        self.continuing_held_back = self.held_back.len();
        self.share = share(ready.filter(alone).count() + self.continuing + self.continuing_held_back);
    }

    /// Continues what the last turn left, handles timeouts, and takes the completions of the engines. Returns the number
    /// of completions.
    pub fn finish_turn(&mut self) -> usize {
        self.go_on();
        self.expire();
        // Last: completions of `kick` and `submit` themselves are not announced by any descriptor.
        let count = self.reap();
        if self.resources.engines.has_notices() {
            self.forward_notices();
        }
        count
    }

    /// The next effect.
    #[inline]
    pub fn poll_effect(&mut self) -> Option<Effect<S, A>> {
        self.effects.pop_front()
    }

    /// Whether the next turn must not wait.
    #[must_use]
    pub fn has_work(&self) -> bool {
        let continues = !self.unfinished.is_empty() || !self.held_back.is_empty();
        continues || !self.ready_targets.is_empty() || self.more_done
    }

    /// When the next turn is due; `None`: not before an event.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        let trim = self.resources.pool.has_excess().then_some(self.trim_at);
        let engines = self.resources.engines.poll_timeout();
        self.due.into_iter().chain(self.end_by).chain(self.warnings.due()).chain(trim).chain(engines).min()
    }

    /// Commands received in this turn.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.commands
    }

    /// Whether the loop was asked to end.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        self.end_by.is_some()
    }

    /// Whether the loop was asked to end, and nothing runs any more or its time is over.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        let idle = || self.targets.iter().all(|(_, served)| served.shard.is_idle());
        self.end_by.is_some_and(|end_by| end_by <= self.resources.now || idle())
    }

    /// The socket of a connection; `None`: it was closed.
    #[must_use]
    pub fn stream(&self, index: StreamIndex) -> Option<&S> {
        Some(&self.streams.get(index.0)?.socket)
    }

    /// The index that the connection of the next [`attach`](Self::attach) will have.
    #[must_use]
    pub fn next_stream(&self) -> StreamIndex {
        StreamIndex(self.streams.vacant_key())
    }

    /// The buffers of the loop.
    #[must_use]
    pub fn pool(&self) -> &Pool {
        &self.resources.pool
    }

    /// The sessions and commands of a target, its present service; `None`: it is not served.
    #[must_use]
    pub fn target(&self, tid: Tid) -> Option<&TargetShard> {
        Some(&self.targets[self.find(tid)?].shard)
    }

    /// Finds the target's present service; one that is being removed only if there is no other.
    fn find(&self, tid: Tid) -> Option<usize> {
        let services = self.targets.iter().filter(|(_, served)| served.tid == tid);
        services.min_by_key(|(_, served)| served.is_leaving()).map(|(index, _)| index)
    }

    /// Continues what the last turn left: its unfinished streams and the ready targets.
    fn go_on(&mut self) {
        for _ in 0..std::mem::take(&mut self.continuing_held_back) {
            let Some(index) = self.held_back.pop_front() else { break };
            self.go_on_with(index);
        }
        for _ in 0..std::mem::take(&mut self.continuing) {
            let Some(index) = self.unfinished.pop_front() else { break };
            self.go_on_with(index);
        }
        for _ in 0..self.ready_targets.len() {
            let Some(index) = self.ready_targets.pop_front() else { return };
            let Some(served) = self.targets.get_mut(index) else { continue };
            served.is_ready = false;
            served.shard.run_ready(&mut self.resources.env());
            self.after(index, None);
        }
    }

    fn go_on_with(&mut self, index: StreamIndex) {
        // It may be closed, and its index used by another.
        if let Some(stream) = self.streams.get_mut(index.0).filter(|stream| stream.unfinished) {
            stream.unfinished = false;
            let ready = std::mem::take(&mut stream.ready);
            self.serve(index, ready);
        }
    }

    /// Records when a target needs to be driven again.
    fn note(&mut self, index: usize) {
        let Some(served) = self.targets.get_mut(index) else { return };
        if served.shard.has_ready() && !std::mem::replace(&mut served.is_ready, true) {
            self.ready_targets.push_back(index);
        }
        if let Some(due) = served.shard.poll_timeout(self.resources.now) {
            // The timeouts of the targets are in no order: checking all of them every `CHECK_EVERY` is enough.
            let due = due.max(self.asked + CHECK_EVERY);
            self.due = Some(self.due.map_or(due, |earliest| earliest.min(due)));
        }
    }

    fn expire(&mut self) {
        let now = self.resources.now;
        self.warnings.tick(now);
        if self.trim_at <= now {
            self.trim();
        }
        if self.due.is_none_or(|due| due > now) {
            return;
        }
        (self.due, self.asked) = (None, now);
        for index in 0..self.targets.capacity() {
            let Some(served) = self.targets.get_mut(index) else { continue };
            if served.shard.poll_timeout(now).is_some_and(|due| due <= now) {
                served.shard.handle_timeout(&mut self.resources.env());
                self.after(index, None);
            } else {
                self.note(index);
            }
        }
    }

    /// Gives back memory that was not used lately.
    #[cold]
    fn trim(&mut self) {
        self.trim_at = self.resources.now + TRIM_EVERY;
        self.resources.pool.trim();
        for (_, served) in &mut self.targets {
            served.shard.shrink();
        }
        if self.resources.pool.take_freed() {
            self.effects.push_back(Effect::FreeHeap);
        }
    }

    /// Sends a message to the control plane.
    fn notify(&mut self, message: ToControl) {
        self.effects.push_back(Effect::ToControl(message));
    }

    fn answer(&mut self, ticket: Ticket, result: Result<(), LoopError>) {
        self.notify(ToControl::Answer(self.id, ticket, result));
    }
}
