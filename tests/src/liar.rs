//! A store that lies about durability: what a test of durability must find out.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use scsi_core::store::{
    Backstore, BlockOp, Capabilities, Completed, Completion, Engines, Geometry, InlineOp, IoEngine, IoError,
    IoTag, Now, Port, Slot,
};

/// What it lies about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lie {
    /// Nothing.
    None,
    /// FUA is forgotten: the write goes to the cache.
    Fua,
    /// A flush is answered and not done.
    Flush,
}

/// A store over another one.
pub struct Liar {
    below: Arc<dyn Backstore>,
    lie: Lie,
}

impl Liar {
    /// A layer over `below`.
    #[must_use]
    pub fn new(below: Arc<dyn Backstore>, lie: Lie) -> Self {
        Self { below, lie }
    }
}

impl Backstore for Liar {
    fn kind(&self) -> &'static str {
        "liar"
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
        let (engine, liar) = engines.of_kind(|| Ok(LiarEngine::default()))?;
        let port = self.below.attach(&mut liar.below)?;
        liar.slots.push((port, self.lie));
        Ok(Port { engine, slot: Slot(liar.slots.len() as u32 - 1) })
    }
}

#[derive(Default)]
struct LiarEngine {
    below: Engines,
    slots: Vec<(Port, Lie)>,
    done: Vec<Completion>,
}

impl IoEngine for LiarEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let (port, _) = self.slots[slot.0 as usize];
        self.below.engine(port.engine).try_now(port.slot, op)
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let (port, lie) = self.slots[slot.0 as usize];
        let op = match (lie, op) {
            (Lie::Fua, BlockOp::Write { offset, from, .. }) => BlockOp::Write { offset, from, fua: false },
            (Lie::Flush, BlockOp::Flush) => {
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
