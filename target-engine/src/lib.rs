//! An iSCSI target engine.
//!
//! From the bottom: [`iscsi`] turns PDUs into commands and back, [`shard`] serves one target's sessions on one
//! loop, [`model`] and [`control`] are the configuration and how it is changed, [`loop_state`] is a loop with its targets
//! and connections, and, with the feature `runtime`, [`runtime`] is the threads and sockets around them. Everything but `runtime` is plain state driven by calls:
//! time, randomness and bytes come in as arguments.

pub mod buffers;
pub mod control;
pub mod direction;
pub mod iscsi;
pub mod keys;
pub mod limits;
pub mod loop_state;
pub mod model;
#[cfg(feature = "runtime")]
pub mod runtime;
pub mod shard;
pub mod stats;
pub mod system_text;
mod test_store;
mod warnings;
