//! All engines of one loop, and the handling of engines that panic.
//!
//! A loop calls stores by [`Engines::attach`], [`Engines::try_now`] and the other methods here, which catch a panic.
//! An engine that has panicked has failed: it is neither called again nor dropped, and its operations are lost. The next
//! attached store of its type gets a new engine. Layers call the engines below them by [`Engines::engine`] and
//! [`Engines::iter_mut`]: there a panic reaches the loop, and the engine of the layer fails together with the one below it.

use std::any::{Any, TypeId};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::block::IoTag;
use super::engine::{BlockOp, Completion, EngineIndex, InlineOp, IoEngine, Notice, Now, Port, Slot};
use super::error::IoError;

/// All engines of one loop.
#[derive(Default)]
pub struct Engines {
    engines: Vec<Entry>,
    /// The engine that `of_kind` returned last.
    pub(super) latest: Option<EngineIndex>,
    /// Operations may have been lost with an engine; see `take_lost`.
    lost: bool,
    /// See `take_notices`.
    notices: Vec<(Port, Notice)>,
    /// Reused by every `reap`.
    slots: Vec<(Slot, Notice)>,
}

struct Entry {
    kind: TypeId,
    /// Not dropped after it has failed, because its state is unknown.
    engine: ManuallyDrop<Box<dyn IoEngine>>,
    failed: bool,
    /// Message of the panic.
    failure: String,
    /// Operations that are submitted and not completed. A store that completes unknown operations makes it too small: its
    /// other completions are taken when its event is readable.
    running: usize,
    /// Operations were submitted or cancelled since the last `kick`.
    kick: bool,
    /// The event of the engine was reported readable.
    ready: bool,
    /// The engine was called in a way that may have completed operations or changed its timeout.
    called: bool,
    /// `handle_timeout` was not called yet.
    new: bool,
    /// When `handle_timeout` is due, as the engine answered last.
    due: Option<Instant>,
}

/// The time until `handle_timeout` is called again for an engine whose timeout is still due after the last call.
///
/// Hit by: store. Scope: engine. Over it: the loop calls it a thousand times a second. Seen: nowhere.
const TIMEOUT_AGAIN: Duration = Duration::from_millis(1);

impl Engines {
    /// The engine of type `E`, which is made on first use and after the previous one has failed.
    ///
    /// # Errors
    /// Returns the error of `make`.
    pub fn of_kind<E: IoEngine>(
        &mut self,
        make: impl FnOnce() -> Result<E, IoError>,
    ) -> Result<(EngineIndex, &mut E), IoError> {
        let kind = TypeId::of::<E>();
        let index = match self.engines.iter().position(|known| known.kind == kind && !known.failed) {
            Some(index) => index,
            None => {
                let engine: Box<dyn IoEngine> = Box::new(make()?);
                let engine = ManuallyDrop::new(engine);
                self.engines.push(Entry {
                    kind,
                    engine,
                    failed: false,
                    failure: String::new(),
                    running: 0,
                    kick: false,
                    ready: false,
                    called: true,
                    new: true,
                    due: None,
                });
                self.engines.len() - 1
            }
        };
        self.engines[index].called = true;
        self.latest = Some(EngineIndex(index));
        let engine: &mut dyn Any = &mut **self.engines[index].engine;
        let engine = engine.downcast_mut().expect("found by its type");
        Ok((EngineIndex(index), engine))
    }

    /// The engine behind a port, for layers: panics are not caught.
    ///
    /// # Panics
    /// If the index is not of this loop.
    pub fn engine(&mut self, index: EngineIndex) -> &mut dyn IoEngine {
        &mut **self.engines[index.0].engine
    }

