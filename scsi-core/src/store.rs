//! The interface to storage, which a storage product implements.
//!
//! A [`Backstore`] is shared by all loops; it reports its geometry and capabilities. Each loop has its own [`Engines`],
//! with one [`IoEngine`] for each type of engine, so that for instance all files of a loop share one ring. No call of an
//! engine blocks. The module does not depend on SCSI.

mod backstore;
mod block;
mod engine;
mod engines;
mod error;

pub use self::backstore::{Backstore, Capabilities, Geometry, SIZE_MAX};
pub use self::block::{BLOCK_ALIGNMENT, Block, IoTag};
pub use self::engine::{
    BlockOp, Completed, Completion, EngineIndex, InlineOp, IoEngine, Notice, Now, Port, Slot,
};
pub use self::engines::{Engines, panic_message};
pub use self::error::{IoError, IoErrorKind};
