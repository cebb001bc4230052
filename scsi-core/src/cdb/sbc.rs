//! Decoders for CDBs of direct-access block devices (SBC-3 5).
//!
//! READ and WRITE are decoded for every I/O, so they take fixed arrays: one load per field and one branch for refusals.

use super::{ByteCheck, Cdb, CdbError, Extent};

type Decoded = Result<Cdb, CdbError>;

pub(super) fn read_6(cdb: &[u8; 6]) -> Decoded {
    Ok(Cdb::Read(extent_6(cdb)))
}

pub(super) fn write_6(cdb: &[u8; 6]) -> Decoded {
    Ok(Cdb::Write(extent_6(cdb)))
}

/// Declares the decoders of READ, WRITE, WRITE AND VERIFY and VERIFY for one CDB length.
macro_rules! of_length {
    ($len:literal, $extent:ident: $read:ident, $write:ident, $write_and_verify:ident, $verify:ident) => {
        pub(super) fn $read(cdb: &[u8; $len]) -> Decoded {
            unprotected(cdb[1])?;
            Ok(Cdb::Read($extent(cdb)))
        }

        pub(super) fn $write(cdb: &[u8; $len]) -> Decoded {
            unprotected(cdb[1])?;
            Ok(Cdb::Write($extent(cdb)))
        }

        pub(super) fn $write_and_verify(cdb: &[u8; $len]) -> Decoded {
            unprotected(cdb[1])?;
            write_and_verify(cdb[1], $extent(cdb))
        }

        pub(super) fn $verify(cdb: &[u8; $len]) -> Decoded {
            unprotected(cdb[1])?;
            verify(cdb[1], $extent(cdb))
        }
    };
}

of_length!(10, extent_10: read_10, write_10, write_and_verify_10, verify_10);
of_length!(12, extent_12: read_12, write_12, write_and_verify_12, verify_12);
of_length!(16, extent_16: read_16, write_16, write_and_verify_16, verify_16);

pub(super) fn pre_fetch_10(cdb: &[u8; 10]) -> Decoded {
    Ok(pre_fetch(cdb[1], extent_10(cdb)))
}

pub(super) fn pre_fetch_16(cdb: &[u8; 16]) -> Decoded {
    Ok(pre_fetch(cdb[1], extent_16(cdb)))
}

pub(super) fn synchronize_cache_10(cdb: &[u8; 10]) -> Decoded {
    Ok(synchronize_cache(cdb[1], extent_10(cdb)))
}

pub(super) fn synchronize_cache_16(cdb: &[u8; 16]) -> Decoded {
    Ok(synchronize_cache(cdb[1], extent_16(cdb)))
}

/// WRITE SAME (10) has no NDOB (SBC-3 5.41).
pub(super) fn write_same_10(cdb: &[u8; 10]) -> Decoded {
    write_same(cdb[1] & !0x01, extent_10(cdb))
}

pub(super) fn write_same_16(cdb: &[u8; 16]) -> Decoded {
    write_same(cdb[1], extent_16(cdb))
}

/// UNMAP (SBC-3 5.28).
pub(super) fn unmap(cdb: &[u8; 10]) -> Decoded {
    let parameter_len = u16::from_be_bytes([cdb[7], cdb[8]]).into();
    Ok(Cdb::Unmap { anchor: cdb[1] & 0x01 != 0, parameter_len })
}

/// READ CAPACITY (16) (SBC-3 5.17); the LBA and PMI are obsolete.
pub(super) fn read_capacity_16(cdb: &[u8; 16]) -> Decoded {
    Ok(Cdb::ReadCapacity16 { allocation_len: extent_16(cdb).blocks })
}

/// GET LBA STATUS (SBC-3 5.4).
pub(super) fn get_lba_status(cdb: &[u8; 16]) -> Decoded {
    let Extent { lba, blocks: allocation_len, .. } = extent_16(cdb);
    Ok(Cdb::GetLbaStatus { lba, allocation_len })
}

/// START STOP UNIT (SBC-3 5.25).
pub(super) fn start_stop_unit(cdb: &[u8; 6]) -> Decoded {
    Ok(Cdb::StartStopUnit {
        immediate: cdb[1] & 0x01 != 0,
        power_condition: cdb[4] >> 4,
        no_flush: cdb[4] & 0x04 != 0,
        load_eject: cdb[4] & 0x02 != 0,
        start: cdb[4] & 0x01 != 0,
    })
}

