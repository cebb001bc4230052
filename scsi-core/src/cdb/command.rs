//! Decoded commands and their fields.

use super::persist::{PersistIn, PersistOut};

/// A decoded command: only what a device server acts on. The 6-, 10-, 12- and 16-byte forms of a command say
/// the same in different widths.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Cdb {
    /// TEST UNIT READY (SPC-4 6.47).
    TestUnitReady,
    /// REQUEST SENSE (SPC-4 6.39).
    RequestSense {
        /// Descriptor format was asked for.
        descriptor: bool,
        /// Bytes.
        allocation_len: u32,
    },
    /// INQUIRY (SPC-4 6.6).
    Inquiry {
        /// The vital product data page asked for; `None`: standard data.
        vpd: Option<u8>,
        /// Bytes.
        allocation_len: u32,
    },
    /// REPORT LUNS (SPC-4 6.33).
    ReportLuns {
        /// SELECT REPORT.
        select: u8,
        /// Bytes.
        allocation_len: u32,
    },
    /// REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
    ReportSupportedOpcodes {
        /// Which commands.
        options: ReportingOptions,
        /// RCTD: command timeouts descriptors.
        timeouts: bool,
        /// Bytes.
        allocation_len: u32,
    },
    /// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36).
    ReportSupportedTaskManagement {
        /// REPD: the 16-byte form.
        extended: bool,
        /// Bytes.
        allocation_len: u32,
    },
    /// MODE SENSE (6) and (10) (SPC-4 6.11, 6.12).
    ModeSense(ModeSense),
    /// MODE SELECT (6) and (10) (SPC-4 6.9, 6.10).
    ModeSelect {
        /// The 10-byte form, with its longer header.
        long: bool,
        /// PF: the parameter list is in page format.
        page_format: bool,
        /// SP: save pages.
        save: bool,
        /// Bytes.
        parameter_len: u32,
    },
    /// START STOP UNIT (SBC-3 5.25).
    StartStopUnit {
        /// Answer before it is done.
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
    /// PREVENT ALLOW MEDIUM REMOVAL (SBC-3 5.15); true: prevent.
    PreventAllow(bool),
    /// SEND DIAGNOSTIC (SPC-4 6.42).
    SendDiagnostic {
        /// SELFTEST: the default self-test.
        self_test: bool,
        /// Bytes.
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
        /// Bytes.
        allocation_len: u32,
    },
    /// PERSISTENT RESERVE OUT (SPC-4 6.16).
    PersistentReserveOut {
        /// SERVICE ACTION, with SCOPE and TYPE where they count.
        action: PersistOut,
        /// Bytes.
        parameter_len: u32,
    },
    /// READ CAPACITY (10) (SBC-3 5.16).
    ReadCapacity10,
    /// READ CAPACITY (16) (SBC-3 5.17).
    ReadCapacity16 {
        /// Bytes.
        allocation_len: u32,
    },
    /// READ (6), (10), (12), (16).
    Read(Extent),
    /// WRITE (6), (10), (12), (16).
    Write(Extent),
    /// WRITE AND VERIFY (10), (12), (16).
    WriteAndVerify {
        /// What to write.
        extent: Extent,
        /// BYTCHK: compare with what was sent.
        byte_check: bool,
    },
    /// VERIFY (10), (12), (16).
    Verify {
        /// What to verify.
        extent: Extent,
        /// How the data out, if any, is compared.
        byte_check: ByteCheck,
    },
    /// PRE-FETCH (10), (16).
    PreFetch {
        /// What to fetch.
        extent: Extent,
        /// Answer before it is done.
        immediate: bool,
    },
    /// SYNCHRONIZE CACHE (10), (16).
    SynchronizeCache {
        /// What to flush; 0 blocks: to the end.
        extent: Extent,
        /// Answer before it is done.
        immediate: bool,
    },
    /// WRITE SAME (10), (16).
    WriteSame {
        /// Where; 0 blocks: to the end, where WSNZ allows it.
        extent: Extent,
        /// ANCHOR.
        anchor: bool,
        /// UNMAP.
        unmap: bool,
        /// NDOB: no data-out buffer, zeroes are written.
        no_data_out: bool,
    },
    /// UNMAP (SBC-3 5.28).
    Unmap {
        /// ANCHOR.
        anchor: bool,
        /// Bytes.
        parameter_len: u32,
    },
    /// GET LBA STATUS (SBC-3 5.4).
    GetLbaStatus {
        /// The first block asked for.
        lba: u64,
        /// Bytes.
        allocation_len: u32,
    },
}

/// A range of blocks and how it is to be treated.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Extent {
    /// The first block.
    pub lba: u64,
    /// How many. READ (6) and WRITE (6) have their 0 turned into 256 already.
    pub blocks: u32,
    /// FUA: on the medium, or from it.
    pub fua: bool,
    /// DPO: not worth caching.
    pub dpo: bool,
}

/// BYTCHK of VERIFY (SBC-3 5.30).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ByteCheck {
    /// 00b: no data is sent.
    MediumOnly,
    /// 01b: every block is sent.
    Every,
    /// 11b: one block is sent and compared with every block.
    One,
}

/// MODE SENSE of either length.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ModeSense {
    /// The 10-byte form, with its longer header.
    pub long: bool,
    /// DBD: no block descriptors.
    pub no_block_descriptors: bool,
    /// LLBAA: long block descriptors may be sent.
    pub long_lba: bool,
    /// PC: which values.
    pub control: PageControl,
    /// PAGE CODE; 0x3f is all.
    pub page: u8,
    /// SUBPAGE CODE; 0xff is all.
    pub subpage: u8,
    /// Bytes.
    pub allocation_len: u32,
}

/// PC of MODE SENSE (SPC-4 6.11.1).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum PageControl {
    /// 00b.
    Current,
    /// 01b.
    Changeable,
    /// 10b.
    Default,
    /// 11b.
    Saved,
}

/// REPORTING OPTIONS of REPORT SUPPORTED OPERATION CODES.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReportingOptions {
    /// 000b: all commands.
    All,
    /// 001b: one without service actions; refused if it has some.
    One(u8),
    /// 010b: one with service action; refused if it has none.
    OneServiceAction(u8, u16),
    /// 011b: one of either kind.
    OneAny(u8, u16),
}
