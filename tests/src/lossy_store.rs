//! A store that reports writes as durable that are not: the durability test must detect it.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use scsi_core::store::{
    Backstore, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine, IoError,
    IoTag, Now, Port, Slot,
};

/// What a [`LossyStore`] skips.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Loss {
    /// Nothing is lost.
    None,
    /// FUA is ignored: the write may stay in the cache.
    Fua,
    /// A flush completes without being executed.
    Flush,
}

/// A layer over another store that loses its durability guarantees.
pub struct LossyStore {
    below: Arc<dyn Backstore>,
    loss: Loss,
}

impl LossyStore {
    /// A layer over `below` that skips what `loss` says.
    #[must_use]
    pub fn new(below: Arc<dyn Backstore>, loss: Loss) -> Self {
        Self { below, loss }
    }
}

impl Backstore for LossyStore {
    fn kind(&self) -> &'static str {
        "lossy"
    }

    fn geometry(&self) -> Geometry {
        self.below.geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.below.capabilities()
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        self.below.refresh()
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, lossy) = engines.of_kind(|| Ok(LossyEngine::default()))?;
        let port = self.below.attach(&mut lossy.below)?;
        lossy.slots.push((port, self.loss));
        Ok(Port { engine, slot: Slot(lossy.slots.len() as u32 - 1) })
    }
}

#[derive(Default)]
struct LossyEngine {
    below: Engines,
    slots: Vec<(Port, Loss)>,
    done: Vec<Completion>,
}

impl IoEngine for LossyEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let (port, _) = self.slots[slot.0 as usize];
        self.below.engine(port.engine).try_now(port.slot, op)
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let (port, loss) = self.slots[slot.0 as usize];
        let op = match (loss, op) {
            (Loss::Fua, BlockOp::Write { offset, from, .. }) => BlockOp::Write { offset, from, fua: false },
            (Loss::Flush, BlockOp::Flush) => {
                return self.done.push(Completion { tag, block: None, result: Ok(Completed::Done) });
            }
            (_, op) => op,
        };
        self.below.engine(port.engine).submit(port.slot, tag, op);
    }

    fn kick(&mut self) {
        self.below.iter_mut().for_each(|(_, engine)| engine.kick());
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
        self.below.iter_mut().for_each(|(_, engine)| engine.reap(done));
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancel(&mut self, tag: IoTag) {
        self.below.iter_mut().for_each(|(_, engine)| engine.cancel(tag));
    }

    fn detach(&mut self, slot: Slot) {
        let (port, _) = self.slots[slot.0 as usize];
        self.below.engine(port.engine).detach(port.slot);
    }
}
