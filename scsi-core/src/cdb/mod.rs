//! Command descriptor blocks: decoded to [`Cdb`] by one table of commands.
//!
//! ```
//! use scsi_core::cdb::{self, Cdb, Extent};
//!
//! let read = Cdb::Read(Extent { lba: 0x20_0000, blocks: 8, ..Extent::default() });
//! let bytes = cdb::encode::encode(&read).expect("READ(10) holds it");
//! assert_eq!(*bytes, [0x28, 0, 0, 0x20, 0, 0, 0, 0, 8, 0]);
//! assert_eq!(cdb::decode(&bytes), Ok(read));
//! ```

mod command;
pub mod encode;
mod error;
pub mod persist;
mod sbc;
mod spc;
pub mod table;

pub use command::{ByteCheck, Cdb, Extent, ModeSense, PageControl, ReportingOptions};
pub use error::CdbError;

/// Decodes a CDB. It takes one lookup in an index and allocates nothing.
///
/// Bytes after the length of the command and reserved bits are ignored. Requests for unsupported features (protection
/// information, NACA, unknown service actions) are refused.
///
/// # Errors
/// [`CdbError`], which determines the sense data.
#[inline]
pub fn decode(cdb: &[u8]) -> Result<Cdb, CdbError> {
    table::lookup(cdb)?.decode(cdb)
}

#[cfg(test)]
mod tests;
