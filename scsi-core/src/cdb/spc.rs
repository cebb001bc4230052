//! Decoders for CDBs of all device types (SPC-4 6, SPC-2 7). `nom` parses the layout.

use nom::Parser;
use nom::bytes::complete::take;
use nom::combinator::all_consuming;
use nom::number::complete::{be_u8, be_u16, be_u32};

use super::persist::{PersistIn, PersistOut, ScopeType};
use super::{Cdb, CdbError, ModeSense, PageControl, ReportingOptions};

type Decoded = Result<Cdb, CdbError>;
type Failure<'a> = nom::error::Error<&'a [u8]>;

/// REQUEST SENSE (SPC-4 6.39).
pub(super) fn request_sense(cdb: &[u8; 6]) -> Decoded {
    let (flags, _, len, _) = fields(cdb, (be_u8, be_u16, be_u8, be_u8))?;
    Ok(Cdb::RequestSense { descriptor: flags & 0x01 != 0, allocation_len: len.into() })
}

/// INQUIRY (SPC-4 6.6). The obsolete CMDDT is refused, because it requests data of another format.
pub(super) fn inquiry(cdb: &[u8; 6]) -> Decoded {
    let (flags, page, len, _) = fields(cdb, (be_u8, be_u8, be_u16, be_u8))?;
    let vital = flags & 0x01 != 0;
    if flags & 0x02 != 0 {
        return Err(CdbError::InvalidField { byte: 1, bit: Some(1) });
    }
    if page != 0 && !vital {
        return Err(CdbError::InvalidField { byte: 2, bit: None });
    }
    Ok(Cdb::Inquiry { vpd: vital.then_some(page), allocation_len: len.into() })
}

pub(super) fn mode_select_6(cdb: &[u8; 6]) -> Decoded {
    let (flags, _, len, _) = fields(cdb, (be_u8, be_u16, be_u8, be_u8))?;
    Ok(mode_select(false, flags, len.into()))
}

pub(super) fn mode_select_10(cdb: &[u8; 10]) -> Decoded {
    let (flags, _, len, _) = fields(cdb, (be_u8, take(5usize), be_u16, be_u8))?;
    Ok(mode_select(true, flags, len.into()))
}

fn mode_select(long: bool, flags: u8, parameter_len: u32) -> Cdb {
    Cdb::ModeSelect { long, page_format: flags & 0x10 != 0, save: flags & 0x01 != 0, parameter_len }
}

pub(super) fn mode_sense_6(cdb: &[u8; 6]) -> Decoded {
    let (flags, page, subpage, len, _) = fields(cdb, (be_u8, be_u8, be_u8, be_u8, be_u8))?;
    Ok(Cdb::ModeSense(ModeSense {
        long: false,
        long_lba: false,
        ..mode_sense(flags, page, subpage, len.into())
    }))
}

pub(super) fn mode_sense_10(cdb: &[u8; 10]) -> Decoded {
    let (flags, page, subpage, _, len, _) = fields(cdb, (be_u8, be_u8, be_u8, take(3usize), be_u16, be_u8))?;
    Ok(Cdb::ModeSense(mode_sense(flags, page, subpage, len.into())))
}

fn mode_sense(flags: u8, page: u8, subpage: u8, allocation_len: u32) -> ModeSense {
    let control = match page >> 6 {
        0 => PageControl::Current,
        1 => PageControl::Changeable,
        2 => PageControl::Default,
        _ => PageControl::Saved,
    };
    ModeSense {
        long: true,
        no_block_descriptors: flags & 0x08 != 0,
        long_lba: flags & 0x10 != 0,
        control,
        page: page & 0x3f,
        subpage,
        allocation_len,
    }
}

pub(super) fn reserve_6(cdb: &[u8; 6]) -> Decoded {
    whole_unit(cdb)?;
    Ok(Cdb::Reserve6)
}

pub(super) fn release_6(cdb: &[u8; 6]) -> Decoded {
    whole_unit(cdb)?;
    Ok(Cdb::Release6)
}

