//! Sense data (SPC-4 4.5): the key, the additional code, and both formats on the wire.

/// SENSE KEY (SPC-4 4.5.6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to say.
    NoSense = 0x0,
    /// Done, with some recovery.
    RecoveredError = 0x1,
    /// The unit cannot be accessed.
    NotReady = 0x2,
    /// The medium failed.
    MediumError = 0x3,
    /// The device failed.
    HardwareError = 0x4,
    /// The command or its parameters are wrong.
    IllegalRequest = 0x5,
    /// Something happened to the unit.
    UnitAttention = 0x6,
    /// Writing or reading is forbidden.
    DataProtect = 0x7,
    /// Blank medium.
    BlankCheck = 0x8,
    /// A third-party copy ended.
    CopyAborted = 0xa,
    /// The command was aborted.
    AbortedCommand = 0xb,
    /// Data did not compare.
    Miscompare = 0xe,
}

/// ASC and ASCQ; the constants are the ones the house sends.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct AdditionalSense {
    /// ADDITIONAL SENSE CODE.
    pub asc: u8,
    /// ADDITIONAL SENSE CODE QUALIFIER.
    pub ascq: u8,
}

/// Everything a CHECK CONDITION says, in either format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Sense {
    /// SENSE KEY.
    pub key: SenseKey,
    /// ASC and ASCQ.
    pub code: AdditionalSense,
    /// INFORMATION, where valid.
    pub information: Option<u64>,
    /// The field at fault, or a progress indication.
    pub specific: Option<SenseSpecific>,
    /// Sent in descriptor format (the unit's D_SENSE); fixed otherwise.
    pub descriptor: bool,
}

/// SENSE KEY SPECIFIC data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum SenseSpecific {
    /// The field at fault (SPC-4 4.5.2.4.2).
    FieldPointer {
        /// C/D: in the CDB, else in the parameter data.
        in_cdb: bool,
        /// Byte.
        byte: u16,
        /// BIT POINTER, where the field is less than a byte.
        bit: Option<u8>,
    },
    /// Progress in 65536ths.
    Progress(u16),
}

impl std::fmt::Debug for AdditionalSense {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:02x}/{:02x}", self.asc, self.ascq)
    }
}
