//! The table of commands, with their static properties.
//!
//! A new command needs a row here, a variant of [`Cdb`] and a decoder. The index by operation code is computed from the
//! rows at compile time.

use super::persist::{PersistIn, PersistOut};
use super::{Cdb, CdbError, ReportingOptions, sbc, spc};

/// A row of the table, for lookup and for REPORT SUPPORTED OPERATION CODES.
#[derive(Debug)]
pub struct Command {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, for operation codes that have service actions.
    pub service_action: Option<u16>,
    /// Name of the command in the standard.
    pub name: &'static str,
    /// CDB USAGE DATA (SPC-4 6.35.3), with the length of the CDB: operation code and service action, 1 for each bit that
    /// the device server evaluates, 0 for bits that are ignored or must be 0.
    pub usage: &'static [u8],
    /// How reservations of other nexuses restrict the command.
    pub reservation: ReservationClass,
    /// Direction of its data.
    pub data: DataDirection,
    decode: fn(&[u8]) -> Result<Cdb, CdbError>,
}

/// How reservations restrict a command (SPC-2 5.5.1, SPC-4 5.13.1, SBC-3 4.17).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReservationClass {
    /// Permitted under every reservation: INQUIRY, REPORT LUNS, REQUEST SENSE, RELEASE.
    Always,
    /// Forbidden by RESERVE (6), permitted under every persistent reservation: TEST UNIT READY, READ CAPACITY. PERSISTENT
    /// RESERVE OUT has rules of its own.
    Allowed,
    /// A read: forbidden by RESERVE (6) and by persistent reservations of an exclusive access type.
    Read,
    /// A write, or a change of the unit: forbidden by every reservation.
    Write,
}

/// Direction of the data of a command, seen from the initiator.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum DataDirection {
    /// No data.
    None,
    /// To the initiator.
    In,
    /// To the device. Some fields select that there is none (BYTCHK, NDOB, a length of 0).
    Out,
}

impl Command {
    /// Decodes a CDB of this command: checks length and control byte, then reads the fields.
    ///
    /// # Errors
    /// [`CdbError::InvalidField`], also if the CDB is too short.
    #[inline]
    pub fn decode(&self, cdb: &[u8]) -> Result<Cdb, CdbError> {
        (self.decode)(cdb)
    }

    /// The class of a CDB. It is [`Self::reservation`], except for START STOP UNIT with START and PREVENT ALLOW MEDIUM
    /// REMOVAL that allows, which are restricted less.
    #[must_use]
    pub const fn reservation_of(&self, cdb: &Cdb) -> ReservationClass {
        match cdb {
            Cdb::StartStopUnit { start: true, power_condition: 0, load_eject: false, .. } => {
                ReservationClass::Allowed
            }
            Cdb::PreventAllow(false) => ReservationClass::Always,
            _ => self.reservation,
        }
    }
}

/// Looks up the row of a CDB by its operation code and service action.
///
/// # Errors
/// [`CdbError::UnknownOpcode`]; [`CdbError::InvalidField`] for an unknown service action or an empty CDB.
#[inline]
pub fn lookup(cdb: &[u8]) -> Result<&'static Command, CdbError> {
    let Some(&opcode) = cdb.first() else {
        return Err(CdbError::InvalidField { byte: 0, bit: None });
    };
    match INDEX[usize::from(opcode)] {
        Entry::Unknown => Err(CdbError::UnknownOpcode(opcode)),
        Entry::Row(row) => Ok(&COMMANDS[usize::from(row)]),
        Entry::ServiceActions(rows) => {
            let Some(&byte) = cdb.get(1) else {
                return Err(CdbError::InvalidField { byte: 1, bit: None });
            };
            match SERVICE_ACTIONS[usize::from(rows)][usize::from(byte & 0x1f)] {
                NO_ROW => Err(CdbError::InvalidField { byte: 1, bit: Some(4) }),
                row => Ok(&COMMANDS[usize::from(row)]),
            }
        }
    }
}

