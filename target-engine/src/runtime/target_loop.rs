//! A polling loop, thread `tgt/<tid>` of one target or `tgt/s<k>` for all: it owns the shards of its targets with their
//! sessions, ports, engines and buffers. A shard that has nothing to do costs nothing.
//! A turn: wait · letters · per ready connection (read, run, kick, write) · completions · timeouts. What is
//! left makes the next wait 0, so no wake-up can be lost.

use std::collections::VecDeque;
use std::io;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scsi_core::store::{Completion, EngineIndex, Engines};
use slab::Slab;

use super::letters::{LoopError, LoopId, Ticket, ToControl, ToLoop};
use super::loop_letters::Served;
use super::mailbox::{Inbox, Mailbox, mailbox};
use super::poller::{Interest, Poller, Ready};
use super::spin::{SPIN_MAX, Spin};
use super::stream::Stream;
use crate::limits::{EVENTS_MAX, LOOP_LETTERS_MAX, SCRATCH_LEN};
use crate::target::buffers::Pool;
use crate::target::shard::{Env, ShardEvent};
use crate::target::tasks::Tasks;
use crate::warnings::Warnings;

/// A loop as the control thread holds it.
#[derive(Debug)]
pub struct LoopHandle {
    /// Its number.
    pub id: LoopId,
    /// Its letters.
    pub mailbox: Mailbox<ToLoop>,
    /// Its thread.
    pub thread: JoinHandle<()>,
}

/// Starts a loop's thread; `name` has at most 15 bytes, as the kernel takes no more.
///
/// # Errors
/// No descriptor or thread is left.
pub fn spawn(id: LoopId, name: &str, control: Mailbox<ToControl>) -> io::Result<LoopHandle> {
    let (send, inbox) = mailbox(LOOP_LETTERS_MAX)?;
    let own = send.clone();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let _farewell = Farewell(id, control.clone());
        match DataLoop::new(id, inbox, own, control) {
            Ok(mut data_loop) => data_loop.run(),
            Err(error) => log::error!("loop {}: cannot start: {error}", id.0),
        }
    })?;
    Ok(LoopHandle { id, mailbox: send, thread })
}

/// Says that the loop is no more, however it ended.
struct Farewell(LoopId, Mailbox<ToControl>);

impl Drop for Farewell {
    fn drop(&mut self) {
        let _ = self.1.send_reserved(ToControl::LoopEnded(self.0));
    }
}

/// A loop on its own thread.
pub struct DataLoop {
    pub(super) id: LoopId,
    pub(super) inbox: Inbox<ToLoop>,
    pub(super) own: Mailbox<ToLoop>,
    pub(super) control: Mailbox<ToControl>,
    pub(super) poller: Poller<Source>,
    pub(super) shards: Slab<Served>,
    pub(super) streams: Slab<Stream>,
    pub(super) engines: Engines,
    pub(super) pool: Pool,
    pub(super) now: Instant,
    pub(super) warnings: Warnings,
    /// Ending: nothing new is taken in, the loop ends when all is done or this is over.
    pub(super) end_by: Option<Instant>,
    scratch: Box<[u8]>,
    watched_engines: usize,
    ready: Vec<Ready<Source>>,
    letters: Vec<ToLoop>,
    done: Vec<Completion>,
    events: Vec<ShardEvent>,
    touched: Vec<usize>,
    spin: Spin,
    /// Commands that the last turn took in.
    commands: usize,
    /// Streams whose reads have more to say than one turn sends, each once.
    unfinished: VecDeque<usize>,
    /// See `serve::share`.
    share: usize,
    /// Shards with commands that may go on.
    ready_shards: VecDeque<usize>,
    /// Shards that completions were for.
    completed: Vec<usize>,
    /// The stores may have done more than was taken in.
    more_done: bool,
    /// When shards are to be asked for their timeouts, and when they last were.
    due: Option<Instant>,
    asked: Instant,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Letters,
    Engine(EngineIndex),
    Stream(usize),
}

