//! Command descriptor blocks: bytes to [`Cdb`], through one table.
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

/// Reads a CDB: one look into the table's index, no search, no allocation.
///
/// Bytes after the command's own length are ignored, and so are reserved bits. Fields that ask for what is not
/// there (protection information, NACA, unknown service actions) are refused.
///
/// # Errors
/// [`CdbError`], from which the sense data follows.
#[inline]
pub fn decode(cdb: &[u8]) -> Result<Cdb, CdbError> {
    table::lookup(cdb)?.decode(cdb)
}

#[cfg(test)]
mod tests;
