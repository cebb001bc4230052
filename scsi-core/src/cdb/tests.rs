//! Tests of the table, golden CDBs of every command, and properties of decoders and encoders.

use std::collections::HashSet;

use proptest::prelude::*;

use super::encode::{Width, encode, encode_as};
use super::persist::{PersistIn, PersistOut, ScopeType};
use super::table::{COMMANDS, Command, ReservationClass, find, lookup};
use super::*;

const fn extent(lba: u64, blocks: u32) -> Extent {
    Extent { lba, blocks, fua: false, dpo: false }
}

const fn refused<T>(byte: u16, bit: Option<u8>) -> Result<T, CdbError> {
    Err(CdbError::InvalidField { byte, bit })
}

fn decode_padded(bytes: &[u8]) -> Result<Cdb, CdbError> {
    let mut cdb = [0; 16];
    cdb[..bytes.len()].copy_from_slice(bytes);
    decode(&cdb)
}

#[test]
fn reads_and_writes() {
    let fua = |lba, blocks| Extent { fua: true, ..extent(lba, blocks) };
    let dpo = |lba, blocks| Extent { dpo: true, ..extent(lba, blocks) };
    #[rustfmt::skip]
    let cases: &[(&[u8], Cdb)] = &[
        (&[0x08, 0x1f, 2, 3, 4, 0],                            Cdb::Read(extent(0x1f_0203, 4))),
        (&[0x08, 0xe0, 0, 0, 0, 0],                            Cdb::Read(extent(0, 256))),
        (&[0x0a, 0, 0, 8, 1, 0],                               Cdb::Write(extent(8, 1))),
        (&[0x28, 0, 1, 2, 3, 4, 0, 5, 6, 0],                   Cdb::Read(extent(0x0102_0304, 0x0506))),
        (&[0x28, 0x08, 0, 0, 0, 0, 0xff, 0, 0, 0],             Cdb::Read(fua(0, 0))),
        (&[0x28, 0x10, 0, 0, 0, 0, 0, 0, 1, 0],                Cdb::Read(dpo(0, 1))),
        (&[0x2a, 0x08, 0, 0, 0, 8, 0, 0, 1],                   Cdb::Write(fua(8, 1))),
        (&[0x2a, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff], Cdb::Write(extent(0xffff_ffff, 0xffff))),
        (&[0xa8, 0x18, 1, 2, 3, 4, 5, 6, 7, 8],                Cdb::Read(Extent { dpo: true, ..fua(0x0102_0304, 0x0506_0708) })),
        (&[0xaa, 0, 0, 0, 0, 1, 0, 1, 0, 0],                   Cdb::Write(extent(1, 0x1_0000))),
        (&[0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12],    Cdb::Read(extent(0x0102_0304_0506_0708, 0x090a_0b0c))),
        (&[0x8a, 0x08, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2],    Cdb::Write(fua(1, 2))),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode_padded(bytes), Ok(*expected), "{bytes:02x?}");
    }
}

