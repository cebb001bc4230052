//! `null`: a store without a medium. Writes are dropped, reads return zeroes, and no operation waits.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use scsi_core::store::{
    Backstore, BlockOp, Capabilities, Completed, Completion, EngineIndex, Engines, Geometry, InlineOp,
    IoEngine, IoError, IoTag, Now, Port, Slot,
};

use crate::done::DoneQueue;
use crate::registry::{Kind, OpenError, OpenOptions, PathUse};

/// Size of a null store without the option `size`, in bytes: 1 TiB.
pub const DEFAULT_SIZE: u64 = 1 << 40;

/// The kind `null`.
#[must_use]
pub fn kind() -> Kind {
    Kind {
        name: NAME,
        summary: "no medium: writes are dropped, reads return zeroes",
        sync: false,
        direct: false,
        path: PathUse::Unused,
        options: &["size"],
        open: Arc::new(open),
    }
}

const NAME: &str = "null";

/// A store without a medium.
#[derive(Debug)]
pub struct Null {
    geometry: Geometry,
}

/// The engine of one loop for all null stores. It keeps no slots, because the stores do not differ.
#[derive(Debug, Default)]
pub struct NullEngine {
    done: DoneQueue,
}

impl Null {
    /// Returns a store of `size` bytes.
    #[must_use]
    pub fn new(size: u64) -> Self {
        Self { geometry: Geometry { size, physical_block_len: 512 } }
    }
}

impl Backstore for Null {
    fn kind(&self) -> &'static str {
        NAME
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { discard_granularity: 512, ..Capabilities::ALL_OPERATIONS }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry)
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, _): (EngineIndex, &mut NullEngine) = engines.of_kind(|| Ok(NullEngine::default()))?;
        Ok(Port { engine, slot: Slot(0) })
    }
}

impl IoEngine for NullEngine {
    fn try_now(&mut self, _slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        Some(Ok(match op {
            InlineOp::Read { .. } => Now::Zeroes,
            InlineOp::Write { .. } => Now::Moved,
        }))
    }

    fn submit(&mut self, _slot: Slot, tag: IoTag, op: BlockOp) {
        let (block, completed) = match op {
            BlockOp::Read { mut into, .. } => {
                into.fill(0);
                (Some(into), Completed::Done)
            }
            BlockOp::Write { from, .. } => (Some(from), Completed::Done),
            BlockOp::Allocation { len, .. } => (None, Completed::Allocation { len, hole: true }),
            BlockOp::Flush | BlockOp::Discard { .. } | BlockOp::WriteZeroes { .. } => (None, Completed::Done),
        };
        self.done.push(tag, block, Ok(completed));
    }

    fn kick(&mut self) {}

    fn reap(&mut self, done: &mut Vec<Completion>) {
        self.done.drain_into(done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancel(&mut self, _tag: IoTag) {}

    fn detach(&mut self, _slot: Slot) {}
}

fn open(options: &OpenOptions) -> Result<Arc<dyn Backstore>, OpenError> {
    let size = options.size_option()?.or(options.size).unwrap_or(DEFAULT_SIZE);
    Ok(Arc::new(Null::new(size)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::{self, Subject};
    use scsi_core::store::Block;

    #[test]
    fn keeps_the_contract() {
        contract::check(&Subject::new(|| Arc::new(Null::new(1 << 30))).forgets());
    }

    #[test]
    fn reads_return_zeroes_whatever_the_buffer_held() {
        let mut engines = Engines::default();
        let port = Null::new(DEFAULT_SIZE).attach(&mut engines).unwrap();
        let engine = engines.engine(port.engine);
        assert_eq!(
            engine.try_now(port.slot, InlineOp::Read { offset: 0, into: &mut [1; 512] }),
            Some(Ok(Now::Zeroes))
        );
        assert_eq!(
            engine.try_now(port.slot, InlineOp::Write { offset: 0, from: &[1; 512] }),
            Some(Ok(Now::Moved))
        );

        let mut block = Block::new(4096);
        block.fill(0xee);
        engine.submit(port.slot, IoTag(7), BlockOp::Read { offset: 0, into: block });
        engine.kick();
        let mut done = Vec::new();
        engine.reap(&mut done);
        assert_eq!((done.len(), done[0].tag), (1, IoTag(7)));
        assert!(done[0].block.as_ref().unwrap().iter().all(|byte| *byte == 0));
    }

    #[test]
    fn size_is_one_tebibyte_without_the_option() {
        let registry = crate::registry::Registry::builtin();
        let open = |bsopts: &str| {
            let options = OpenOptions { bsopts: bsopts.into(), ..OpenOptions::default() };
            registry.open("null", &options).unwrap().geometry().size
        };
        assert_eq!((open(""), open("size=64M")), (1 << 40, 64 << 20));
    }
}
