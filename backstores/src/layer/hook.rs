//! The engine of layers that observe operations and may fail them.

use std::collections::HashMap;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Instant;

use scsi_core::store::{
    Backstore, BlockOp, Completion, Engines, InlineOp, IoEngine, IoError, IoTag, Notice, Now, Port, Slot,
};
use slab::Slab;

use super::below::Below;
use super::{What, into_block};

/// The calls of a layer for each operation.
pub(crate) trait Hook: Send + Sync + 'static {
    /// Called before an inline operation. `Some` is its result, and the store below is not called.
    fn before_now(&self, what: What) -> Option<Result<Now, IoError>>;

    /// Called with the store's answer to an inline operation, which it may change.
    fn after_now(&self, what: What, done: &mut Option<Result<Now, IoError>>);

    /// Called before an operation is submitted. An error completes it, and the store below is not called.
    fn before(&self, tag: IoTag, what: What) -> Result<(), IoError>;

    /// Called with a completion, whose result it may change.
    fn after(&self, what: What, completion: &mut Completion);
}

/// The engine of one loop for all layers with hooks of type `H`.
pub(crate) struct HookEngine<H> {
    below: Below,
    slots: Slab<(Arc<H>, Port)>,
    running: HashMap<IoTag, (usize, What)>,
    refused: Vec<(usize, What, Completion)>,
}

/// Attaches a layer over `store`.
///
/// # Errors
/// Returns the error of the store below, or [`IoError::NOT_READY`] if no descriptor is left.
pub(crate) fn attach<H: Hook>(
    hook: &Arc<H>,
    store: &dyn Backstore,
    engines: &mut Engines,
) -> Result<Port, IoError> {
    let (engine, layer) = engines.of_kind(|| {
        let below = Below::new()?;
        Ok(HookEngine::<H> { below, slots: Slab::new(), running: HashMap::new(), refused: Vec::new() })
    })?;
    let below = layer.below.attach(store)?;
    let slot = layer.slots.insert((hook.clone(), below));
    Ok(Port { engine, slot: Slot(slot as u32) })
}

impl<H: Hook> IoEngine for HookEngine<H> {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let (hook, port) = self.slots.get(slot.0 as usize)?;
        let what = What::of_inline(&op);
        if let Some(done) = hook.before_now(what) {
            return Some(done);
        }
        let (engine, slot) = self.below.engine(*port);
        let mut done = engine.try_now(slot, op);
        hook.after_now(what, &mut done);
        done
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let index = slot.0 as usize;
        let what = What::of(&op);
        let Some((hook, port)) = self.slots.get(index) else {
            let completion = Completion { tag, block: into_block(op), result: Err(IoError::NOT_READY) };
            return self.refused.push((index, what, completion));
        };
        match hook.before(tag, what) {
            Ok(()) => {
                self.running.insert(tag, (index, what));
                let (engine, slot) = self.below.engine(*port);
                engine.submit(slot, tag, op);
            }
            Err(error) => {
                let completion = Completion { tag, block: into_block(op), result: Err(error) };
                self.refused.push((index, what, completion));
            }
        }
    }

    fn kick(&mut self) {
        self.below.kick();
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        for (index, what, mut completion) in self.refused.drain(..) {
            if let Some((hook, _)) = self.slots.get(index) {
                hook.after(what, &mut completion);
            }
            done.push(completion);
        }
        let mut reaped = self.below.reap();
        for mut completion in reaped.drain(..) {
            if let Some((index, what)) = self.running.remove(&completion.tag)
                && let Some((hook, _)) = self.slots.get(index)
            {
                hook.after(what, &mut completion);
            }
            done.push(completion);
        }
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
        self.below.cancel(tag);
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