/// Looks up the command of REPORT SUPPORTED OPERATION CODES (SPC-4 6.35.1). `None` if it is not supported, and for
/// [`ReportingOptions::All`].
///
/// # Errors
/// [`CdbError::InvalidField`] if the option requires service actions that the operation code does not have, or the
/// reverse.
pub fn find(options: ReportingOptions) -> Result<Option<&'static Command>, CdbError> {
    let refused = Err(CdbError::InvalidField { byte: 2, bit: Some(2) });
    let (opcode, service_action) = match options {
        ReportingOptions::All => return Ok(None),
        ReportingOptions::One(opcode) => (opcode, 0),
        ReportingOptions::OneServiceAction(opcode, action) | ReportingOptions::OneAny(opcode, action) => {
            (opcode, action)
        }
    };
    match (INDEX[usize::from(opcode)], options) {
        (Entry::ServiceActions(_), ReportingOptions::One(_)) => refused,
        (Entry::Row(_), ReportingOptions::OneServiceAction(..)) => refused,
        (Entry::Row(row), ReportingOptions::One(_)) => Ok(Some(&COMMANDS[usize::from(row)])),
        // 011b: a command without service actions is reported only for service action 0.
        (Entry::Row(row), _) => Ok((service_action == 0).then_some(&COMMANDS[usize::from(row)])),
        (Entry::ServiceActions(rows), _) => Ok(SERVICE_ACTIONS[usize::from(rows)]
            .get(usize::from(service_action))
            .filter(|row| **row != NO_ROW)
            .map(|row| &COMMANDS[usize::from(*row)])),
        (Entry::Unknown, _) => Ok(None),
    }
}

#[derive(Clone, Copy)]
enum Entry {
    Unknown,
    Row(u8),
    /// An index into [`SERVICE_ACTIONS`].
    ServiceActions(u8),
}

const NO_ROW: u8 = 0xff;

static INDEX: [Entry; 256] = index().0;
static SERVICE_ACTIONS: [[u8; 32]; SERVICE_ACTION_OPCODES] = index().1;
/// Number of operation codes with service actions.
const SERVICE_ACTION_OPCODES: usize = 4;

const fn index() -> ([Entry; 256], [[u8; 32]; SERVICE_ACTION_OPCODES]) {
    let mut opcodes = [Entry::Unknown; 256];
    let mut actions = [[NO_ROW; 32]; SERVICE_ACTION_OPCODES];
    let mut used = 0;
    let mut row = 0;
    while row < COMMANDS.len() {
        let command = &COMMANDS[row];
        let entry = &mut opcodes[command.opcode as usize];
        match (command.service_action, *entry) {
            (None, Entry::Unknown) => *entry = Entry::Row(row as u8),
            (Some(action), Entry::Unknown) => {
                *entry = Entry::ServiceActions(used as u8);
                actions[used][action as usize] = row as u8;
                used += 1;
            }
            (Some(action), Entry::ServiceActions(rows)) => {
                actions[rows as usize][action as usize] = row as u8
            }
            _ => panic!("two rows of one command"),
        }
        row += 1;
    }
    assert!(COMMANDS.len() < NO_ROW as usize && used == SERVICE_ACTION_OPCODES);
    (opcodes, actions)
}

/// Checks the length and the control byte of a CDB, then reads the fields.
///
/// NACA is refused, because auto contingent allegiance is not supported (SAM-5 5.2).
#[inline(always)]
fn of_len<const N: usize>(
    cdb: &[u8],
    fields: impl Fn(&[u8; N]) -> Result<Cdb, CdbError>,
) -> Result<Cdb, CdbError> {
    match cdb.first_chunk::<N>() {
        Some(cdb) if cdb[N - 1] & 0x04 == 0 => fields(cdb),
        Some(_) => Err(CdbError::InvalidField { byte: N as u16 - 1, bit: Some(2) }),
        None => Err(CdbError::InvalidField { byte: cdb.len() as u16, bit: None }),
    }
}