/// PREVENT ALLOW MEDIUM REMOVAL (SBC-3 5.15); 10b and 11b are obsolete and refused.
pub(super) fn prevent_allow(cdb: &[u8; 6]) -> Decoded {
    match cdb[4] & 0x03 {
        0 => Ok(Cdb::PreventAllow(false)),
        1 => Ok(Cdb::PreventAllow(true)),
        _ => Err(CdbError::InvalidField { byte: 4, bit: Some(1) }),
    }
}

/// Refuses RDPROTECT, WRPROTECT and VRPROTECT, as the unit has no protection information (SBC-3 4.21).
#[inline(always)]
const fn unprotected(flags: u8) -> Result<(), CdbError> {
    if flags & 0xe0 == 0 { Ok(()) } else { Err(CdbError::InvalidField { byte: 1, bit: Some(7) }) }
}

/// Refuses the second bit that BYTCHK has in SBC-4.
fn write_and_verify(flags: u8, extent: Extent) -> Decoded {
    if flags & 0x04 != 0 {
        return Err(CdbError::InvalidField { byte: 1, bit: Some(2) });
    }
    Ok(Cdb::WriteAndVerify { extent: without_fua(extent), byte_check: flags & 0x02 != 0 })
}

fn verify(flags: u8, extent: Extent) -> Decoded {
    let byte_check = match flags >> 1 & 0x03 {
        0 => ByteCheck::MediumOnly,
        1 => ByteCheck::Every,
        3 => ByteCheck::One,
        _ => return Err(CdbError::InvalidField { byte: 1, bit: Some(2) }),
    };
    Ok(Cdb::Verify { extent: without_fua(extent), byte_check })
}

fn pre_fetch(flags: u8, extent: Extent) -> Cdb {
    Cdb::PreFetch { extent: plain(extent), immediate: flags & 0x02 != 0 }
}

fn synchronize_cache(flags: u8, extent: Extent) -> Cdb {
    Cdb::SynchronizeCache { extent: plain(extent), immediate: flags & 0x02 != 0 }
}

/// Refuses ANCHOR without UNMAP (SBC-3 5.41).
fn write_same(flags: u8, extent: Extent) -> Decoded {
    unprotected(flags)?;
    let (anchor, unmap) = (flags & 0x10 != 0, flags & 0x08 != 0);
    if anchor && !unmap {
        return Err(CdbError::InvalidField { byte: 1, bit: Some(4) });
    }
    Ok(Cdb::WriteSame { extent: plain(extent), anchor, unmap, no_data_out: flags & 0x01 != 0 })
}

/// Ignores FUA, for commands in which bit 3 is reserved.
fn without_fua(extent: Extent) -> Extent {
    Extent { fua: false, ..extent }
}

/// Ignores FUA and DPO, for commands in which bits 3 and 4 have another meaning.
fn plain(extent: Extent) -> Extent {
    Extent { fua: false, dpo: false, ..extent }
}

/// The extent of a 6-byte CDB; TRANSFER LENGTH 0 is 256 blocks (SBC-3 5.10).
fn extent_6(cdb: &[u8; 6]) -> Extent {
    let lba = u32::from_be_bytes([0, cdb[1] & 0x1f, cdb[2], cdb[3]]).into();
    let blocks = if cdb[4] == 0 { 256 } else { cdb[4].into() };
    Extent { lba, blocks, fua: false, dpo: false }
}

#[inline(always)]
fn extent_10(cdb: &[u8; 10]) -> Extent {
    let lba = u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]).into();
    extent(cdb[1], lba, u16::from_be_bytes([cdb[7], cdb[8]]).into())
}

#[inline(always)]
fn extent_12(cdb: &[u8; 12]) -> Extent {
    let lba = u32::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5]]).into();
    extent(cdb[1], lba, u32::from_be_bytes([cdb[6], cdb[7], cdb[8], cdb[9]]))
}

#[inline(always)]
fn extent_16(cdb: &[u8; 16]) -> Extent {
    let lba = u64::from_be_bytes([cdb[2], cdb[3], cdb[4], cdb[5], cdb[6], cdb[7], cdb[8], cdb[9]]);
    extent(cdb[1], lba, u32::from_be_bytes([cdb[10], cdb[11], cdb[12], cdb[13]]))
}

#[inline(always)]
const fn extent(flags: u8, lba: u64, blocks: u32) -> Extent {
    Extent { lba, blocks, fua: flags & 0x08 != 0, dpo: flags & 0x10 != 0 }
}