#[test]
fn other_block_commands() {
    let verify = |extent, byte_check| Cdb::Verify { extent, byte_check };
    let same = |extent, unmap, no_data_out| Cdb::WriteSame { extent, anchor: false, unmap, no_data_out };
    #[rustfmt::skip]
    let cases: &[(&[u8], Cdb)] = &[
        (&[0x2e, 0x02, 0, 0, 0, 1, 0, 0, 2],                Cdb::WriteAndVerify { extent: extent(1, 2), byte_check: true }),
        (&[0xae, 0, 0, 0, 0, 1, 0, 0, 0, 2],                Cdb::WriteAndVerify { extent: extent(1, 2), byte_check: false }),
        (&[0x8e, 0x08, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], Cdb::WriteAndVerify { extent: extent(1, 2), byte_check: false }),
        (&[0x2f, 0x10, 0, 0, 0, 1, 0, 0, 2],                verify(Extent { dpo: true, ..extent(1, 2) }, ByteCheck::MediumOnly)),
        (&[0xaf, 0x02, 0, 0, 0, 1, 0, 0, 0, 2],             verify(extent(1, 2), ByteCheck::Every)),
        (&[0x8f, 0x06, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], verify(extent(1, 2), ByteCheck::One)),
        (&[0x34, 0x02, 0, 0, 0, 1, 0, 0, 2],                Cdb::PreFetch { extent: extent(1, 2), immediate: true }),
        (&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2],    Cdb::PreFetch { extent: extent(1, 2), immediate: false }),
        (&[0x35, 0x04, 0, 0, 0, 1, 0, 0, 2],                Cdb::SynchronizeCache { extent: extent(1, 2), immediate: false }),
        (&[0x91, 0x02, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], Cdb::SynchronizeCache { extent: extent(1, 2), immediate: true }),
        (&[0x41, 0x09, 0, 0, 0, 1, 0, 0, 2],                same(extent(1, 2), true, false)),
        (&[0x93, 0x01, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], same(extent(1, 2), false, true)),
        (&[0x93, 0x18],                                     Cdb::WriteSame { extent: extent(0, 0), anchor: true, unmap: true, no_data_out: false }),
        (&[0x42, 0x01, 0, 0, 0, 0, 0, 1, 8],                Cdb::Unmap { anchor: true, parameter_len: 0x0108 }),
        (&[0x25],                                           Cdb::ReadCapacity10),
        (&[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0], Cdb::ReadCapacity16 { allocation_len: 256 }),
        (&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 24], Cdb::GetLbaStatus { lba: 7, allocation_len: 24 }),
        (&[0x1b, 0x01, 0, 0, 0x36],
         Cdb::StartStopUnit { immediate: true, power_condition: 3, no_flush: true, load_eject: true, start: false }),
        (&[0x1b, 0, 0, 0, 1],
         Cdb::StartStopUnit { immediate: false, power_condition: 0, no_flush: false, load_eject: false, start: true }),
        (&[0x1e, 0, 0, 0, 1],                               Cdb::PreventAllow(true)),
        (&[0x1e],                                           Cdb::PreventAllow(false)),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode_padded(bytes), Ok(*expected), "{bytes:02x?}");
    }
}

