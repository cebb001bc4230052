//! Backing stores: files and block devices, memory, a null store, and layers over any of them.
//!
//! Every store implements [`scsi_core::store::Backstore`]; a [`registry::Registry`] opens it by the name of its kind. A
//! store reads and writes byte ranges. It knows neither SCSI nor targets.
//!
//! | kind | medium |
//! | --- | --- |
//! | `rdwr` | a file or block device, through the page cache |
//! | `aio` | a file or block device, with direct I/O (`O_DIRECT`) |
//! | `null` | none: writes are dropped, reads return zeroes |
//! | `memory` | memory of the process |
//! | `rbd` | an image of a Ceph cluster, by librbd |
//! | `glfs` | a file on a GlusterFS volume, by libgfapi |
//! | `nbd` | the export of an NBD server |
//! | `curve` | a volume of CurveBS, by nebd-server |
//! | `longhorn` | a volume of Longhorn, by its engine |
//!
//! # Writing a store
//!
//! 1. Implement [`Backstore`](scsi_core::store::Backstore), the handle that all loops share. `attach` finds the engine
//!    of its kind among the loop's [`Engines`](scsi_core::store::Engines), or adds it, and takes a slot of it.
//! 2. Implement [`IoEngine`](scsi_core::store::IoEngine), of which each loop has one for all its stores. No method
//!    may block. Operations that block go to a [`workers::Workers`] pool or to the kernel; `event_fd` is readable when
//!    they have ended. Threads of the store, or of a library that it uses, return results by an [`outbox::Outbox`].
//! 3. Check it with [`contract::check`] (feature `contract`).
//! 4. Describe it by a [`registry::Kind`] and add that to the registry of the server.
//!
//! `examples/product_store.rs` has a store whose operations are done by a thread of its product, and which reports a
//! resize and a server that does not answer. A read-only store of zeroes, whose operations all finish in `submit`:
//!
//! ```
//! use std::os::fd::BorrowedFd;
//! use std::sync::Arc;
//!
//! use backstores::registry::{Kind, OpenOptions, PathUse, Registry};
//! use scsi_core::store::*;
//!
//! struct Zeroes;
//!
//! impl Backstore for Zeroes {
//!     fn kind(&self) -> &'static str {
//!         "zeroes"
//!     }
//!
//!     fn geometry(&self) -> Geometry {
//!         Geometry { size: 1 << 20, physical_block_len: 512 }
//!     }
//!
//!     fn capabilities(&self) -> Capabilities {
//!         Capabilities {
//!             read_only: true,
//!             ..Capabilities::NONE
//!         }
//!     }
//!
//!     fn refresh(&self) -> Result<Geometry, IoError> {
//!         Ok(self.geometry())
//!     }
//!
//!     fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
//!         let (engine, _) = engines.of_kind(|| Ok(ZeroesEngine::default()))?;
//!         // All stores are alike, so one slot serves them all.
//!         Ok(Port { engine, slot: Slot(0) })
//!     }
//! }
//!
//! #[derive(Default)]
//! struct ZeroesEngine {
//!     done: Vec<Completion>,
//! }
//!
//! impl IoEngine for ZeroesEngine {
//!     fn try_now(&mut self, _: Slot, op: InlineOp<'_>) -> Option<Result<Now, IoError>> {
//!         Some(match op {
//!             InlineOp::Read { .. } => Ok(Now::Zeroes),
//!             InlineOp::Write { .. } => Err(IoError::READ_ONLY),
//!         })
//!     }
//!
//!     fn submit(&mut self, _: Slot, tag: IoTag, op: BlockOp) {
//!         let (block, result) = match op {
//!             BlockOp::Read { mut into, .. } => {
//!                 into.fill(0);
//!                 (Some(into), Ok(Completed::Done))
//!             }
//!             BlockOp::Write { from, .. } => (Some(from), Err(IoError::READ_ONLY)),
//!             BlockOp::Discard { .. } | BlockOp::WriteZeroes { .. } => (None, Err(IoError::READ_ONLY)),
//!             BlockOp::Allocation { .. } => (None, Err(IoError::UNSUPPORTED)),
//!             BlockOp::Flush => (None, Ok(Completed::Done)),
//!         };
//!         self.done.push(Completion { tag, block, result });
//!     }
//!
//!     fn kick(&mut self) {}
//!
//!     fn reap(&mut self, done: &mut Vec<Completion>) {
//!         done.append(&mut self.done);
//!     }
//!
//!     fn event_fd(&self) -> Option<BorrowedFd<'_>> {
//!         None
//!     }
//!
//!     fn cancel(&mut self, _: IoTag) {}
//!
//!     fn detach(&mut self, _: Slot) {}
//! }
//!
//! # #[cfg(feature = "contract")]
//! backstores::contract::check(&backstores::contract::Subject::new(|| Arc::new(Zeroes)));
//!
//! let mut registry = Registry::builtin();
//! registry.add(Kind {
//!     name: "zeroes",
//!     summary: "a read-only disk of zeroes",
//!     sync: false,
//!     direct: false,
//!     path: PathUse::Unused,
//!     options: &[],
//!     open: Arc::new(|_| Ok(Arc::new(Zeroes))),
//! });
//! assert!(registry.open("zeroes", &OpenOptions::default()).is_ok());
//! ```

mod builtin;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod done;
pub mod file;
pub mod glfs;
pub mod layer;
mod library;
pub mod longhorn;
pub mod memory;
pub mod nbd;
pub mod nebd;
pub mod null;
pub mod outbox;
pub mod rbd;
pub mod registry;
mod remote;
pub mod waiting;
pub mod workers;
