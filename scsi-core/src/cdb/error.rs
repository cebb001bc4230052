//! Why a CDB is refused.

/// Why a CDB is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CdbError {
    /// The operation code is unknown: INVALID COMMAND OPERATION CODE.
    #[error("unknown operation code {0:#04x}")]
    UnknownOpcode(u8),
    /// INVALID FIELD IN CDB, with the field pointer of the sense data (SPC-4 4.5.2.4).
    #[error("invalid field in byte {byte}")]
    InvalidField {
        /// Offset of the byte in the CDB.
        byte: u16,
        /// The most significant bit of a field of less than a byte.
        bit: Option<u8>,
    },
}