#[test]
fn primary_commands() {
    let sense = ModeSense {
        long: true,
        no_block_descriptors: true,
        long_lba: true,
        control: PageControl::Default,
        page: 0x0a,
        subpage: 1,
        allocation_len: 0x0102,
    };
    let short = ModeSense {
        long: false,
        long_lba: false,
        control: PageControl::Saved,
        allocation_len: 0xff,
        ..sense
    };
    let out = |action, parameter_len| Cdb::PersistentReserveOut { action, parameter_len };
    let supported =
        |options| Cdb::ReportSupportedOpcodes { options, timeouts: true, allocation_len: 0x0102_0304 };
    #[rustfmt::skip]
    let cases: &[(&[u8], Cdb)] = &[
        (&[0x00],                               Cdb::TestUnitReady),
        (&[0x03, 0x01, 0, 0, 252],              Cdb::RequestSense { descriptor: true, allocation_len: 252 }),
        (&[0x12, 0, 0, 1, 2],                   Cdb::Inquiry { vpd: None, allocation_len: 0x0102 }),
        (&[0x12, 1, 0x83, 0, 255],              Cdb::Inquiry { vpd: Some(0x83), allocation_len: 255 }),
        (&[0x12, 1, 0, 0, 4],                   Cdb::Inquiry { vpd: Some(0), allocation_len: 4 }),
        (&[0x15, 0x10, 0, 0, 24],               Cdb::ModeSelect { long: false, page_format: true, save: false, parameter_len: 24 }),
        (&[0x55, 0x01, 0, 0, 0, 0, 0, 1, 2],    Cdb::ModeSelect { long: true, page_format: false, save: true, parameter_len: 0x0102 }),
        (&[0x1a, 0x18, 0xca, 1, 255],           Cdb::ModeSense(short)),
        (&[0x5a, 0x18, 0x8a, 1, 0, 0, 0, 1, 2], Cdb::ModeSense(sense)),
        (&[0x16],                               Cdb::Reserve6),
        (&[0x17],                               Cdb::Release6),
        (&[0x5e, 0x00, 0, 0, 0, 0, 0, 1, 2],    Cdb::PersistentReserveIn { action: PersistIn::ReadKeys, allocation_len: 0x0102 }),
        (&[0x5e, 0xe3, 0, 0, 0, 0, 0, 0, 8],    Cdb::PersistentReserveIn { action: PersistIn::ReadFullStatus, allocation_len: 8 }),
        (&[0x5f, 0x00, 0xff, 0, 0, 0, 0, 0, 24], out(PersistOut::Register, 24)),
        (&[0x5f, 0x01, 0x15, 0, 0, 1, 2, 3, 4], out(PersistOut::Reserve(ScopeType(0x15)), 0x0102_0304)),
        (&[0x5f, 0x02, 0x03, 0, 0, 0, 0, 0, 24], out(PersistOut::Release(ScopeType(3)), 24)),
        (&[0x5f, 0x03, 0x03, 0, 0, 0, 0, 0, 24], out(PersistOut::Clear, 24)),
        (&[0x5f, 0x04, 0x08, 0, 0, 0, 0, 0, 24], out(PersistOut::Preempt(ScopeType(8)), 24)),
        (&[0x5f, 0x05, 0x08, 0, 0, 0, 0, 0, 24], out(PersistOut::PreemptAndAbort(ScopeType(8)), 24)),
        (&[0x5f, 0x06, 0x08, 0, 0, 0, 0, 0, 24], out(PersistOut::RegisterAndIgnore, 24)),
        (&[0x5f, 0x07, 0x08, 0, 0, 0, 0, 0, 52], out(PersistOut::RegisterAndMove, 52)),
        (&[0x1d, 0x04],                         Cdb::SendDiagnostic { self_test: true, parameter_len: 0 }),
        (&[0x1d, 0x13, 0, 1, 2],                Cdb::SendDiagnostic { self_test: false, parameter_len: 0x0102 }),
        (&[0xa0, 0, 2, 0, 0, 0, 0, 0, 1, 0],    Cdb::ReportLuns { select: 2, allocation_len: 256 }),
        (&[0xa3, 0x0c, 0x80, 0x9e, 0, 0x10, 1, 2, 3, 4], supported(ReportingOptions::All)),
        (&[0xa3, 0x0c, 0x81, 0x9e, 0, 0x10, 1, 2, 3, 4], supported(ReportingOptions::One(0x9e))),
        (&[0xa3, 0x0c, 0x82, 0x9e, 0, 0x10, 1, 2, 3, 4], supported(ReportingOptions::OneServiceAction(0x9e, 0x10))),
        (&[0xa3, 0x0c, 0x83, 0x9e, 1, 0x10, 1, 2, 3, 4], supported(ReportingOptions::OneAny(0x9e, 0x0110))),
        (&[0xa3, 0x0d, 0x80, 0, 0, 0, 0, 0, 0, 16],
         Cdb::ReportSupportedTaskManagement { extended: true, allocation_len: 16 }),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode_padded(bytes), Ok(*expected), "{bytes:02x?}");
    }
}

