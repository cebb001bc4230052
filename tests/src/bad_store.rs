//! A store in memory that violates the contract of stores in one way, for operations at or after [`EDGE`].

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scsi_core::store::{
    Backstore, Block, BlockOp, Capabilities, Completed, Completion, EngineIndex, Engines, Geometry, InlineOp,
    IoEngine, IoError, IoTag, Now, Port, Slot,
};

/// Offset in bytes from which the store misbehaves.
pub const EDGE: u64 = 1 << 20;
/// Size of each store in bytes.
pub const SIZE: usize = 2 << 20;

/// How a store misbehaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Fault {
    /// No fault.
    None,
    /// Operations fail with `EIO`.
    Error,
    /// A completion lacks its block.
    NoBlock,
    /// A completion returns its block shortened.
    ShortBlock,
    /// A completion returns its block lengthened.
    LongBlock,
    /// A completion returns another block of the same length.
    OtherBlock,
    /// Two completions exchange their blocks.
    Swapped,
    /// A read completes with the result of an allocation query.
    WrongResult,
    /// Each operation completes, and another one that was not submitted.
    UnknownTag,
    /// Each operation completes, and another one of a shard that does not exist.
    UnknownShard,
    /// Each operation completes twice.
    Twice,
    /// `attach` panics after it has created its engine.
    PanicAttach,
    /// `attach` returns an engine that does not exist.
    NoEngine,
    /// `try_now` panics.
    PanicTryNow,
    /// `submit` panics.
    PanicSubmit,
    /// `kick` panics after an operation was submitted.
    PanicKick,
    /// `reap` panics after an operation was submitted.
    PanicReap,
    /// No operation completes, and `cancel` panics.
    PanicCancel,
    /// `detach` panics.
    PanicDetach,
    /// `event_fd` panics.
    PanicEvent,
    /// `try_now` panics with a value that panics when it is dropped.
    PanicTwice,
    /// The engine panics when it is dropped.
    PanicEngineDrop,
    /// The opener panics.
    PanicOpen,
    /// The store panics when it is dropped.
    PanicDrop,
    /// `refresh` panics.
    PanicRefresh,
    /// `geometry` panics from the second call on.
    PanicGeometry,
    /// `capabilities` panics from the second call on.
    PanicCapabilities,
    /// The alignment is 0.
    NoAlignment,
    /// The size is 700 bytes.
    OddSize,
    /// The size is 2^64 - 1 bytes.
    HugeSize,
}

impl Fault {
    /// The fault with this name of a variant.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fault| format!("{fault:?}") == name)
    }

    /// All faults.
    pub const ALL: [Self; 30] = [
        Self::None,
        Self::Error,
        Self::NoBlock,
        Self::ShortBlock,
        Self::LongBlock,
        Self::OtherBlock,
        Self::Swapped,
        Self::WrongResult,
        Self::UnknownTag,
        Self::UnknownShard,
        Self::Twice,
        Self::PanicAttach,
        Self::NoEngine,
        Self::PanicTryNow,
        Self::PanicSubmit,
        Self::PanicKick,
        Self::PanicReap,
        Self::PanicCancel,
        Self::PanicDetach,
        Self::PanicEvent,
        Self::PanicTwice,
        Self::PanicEngineDrop,
        Self::PanicOpen,
        Self::PanicDrop,
        Self::PanicRefresh,
        Self::PanicGeometry,
        Self::PanicCapabilities,
        Self::NoAlignment,
        Self::OddSize,
        Self::HugeSize,
    ];
}

/// A store with a fault; clones share its state.
#[derive(Clone, Debug)]
pub struct BadStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    bytes: Vec<u8>,
    fault: Fault,
    geometries: u32,
    capabilities: u32,
}

impl BadStore {
    /// A store of [`SIZE`] bytes; each block of 512 bytes contains its number.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        let bytes = (0..SIZE).map(|at| (at / 512) as u8).collect();
        let state = State { bytes, fault, geometries: 0, capabilities: 0 };
        Self(Arc::new(Inner { state: Mutex::new(state) }))
    }

    /// Sets the fault of further operations.
    pub fn set(&self, fault: Fault) {
        self.state().fault = fault;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn fault(&self) -> Fault {
        self.state().fault
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let fault = self.state.lock().unwrap_or_else(PoisonError::into_inner).fault;
        assert!(fault != Fault::PanicDrop, "a store panics when it is dropped");
    }
}

impl Backstore for BadStore {
    fn kind(&self) -> &'static str {
        "bad"
    }

    fn geometry(&self) -> Geometry {
        let mut state = self.state();
        state.geometries += 1;
        assert!(state.fault != Fault::PanicGeometry || state.geometries == 1, "geometry panics");
        let size = match state.fault {
            Fault::OddSize => 700,
            Fault::HugeSize => u64::MAX,
            _ => SIZE as u64,
        };
        Geometry { size, physical_block_len: 512 }
    }

    fn capabilities(&self) -> Capabilities {
        let mut state = self.state();
        state.capabilities += 1;
        assert!(state.fault != Fault::PanicCapabilities || state.capabilities == 1, "capabilities panics");
        Capabilities {
            fua: true,
            alignment: u32::from(state.fault != Fault::NoAlignment),
            ..Capabilities::NONE
        }
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        assert!(self.fault() != Fault::PanicRefresh, "refresh panics");
        Ok(Geometry { size: SIZE as u64, physical_block_len: 512 })
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        let (engine, bad) = engines.of_kind(|| Ok(BadEngine::default()))?;
        let fault = self.fault();
        assert!(fault != Fault::PanicAttach, "attach panics");
        bad.stores.push(self.clone());
        let engine = if fault == Fault::NoEngine { EngineIndex(99) } else { engine };
        Ok(Port { engine, slot: Slot(bad.stores.len() as u32 - 1) })
    }
}

