//! The loops in memory: what the runtime does around each [`LoopState`], and the effects of the control plane.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use scsi_core::device::unit::Unit;
use scsi_core::lun::Lun;
use scsi_core::store::EngineIndex;
use target_engine::control::admission::AdmissionCounts;
use target_engine::control::dispatch::{LoopGone, Outside};
use target_engine::control::jobs::Job;
use target_engine::control::messages::{
    Attach, LoginId, LoopError, LoopId, ServiceId, TargetSettings, Ticket, ToControl, ToLoop,
};
use target_engine::control::pending::ClientId;
use target_engine::control::report::Reply;
use target_engine::iscsi::login::Answer;
use target_engine::loop_state::LoopState;
use target_engine::loop_state::effect::{CrossReset, Effect, ResetId};
use target_engine::loop_state::stream::{Readiness, StreamIndex, Watch};
use target_engine::model::store::StoreKind;
use target_engine::model::{PortalId, Tid};

use crate::wire::Wire;

/// The loops, the connections that log in, and what the control plane has asked for.
pub struct World {
    loops: BTreeMap<LoopId, Loop>,
    now: Instant,
    /// What targets get in place of what the control plane gives them.
    pub(super) fixed: Option<Fixed>,
    /// The sockets of the connections that log in.
    pub(super) logins: BTreeMap<LoginId, Wire>,
    pub(super) to_control: VecDeque<ToControl>,
    /// Late replies.
    pub replies: Vec<(ClientId, Reply)>,
    /// Jobs that nobody has taken.
    pub jobs: Vec<Job>,
    /// Answers to messages that the test sent itself.
    pub(super) answers: BTreeMap<Ticket, Result<(), LoopError>>,
}

/// Parameters and units of all targets.
pub(super) struct Fixed {
    pub(super) settings: Arc<TargetSettings>,
    pub(super) units: Vec<(Lun, Arc<Unit>)>,
}

/// A loop, its mailbox and its poller.
struct Loop {
    state: LoopState<Wire, LoopId>,
    inbox: VecDeque<Message>,
    watched: BTreeMap<StreamIndex, Watch>,
    ready: Vec<(StreamIndex, Readiness)>,
    /// The event descriptors of the engines, by engine index.
    engine_events: Vec<Option<OwnedFd>>,
    /// It has ended, and the control plane is not yet informed.
    ended: bool,
}

impl Loop {
    /// Looks which engines have an event. Returns whether one has.
    fn poll_engines(&mut self) -> bool {
        while self.engine_events.len() < self.state.engines().len() {
            let index = EngineIndex(self.engine_events.len());
            self.engine_events.push(self.state.event_fd(index).expect("a descriptor"));
        }
        let mut any = false;
        for (index, event) in self.engine_events.iter().enumerate() {
            let Some(event) = event else { continue };
            let mut ready = [PollFd::new(event, PollFlags::IN)];
            if poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) == Ok(1) {
                self.state.engine_ready(EngineIndex(index));
                any = true;
            }
        }
        any
    }
}

enum Message {
    Control(ToLoop),
    Attach(Box<Attach>, Wire),
    Reset(Box<CrossReset<LoopId>>),
    ResetDone(ServiceId, ResetId),
}

/// Tickets from this one on are those of the test.
pub(super) const OWN_TICKETS: u64 = 1 << 63;