#[test]
fn refusal_points_at_the_field() {
    #[rustfmt::skip]
    let cases: &[(&[u8], Result<Cdb, CdbError>)] = &[
        (&[0xff],                       Err(CdbError::UnknownOpcode(0xff))),
        (&[0x9e, 0x11],                 refused(1, Some(4))),
        (&[0xa3, 0x00],                 refused(1, Some(4))),
        (&[0x5e, 0x04],                 refused(1, Some(4))),
        (&[0x5f, 0x08],                 refused(1, Some(4))),
        (&[0x28, 0x20],                 refused(1, Some(7))),
        (&[0x2a, 0x80],                 refused(1, Some(7))),
        (&[0x8f, 0x40],                 refused(1, Some(7))),
        (&[0x93, 0x20],                 refused(1, Some(7))),
        (&[0x2f, 0x04],                 refused(1, Some(2))),
        (&[0x2e, 0x04],                 refused(1, Some(2))),
        (&[0x41, 0x10],                 refused(1, Some(4))),
        (&[0x12, 0, 0x80],              refused(2, None)),
        (&[0x12, 2],                    refused(1, Some(1))),
        (&[0x16, 0x10],                 refused(1, Some(4))),
        (&[0x17, 0x01],                 refused(1, Some(0))),
        (&[0x1d, 0x20],                 refused(1, Some(7))),
        (&[0x1e, 0, 0, 0, 2],           refused(4, Some(1))),
        (&[0xa3, 0x0c, 0x04],           refused(2, Some(2))),
        (&[0x00, 0, 0, 0, 0, 4],        refused(5, Some(2))),
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 0, 4], refused(9, Some(2))),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode_padded(bytes), *expected, "{bytes:02x?}");
    }
    assert_eq!(decode(&[]), refused(0, None));
    assert_eq!(decode(&[0x9e]), refused(1, None));
    assert_eq!(decode(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), refused(9, None));
}

#[test]
fn reserved_and_obsolete_bits_are_ignored() {
    #[rustfmt::skip]
    let cases: &[(&[u8], Cdb)] = &[
        (&[0x00, 0xff, 0xff, 0xff, 0xff, 0xfb],                      Cdb::TestUnitReady),
        (&[0x28, 0x07, 0, 0, 0, 1, 0xff, 0, 1, 0xfb],                Cdb::Read(extent(1, 1))),
        (&[0xaa, 0x07, 0, 0, 0, 1, 0, 0, 0, 1, 0xff, 0xfb],          Cdb::Write(extent(1, 1))),
        (&[0x25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],    Cdb::ReadCapacity10),
        (&[0x12, 0xfc, 0, 0, 36],                                    Cdb::Inquiry { vpd: None, allocation_len: 36 }),
        (&[0x34, 0xfd, 0, 0, 0, 1, 0, 0, 1],                         Cdb::PreFetch { extent: extent(1, 1), immediate: false }),
        (&[0x35, 0xfd, 0, 0, 0, 1, 0, 0, 1],                         Cdb::SynchronizeCache { extent: extent(1, 1), immediate: false }),
        (&[0x9e, 0xf0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 32, 1],      Cdb::ReadCapacity16 { allocation_len: 32 }),
    ];
    for (bytes, expected) in cases {
        assert_eq!(decode_padded(bytes), Ok(*expected), "{bytes:02x?}");
    }
}

fn zeroed(row: &Command) -> Vec<u8> {
    let mut cdb = vec![0; row.usage.len()];
    cdb[0] = row.opcode;
    if let Some(action) = row.service_action {
        cdb[1] = action as u8;
    }
    cdb
}

#[test]
fn lookup_finds_each_row_and_its_decoder_accepts_the_cdb() {
    let mut names = HashSet::new();
    for row in COMMANDS {
        let cdb = zeroed(row);
        assert!(names.insert(row.name), "two rows of {}", row.name);
        assert_eq!(lookup(&cdb).map(|found| found.name), Ok(row.name));
        assert!(row.decode(&cdb).is_ok(), "{}", row.name);
        let front = row.service_action.map_or(row.usage[1], |action| action as u8);
        assert_eq!(row.usage[..2], [row.opcode, front], "{}", row.name);
        let len = match row.opcode >> 5 {
            0 => 6,
            1 | 2 => 10,
            4 => 16,
            _ => 12,
        };
        assert_eq!(row.usage.len(), len, "{}", row.name);
    }
    let known: HashSet<u8> = COMMANDS.iter().map(|row| row.opcode).collect();
    for opcode in 0..=u8::MAX {
        let unknown = decode_padded(&[opcode]) == Err(CdbError::UnknownOpcode(opcode));
        assert_eq!(unknown, !known.contains(&opcode), "{opcode:02x}");
    }
}