/// Declares a row: operation code, name, classes, usage data and decoder.
macro_rules! row {
    ($opcode:literal $(/ $action:literal)?, $name:literal, $class:ident, $data:ident, [$($usage:expr),* $(,)?], $fields:expr) => {
        Command {
            opcode: $opcode,
            service_action: row!(@action $($action)?),
            name: $name,
            usage: &[$opcode, $($usage),*],
            reservation: ReservationClass::$class,
            data: DataDirection::$data,
            decode: |cdb| of_len::<{ [$opcode, $($usage),*].len() }>(cdb, $fields),
        }
    };
    (@action) => { None };
    (@action $action:literal) => { Some($action) };
}

/// All commands, ordered by operation code and service action.
#[rustfmt::skip]
pub static COMMANDS: &[Command] = ROWS;

#[rustfmt::skip]
const ROWS: &[Command] = &[
    row!(0x00, "TEST UNIT READY",              Allowed, None, [0, 0, 0, 0, 0],                                     |_| Ok(Cdb::TestUnitReady)),
    row!(0x03, "REQUEST SENSE",                Always,  In,   [1, 0, 0, 0xff, 0],                                  spc::request_sense),
    row!(0x08, "READ(6)",                      Read,    In,   [0x1f, 0xff, 0xff, 0xff, 0],                         sbc::read_6),
    row!(0x0a, "WRITE(6)",                     Write,   Out,  [0x1f, 0xff, 0xff, 0xff, 0],                         sbc::write_6),
    row!(0x12, "INQUIRY",                      Always,  In,   [1, 0xff, 0xff, 0xff, 0],                            spc::inquiry),
    row!(0x15, "MODE SELECT(6)",               Write,   Out,  [0x11, 0, 0, 0xff, 0],                               spc::mode_select_6),
    row!(0x16, "RESERVE(6)",                   Write,   None, [0, 0, 0, 0, 0],                                     spc::reserve_6),
    row!(0x17, "RELEASE(6)",                   Always,  None, [0, 0, 0, 0, 0],                                     spc::release_6),
    row!(0x1a, "MODE SENSE(6)",                Read,    In,   [8, 0xff, 0xff, 0xff, 0],                            spc::mode_sense_6),
    row!(0x1b, "START STOP UNIT",              Write,   None, [1, 0, 0, 0xf7, 0],                                  sbc::start_stop_unit),
    row!(0x1d, "SEND DIAGNOSTIC",              Write,   Out,  [0x04, 0, 0xff, 0xff, 0],                            spc::send_diagnostic),
    row!(0x1e, "PREVENT ALLOW MEDIUM REMOVAL", Write,   None, [0, 0, 0, 3, 0],                                     sbc::prevent_allow),
    row!(0x25, "READ CAPACITY(10)",            Allowed, In,   [0, 0, 0, 0, 0, 0, 0, 0, 0],                         |_| Ok(Cdb::ReadCapacity10)),
    row!(0x28, "READ(10)",                     Read,    In,   [0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],    sbc::read_10),
    row!(0x2a, "WRITE(10)",                    Write,   Out,  [0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],    sbc::write_10),
    row!(0x2e, "WRITE AND VERIFY(10)",         Write,   Out,  [0x12, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],    sbc::write_and_verify_10),
    row!(0x2f, "VERIFY(10)",                   Read,    Out,  [0x16, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],    sbc::verify_10),
    row!(0x34, "PRE-FETCH(10)",                Read,    None, [2, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],       sbc::pre_fetch_10),
    row!(0x35, "SYNCHRONIZE CACHE(10)",        Write,   None, [2, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],       sbc::synchronize_cache_10),
    row!(0x41, "WRITE SAME(10)",               Write,   Out,  [0x18, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, 0],    sbc::write_same_10),
    row!(0x42, "UNMAP",                        Write,   Out,  [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0],                   sbc::unmap),
    row!(0x55, "MODE SELECT(10)",              Write,   Out,  [0x11, 0, 0, 0, 0, 0, 0xff, 0xff, 0],                spc::mode_select_10),
    row!(0x5a, "MODE SENSE(10)",               Read,    In,   [0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, 0],          spc::mode_sense_10),
    row!(0x5e/0x00, "PERSISTENT RESERVE IN, READ KEYS", Allowed, In, [0, 0, 0, 0, 0, 0, 0xff, 0xff, 0], |cdb| spc::persistent_in(PersistIn::ReadKeys, cdb)),
    row!(0x5e/0x01, "PERSISTENT RESERVE IN, READ RESERVATION", Allowed, In, [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0], |cdb| spc::persistent_in(PersistIn::ReadReservation, cdb)),
    row!(0x5e/0x02, "PERSISTENT RESERVE IN, REPORT CAPABILITIES", Allowed, In, [2, 0, 0, 0, 0, 0, 0xff, 0xff, 0], |cdb| spc::persistent_in(PersistIn::ReportCapabilities, cdb)),
    row!(0x5e/0x03, "PERSISTENT RESERVE IN, READ FULL STATUS", Allowed, In, [3, 0, 0, 0, 0, 0, 0xff, 0xff, 0], |cdb| spc::persistent_in(PersistIn::ReadFullStatus, cdb)),
    row!(0x5f/0x00, "PERSISTENT RESERVE OUT, REGISTER", Allowed, Out, [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(|_| PersistOut::Register, cdb)),
    row!(0x5f/0x01, "PERSISTENT RESERVE OUT, RESERVE", Allowed, Out, [1, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(PersistOut::Reserve, cdb)),
    row!(0x5f/0x02, "PERSISTENT RESERVE OUT, RELEASE", Allowed, Out, [2, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(PersistOut::Release, cdb)),
    row!(0x5f/0x03, "PERSISTENT RESERVE OUT, CLEAR", Allowed, Out, [3, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(|_| PersistOut::Clear, cdb)),
    row!(0x5f/0x04, "PERSISTENT RESERVE OUT, PREEMPT", Allowed, Out, [4, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(PersistOut::Preempt, cdb)),
    row!(0x5f/0x05, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT", Allowed, Out, [5, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(PersistOut::PreemptAndAbort, cdb)),
    row!(0x5f/0x06, "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", Allowed, Out, [6, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(|_| PersistOut::RegisterAndIgnore, cdb)),
    row!(0x5f/0x07, "PERSISTENT RESERVE OUT, REGISTER AND MOVE", Allowed, Out, [7, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0], |cdb| spc::persistent_out(|_| PersistOut::RegisterAndMove, cdb)),
    row!(0x88, "READ(16)",                     Read,    In,   [0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::read_16),
    row!(0x8a, "WRITE(16)",                    Write,   Out,  [0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::write_16),
    row!(0x8e, "WRITE AND VERIFY(16)",         Write,   Out,  [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::write_and_verify_16),
    row!(0x8f, "VERIFY(16)",                   Read,    Out,  [0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::verify_16),
    row!(0x90, "PRE-FETCH(16)",                Read,    None, [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],    sbc::pre_fetch_16),
    row!(0x91, "SYNCHRONIZE CACHE(16)",        Write,   None, [2, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],    sbc::synchronize_cache_16),
    row!(0x93, "WRITE SAME(16)",               Write,   Out,  [0x19, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::write_same_16),
    row!(0x9e/0x10, "READ CAPACITY(16)",       Allowed, In,   [0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],                          sbc::read_capacity_16),
    row!(0x9e/0x12, "GET LBA STATUS",          Read,    In,   [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::get_lba_status),
    row!(0xa0, "REPORT LUNS",                  Always,  In,   [0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0],    spc::report_luns),
    row!(0xa3/0x0c, "REPORT SUPPORTED OPERATION CODES", Read, In, [0x0c, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], spc::report_supported_opcodes),
    row!(0xa3/0x0d, "REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", Read, In, [0x0d, 0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0], spc::report_supported_task_management),
    row!(0xa8, "READ(12)",                     Read,    In,   [0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::read_12),
    row!(0xaa, "WRITE(12)",                    Write,   Out,  [0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::write_12),
    row!(0xae, "WRITE AND VERIFY(12)",         Write,   Out,  [0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::write_and_verify_12),
    row!(0xaf, "VERIFY(12)",                   Read,    Out,  [0x16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0], sbc::verify_12),
];