#[derive(Default)]
struct BadEngine {
    stores: Vec<BadStore>,
    done: Vec<Completion>,
    /// The fault of a submitted operation that panics later.
    armed: Option<Fault>,
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("a panic's value panics");
    }
}

impl BadEngine {
    fn fault(&self, slot: Slot, offset: u64) -> Fault {
        if offset < EDGE { Fault::None } else { self.stores[slot.0 as usize].fault() }
    }

    fn give(&mut self, fault: Fault, mut completion: Completion) {
        let tag = completion.tag;
        let len = completion.block.as_ref().map_or(0, |block| block.len());
        match (fault, &mut completion.block) {
            (Fault::Error, _) => completion.result = Err(IoError::medium(EDGE).with_errno(5)),
            (Fault::NoBlock, block) => *block = None,
            (Fault::ShortBlock, Some(block)) => block.set_len(len / 2),
            (Fault::LongBlock, Some(block)) => block.set_len(block.capacity()),
            (Fault::OtherBlock, block) => *block = Some(Block::new(len)),
            (Fault::Swapped, block) => {
                if let Some(before) = self.done.last_mut() {
                    std::mem::swap(block, &mut before.block);
                }
            }
            (Fault::WrongResult, _) => {
                completion.result = Ok(Completed::Allocation { len: 512, hole: false });
            }
            (Fault::UnknownTag | Fault::UnknownShard | Fault::Twice, _) => {
                let tag = match fault {
                    Fault::UnknownTag => IoTag(tag.0 ^ 1 << 20),
                    Fault::UnknownShard => IoTag(tag.0 | 0xffff << 48),
                    _ => tag,
                };
                let block = Some(Block::new(len));
                self.done.push(completion);
                return self.done.push(Completion { tag, block, result: Ok(Completed::Done) });
            }
            _ => {}
        }
        self.done.push(completion);
    }
}

impl IoEngine for BadEngine {
    fn try_now(&mut self, slot: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
        let (InlineOp::Read { offset, .. } | InlineOp::Write { offset, .. }) = op;
        match self.fault(slot, offset) {
            Fault::PanicTryNow => panic!("try_now panics"),
            Fault::PanicTwice => std::panic::panic_any(Bomb),
            Fault::None => {}
            _ => return None,
        }
        let at = offset as usize;
        let bytes = &mut self.stores[slot.0 as usize].state().bytes;
        match op {
            InlineOp::Read { into, .. } => into.copy_from_slice(&bytes[at..][..into.len()]),
            InlineOp::Write { from, .. } => bytes[at..][..from.len()].copy_from_slice(from),
        }
        Some(Ok(Now::Moved))
    }

    fn submit(&mut self, slot: Slot, tag: IoTag, op: BlockOp) {
        let store = self.stores[slot.0 as usize].clone();
        let mut fault = Fault::None;
        let (block, result) = match op {
            BlockOp::Read { offset, mut into } => {
                fault = self.fault(slot, offset);
                let len = into.len();
                into.copy_from_slice(&store.state().bytes[offset as usize..][..len]);
                (Some(into), Ok(Completed::Done))
            }
            BlockOp::Write { offset, from, .. } => {
                fault = self.fault(slot, offset);
                store.state().bytes[offset as usize..][..from.len()].copy_from_slice(&from);
                (Some(from), Ok(Completed::Done))
            }
            BlockOp::Flush => (None, Ok(Completed::Done)),
            _ => (None, Err(IoError::UNSUPPORTED)),
        };
        assert!(fault != Fault::PanicSubmit, "submit panics");
        match fault {
            Fault::PanicKick | Fault::PanicReap | Fault::PanicCancel => self.armed = Some(fault),
            _ => self.give(fault, Completion { tag, block, result }),
        }
    }

    fn kick(&mut self) {
        assert!(self.armed != Some(Fault::PanicKick), "kick panics");
    }

    fn reap(&mut self, done: &mut Vec<Completion>) {
        assert!(self.armed != Some(Fault::PanicReap), "reap panics");
        done.append(&mut self.done);
    }

    fn event_fd(&self) -> Option<BorrowedFd<'_>> {
        let panics = self.stores.iter().any(|store| store.fault() == Fault::PanicEvent);
        assert!(!panics, "event_fd panics");
        None
    }

    fn cancel(&mut self, _: IoTag) {
        assert!(self.armed != Some(Fault::PanicCancel), "cancel panics");
    }

    fn detach(&mut self, slot: Slot) {
        let store = &mut self.stores[slot.0 as usize];
        assert!(store.fault() != Fault::PanicDetach, "detach panics");
        *store = BadStore::new(Fault::None);
    }
}

impl Drop for BadEngine {
    fn drop(&mut self) {
        let panics = self.stores.iter().any(|store| store.fault() == Fault::PanicEngineDrop);
        assert!(!panics, "an engine panics when it is dropped");
    }
}