impl DataLoop {
    fn new(
        id: LoopId,
        inbox: Inbox<ToLoop>,
        own: Mailbox<ToLoop>,
        control: Mailbox<ToControl>,
    ) -> io::Result<Self> {
        let mut poller = Poller::new(EVENTS_MAX)?;
        poller.register(&inbox, Source::Letters, Interest::Read)?;
        Ok(Self {
            id,
            inbox,
            own,
            control,
            poller,
            shards: Slab::new(),
            streams: Slab::new(),
            engines: Engines::default(),
            pool: Pool::default(),
            now: Instant::now(),
            warnings: Warnings::default(),
            end_by: None,
            scratch: vec![0; SCRATCH_LEN].into_boxed_slice(),
            watched_engines: 0,
            ready: Vec::with_capacity(EVENTS_MAX),
            letters: Vec::new(),
            done: Vec::new(),
            events: Vec::new(),
            touched: Vec::new(),
            spin: Spin::new(std::thread::available_parallelism().map_or(1, usize::from)),
            commands: 0,
            unfinished: VecDeque::new(),
            share: serve::share(1),
            ready_shards: VecDeque::new(),
            completed: Vec::new(),
            more_done: false,
            due: None,
            asked: Instant::now(),
        })
    }

    fn run(&mut self) {
        while self.turn() {}
    }

    fn turn(&mut self) -> bool {
        self.ready.clear();
        if let Err(error) = self.wait() {
            log::error!("loop {}: cannot wait: {error}", self.id.0);
            return false;
        }
        self.commands = 0;
        self.share = serve::share(self.active());
        let unfinished = self.unfinished.len();
        self.read_letters();
        for at in 0..self.ready.len() {
            let ready = self.ready[at];
            match ready.what {
                Source::Stream(index) => self.serve(index, ready),
                Source::Letters | Source::Engine(_) => {}
            }
        }
        self.go_on(unfinished);
        self.expire();
        // Last: what is done at `kick`, or refused at `submit`, is not announced by any descriptor.
        self.reap();
        !self.may_end()
    }