    /// All engines, in the order of their indices, for layers: panics are not caught.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (EngineIndex, &mut dyn IoEngine)> {
        self.engines
            .iter_mut()
            .enumerate()
            .map(|(index, entry)| (EngineIndex(index), &mut **entry.engine as &mut dyn IoEngine))
    }

    /// The engines as in [`Engines::iter_mut`], for [`IoEngine::poll_timeout`].
    pub fn iter(&self) -> impl Iterator<Item = &dyn IoEngine> {
        self.engines.iter().map(|entry| &**entry.engine as &dyn IoEngine)
    }

    /// Number of engines, which only `of_kind` increases.
    #[must_use]
    pub fn len(&self) -> usize {
        self.engines.len()
    }

    /// Whether there are no engines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// [`IoEngine::try_now`]; [`IoError::ABANDONED`] from an engine that has failed.
    #[inline(always)]
    pub fn try_now(&mut self, port: Port, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let index = port.engine.0;
        let entry = &mut self.engines[index];
        if entry.failed {
            return Some(Err(IoError::ABANDONED));
        }
        match catch_unwind(AssertUnwindSafe(|| entry.engine.try_now(port.slot, op))) {
            Ok(done) => done,
            Err(payload) => {
                self.fail(index, panic_message(payload));
                Some(Err(IoError::ABANDONED))
            }
        }
    }

    /// [`IoEngine::submit`]. An operation that is submitted to a failed engine is lost.
    pub fn submit(&mut self, port: Port, tag: IoTag, op: BlockOp) {
        let entry = &mut self.engines[port.engine.0];
        entry.running += usize::from(!entry.failed);
        entry.kick = true;
        self.lost |= entry.failed;
        self.call(port.engine.0, |engine| engine.submit(port.slot, tag, op));
    }

    /// [`IoEngine::kick`] of the engines that got operations since the last call.
    pub fn kick(&mut self) {
        for index in 0..self.engines.len() {
            if std::mem::take(&mut self.engines[index].kick) {
                self.call(index, IoEngine::kick);
            }
        }
    }

    /// The event of an engine is readable: the next [`Engines::reap`] calls [`IoEngine::event_ready`].
    pub fn set_ready(&mut self, EngineIndex(index): EngineIndex) {
        if let Some(entry) = self.engines.get_mut(index) {
            entry.ready = true;
        }
    }

    /// [`IoEngine::reap`] of the engines that have operations, whose event is readable or whose timeout is due, with the
    /// calls that go before it. Call it again until there are no completions; then [`Engines::poll_timeout`] is up to date.
    pub fn reap(&mut self, now: Instant, done: &mut Vec<Completion>) {
        for index in 0..self.engines.len() {
            let entry = &self.engines[index];
            let is_due = entry.due.is_some_and(|due| due <= now);
            if entry.running > 0 || entry.ready || entry.called || is_due {
                self.reap_engine(index, now, done);
            }
        }
    }

    fn reap_engine(&mut self, index: usize, now: Instant, done: &mut Vec<Completion>) {
        let entry = &mut self.engines[index];
        let ready = std::mem::take(&mut entry.ready);
        let is_due = std::mem::take(&mut entry.new) || entry.due.is_some_and(|due| due <= now);
        (entry.called, entry.due) = (false, None);
        let (before, mut due) = (done.len(), None);
        let mut slots = std::mem::take(&mut self.slots);
        self.call(index, |engine| {
            if ready {
                engine.event_ready();
            }
            if is_due {
                engine.handle_timeout(now);
            }
            if ready || is_due {
                engine.notices(&mut slots);
            }
            engine.reap(done);
            due = engine.poll_timeout();
            if !is_due && due.is_some_and(|due| due <= now) {
                engine.handle_timeout(now);
                engine.notices(&mut slots);
                engine.reap(done);
                due = engine.poll_timeout();
            }
        });
        let entry = &mut self.engines[index];
        entry.running = entry.running.saturating_sub(done.len() - before);
        if !entry.failed {
            entry.due = due.map(|due| if due <= now { now + TIMEOUT_AGAIN } else { due });
        }
        let engine = EngineIndex(index);
        self.notices.extend(slots.drain(..).map(|(slot, notice)| (Port { engine, slot }, notice)));
        self.slots = slots;
    }

    /// The earliest [`IoEngine::poll_timeout`] of all engines.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.engines.iter().filter_map(|entry| entry.due).min()
    }

    /// Whether [`Engines::take_notices`] has something to take.
    #[inline]
    #[must_use]
    pub fn has_notices(&self) -> bool {
        !self.notices.is_empty()
    }

    /// Takes what the engines have reported by [`IoEngine::notices`].
    pub fn take_notices(&mut self) -> Vec<(Port, Notice)> {
        std::mem::take(&mut self.notices)
    }

    /// A duplicate of [`IoEngine::event_fd`], which the loop can unregister also after the engine has failed. `None` if the
    /// engine has none or has failed.
    ///
    /// # Errors
    /// The descriptor cannot be duplicated.
    pub fn event_fd(&mut self, EngineIndex(index): EngineIndex) -> io::Result<Option<OwnedFd>> {
        let mut event = Ok(None);
        self.call(index, |engine| event = engine.event_fd().map(|fd| fd.try_clone_to_owned()).transpose());
        event
    }

    /// [`IoEngine::cancel`].
    pub fn cancel(&mut self, EngineIndex(index): EngineIndex, tag: IoTag) {
        self.engines[index].kick = true;
        self.call(index, |engine| engine.cancel(tag));
    }

    /// [`IoEngine::check_size`].
    pub fn check_size(&mut self, port: Port) {
        self.call(port.engine.0, |engine| engine.check_size(port.slot));
    }

    /// [`IoEngine::detach`].
    pub fn detach(&mut self, port: Port) {
        self.engines[port.engine.0].called = true;
        self.call(port.engine.0, |engine| engine.detach(port.slot));
    }

    /// Whether operations may have been lost with an engine that failed, since the last call.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// Message of the panic of a failed engine; `None` if it has not failed.
    #[must_use]
    pub fn failure(&self, EngineIndex(index): EngineIndex) -> Option<&str> {
        self.engines.get(index).filter(|entry| entry.failed).map(|entry| entry.failure.as_str())
    }

    #[inline]
    fn call(&mut self, index: usize, call: impl FnOnce(&mut dyn IoEngine)) {
        let entry = &mut self.engines[index];
        if entry.failed {
            return;
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| call(&mut **entry.engine))) {
            self.fail(index, panic_message(payload));
        }
    }

    #[cold]
    pub(super) fn fail(&mut self, index: usize, message: String) {
        let entry = &mut self.engines[index];
        (entry.failed, entry.failure) = (true, message);
        (entry.running, entry.due) = (0, None);
        self.lost = true;
    }
}

/// Catches panics of engines that are dropped.
impl Drop for Engines {
    fn drop(&mut self) {
        for entry in self.engines.drain(..).filter(|entry| !entry.failed) {
            let engine = ManuallyDrop::into_inner(entry.engine);
            if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(engine))) {
                panic_message(payload);
            }
        }
    }
}

/// The message of a caught panic. The payload is not dropped, because that may panic, too.
#[cold]
pub fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    std::mem::forget(payload);
    text.unwrap_or_else(|| "a value that is not text".to_owned())
}

#[cfg(test)]
mod tests;
