//! Encodes a [`Cdb`] in a given width, for initiators and tests.

use std::ops::{Deref, DerefMut};

use super::{ByteCheck, Cdb, Extent, ModeSense, PageControl, ReportingOptions};

/// Length of a CDB.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Width {
    /// 6 bytes.
    Six,
    /// 10 bytes.
    Ten,
    /// 12 bytes.
    Twelve,
    /// 16 bytes.
    Sixteen,
}

impl Width {
    /// All lengths, shortest first.
    pub const ALL: [Self; 4] = [Self::Six, Self::Ten, Self::Twelve, Self::Sixteen];

    /// The length in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Six => 6,
            Self::Ten => 10,
            Self::Twelve => 12,
            Self::Sixteen => 16,
        }
    }
}

/// An encoded CDB. The bytes can be changed, to send a CDB that no decoder accepts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CdbBytes {
    bytes: [u8; 16],
    len: usize,
}

impl CdbBytes {
    /// The CDB padded with zeroes to 16 bytes, as iSCSI carries it.
    #[must_use]
    pub const fn padded(&self) -> [u8; 16] {
        self.bytes
    }

    fn new(width: Width, opcode: u8, fields: &[(usize, &[u8])]) -> Self {
        let mut bytes = [0; 16];
        bytes[0] = opcode;
        for (at, field) in fields {
            bytes[*at..][..field.len()].copy_from_slice(field);
        }
        Self { bytes, len: width.bytes() }
    }
}

impl Deref for CdbBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for CdbBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

/// Encodes the shortest form that holds all values; `None` if there is none.
#[must_use]
pub fn encode(cdb: &Cdb) -> Option<CdbBytes> {
    Width::ALL.into_iter().find_map(|width| encode_as(cdb, width))
}

/// Encodes the form of one width; `None` if the command has no such form or a value does not fit.
#[must_use]
pub fn encode_as(cdb: &Cdb, width: Width) -> Option<CdbBytes> {
    if let Some((opcodes, flags, extent)) = with_extent(cdb) {
        return block_range(opcodes, width, flags, extent);
    }
    let bytes = match *cdb {
        Cdb::ReadCapacity10 => CdbBytes::new(Width::Ten, 0x25, &[]),
        Cdb::ReadCapacity16 { allocation_len } => service_action_in(0x10, 0, allocation_len),
        Cdb::GetLbaStatus { lba, allocation_len } => service_action_in(0x12, lba, allocation_len),
        Cdb::Unmap { anchor, parameter_len } => {
            let len = u16::try_from(parameter_len).ok()?.to_be_bytes();
            CdbBytes::new(Width::Ten, 0x42, &[(1, &[anchor.into()]), (7, &len)])
        }
        Cdb::StartStopUnit { immediate, power_condition, no_flush, load_eject, start }
            if power_condition < 16 =>
        {
            let flags = u8::from(no_flush) << 2 | u8::from(load_eject) << 1 | u8::from(start);
            CdbBytes::new(Width::Six, 0x1b, &[(1, &[immediate.into()]), (4, &[power_condition << 4 | flags])])
        }
        Cdb::PreventAllow(prevent) => CdbBytes::new(Width::Six, 0x1e, &[(4, &[prevent.into()])]),
        ref other => primary(other)?,
    };
    (bytes.len == width.bytes()).then_some(bytes)
}

/// Encodes commands of SPC, which have one width each.
fn primary(cdb: &Cdb) -> Option<CdbBytes> {
    Some(match *cdb {
        Cdb::TestUnitReady => CdbBytes::new(Width::Six, 0x00, &[]),
        Cdb::Reserve6 => CdbBytes::new(Width::Six, 0x16, &[]),
        Cdb::Release6 => CdbBytes::new(Width::Six, 0x17, &[]),
        Cdb::RequestSense { descriptor, allocation_len } => {
            let len = u8::try_from(allocation_len).ok()?;
            CdbBytes::new(Width::Six, 0x03, &[(1, &[descriptor.into()]), (4, &[len])])
        }
        Cdb::Inquiry { vpd, allocation_len } => {
            let [high, low] = u16::try_from(allocation_len).ok()?.to_be_bytes();
            CdbBytes::new(Width::Six, 0x12, &[(1, &[vpd.is_some().into(), vpd.unwrap_or(0), high, low])])
        }
        Cdb::SendDiagnostic { self_test, parameter_len } => {
            let len = u16::try_from(parameter_len).ok()?.to_be_bytes();
            CdbBytes::new(Width::Six, 0x1d, &[(1, &[u8::from(self_test) << 2]), (3, &len)])
        }
        Cdb::ModeSelect { long, page_format, save, parameter_len } => {
            let flags = u8::from(page_format) << 4 | u8::from(save);
            mode(long, [0x15, 0x55], [flags, 0, 0], parameter_len)?
        }
        Cdb::ModeSense(sense) => mode_sense(sense)?,
        Cdb::ReportLuns { select, allocation_len } => {
            CdbBytes::new(Width::Twelve, 0xa0, &[(2, &[select]), (6, &allocation_len.to_be_bytes())])
        }
        Cdb::ReportSupportedOpcodes { options, timeouts, allocation_len } => {
            let (option, opcode, action) = match options {
                ReportingOptions::All => (0, 0, 0),
                ReportingOptions::One(opcode) => (1, opcode, 0),
                ReportingOptions::OneServiceAction(opcode, action) => (2, opcode, action),
                ReportingOptions::OneAny(opcode, action) => (3, opcode, action),
            };
            let [high, low] = action.to_be_bytes();
            let fields = [0x0c, u8::from(timeouts) << 7 | option, opcode, high, low];
            CdbBytes::new(Width::Twelve, 0xa3, &[(1, &fields), (6, &allocation_len.to_be_bytes())])
        }
        Cdb::ReportSupportedTaskManagement { extended, allocation_len } => {
            let fields = [0x0d, u8::from(extended) << 7];
            CdbBytes::new(Width::Twelve, 0xa3, &[(1, &fields), (6, &allocation_len.to_be_bytes())])
        }
        Cdb::PersistentReserveIn { action, allocation_len } => {
            let len = u16::try_from(allocation_len).ok()?.to_be_bytes();
            CdbBytes::new(Width::Ten, 0x5e, &[(1, &[action as u8]), (7, &len)])
        }
        Cdb::PersistentReserveOut { action, parameter_len } => {
            let fields: [(usize, &[u8]); 2] = [(1, &action.to_bytes()), (5, &parameter_len.to_be_bytes())];
            CdbBytes::new(Width::Ten, 0x5f, &fields)
        }
        _ => return None,
    })
}