    /// Waits until something is ready or due, and reads the clock for the turn.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = self.timeout();
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            self.poller.wait(timeout, &mut self.ready)?;
            self.now = Instant::now();
            return Ok(());
        }
        let began = Instant::now();
        self.now = began;
        if self.spin.is_worth_it(self.commands) {
            while self.ready.is_empty() && self.now - began < SPIN_MAX {
                self.poller.wait(Some(Duration::ZERO), &mut self.ready)?;
                self.now = Instant::now();
            }
        }
        if self.ready.is_empty() {
            self.poller.wait(timeout, &mut self.ready)?;
            self.now = Instant::now();
        }
        self.spin.learn(self.now - began);
        Ok(())
    }

    /// Until when the next wait may last; `None`: until something happens.
    fn timeout(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() || !self.ready_shards.is_empty() || self.more_done {
            return Some(Duration::ZERO);
        }
        let earliest = self.due.into_iter().chain(self.end_by).min()?;
        Some(earliest.saturating_duration_since(Instant::now()))
    }

    fn read_letters(&mut self) {
        let mut letters = std::mem::take(&mut self.letters);
        self.inbox.drain(&mut letters);
        for letter in letters.drain(..) {
            self.open_letter(letter);
        }
        self.letters = letters;
        self.watch_engines();
    }

    /// Engines come with their first store; their completions must wake the loop.
    fn watch_engines(&mut self) {
        if self.watched_engines == self.engines.len() {
            return;
        }
        for (index, engine) in self.engines.iter_mut().skip(self.watched_engines) {
            if let Some(fd) = engine.event_fd()
                && let Err(error) = self.poller.register(&fd, Source::Engine(index), Interest::Read)
            {
                log::error!("loop {}: cannot watch an engine: {error}", self.id.0);
            }
        }
        self.watched_engines = self.engines.len();
    }

    /// Takes in what the stores have done, until they have nothing more or others must have their say.
    fn reap(&mut self) {
        self.more_done = false;
        for _ in 0..REAPS_PER_TURN {
            let mut done = std::mem::take(&mut self.done);
            for (_, engine) in self.engines.iter_mut() {
                engine.reap(&mut done);
            }
            if done.is_empty() {
                self.done = done;
                return;
            }
            for completion in done.drain(..) {
                let index = usize::from(Tasks::shard_of(completion.tag));
                let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                let Some(served) = self.shards.get_mut(index) else {
                    log::error!("loop {}: a completion of nobody", self.id.0);
                    continue;
                };
                served.shard.complete(completion, &mut env);
                if !std::mem::replace(&mut served.completed, true) {
                    self.completed.push(index);
                }
            }
            self.done = done;
            let mut completed = std::mem::take(&mut self.completed);
            for index in completed.drain(..) {
                if let Some(served) = self.shards.get_mut(index) {
                    served.completed = false;
                }
                self.after(index, None);
            }
            self.completed = completed;
        }
        self.more_done = true;
    }

    /// What was left for this turn; of streams the first `unfinished`.
    fn go_on(&mut self, unfinished: usize) {
        for _ in 0..unfinished {
            let Some(index) = self.unfinished.pop_front() else { break };
            // It may be gone, and its place another's.
            let Some(stream) = self.streams.get_mut(index).filter(|stream| stream.unfinished) else {
                continue;
            };
            stream.unfinished = false;
            let shard = stream.shard;
            self.flush(index);
            self.tell(shard);
        }
        for _ in 0..self.ready_shards.len() {
            let Some(index) = self.ready_shards.pop_front() else { return };
            let Some(served) = self.shards.get_mut(index) else { continue };
            served.is_ready = false;
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            served.shard.run_ready(&mut env);
            self.after(index, None);
        }
    }

    /// After a shard was driven: when it wants to be driven again.
    pub(super) fn note(&mut self, index: usize) {
        let Some(served) = self.shards.get_mut(index) else { return };
        if served.shard.has_ready() && !std::mem::replace(&mut served.is_ready, true) {
            self.ready_shards.push_back(index);
        }
        if let Some(due) = served.shard.poll_timeout(self.now) {
            // Shards' ticks come in no order; it is enough to look at all of them now and then.
            let due = due.max(self.asked + ASK_EVERY);
            self.due = Some(self.due.map_or(due, |earliest| earliest.min(due)));
        }
    }

    fn expire(&mut self) {
        if self.due.is_none_or(|due| due > self.now) {
            return;
        }
        (self.due, self.asked) = (None, self.now);
        for index in 0..self.shards.capacity() {
            let Some(served) = self.shards.get_mut(index) else { continue };
            if served.shard.poll_timeout(self.now).is_some_and(|due| due <= self.now) {
                let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                served.shard.handle_timeout(&mut env);
                self.after(index, None);
            } else {
                self.note(index);
            }
        }
    }

    fn may_end(&self) -> bool {
        let idle = || self.shards.iter().all(|(_, served)| served.shard.is_idle());
        self.end_by.is_some_and(|end_by| end_by <= self.now || idle())
    }

    pub(super) fn take_event_list(&mut self) -> Vec<ShardEvent> {
        std::mem::take(&mut self.events)
    }

    pub(super) fn put_event_list(&mut self, events: Vec<ShardEvent>) {
        self.events = events;
    }

    /// Tells the control thread.
    pub(super) fn to_control(&self, letter: ToControl) {
        if self.control.send_reserved(letter).is_err() {
            log::debug!("loop {}: nobody reads its letters any more", self.id.0);
        }
    }

    pub(super) fn answer(&self, ticket: Ticket, result: Result<(), LoopError>) {
        self.to_control(ToControl::Answer(self.id, ticket, result));
    }
}

/// How often completions are taken in in a turn before others have their say.
const REAPS_PER_TURN: usize = 8;
/// How often all shards are asked for their timeouts at the most.
const ASK_EVERY: Duration = Duration::from_millis(100);

mod serve;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
