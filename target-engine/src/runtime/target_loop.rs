//! A polling loop, thread `tgt/<tid>` of one target or `tgt/s<k>` for all: it owns the shards of its targets with their
//! sessions, ports, engines and buffers. An idle shard costs nothing.
//! A turn: wait · messages · per ready connection (read, run, kick, write) · completions · timeouts. With work left the
//! next wait is 0, so no wake-up can be lost.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use scsi_core::store::{Completion, EngineIndex, Engines};
use slab::Slab;

use super::mailbox::{Inbox, Mailbox, mailbox};
use super::message::LoopMessage;
use super::poller::{Interest, Key, Poller, Ready};
use super::served::Served;
use super::spin::{SPIN_MAX, Spin};
use super::stream::Stream;
use crate::buffers::Pool;
use crate::control::messages::{LoopError, LoopId, Ticket, ToControl};
use crate::keys::{ConnectionIndex, shard_of};
use crate::limits::{
    EVENTS_MAX, LOOP_MESSAGES_MAX, REAPS_PER_TURN, SCRATCH_LEN, SHARE_LEN_MIN, TURN_BYTES_MAX,
};
use crate::shard::{Env, ShardEvent};
use crate::warnings::Warnings;

/// Bytes that each of this many connections may receive in a turn, and send.
fn share(connections: usize) -> usize {
    let fair = TURN_BYTES_MAX / connections.max(1);
    (fair - fair % SHARE_LEN_MIN).max(SHARE_LEN_MIN)
}

/// A loop as the control thread holds it.
#[derive(Debug)]
pub struct LoopHandle {
    /// Its number.
    pub id: LoopId,
    /// Its mailbox.
    pub mailbox: Mailbox<LoopMessage>,
    /// Its thread.
    pub thread: JoinHandle<()>,
}

/// Starts the thread of a loop; `name` has at most 15 bytes, the limit of the kernel.
///
/// # Errors
/// No descriptor or thread is left.
pub fn spawn(id: LoopId, name: &str, control: Mailbox<ToControl>) -> io::Result<LoopHandle> {
    let (send, inbox) = mailbox(LOOP_MESSAGES_MAX)?;
    let own = send.clone();
    let poller = poller_of(&inbox)?;
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let mut exit = ExitGuard { id, control: control.clone(), asked: false };
        let mut data_loop = DataLoop::new(id, inbox, own, control, poller);
        data_loop.run();
        exit.asked = data_loop.end_by.is_some();
    })?;
    Ok(LoopHandle { id, mailbox: send, thread })
}

/// A poller that watches a loop's mailbox.
fn poller_of(inbox: &Inbox<LoopMessage>) -> io::Result<Poller<Source>> {
    let mut poller = Poller::new(EVENTS_MAX)?;
    poller.register(inbox, Source::Messages, Interest::Read)?;
    Ok(poller)
}

/// Reports the end of the loop, however it ends.
struct ExitGuard {
    id: LoopId,
    control: Mailbox<ToControl>,
    /// The loop ended because it was asked to.
    asked: bool,
}

impl Drop for ExitGuard {
    fn drop(&mut self) {
        let _ = self.control.send_reserved(if self.asked {
            ToControl::LoopEnded(self.id)
        } else {
            ToControl::LoopFailed(self.id)
        });
    }
}

/// A loop on its own thread.
pub struct DataLoop {
    pub(super) id: LoopId,
    pub(super) inbox: Inbox<LoopMessage>,
    pub(super) own: Mailbox<LoopMessage>,
    pub(super) control: Mailbox<ToControl>,
    pub(super) poller: Poller<Source>,
    /// Before the shards, so that it is dropped first: the shards hold the stores, whose files the engines use.
    pub(super) engines: Engines,
    pub(super) shards: Slab<Served>,
    pub(super) streams: Slab<Stream>,
    pub(super) pool: Pool,
    pub(super) now: Instant,
    pub(super) warnings: Warnings,
    /// The loop is ending: it accepts nothing new, and ends when all commands are done, at this time at the latest.
    pub(super) end_by: Option<Instant>,
    scratch: Box<[u8]>,
    /// The event descriptors of the engines, by engine index.
    engine_events: Vec<Option<(Key, OwnedFd)>>,
    ready: Vec<Ready<Source>>,
    messages: Vec<LoopMessage>,
    done: Vec<Completion>,
    events: Vec<ShardEvent>,
    touched: Vec<ConnectionIndex>,
    spin: Spin,
    /// Commands received in the last turn.
    commands: usize,
    /// Streams with more data to send than their share of one turn, each once.
    unfinished: VecDeque<usize>,
    /// See [`share`].
    share: usize,
    /// Shards with commands that are ready to run.
    ready_shards: VecDeque<usize>,
    /// Shards that have got completions.
    completed: Vec<usize>,
    /// The engines may have more completions.
    more_done: bool,
    /// When the timeouts of the shards are to be checked, and when they were last.
    due: Option<Instant>,
    asked: Instant,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Source {
    Messages,
    Engine(EngineIndex),
    Stream(usize),
}

impl DataLoop {
    fn new(
        id: LoopId,
        inbox: Inbox<LoopMessage>,
        own: Mailbox<LoopMessage>,
        control: Mailbox<ToControl>,
        poller: Poller<Source>,
    ) -> Self {
        Self {
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
            engine_events: Vec::new(),
            ready: Vec::with_capacity(EVENTS_MAX),
            messages: Vec::new(),
            done: Vec::new(),
            events: Vec::new(),
            touched: Vec::new(),
            spin: Spin::new(std::thread::available_parallelism().map_or(1, usize::from)),
            commands: 0,
            unfinished: VecDeque::new(),
            share: share(1),
            ready_shards: VecDeque::new(),
            completed: Vec::new(),
            more_done: false,
            due: None,
            asked: Instant::now(),
        }
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
        self.share = share(self.active());
        let unfinished = self.unfinished.len();
        self.read_messages();
        for at in 0..self.ready.len() {
            let ready = self.ready[at];
            match ready.what {
                Source::Stream(index) => self.serve(index, ready),
                Source::Messages | Source::Engine(_) => {}
            }
        }
        self.go_on(unfinished);
        self.expire();
        // Last: completions of `kick` and `submit` themselves are not announced by any descriptor.
        self.reap();
        !self.may_end()
    }

