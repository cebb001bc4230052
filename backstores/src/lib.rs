//! Where the blocks are: files and block devices, memory, nothing at all, and layers over any of them.
//!
//! Every store is a [`scsi_core::store::Backstore`]; [`registry::Registry::builtin`] knows them by name. The crate
//! knows no SCSI and no target: it is given byte ranges and buffers, and gives back completions.
//!
//! | kind | where the blocks are |
//! | --- | --- |
//! | `rdwr` | a file or block device, through the page cache |
//! | `aio` | a file or block device, past the page cache (`O_DIRECT`) |
//! | `null` | nowhere: writes vanish, reads are zeroes |
//! | `memory` | the daemon's own memory |

mod builtin;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
mod done;
pub mod file;
pub mod layer;
pub mod memory;
pub mod null;
pub mod registry;
pub mod waiting;
pub mod workers;