impl World {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            loops: BTreeMap::new(),
            now,
            fixed: None,
            logins: BTreeMap::new(),
            to_control: VecDeque::new(),
            replies: Vec::new(),
            jobs: Vec::new(),
            answers: BTreeMap::new(),
        }
    }

    /// The loops.
    pub fn states(&self) -> impl Iterator<Item = &LoopState<Wire, LoopId>> {
        self.loops.values().map(|entry| &entry.state)
    }

    /// The numbers of the loops.
    pub(super) fn ids(&self) -> Vec<LoopId> {
        self.loops.keys().copied().collect()
    }

    /// When a loop must have its next turn.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.loops.values().filter_map(|entry| entry.state.poll_timeout()).min()
    }

    /// Runs one turn of each loop. Returns false if nothing moved.
    pub(super) fn step(&mut self, now: Instant, chunk: usize) -> bool {
        self.turns(now, chunk, true)
    }

    /// Lets each loop receive what was sent to it. No store completes anything.
    pub(super) fn receive(&mut self, now: Instant, chunk: usize) {
        while self.turns(now, chunk, false) {}
    }

    fn turns(&mut self, now: Instant, chunk: usize, whole: bool) -> bool {
        self.now = now;
        let mut moved = false;
        let mut last = None;
        while let Some(id) = self.after(last) {
            moved |= self.turn(id, chunk, whole);
            last = Some(id);
        }
        moved
    }

    fn after(&self, last: Option<LoopId>) -> Option<LoopId> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.loops.range((from, Bound::Unbounded)).next().map(|(id, _)| *id)
    }

    /// One turn of a loop, or without `whole` only what precedes `finish_turn`. Returns false if nothing moved.
    fn turn(&mut self, id: LoopId, chunk: usize, whole: bool) -> bool {
        let now = self.now;
        let Some(entry) = self.loops.get_mut(&id).filter(|entry| !entry.ended) else { return false };
        let is_due = entry.state.poll_timeout().is_some_and(|due| due <= now);
        let mut moved = whole && (is_due || entry.state.has_work());
        let mut ready = std::mem::take(&mut entry.ready);
        entry.watched.retain(|index, watch| {
            let Some(wire) = entry.state.stream(*index) else { return false };
            wire.set_chunk(chunk);
            ready.extend(wire.readiness(*watch).map(|readiness| (*index, readiness)));
            true
        });
        entry.state.begin_turn(now, ready.iter().map(|(index, _)| *index));
        moved |= whole && entry.poll_engines();
        while let Some(message) = self.loops.get_mut(&id).and_then(|entry| entry.inbox.pop_front()) {
            moved = true;
            self.message(id, message);
            self.act(id);
        }
        let Some(entry) = self.loops.get_mut(&id) else { return moved };
        for (index, readiness) in ready.drain(..) {
            moved = true;
            entry.state.handle_ready(index, readiness);
        }
        entry.ready = ready;
        if whole {
            moved |= entry.state.finish_turn() > 0;
        }
        let ended = entry.state.has_ended();
        entry.ended = ended;
        self.act(id);
        if ended {
            self.to_control.push_back(ToControl::LoopEnded(id));
        }
        moved
    }

    fn message(&mut self, id: LoopId, message: Message) {
        let Some(entry) = self.loops.get_mut(&id) else { return };
        match message {
            Message::Control(ToLoop::Siblings(tid, siblings)) => entry.state.set_siblings(tid, siblings),
            Message::Control(message) => entry.state.handle_control(message),
            Message::Attach(attach, wire) => {
                entry.watched.insert(entry.state.next_stream(), Watch { read: true, write: false });
                entry.state.attach(*attach, wire);
            }
            Message::Reset(reset) => entry.state.reset(*reset),
            Message::ResetDone(service, id) => entry.state.reset_done(service, id),
        }
    }

    /// Acts on the effects of a loop.
    fn act(&mut self, id: LoopId) {
        while let Some(effect) = self.loops.get_mut(&id).and_then(|entry| entry.state.poll_effect()) {
            match effect {
                Effect::ToControl(ToControl::Answer(_, ticket, result)) if ticket.0 >= OWN_TICKETS => {
                    self.answers.insert(ticket, result);
                }
                Effect::ToControl(message) => self.to_control.push_back(message),
                Effect::Reset(to, reset) => {
                    let (service, reset_id) = (reset.service, reset.id);
                    if self.queue(to, Message::Reset(reset)).is_err()
                        && let Some(entry) = self.loops.get_mut(&id)
                    {
                        entry.state.reset_done(service, reset_id);
                    }
                }
                Effect::ResetDone(to, service, reset) => {
                    let _ = self.queue(to, Message::ResetDone(service, reset));
                }
                Effect::Watch(index, watch) => {
                    if let Some(entry) = self.loops.get_mut(&id) {
                        entry.watched.insert(index, watch);
                    }
                }
                Effect::Close(wire) => wire.close(),
                Effect::EnginesFailed => {
                    if let Some(entry) = self.loops.get_mut(&id) {
                        let state = &entry.state;
                        for (index, event) in entry.engine_events.iter_mut().enumerate() {
                            event.take_if(|_| state.engines().failure(EngineIndex(index)).is_some());
                        }
                    }
                }
                // The allocator is left alone.
                Effect::FreeHeap => {}
            }
        }
    }

    fn queue(&mut self, to: LoopId, message: Message) -> Result<(), LoopGone> {
        let entry = self.loops.get_mut(&to).filter(|entry| !entry.ended).ok_or(LoopGone)?;
        entry.inbox.push_back(message);
        Ok(())
    }
}