    /// Waits until a descriptor is ready or a timeout is due, and reads the clock for the turn.
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

    /// How long the next wait may last; `None`: until an event.
    fn timeout(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() || !self.ready_shards.is_empty() || self.more_done {
            return Some(Duration::ZERO);
        }
        let earliest = self.due.into_iter().chain(self.end_by).min()?;
        Some(earliest.saturating_duration_since(Instant::now()))
    }

    fn read_messages(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.inbox.drain(&mut messages);
        for message in messages.drain(..) {
            self.handle_message(message);
        }
        self.messages = messages;
        self.watch_engines();
    }

    /// Watches new engines, which appear with their first store: their completions must wake the loop.
    fn watch_engines(&mut self) {
        while self.engine_events.len() < self.engines.len() {
            let index = EngineIndex(self.engine_events.len());
            let watched = self.engines.event_fd(index).and_then(|event| {
                let watch =
                    |event| Ok((self.poller.register(&event, Source::Engine(index), Interest::Read)?, event));
                event.map(watch).transpose()
            });
            if let Err(error) = &watched {
                log::error!("loop {}: cannot watch an engine: {error}", self.id.0);
            }
            self.engine_events.push(watched.unwrap_or_default());
        }
    }

    /// Engines have panicked: stops watching them, and fails their operations.
    #[cold]
    fn fail_lost(&mut self) {
        for (index, event) in self.engine_events.iter_mut().enumerate() {
            if self.engines.failure(EngineIndex(index)).is_some()
                && let Some((key, fd)) = event.take()
            {
                self.poller.deregister(key, &fd);
            }
        }
        for index in 0..self.shards.capacity() {
            let Some(served) = self.shards.get_mut(index) else { continue };
            let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
            served.shard.fail_lost(&mut env);
            self.after(index, None);
        }
        // The commands that follow may be lost, too.
        self.more_done = true;
    }

    /// Handles completions, until there are none or other connections must have their turn.
    fn reap(&mut self) {
        self.more_done = false;
        for _ in 0..REAPS_PER_TURN {
            let mut done = std::mem::take(&mut self.done);
            self.engines.reap(&mut done);
            if done.is_empty() {
                self.done = done;
                if self.engines.take_lost() {
                    self.fail_lost();
                }
                return;
            }
            for completion in done.drain(..) {
                let index = usize::from(shard_of(completion.tag));
                let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
                let Some(served) = self.shards.get_mut(index) else {
                    let (id, tag) = (self.id.0, completion.tag.0);
                    let text =
                        format_args!("loop {id}: a store completed an unknown operation, tag {tag:#x}");
                    self.warnings.log(self.now, log::Level::Error, text);
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

    /// Continues what the last turn left: the first `unfinished` streams and the ready shards.
    fn go_on(&mut self, unfinished: usize) {
        for _ in 0..unfinished {
            let Some(index) = self.unfinished.pop_front() else { break };
            // It may be closed, and its index used by another.
            let Some(stream) = self.streams.get_mut(index).filter(|stream| stream.unfinished) else {
                continue;
            };
            stream.unfinished = false;
            let shard = stream.shard;
            self.flush(index);
            self.handle_events(shard);
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

    /// Records when a shard needs to be driven again.
    pub(super) fn note(&mut self, index: usize) {
        let Some(served) = self.shards.get_mut(index) else { return };
        if served.shard.has_ready() && !std::mem::replace(&mut served.is_ready, true) {
            self.ready_shards.push_back(index);
        }
        if let Some(due) = served.shard.poll_timeout(self.now) {
            // The timeouts of the shards are in no order: checking all of them every `CHECK_EVERY` is enough.
            let due = due.max(self.asked + CHECK_EVERY);
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

    /// Sends a message to the control thread.
    pub(super) fn to_control(&self, message: ToControl) {
        if self.control.send_reserved(message).is_err() {
            log::debug!("loop {}: the control thread has ended", self.id.0);
        }
    }

    pub(super) fn answer(&self, ticket: Ticket, result: Result<(), LoopError>) {
        self.to_control(ToControl::Answer(self.id, ticket, result));
    }
}

/// The minimum time between two checks of all timeouts.
const CHECK_EVERY: Duration = Duration::from_millis(100);

mod serve;
#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