/// Refuses third-party and extent reservations (SPC-2 7.21).
fn whole_unit(cdb: &[u8; 6]) -> Result<(), CdbError> {
    match cdb[1] {
        flags if flags & 0x10 != 0 => Err(CdbError::InvalidField { byte: 1, bit: Some(4) }),
        flags if flags & 0x01 != 0 => Err(CdbError::InvalidField { byte: 1, bit: Some(0) }),
        _ => Ok(()),
    }
}

/// SEND DIAGNOSTIC (SPC-4 6.42). Self-tests other than the default one are refused.
pub(super) fn send_diagnostic(cdb: &[u8; 6]) -> Decoded {
    let (flags, _, len, _) = fields(cdb, (be_u8, be_u8, be_u16, be_u8))?;
    if flags & 0xe0 != 0 {
        return Err(CdbError::InvalidField { byte: 1, bit: Some(7) });
    }
    Ok(Cdb::SendDiagnostic { self_test: flags & 0x04 != 0, parameter_len: len.into() })
}

/// REPORT LUNS (SPC-4 6.33).
pub(super) fn report_luns(cdb: &[u8; 12]) -> Decoded {
    let (_, select, _, allocation_len, _) = fields(cdb, (be_u8, be_u8, take(3usize), be_u32, be_u16))?;
    Ok(Cdb::ReportLuns { select, allocation_len })
}

/// REPORT SUPPORTED OPERATION CODES (SPC-4 6.35).
pub(super) fn report_supported_opcodes(cdb: &[u8; 12]) -> Decoded {
    let (_, flags, opcode, action, allocation_len, _) =
        fields(cdb, (be_u8, be_u8, be_u8, be_u16, be_u32, be_u16))?;
    let options = match flags & 0x07 {
        0 => ReportingOptions::All,
        1 => ReportingOptions::One(opcode),
        2 => ReportingOptions::OneServiceAction(opcode, action),
        3 => ReportingOptions::OneAny(opcode, action),
        _ => return Err(CdbError::InvalidField { byte: 2, bit: Some(2) }),
    };
    Ok(Cdb::ReportSupportedOpcodes { options, timeouts: flags & 0x80 != 0, allocation_len })
}

/// REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS (SPC-4 6.36).
pub(super) fn report_supported_task_management(cdb: &[u8; 12]) -> Decoded {
    let (_, flags, _, allocation_len, _) = fields(cdb, (be_u8, be_u8, take(3usize), be_u32, be_u16))?;
    Ok(Cdb::ReportSupportedTaskManagement { extended: flags & 0x80 != 0, allocation_len })
}

pub(super) fn persistent_in(action: PersistIn, cdb: &[u8; 10]) -> Decoded {
    let (_, _, len, _) = fields(cdb, (be_u8, take(5usize), be_u16, be_u8))?;
    Ok(Cdb::PersistentReserveIn { action, allocation_len: len.into() })
}

/// PERSISTENT RESERVE OUT; `action` makes the service action from SCOPE and TYPE.
pub(super) fn persistent_out(action: impl Fn(ScopeType) -> PersistOut, cdb: &[u8; 10]) -> Decoded {
    let (_, what, _, parameter_len, _) = fields(cdb, (be_u8, be_u8, be_u16, be_u32, be_u8))?;
    Ok(Cdb::PersistentReserveOut { action: action(ScopeType(what)), parameter_len })
}

/// Parses the bytes after the operation code.
fn fields<'a, O>(
    cdb: &'a [u8],
    layout: impl Parser<&'a [u8], Output = O, Error = Failure<'a>>,
) -> Result<O, CdbError> {
    let short = CdbError::InvalidField { byte: cdb.len() as u16, bit: None };
    let rest = cdb.get(1..).ok_or(short)?;
    all_consuming(layout).parse(rest).map(|(_, fields)| fields).map_err(|_| short)
}
