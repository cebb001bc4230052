//! Why a CDB is refused.

/// What is wrong with a CDB.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CdbError {
    /// No such command: INVALID COMMAND OPERATION CODE.
    #[error("unknown operation code {0:#04x}")]
    UnknownOpcode(u8),
    /// INVALID FIELD IN CDB, with the place for sense's field pointer (SPC-4 4.5.2.4).
    #[error("invalid field in byte {byte}")]
    InvalidField {
        /// The byte of the CDB.
        byte: u16,
        /// The most significant bit of the field, where it is less than the byte.
        bit: Option<u8>,
    },
}
