//! The store of tests and fuzz targets: its properties are fields, and its engine is the test's own or an idle one.

#[cfg(test)]
use std::any::Any;
#[cfg(test)]
use std::os::fd::BorrowedFd;
#[cfg(test)]
use std::sync::Arc;

use scsi_core::store::*;

/// A store for tests.
pub(crate) struct TestStore {
    pub(crate) geometry: Geometry,
    pub(crate) capabilities: Capabilities,
    pub(crate) has_lost_writes: bool,
    attach: Attach,
    flush: Flush,
}

type Attach = Box<dyn Fn(&mut Engines) -> Result<Port, IoError> + Send + Sync>;
type Flush = Box<dyn Fn() -> Result<(), IoError> + Send + Sync>;

impl TestStore {
    /// A store of `size` bytes that can do everything, and that `attach` attaches.
    pub(crate) fn attached_by(
        size: u64,
        attach: impl Fn(&mut Engines) -> Result<Port, IoError> + Send + Sync + 'static,
    ) -> Self {
        Self {
            geometry: Geometry { size, physical_block_len: 512 },
            capabilities: Capabilities { volatile_cache: true, ..Capabilities::ALL_OPERATIONS },
            has_lost_writes: false,
            attach: Box::new(attach),
            flush: Box::new(|| Ok(())),
        }
    }
}

#[cfg(test)]
impl TestStore {
    /// A store of `size` bytes that can do everything and gets no operations.
    pub(crate) fn idle(size: u64) -> Self {
        Self::attached_by(size, |engines| IdleEngine::attach(engines, Arc::new(())))
    }

    /// The same, which calls a function when it and the engines have dropped it.
    pub(crate) fn on_drop(mut self, call: impl Fn() + Send + Sync + 'static) -> Self {
        let resource = Arc::new(OnDrop(call));
        self.attach = Box::new(move |engines| IdleEngine::attach(engines, resource.clone()));
        self
    }

    /// The same, which calls a function when it is flushed.
    #[cfg(feature = "runtime")]
    pub(crate) fn on_flush(mut self, call: impl Fn() -> Result<(), IoError> + Send + Sync + 'static) -> Self {
        self.flush = Box::new(call);
        self
    }

    /// The same, read-only.
    #[cfg(feature = "runtime")]
    pub(crate) fn read_only(mut self) -> Self {
        let can = &mut self.capabilities;
        (can.read_only, can.volatile_cache, can.fua) = (true, false, false);
        (can.discard, can.discard_zeroes, can.write_zeroes) = (false, false, false);
        self
    }
}

impl Backstore for TestStore {
    fn kind(&self) -> &'static str {
        "test"
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry)
    }

    fn has_lost_writes(&self) -> bool {
        self.has_lost_writes
    }

    fn flush(&self) -> Result<(), IoError> {
        (self.flush)()
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        (self.attach)(engines)
    }
}

#[cfg(test)]
struct OnDrop<F: Fn()>(F);

#[cfg(test)]
impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        self.0();
    }
}

/// An engine that gets no operations. It keeps the resource of each attached store.
#[cfg(test)]
#[derive(Default)]
struct IdleEngine(Vec<Option<Arc<dyn Any>>>);

#[cfg(test)]
impl IdleEngine {
    fn attach(engines: &mut Engines, resource: Arc<dyn Any>) -> Result<Port, IoError> {
        let (engine, idle) = engines.of_kind(|| Ok(Self::default()))?;
        idle.0.push(Some(resource));
        Ok(Port { engine, slot: Slot(idle.0.len() as u32 - 1) })
    }
}

#[cfg(test)]
impl IoEngine for IdleEngine {
    fn try_now(&mut self, _: Slot, _: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        None
    }

    fn submit(&mut self, _: Slot, _: IoTag, _: BlockOp) {
        unreachable!("no command comes")
    }

    fn kick(&mut self) {}

    fn reap(&mut self, _: &mut Vec<Completion>) {}

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn cancel(&mut self, _: IoTag) {}

    fn detach(&mut self, slot: Slot) {
        self.0[slot.0 as usize] = None;
    }
}