/// A bit with usage data 1 can be set; one with 0 is ignored or refused.
#[test]
fn usage_data_matches_the_decoder() {
    // Bits that are valid only with other bits of their field: PREVENT, REPORTING OPTIONS.
    let refused_alone = [("PREVENT ALLOW MEDIUM REMOVAL", 4, 1), ("REPORT SUPPORTED OPERATION CODES", 2, 2)];
    for row in COMMANDS {
        let fixed = if row.service_action.is_some() { 2 } else { 1 };
        let zero = zeroed(row);
        // ANCHOR needs UNMAP, the first bit of BYTCHK needs the second; page code, operation code and service action
        // are evaluated only if other bits request them.
        let mut others = vec![zero.clone(); 4];
        others[1][1] |= 0x08 & row.usage[1];
        others[2][1] |= 0x03 & row.usage[1];
        others[3][2] |= 0x02 & row.usage[2];
        others.retain(|base| decode(base).is_ok());
        for (byte, bit) in (fixed..row.usage.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
            let outcomes: Vec<_> = others
                .iter()
                .map(|base| {
                    let mut cdb = base.clone();
                    cdb[byte] ^= 1 << bit;
                    (decode(base).unwrap(), decode(&cdb))
                })
                .collect();
            let used = outcomes.iter().any(|(base, changed)| changed.is_ok_and(|changed| changed != *base));
            let reported = row.usage[byte] & 1 << bit != 0 && !refused_alone.contains(&(row.name, byte, bit));
            assert_eq!(used, reported, "{} byte {byte} bit {bit}", row.name);
        }
    }
}

#[test]
fn reporting_options_select_one_command() {
    use ReportingOptions::{All, One, OneAny, OneServiceAction};
    #[rustfmt::skip]
    let cases = [
        (All,                            Ok(None)),
        (One(0x28),                      Ok(Some("READ(10)"))),
        (One(0x27),                      Ok(None)),
        (One(0x9e),                      refused(2, Some(2))),
        (OneServiceAction(0x9e, 0x10),   Ok(Some("READ CAPACITY(16)"))),
        (OneServiceAction(0x9e, 0x11),   Ok(None)),
        (OneServiceAction(0x9e, 0x0110), Ok(None)),
        (OneServiceAction(0x28, 0),      refused(2, Some(2))),
        (OneServiceAction(0x27, 0),      Ok(None)),
        (OneAny(0x28, 0),                Ok(Some("READ(10)"))),
        (OneAny(0x28, 1),                Ok(None)),
        (OneAny(0x9e, 0x12),             Ok(Some("GET LBA STATUS"))),
    ];
    for (options, expected) in cases {
        assert_eq!(find(options).map(|row| row.map(|row| row.name)), expected, "{options:?}");
    }
}

#[test]
fn start_and_allow_are_not_writes() {
    #[rustfmt::skip]
    let cases: &[(&[u8], ReservationClass)] = &[
        (&[0x1b, 0, 0, 0, 0x01], ReservationClass::Allowed),
        (&[0x1b, 0, 0, 0, 0x00], ReservationClass::Write),
        (&[0x1b, 0, 0, 0, 0x03], ReservationClass::Write),
        (&[0x1b, 0, 0, 0, 0x11], ReservationClass::Write),
        (&[0x1e, 0, 0, 0, 0x00], ReservationClass::Always),
        (&[0x1e, 0, 0, 0, 0x01], ReservationClass::Write),
        (&[0x28],                ReservationClass::Read),
        (&[0x2a],                ReservationClass::Write),
    ];
    for (bytes, class) in cases {
        let row = lookup(bytes).unwrap();
        let cdb = decode_padded(bytes).unwrap();
        assert_eq!(row.reservation_of(&cdb), *class, "{bytes:02x?}");
    }
}

