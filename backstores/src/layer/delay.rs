//! Delays the operations of a store or lets them hang: an operation reaches the store below when its delay has passed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustix::event::EventfdFlags;
use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
use scsi_core::store::{
    Backstore, BlockOp, Completion, Engines, InlineOp, IoEngine, IoError, IoTag, Notice, Now, Port, Slot,
};
use slab::Slab;

use super::below::{Below, no_descriptor};
use super::into_block;

/// A layer that delays operations.
pub struct Delay {
    below: Arc<dyn Backstore>,
    state: SharedState,
}

impl Delay {
    /// Returns a layer over `below` where every operation starts `delay` after it was submitted.
    #[must_use]
    pub fn new(below: Arc<dyn Backstore>, delay: Duration) -> Self {
        let state = State { delay, held: false, wakers: Vec::new() };
        Self { below, state: Arc::new(Mutex::new(state)) }
    }

    /// Changes the delay of operations that are submitted from now on. Without a delay, inline operations are possible.
    pub fn set(&self, delay: Duration) {
        self.state.lock().delay = delay;
    }

    /// Lets all operations hang, as on a dead medium: from now on none starts, and none can be cancelled.
    pub fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Ends [`Delay::hold`] and starts the operations that are due.
    pub fn release(&self) {
        let mut state = self.state.lock();
        state.held = false;
        state.wakers.retain(|waker| {
            let Some(waker) = waker.upgrade() else { return false };
            rustix::io::write(&*waker, &1u64.to_ne_bytes()).is_ok()
        });
    }
}

impl Backstore for Delay {
    pass_below!();

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, layer) = engines.of_kind(DelayEngine::new)?;
        let port = layer.below.attach(&*self.below)?;
        let mut state = self.state.lock();
        state.wakers.retain(|waker| waker.strong_count() > 0);
        state.wakers.push(Arc::downgrade(&layer.waker));
        drop(state);
        let slot = layer.slots.insert((self.state.clone(), port));
        Ok(Port { engine, slot: Slot(slot as u32) })
    }
}

impl std::fmt::Debug for Delay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Delay").field("delay", &self.state.lock().delay).finish_non_exhaustive()
    }
}

/// Shared by the layer and the engines of all loops.
type SharedState = Arc<Mutex<State>>;

struct State {
    delay: Duration,
    held: bool,
    /// The waker of each attached loop.
    wakers: Vec<Weak<OwnedFd>>,
}

/// The engine of one loop for all delaying layers.
struct DelayEngine {
    below: Below,
    slots: Slab<(SharedState, Port)>,
    waiting: Vec<DelayedOp>,
    cancelled: Vec<Completion>,
    timer: OwnedFd,
    waker: Arc<OwnedFd>,
}

/// An operation whose delay has not passed.
struct DelayedOp {
    due: Instant,
    slot: usize,
    tag: IoTag,
    op: BlockOp,
}

impl DelayEngine {
    fn new() -> Result<Self, IoError> {
        let timer_flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, timer_flags)
            .map_err(|errno| no_descriptor(&errno))?;
        let waker = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| no_descriptor(&errno))?;
        let below = Below::new()?;
        below.watch(timer.as_fd())?;
        below.watch(waker.as_fd())?;
        let waker = Arc::new(waker);
        Ok(Self { below, slots: Slab::new(), waiting: Vec::new(), cancelled: Vec::new(), timer, waker })
    }

    /// Starts the operations that are due, in the order of submission, and sets the timer for the next.
    fn start_due(&mut self) {
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        for waiting in std::mem::take(&mut self.waiting) {
            let Some((state, port)) = self.slots.get(waiting.slot) else { continue };
            if waiting.due <= now && !state.lock().held {
                let (engine, slot) = self.below.engine(*port);
                engine.submit(slot, waiting.tag, waiting.op);
                continue;
            }
            if waiting.due > now {
                next = Some(next.map_or(waiting.due, |next| next.min(waiting.due)));
            }
            self.waiting.push(waiting);
        }
        self.set_timer(next.map(|next| next - now));
        self.below.kick();
    }

    fn set_timer(&self, after: Option<Duration>) {
        // A time of zero stops the timer.
        let after = after.map_or(Duration::ZERO, |after| after.max(Duration::from_nanos(1)));
        let it_value = Timespec { tv_sec: after.as_secs() as i64, tv_nsec: after.subsec_nanos().into() };
        let it_interval = Timespec { tv_sec: 0, tv_nsec: 0 };
        let time = Itimerspec { it_interval, it_value };
        if let Err(errno) = rustix::time::timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &time) {
            log::error!("cannot set the timer of a delaying layer: {errno}");
        }
    }
}