impl Outside for World {
    /// No connection waits here for a login: the tests in memory have no sockets.
    fn admission_counts(&self) -> AdmissionCounts {
        AdmissionCounts::default()
    }

    fn reply(&mut self, client: ClientId, reply: Reply) {
        self.replies.push((client, reply));
    }

    fn spawn_loop(&mut self, id: LoopId, _: String) -> io::Result<()> {
        let state = LoopState::new(id, id, self.now);
        let (inbox, watched) = (VecDeque::new(), BTreeMap::new());
        let (ready, engine_events) = (Vec::new(), Vec::new());
        self.loops.insert(id, Loop { state, inbox, watched, ready, engine_events, ended: false });
        Ok(())
    }

    fn send(&mut self, to: LoopId, mut message: ToLoop) -> Result<(), LoopGone> {
        if let (ToLoop::AddTarget(new), Some(Fixed { settings, units })) = (&mut message, &self.fixed) {
            (new.settings, new.units) = (Arc::clone(settings), units.clone());
        }
        self.queue(to, Message::Control(message))
    }

    fn attach(&mut self, to: LoopId, login: LoginId, attach: Box<Attach>) -> Result<(), Box<Attach>> {
        let entry = self.loops.get_mut(&to).filter(|entry| !entry.ended);
        match (entry, self.logins.remove(&login)) {
            (Some(entry), Some(wire)) => {
                entry.inbox.push_back(Message::Attach(attach, wire));
                Ok(())
            }
            (_, wire) => {
                self.logins.extend(wire.map(|wire| (login, wire)));
                Err(attach)
            }
        }
    }

    fn loop_ended(&mut self, id: LoopId) {
        self.loops.remove(&id);
    }

    fn loop_failed(&mut self, id: LoopId) {
        panic!("{id:?} has failed");
    }

    fn job(&mut self, job: Job) -> Result<(), Job> {
        self.jobs.push(job);
        Ok(())
    }

    fn listen(&mut self, _: PortalId, address: SocketAddr) -> io::Result<SocketAddr> {
        Ok(address)
    }

    fn close_portal(&mut self, _: PortalId) {}

    fn close_logins(&mut self) {
        self.logins.values().for_each(Wire::close);
    }

    fn answer_login(&mut self, login: LoginId, answer: Answer) {
        panic!("{login:?} has asked nothing that takes time: {answer:?}");
    }

    fn is_login_waiting(&self, login: LoginId) -> bool {
        self.logins.contains_key(&login)
    }

    fn store_kinds(&self) -> Vec<StoreKind> {
        vec![StoreKind { name: "rdwr", takes_flags: true, needs_medium: false }]
    }

    fn note(&mut self, _: std::fmt::Arguments<'_>) {}

    fn set_debug(&mut self, _: bool) {}

    fn end(&mut self) {}
}

impl World {
    /// The sessions of a target on all loops, closing ones included.
    #[must_use]
    pub fn sessions_of(&self, tid: Tid) -> usize {
        self.states().filter_map(|state| state.target(tid)).map(|shard| shard.session_count()).sum()
    }

    /// The commands of a target on all loops.
    #[must_use]
    pub fn commands_of(&self, tid: Tid) -> usize {
        self.states().filter_map(|state| state.target(tid)).map(|shard| shard.running()).sum()
    }
}