#[test]
fn encode_selects_the_shortest_width() {
    let read = |lba, blocks| Cdb::Read(extent(lba, blocks));
    assert_eq!(*encode(&read(8, 256)).unwrap(), [0x08, 0, 0, 8, 0, 0]);
    assert_eq!(*encode(&read(8, 257)).unwrap(), [0x28, 0, 0, 0, 0, 8, 0, 1, 1, 0]);
    assert_eq!(encode(&read(8, 0)).unwrap().len(), 10);
    assert_eq!(encode(&read(0x1f_ffff, 1)).unwrap().len(), 6);
    assert_eq!(encode(&read(0x20_0000, 1)).unwrap().len(), 10);
    let stop = |power_condition| Cdb::StartStopUnit {
        immediate: false,
        power_condition,
        no_flush: false,
        load_eject: false,
        start: false,
    };
    assert_eq!(*encode(&stop(15)).unwrap(), [0x1b, 0, 0, 0, 0xf0, 0]);
    assert_eq!(encode(&stop(16)), None);
    assert_eq!(encode(&read(8, 0x1_0000)).unwrap().len(), 12);
    assert_eq!(encode(&read(1 << 32, 1)).unwrap().len(), 16);
    assert_eq!(encode_as(&read(1 << 32, 1), Width::Ten), None);
    assert_eq!(encode_as(&Cdb::TestUnitReady, Width::Ten), None);
    assert_eq!(encode(&Cdb::RequestSense { descriptor: false, allocation_len: 256 }), None);
    let no_data = Cdb::WriteSame { extent: extent(0, 1), anchor: false, unmap: false, no_data_out: true };
    assert_eq!(encode_as(&no_data, Width::Ten), None);
    assert_eq!(encode(&no_data).unwrap().padded()[..2], [0x93, 1]);
}

proptest! {
    /// A CDB that decodes encodes in its own width to a CDB that decodes to the same.
    #[test]
    fn decoded_cdb_can_be_encoded(row in 0..COMMANDS.len(), bytes: [u8; 16]) {
        let row = &COMMANDS[row];
        let mut cdb = bytes;
        for (byte, usage) in cdb.iter_mut().zip(row.usage) {
            *byte &= usage;
        }
        cdb[0] = row.opcode;
        if let Some(action) = row.service_action {
            cdb[1] = action as u8;
        }
        if let Ok(decoded) = decode(&cdb) {
            let width = Width::ALL.into_iter().find(|width| width.bytes() == row.usage.len()).unwrap();
            let built = encode_as(&decoded, width);
            prop_assert!(built.is_some(), "{:?}", decoded);
            prop_assert_eq!(decode(&built.unwrap()), Ok(decoded));
        }
    }

    #[test]
    fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        if let Ok(decoded) = decode(&bytes) {
            let again = encode(&decoded);
            prop_assert!(again.is_some(), "{:?}", decoded);
            prop_assert_eq!(decode(&again.unwrap()), Ok(decoded));
        }
    }

    #[test]
    fn extents_encode_in_every_width_that_holds_them(lba in prop_oneof![0u64..1 << 22, any::<u64>()], blocks in prop_oneof![0u32..1 << 17, any::<u32>()], fua: bool, dpo: bool) {
        let extent = Extent { lba, blocks, fua, dpo };
        for cdb in [Cdb::Read(extent), Cdb::Write(extent)] {
            for width in Width::ALL {
                if let Some(bytes) = encode_as(&cdb, width) {
                    prop_assert_eq!(bytes.len(), width.bytes());
                    prop_assert_eq!(decode(&bytes), Ok(cdb));
                }
            }
            prop_assert!(encode_as(&cdb, Width::Sixteen).is_some());
        }
    }
}