impl IoEngine for DelayEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let (state, port) = self.slots.get(slot.0 as usize)?;
        let state = state.lock();
        if state.held || !state.delay.is_zero() {
            return None;
        }
        drop(state);
        let (engine, slot) = self.below.engine(*port);
        engine.try_now(slot, op)
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let slot = slot.0 as usize;
        match self.slots.get(slot) {
            Some((state, _)) => {
                let due = Instant::now() + state.lock().delay;
                self.waiting.push(DelayedOp { due, slot, tag, op });
            }
            None => {
                self.cancelled.push(Completion {
                    tag,
                    block: into_block(op),
                    result: Err(IoError::NOT_READY),
                });
            }
        }
    }

    fn kick(&mut self) {
        self.start_due();
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        let mut counter = [0; 8];
        let _ = rustix::io::read(&self.timer, &mut counter);
        let _ = rustix::io::read(&*self.waker, &mut counter);
        self.start_due();
        done.append(&mut self.cancelled);
        let mut reaped = self.below.reap();
        done.append(&mut reaped);
        self.below.recycle(reaped);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.below.event_fd())
    }

    fn event_ready(&mut self) {
        self.below.event_ready();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.below.poll_timeout()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.below.handle_timeout(now);
    }

    fn notices(&mut self, into: &mut Vec<(Slot, Notice)>) {
        let slots = self.slots.iter().map(|(slot, (_, port))| (slot, *port));
        self.below.notices(slots, into);
    }

    fn cancel(&mut self, tag: IoTag) {
        let Some(index) = self.waiting.iter().position(|waiting| waiting.tag == tag) else {
            return self.below.cancel(tag);
        };
        let held = self.slots.get(self.waiting[index].slot).is_some_and(|(state, _)| state.lock().held);
        if !held {
            let DelayedOp { tag, op, .. } = self.waiting.remove(index);
            self.cancelled.push(Completion { tag, block: into_block(op), result: Err(IoError::CANCELLED) });
            let _ = rustix::io::write(&*self.waker, &1u64.to_ne_bytes());
        }
    }

    fn check_size(&mut self, slot: Slot) {
        if let Some((_, port)) = self.slots.get(slot.0 as usize) {
            let (engine, slot) = self.below.engine(*port);
            engine.check_size(slot);
        }
    }

    fn detach(&mut self, slot: Slot) {
        if let Some((_, port)) = self.slots.try_remove(slot.0 as usize) {
            let (engine, slot) = self.below.engine(port);
            engine.detach(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};
    use crate::memory::Memory;
    use crate::waiting::{PATIENCE, Waiting};
    use scsi_core::store::{Block, Completed};

    fn write(byte: u8) -> BlockOp {
        let mut from = Block::new(512);
        from.fill(byte);
        BlockOp::Write { offset: 0, from, fua: false }
    }

    #[test]
    fn keeps_the_contract_with_and_without_delay() {
        for delay in [Duration::ZERO, Duration::from_micros(300)] {
            contract::check(&Subject::new(move || {
                Arc::new(Delay::new(Arc::new(Memory::new(1 << 20)), delay))
            }));
        }
    }

    #[test]
    fn held_operation_is_neither_done_nor_cancelled_until_released() {
        let memory: Arc<dyn Backstore> = Arc::new(Memory::new(1 << 20));
        let delay = Delay::new(memory.clone(), Duration::ZERO);
        let mut slow = Waiting::new(&delay).unwrap();
        let mut beneath = Waiting::new(&*memory).unwrap();
        delay.hold();
        assert_eq!(slow.try_now(InlineOp::Read { offset: 0, into: &mut [0; 512] }), None);
        let tag = slow.submit(write(1));
        slow.engine().cancel(tag);
        assert!(slow.wait_for(1, Duration::from_millis(20)).unwrap_err().is_empty());
        assert_eq!(beneath.read(0, 512).unwrap()[0], 0);
        delay.release();
        let done = slow.wait_for(1, PATIENCE).unwrap();
        assert_eq!((done[0].tag, done[0].result), (tag, Ok(Completed::Done)));
        assert_eq!(beneath.read(0, 512).unwrap()[0], 1);
    }

    #[test]
    fn release_by_another_thread_wakes_the_loop() {
        let delay = Arc::new(Delay::new(Arc::new(Memory::new(1 << 20)), Duration::ZERO));
        let mut slow = Waiting::new(&*delay).unwrap();
        delay.hold();
        slow.submit(write(1));
        slow.engine().kick();
        let releaser = delay.clone();
        let thread = std::thread::spawn(move || releaser.release());
        assert_eq!(slow.wait_for(1, PATIENCE).unwrap().len(), 1);
        thread.join().unwrap();
    }

    #[test]
    fn delayed_operation_can_be_cancelled_before_it_starts() {
        let memory: Arc<dyn Backstore> = Arc::new(Memory::new(1 << 20));
        let delay = Delay::new(memory.clone(), Duration::from_secs(3600));
        let mut slow = Waiting::new(&delay).unwrap();
        let tag = slow.submit(write(1));
        slow.engine().kick();
        slow.engine().cancel(tag);
        let done = slow.wait_for(1, PATIENCE).unwrap();
        assert_eq!((done[0].tag, done[0].result), (tag, Err(IoError::CANCELLED)));
        assert_eq!(Waiting::new(&*memory).unwrap().read(0, 512).unwrap()[0], 0);
    }
}