fn mode_sense(sense: ModeSense) -> Option<CdbBytes> {
    if sense.page > 0x3f || sense.long_lba && !sense.long {
        return None;
    }
    let control = match sense.control {
        PageControl::Current => 0,
        PageControl::Changeable => 1,
        PageControl::Default => 2,
        PageControl::Saved => 3,
    };
    let flags = u8::from(sense.long_lba) << 4 | u8::from(sense.no_block_descriptors) << 3;
    mode(sense.long, [0x1a, 0x5a], [flags, control << 6 | sense.page, sense.subpage], sense.allocation_len)
}

/// Encodes MODE SENSE or MODE SELECT; the length is at byte 4 or bytes 7 and 8.
fn mode(long: bool, [six, ten]: [u8; 2], fields: [u8; 3], len: u32) -> Option<CdbBytes> {
    if long {
        let len = u16::try_from(len).ok()?.to_be_bytes();
        return Some(CdbBytes::new(Width::Ten, ten, &[(1, &fields), (7, &len)]));
    }
    let len = u8::try_from(len).ok()?;
    Some(CdbBytes::new(Width::Six, six, &[(1, &fields), (4, &[len])]))
}

fn service_action_in(action: u8, lba: u64, allocation_len: u32) -> CdbBytes {
    let fields: [(usize, &[u8]); 3] =
        [(1, &[action]), (2, &lba.to_be_bytes()), (10, &allocation_len.to_be_bytes())];
    CdbBytes::new(Width::Sixteen, 0x9e, &fields)
}

/// Operation codes of the four widths; 0 if there is none.
type Opcodes = [u8; 4];

/// For commands on a range of blocks: operation codes, byte 1 without DPO and FUA, and the range.
fn with_extent(cdb: &Cdb) -> Option<(Opcodes, u8, Extent)> {
    Some(match *cdb {
        Cdb::Read(extent) => ([0x08, 0x28, 0xa8, 0x88], 0, extent),
        Cdb::Write(extent) => ([0x0a, 0x2a, 0xaa, 0x8a], 0, extent),
        Cdb::WriteAndVerify { extent, byte_check } if !extent.fua => {
            ([0, 0x2e, 0xae, 0x8e], u8::from(byte_check) << 1, extent)
        }
        Cdb::Verify { extent, byte_check } if !extent.fua => {
            let bits = match byte_check {
                ByteCheck::MediumOnly => 0,
                ByteCheck::Every => 1,
                ByteCheck::One => 3,
            };
            ([0, 0x2f, 0xaf, 0x8f], bits << 1, extent)
        }
        Cdb::PreFetch { extent, immediate } if is_plain(extent) => {
            ([0, 0x34, 0, 0x90], u8::from(immediate) << 1, extent)
        }
        Cdb::SynchronizeCache { extent, immediate } if is_plain(extent) => {
            ([0, 0x35, 0, 0x91], u8::from(immediate) << 1, extent)
        }
        Cdb::WriteSame { extent, anchor, unmap, no_data_out } if is_plain(extent) => {
            let flags = u8::from(anchor) << 4 | u8::from(unmap) << 3 | u8::from(no_data_out);
            ([0, if no_data_out { 0 } else { 0x41 }, 0, 0x93], flags, extent)
        }
        _ => return None,
    })
}

const fn is_plain(extent: Extent) -> bool {
    !extent.fua && !extent.dpo
}

fn block_range(opcodes: Opcodes, width: Width, flags: u8, extent: Extent) -> Option<CdbBytes> {
    let opcode = opcodes[width as usize];
    if opcode == 0 {
        return None;
    }
    let flags = [flags | u8::from(extent.dpo) << 4 | u8::from(extent.fua) << 3];
    let (lba, blocks) = (extent.lba.to_be_bytes(), extent.blocks.to_be_bytes());
    let short_lba = u32::try_from(extent.lba).map(u32::to_be_bytes);
    Some(match width {
        Width::Six => {
            let fits = extent.lba < 1 << 21 && (1..=256).contains(&extent.blocks) && is_plain(extent);
            fits.then(|| CdbBytes::new(width, opcode, &[(1, &lba[5..]), (4, &blocks[3..])]))?
        }
        Width::Ten => {
            let blocks = u16::try_from(extent.blocks).ok()?.to_be_bytes();
            CdbBytes::new(width, opcode, &[(1, &flags), (2, &short_lba.ok()?), (7, &blocks)])
        }
        Width::Twelve => CdbBytes::new(width, opcode, &[(1, &flags), (2, &short_lba.ok()?), (6, &blocks)]),
        Width::Sixteen => CdbBytes::new(width, opcode, &[(1, &flags), (2, &lba), (10, &blocks)]),
    })
}
