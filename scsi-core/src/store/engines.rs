//! All engines of one loop, and what becomes of an engine that panics.
//!
//! A loop calls stores by [`Engines::attach`], [`Engines::try_now`] and the other methods here, which catch a panic.
//! An engine that has panicked has failed: it is not called again, nor dropped, and what it had is lost. The next
//! store of its type that is attached gets a new engine. Layers call the engines below them by [`Engines::engine`] and
//! [`Engines::iter_mut`]: there a panic goes up to the loop, and the layer's engine has failed with the one below it.

use std::any::{Any, TypeId};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{Backstore, BlockOp, Completion, EngineIndex, InlineOp, IoEngine, IoError, IoTag, Now, Port};

/// All engines of one loop.
#[derive(Default)]
pub struct Engines {
    engines: Vec<Entry>,
    /// The engine that `of_kind` gave out last.
    given: Option<EngineIndex>,
    /// See `take_lost`.
    lost: bool,
}

struct Entry {
    kind: TypeId,
    /// Never dropped once it has failed: its state is not known.
    engine: ManuallyDrop<Box<dyn IoEngine>>,
    failed: bool,
    /// The panic's message.
    failure: String,
}

impl Engines {
    /// The loop's engine of type `E`, made on first use and after the one before has failed.
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
                self.engines.push(Entry { kind, engine, failed: false, failure: String::new() });
                self.engines.len() - 1
            }
        };
        self.given = Some(EngineIndex(index));
        let engine: &mut dyn Any = &mut **self.engines[index].engine;
        let engine = engine.downcast_mut().expect("found by its type");
        Ok((EngineIndex(index), engine))
    }

    /// The engine behind a port, for layers: panics are not caught.
    ///
    /// # Panics
    /// The index is not of this loop.
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

    /// How many engines there are; grows by `of_kind` only.
    #[must_use]
    pub fn len(&self) -> usize {
        self.engines.len()
    }

    /// Whether no store was attached yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// [`Backstore::attach`]. A panic after the store has got its engine counts as a panic of that engine.
    ///
    /// # Errors
    /// Returns the store's error; [`IoError::ABANDONED`] if it panics, [`IoError::MISBEHAVED`] if its port names no
    /// engine of this loop.
    pub fn attach(&mut self, store: &dyn Backstore) -> Result<Port, IoError> {
        self.given = None;
        match catch_unwind(AssertUnwindSafe(|| store.attach(self))) {
            Ok(Ok(port)) if port.engine.0 >= self.engines.len() => Err(IoError::MISBEHAVED),
            Ok(attached) => attached,
            Err(payload) => {
                let message = panic_message(payload);
                if let Some(EngineIndex(index)) = self.given {
                    self.fail(index, message);
                }
                Err(IoError::ABANDONED)
            }
        }
    }

    /// [`IoEngine::try_now`]; [`IoError::ABANDONED`] from an engine that has failed.
    #[inline]
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

    /// [`IoEngine::submit`]. What an engine that has failed is given is lost.
    pub fn submit(&mut self, port: Port, tag: IoTag, op: BlockOp) {
        self.lost |= self.engines[port.engine.0].failed;
        self.call(port.engine.0, |engine| engine.submit(port.slot, tag, op));
    }

    /// [`IoEngine::kick`] of all.
    pub fn kick(&mut self) {
        for index in 0..self.engines.len() {
            self.call(index, IoEngine::kick);
        }
    }

    /// [`IoEngine::reap`] of all.
    pub fn reap(&mut self, done: &mut Vec<Completion>) {
        for index in 0..self.engines.len() {
            self.call(index, |engine| engine.reap(done));
        }
    }

    /// A duplicate of [`IoEngine::event_fd`], so that the loop can stop watching whatever becomes of the engine; `None`
    /// from an engine that has none or has failed.
    ///
    /// # Errors
    /// There is no descriptor for it.
    pub fn event_fd(&mut self, EngineIndex(index): EngineIndex) -> io::Result<Option<OwnedFd>> {
        let mut event = Ok(None);
        self.call(index, |engine| event = engine.event_fd().map(|fd| fd.try_clone_to_owned()).transpose());
        event
    }

    /// [`IoEngine::cancel`].
    pub fn cancel(&mut self, EngineIndex(index): EngineIndex, tag: IoTag) {
        self.call(index, |engine| engine.cancel(tag));
    }

    /// [`IoEngine::detach`].
    pub fn detach(&mut self, port: Port) {
        self.call(port.engine.0, |engine| engine.detach(port.slot));
    }

    /// Whether operations may have been lost with an engine that failed, since the last call.
    pub fn take_lost(&mut self) -> bool {
        std::mem::take(&mut self.lost)
    }

    /// The message of the panic that an engine failed by; `None`: it has not.
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
    fn fail(&mut self, index: usize, message: String) {
        let entry = &mut self.engines[index];
        (entry.failed, entry.failure) = (true, message);
        self.lost = true;
    }
}

/// An engine that panics when it is dropped is the last thing that a loop wants to end by.
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

/// The message of a panic that was caught. Its payload is never dropped: that may panic, too.
#[cold]
pub fn panic_message(payload: Box<dyn Any + Send>) -> String {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    std::mem::forget(payload);
    text.unwrap_or_else(|| "a value that is no text".to_owned())
}
