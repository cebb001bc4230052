//! A loop on its thread, `tgt/<tid>` of one target or `tgt/s<k>` for all: the driver of a [`LoopState`], with its poller,
//! its sockets and its mailboxes.
//! A turn: wait · messages · each ready connection · the rest. With work left the next wait is 0, so no wake-up can be
//! lost.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use iscsi_proto::login::LoginStatus;
use scsi_core::store::EngineIndex;

use super::heap;
use super::mailbox::{Inbox, Mailbox, mailbox};
use super::message::LoopMessage;
use super::poller::{Interest, Key, Poller, Ready, interest};
use super::socket::Socket;
use super::spin::{SPIN_MAX, Spin};
use crate::control::messages::{Attach, LoopId, ToControl};
use crate::limits::{EVENTS_MAX, LOOP_MESSAGES_MAX};
use crate::loop_state::LoopState;
use crate::loop_state::effect::Effect;
use crate::loop_state::stream::{Readiness, StreamIndex, Watch};
use crate::warnings::Warnings;

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
        exit.asked = data_loop.state.is_ending();
    })?;
    Ok(LoopHandle { id, mailbox: send, thread })
}

/// A poller that watches a loop's mailbox.
fn poller_of(inbox: &Inbox<LoopMessage>) -> io::Result<Poller<Source>> {
    let mut poller = Poller::new()?;
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
struct DataLoop {
    id: LoopId,
    inbox: Inbox<LoopMessage>,
    control: Mailbox<ToControl>,
    poller: Poller<Source>,
    state: LoopState<Socket, Mailbox<LoopMessage>>,
    /// The event descriptors of the engines, by engine index.
    engine_events: Vec<Option<(Key, OwnedFd)>>,
    ready: Vec<Ready<Source>>,
    messages: Vec<LoopMessage>,
    spin: Spin,
    now: Instant,
    warnings: Warnings,
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Source {
    Messages,
    Engine(EngineIndex),
    Stream(StreamIndex),
}

impl DataLoop {
    fn new(
        id: LoopId,
        inbox: Inbox<LoopMessage>,
        own: Mailbox<LoopMessage>,
        control: Mailbox<ToControl>,
        poller: Poller<Source>,
    ) -> Self {
        let now = Instant::now();
        Self {
            id,
            inbox,
            control,
            poller,
            state: LoopState::new(id, own, now),
            engine_events: Vec::new(),
            ready: Vec::with_capacity(EVENTS_MAX),
            messages: Vec::new(),
            spin: Spin::new(std::thread::available_parallelism().map_or(1, usize::from)),
            now,
            warnings: Warnings::default(),
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
        let streams = self.ready.iter().filter_map(|ready| match ready.what {
            Source::Stream(index) => Some(index),
            Source::Messages | Source::Engine(_) => None,
        });
        self.state.begin_turn(self.now, streams);
        for ready in &self.ready {
            if let Source::Engine(index) = ready.what {
                self.state.engine_ready(index);
            }
        }
        if !self.inbox.is_empty() {
            self.read_messages();
        }
        // They appear with a message, or when a unit's exchanged medium is noticed.
        if self.engine_events.len() < self.state.engines().len() {
            self.watch_engines();
        }
        for at in 0..self.ready.len() {
            let ready = self.ready[at];
            // A message may have closed it, and another connection may have its index.
            if let Source::Stream(index) = ready.what
                && self.state.stream(index).is_some_and(|socket| socket.key == Some(ready.key))
            {
                let Ready { readable, writable, broken, .. } = ready;
                self.state.handle_ready(index, Readiness { readable, writable, broken });
            }
        }
        self.state.finish_turn();
        self.act();
        self.warnings.tick(self.now);
        !self.state.has_ended()
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
        if self.spin.is_worth_it(self.state.commands()) {
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
        if self.state.has_work() {
            return Some(Duration::ZERO);
        }
        let due = self.state.poll_timeout().into_iter().chain(self.warnings.due()).min()?;
        Some(due.saturating_duration_since(Instant::now()))
    }

    #[cold]
    fn read_messages(&mut self) {
        let mut messages = std::mem::take(&mut self.messages);
        self.inbox.drain(&mut messages);
        for message in messages.drain(..) {
            match message {
                LoopMessage::Control(message) => self.state.handle_control(message),
                LoopMessage::Siblings(tid, siblings) => {
                    let addresses = siblings.into_iter().map(|(_, mailbox)| mailbox);
                    self.state.set_siblings(tid, addresses.collect());
                }
                LoopMessage::Attach(attach, socket) => self.attach(*attach, socket),
                LoopMessage::Reset(reset) => self.state.reset(*reset),
                LoopMessage::ResetDone(service, id) => self.state.reset_done(service, id),
            }
            self.act();
        }
        self.messages = messages;
    }

    /// Watches the socket of a connection that has logged in, and hands it over.
    fn attach(&mut self, attach: Attach, socket: TcpStream) {
        let source = Source::Stream(self.state.next_stream());
        match self.poller.register(&socket, source, Interest::Read) {
            Ok(key) => self.state.attach(attach, Socket { socket, key: Some(key) }),
            Err(error) => {
                let why = format!("the connection cannot be polled: {error}");
                let socket = Socket { socket, key: None };
                self.state.refuse(&attach, socket, LoginStatus::OutOfResources, &why);
            }
        }
    }

    /// Watches new engines, which appear with their first store: their completions must wake the loop.
    #[cold]
    fn watch_engines(&mut self) {
        while self.engine_events.len() < self.state.engines().len() {
            let index = EngineIndex(self.engine_events.len());
            let watched = self.state.event_fd(index).and_then(|event| {
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

    /// Acts on the effects of the state.
    #[inline]
    fn act(&mut self) {
        while let Some(effect) = self.state.poll_effect() {
            self.act_on(effect);
        }
    }

    fn act_on(&mut self, effect: Effect<Socket, Mailbox<LoopMessage>>) {
        match effect {
            Effect::ToControl(message) => {
                if self.control.send_reserved(message).is_err() {
                    log::debug!("loop {}: the control thread has ended", self.id.0);
                }
            }
            Effect::Reset(to, reset) => {
                // Reserved: a reset that is not delivered would count as done.
                if let Err(LoopMessage::Reset(reset)) = to.send_reserved(LoopMessage::Reset(reset)) {
                    self.state.reset_done(reset.service, reset.id);
                }
            }
            Effect::ResetDone(to, service, id) => {
                let _ = to.send_reserved(LoopMessage::ResetDone(service, id));
            }
            Effect::Watch(index, watch) => self.watch(index, watch),
            Effect::Close(socket) => {
                if let Some(key) = socket.key {
                    self.poller.deregister(key, &socket);
                }
                // Shut down first, so that no reset overtakes the last response.
                let _ = socket.socket.shutdown(Shutdown::Write);
            }
            Effect::FreeHeap => heap::give_back(),
            Effect::EnginesFailed => self.forget_failed(),
        }
    }

    fn watch(&mut self, index: StreamIndex, watch: Watch) {
        let Some(socket) = self.state.stream(index) else { return };
        let Some(key) = socket.key else { return };
        if let Err(error) = self.poller.modify(key, socket, interest(watch.read, watch.write)) {
            let text = format_args!("loop {}: cannot watch a connection: {error}", self.id.0);
            self.warnings.log(self.now, log::Level::Error, text);
        }
    }

    /// Stops watching engines that have failed.
    #[cold]
    fn forget_failed(&mut self) {
        for (index, event) in self.engine_events.iter_mut().enumerate() {
            if self.state.engines().failure(EngineIndex(index)).is_some()
                && let Some((key, fd)) = event.take()
            {
                self.poller.deregister(key, &fd);
            }
        }
    }
}

#[cfg(test)]
mod store_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod turn_tests;
