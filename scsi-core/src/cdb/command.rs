//! Decoded commands and their fields.

use super::persist::{PersistIn, PersistOut};

/// A decoded command, with the fields that a device server evaluates. The 6-, 10-, 12- and 16-byte forms of a command
/// decode to the same variant.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cdb {
    /// TEST UNIT READY (SPC-4 6.47).
    TestUnitReady,
    /// REQUEST SENSE (SPC-4 6.39).
    RequestSense {
        /// DESC: return sense data in descriptor format.
        descriptor: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// INQUIRY (SPC-4 6.6).
    Inquiry {
        /// PAGE CODE of the vital product data page; `None` for standard INQUIRY data.
        vpd: Option<u8>,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// REPORT LUNS (SPC-4 6.33).
    ReportLuns {
        /// SELECT REPORT.
        select: u8,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
    ReportSupportedOpcodes {
        /// REPORTING OPTIONS.
        options: ReportingOptions,
        /// RCTD: return command timeouts descriptors.
        timeouts: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36).
    ReportSupportedTaskManagement {
        /// REPD: return the 16-byte format.
        extended: bool,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// MODE SENSE (6) and (10) (SPC-4 6.11, 6.12).
    ModeSense(ModeSense),
    /// MODE SELECT (6) and (10) (SPC-4 6.9, 6.10).
    ModeSelect {
        /// Whether it is the 10-byte CDB, with the longer header.
        long: bool,
        /// PF: the parameter list is in page format.
        page_format: bool,
        /// SP: save the pages.
        save: bool,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// START STOP UNIT (SBC-3 5.25).
    StartStopUnit {
        /// IMMED: return status before the operation completes.
        immediate: bool,
        /// POWER CONDITION.
        power_condition: u8,
        /// NO_FLUSH.
        no_flush: bool,
        /// LOEJ.
        load_eject: bool,
        /// START.
        start: bool,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL (SBC-3 5.15); true prevents.
    PreventAllow(bool),
    /// SEND DIAGNOSTIC (SPC-4 6.42).
    SendDiagnostic {
        /// SELFTEST: the default self-test.
        self_test: bool,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// RESERVE (6) (SPC-2 7.21).
    Reserve6,
    /// RELEASE (6) (SPC-2 7.18).
    Release6,
    /// PERSISTENT RESERVE IN (SPC-4 6.15).
    PersistentReserveIn {
        /// SERVICE ACTION.
        action: PersistIn,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// PERSISTENT RESERVE OUT (SPC-4 6.16).
    PersistentReserveOut {
        /// SERVICE ACTION, with SCOPE and TYPE where they are not ignored.
        action: PersistOut,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// READ CAPACITY (10) (SBC-3 5.16).
    ReadCapacity10,
    /// READ CAPACITY (16) (SBC-3 5.17).
    ReadCapacity16 {
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
    /// READ (6), (10), (12), (16).
    Read(Extent),
    /// WRITE (6), (10), (12), (16).
    Write(Extent),
    /// WRITE AND VERIFY (10), (12), (16).
    WriteAndVerify {
        /// Blocks to write.
        extent: Extent,
        /// BYTCHK: compare the medium with the data-out.
        byte_check: bool,
    },
    /// VERIFY (10), (12), (16).
    Verify {
        /// Blocks to verify.
        extent: Extent,
        /// BYTCHK: how the data-out is compared.
        byte_check: ByteCheck,
    },
    /// PRE-FETCH (10), (16).
    PreFetch {
        /// Blocks to prefetch.
        extent: Extent,
        /// IMMED: return status before the operation completes.
        immediate: bool,
    },
    /// SYNCHRONIZE CACHE (10), (16).
    SynchronizeCache {
        /// Blocks to flush; 0 blocks extends to the end of the medium.
        extent: Extent,
        /// IMMED: return status before the operation completes.
        immediate: bool,
    },
    /// WRITE SAME (10), (16).
    WriteSame {
        /// Blocks to write; 0 blocks extends to the end of the medium, unless WSNZ is set.
        extent: Extent,
        /// ANCHOR.
        anchor: bool,
        /// UNMAP.
        unmap: bool,
        /// NDOB: no data-out is sent, zeroes are written.
        no_data_out: bool,
    },
    /// UNMAP (SBC-3 5.28).
    Unmap {
        /// ANCHOR.
        anchor: bool,
        /// PARAMETER LIST LENGTH in bytes.
        parameter_len: u32,
    },
    /// GET LBA STATUS (SBC-3 5.4).
    GetLbaStatus {
        /// STARTING LOGICAL BLOCK ADDRESS.
        lba: u64,
        /// ALLOCATION LENGTH in bytes.
        allocation_len: u32,
    },
}

/// A range of logical blocks, with its caching flags.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    /// The first block.
    pub lba: u64,
    /// Number of blocks. The 0 of READ (6) and WRITE (6) decodes as 256.
    pub blocks: u32,
    /// FUA: access the medium, not a volatile cache.
    pub fua: bool,
    /// DPO: the blocks need not stay in the cache.
    pub dpo: bool,
}

/// BYTCHK of VERIFY (SBC-3 5.30).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ByteCheck {
    /// 00b: check the medium only; no data-out.
    MediumOnly,
    /// 01b: compare each block with a block of the data-out.
    Every,
    /// 11b: compare each block with the single block of the data-out.
    One,
}

/// MODE SENSE (6) or (10).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModeSense {
    /// Whether it is the 10-byte CDB, with the longer header.
    pub long: bool,
    /// DBD: return no block descriptors.
    pub no_block_descriptors: bool,
    /// LLBAA: long block descriptors are accepted.
    pub long_lba: bool,
    /// PC: the values to return.
    pub control: PageControl,
    /// PAGE CODE; 3fh requests all pages.
    pub page: u8,
    /// SUBPAGE CODE; ffh requests all subpages.
    pub subpage: u8,
    /// ALLOCATION LENGTH in bytes.
    pub allocation_len: u32,
}

/// PC of MODE SENSE (SPC-4 6.11.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageControl {
    /// 00b: current values.
    Current,
    /// 01b: mask of changeable bits.
    Changeable,
    /// 10b: default values.
    Default,
    /// 11b: saved values.
    Saved,
}

/// REPORTING OPTIONS of REPORT SUPPORTED OPERATION CODES.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportingOptions {
    /// 000b: all commands.
    All,
    /// 001b: the command with this operation code; refused if it has service actions.
    One(u8),
    /// 010b: the command with this operation code and service action; refused if it has no service actions.
    OneServiceAction(u8, u16),
    /// 011b: the command with this operation code, and service action if it has some.
    OneAny(u8, u16),
}
