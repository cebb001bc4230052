//! Tests of commands on the medium: CDB, steps and result of each.

use super::super::bench::*;
use super::super::unit::UnitConfig;
use crate::device::Step;
use crate::page::lba_status::{self, LbaStatus, Provisioning};
use crate::page::unmap::{UnmapDescriptor, encode};
use crate::store::{Capabilities, IoError};

type Row<'a> = (&'a [u8], usize, Verdict, Vec<Step>);

/// Runs each row on a new bench; the data-out has the length of the row and consists of AAh.
fn rows(make: impl Fn() -> Bench, rows: &[Row<'_>]) {
    for (cdb, data_len, expected, steps) in rows {
        let mut bench = make();
        let outcome = bench.run(cdb, &vec![0xaa; *data_len]);
        assert_eq!(verdict(&outcome), *expected, "{cdb:02x?}");
        assert_eq!(bench.steps, *steps, "{cdb:02x?}");
    }
}

fn disk() -> Bench {
    Bench::disk(|_| {}, FILE)
}

fn thin() -> Bench {
    Bench::disk(|config| config.thin_provisioning = true, FILE)
}

const fn read(block: u64, blocks: u64) -> Step {
    Step::Read { offset: block * 512, len: blocks * 512 }
}

const fn write(block: u64, blocks: u64, fua: bool) -> Step {
    Step::Write { offset: block * 512, len: blocks * 512, fua }
}

const fn probe(block: u64, blocks: u64) -> Step {
    Step::Probe { offset: block * 512, len: blocks * 512 }
}

const fn compare(block: u64, blocks: u64, repeat: Option<u32>) -> Step {
    Step::Compare { offset: block * 512, len: blocks * 512, repeat }
}

const fn fill(block: u64, blocks: u64, fua: bool) -> Step {
    Step::Fill { offset: block * 512, len: blocks * 512, pattern_len: 512, fua }
}

const fn zero(block: u64, blocks: u64, may_unmap: bool) -> Step {
    Step::WriteZeroes { offset: block * 512, len: blocks * 512, may_unmap }
}

const fn discard(block: u64, blocks: u64) -> Step {
    Step::Discard { offset: block * 512, len: blocks * 512 }
}

#[test]
fn read_10() {
    #[rustfmt::skip]
    rows(disk, &[
        (&[0x28, 0, 0, 0, 0, 8,  0, 0, 2, 0],             0, GOOD,         vec![read(8, 2)]),
        (&[0x28, 8, 0, 0, 0, 8,  0, 0, 2, 0],             0, GOOD,         vec![read(8, 2)]),
        (&[0x28, 0, 0, 0, 0, 63, 0, 0, 1, 0],             0, GOOD,         vec![read(63, 1)]),
        (&[0x28, 0, 0, 0, 0, 63, 0, 0, 2, 0],             0, OUT_OF_RANGE, vec![]),
        (&[0x28, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 1, 0],  0, OUT_OF_RANGE, vec![]),
        (&[0x28, 0, 0, 0, 0, 0,  0, 0, 0, 0],             0, GOOD,         vec![]),
        (&[0x28, 0, 0, 0, 0, 65, 0, 0, 0, 0],             0, OUT_OF_RANGE, vec![]),
        (&[0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0],           0, BAD_FIELD,    vec![]),
    ]);
}

#[test]
fn reads_of_other_lengths() {
    #[rustfmt::skip]
    rows(disk, &[
        (&[0x08, 0, 0, 8, 2, 0],                                            0, GOOD,         vec![read(8, 2)]),
        // 0 is 256 blocks, which exceeds the medium.
        (&[0x08, 0, 0, 0, 0, 0],                                            0, OUT_OF_RANGE, vec![]),
        (&[0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 2],                                0, GOOD,         vec![read(8, 2)]),
        (&[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2],                    0, GOOD,         vec![read(8, 2)]),
        (&[0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2], 0, OUT_OF_RANGE, vec![]),
        (&[0x88, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],                 0, OUT_OF_RANGE, vec![]),
    ]);
}

#[test]
fn a_transfer_is_bounded_by_what_vpd_b0_says() {
    let mut bench = disk();
    let blocks = 256 << 20 >> 9;
    bench.store.size.store((blocks + 1) * 512, std::sync::atomic::Ordering::Relaxed);
    bench.unit.refresh_capacity().unwrap();
    bench.bytes.resize((blocks as usize + 1) * 512, 0);
    assert_eq!(verdict(&bench.run(&[0; 6], &[])), Some((6, 0x2a, 9)));
    let read = |blocks: u64| {
        let mut cdb = [0; 16];
        cdb[0] = 0x88;
        cdb[10..14].copy_from_slice(&(blocks as u32).to_be_bytes());
        cdb
    };
    assert_eq!(verdict(&bench.run(&read(blocks), &[])), GOOD);
    let outcome = bench.run(&read(blocks + 1), &[]);
    assert_eq!(verdict(&outcome), BAD_FIELD);
    assert_eq!(
        outcome.sense.unwrap().to_bytes()[15..],
        [0xc0, 0, 10],
        "the field pointer is at TRANSFER LENGTH"
    );
}

#[test]
fn write_10() {
    #[rustfmt::skip]
    rows(disk, &[
        (&[0x2a, 0, 0, 0, 0, 8,  0, 0, 2, 0],    1024, GOOD,         vec![write(8, 2, false)]),
        (&[0x2a, 8, 0, 0, 0, 8,  0, 0, 2, 0],    1024, GOOD,         vec![write(8, 2, true)]),
        (&[0x2a, 0, 0, 0, 0, 63, 0, 0, 2, 0],    1024, OUT_OF_RANGE, vec![]),
        (&[0x2a, 0, 0, 0, 0, 8,  0, 0, 0, 0],    0,    GOOD,         vec![]),
        (&[0x2a, 0x20, 0, 0, 0, 8, 0, 0, 1, 0],  512,  BAD_FIELD,    vec![]),
        // Less data-out than the CDB requests: complete blocks are written.
        (&[0x2a, 0, 0, 0, 0, 8,  0, 0, 2, 0],    512,  GOOD,         vec![write(8, 1, false)]),
        (&[0x2a, 0, 0, 0, 0, 8,  0, 0, 2, 0],    1000, GOOD,         vec![write(8, 1, false)]),
        (&[0x2a, 8, 0, 0, 0, 8,  0, 0, 1, 0],    200,  GOOD,         vec![]),
        // More data-out than the CDB requests: the blocks of the CDB are written.
        (&[0x2a, 0, 0, 0, 0, 8,  0, 0, 1, 0],    1024, GOOD,         vec![write(8, 1, false)]),
    ]);
}

#[test]
fn transfer_len_is_that_of_the_cdb() {
    let mut bench = disk();
    bench.run(&[0x2a, 0, 0, 0, 0, 8, 0, 0, 2, 0], &[0; 512]);
    assert_eq!(bench.transfer_len, 1024);
    bench.run(&[0x28, 0, 0, 0, 0, 8, 0, 0, 2, 0], &[]);
    assert_eq!(bench.transfer_len, 1024);
    bench.run(&[0x2a, 0, 0, 0, 0, 99, 0, 0, 2, 0], &[0; 512]);
    assert_eq!(bench.transfer_len, 0);
}

#[test]
fn durable_writes_use_fua_or_flush() {
    let cdb = &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1][..];
    let fua = &[0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1][..];
    let no_cache = |config: &mut UnitConfig| config.write_cache = false;
    let flushing = Capabilities { fua: false, ..FILE };
    let durable = Capabilities { volatile_cache: false, ..FILE };

    rows(|| Bench::disk(no_cache, FILE), &[(cdb, 512, GOOD, vec![write(8, 1, true)])]);
    rows(|| Bench::disk(no_cache, flushing), &[(cdb, 512, GOOD, vec![write(8, 1, false), Step::Flush])]);
    rows(
        || Bench::disk(|_| {}, flushing),
        &[
            (cdb, 512, GOOD, vec![write(8, 1, false)]),
            (fua, 512, GOOD, vec![write(8, 1, false), Step::Flush]),
        ],
    );
    rows(|| Bench::disk(no_cache, durable), &[(fua, 512, GOOD, vec![write(8, 1, false)])]);
}

#[test]
fn write_protected_unit_refuses_writes() {
    let list = encode(&[UnmapDescriptor { lba: 0, blocks: 1 }]);
    let store = Capabilities { read_only: true, ..FILE };
    let thin = |config: &mut UnitConfig| config.thin_provisioning = true;
    let benches: [fn() -> Bench; 2] = [
        || Bench::disk(|config| (config.read_only, config.thin_provisioning) = (true, true), FILE),
        || Bench::disk(|config| (config.swp, config.thin_provisioning) = (true, true), FILE),
    ];
    let cdbs: &[&[u8]] = &[
        &[0x0a, 0, 0, 0, 1, 0],
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x41, 8, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
        &[0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        &[0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0],
    ];
    for cdb in cdbs {
        for make in benches {
            assert_eq!(verdict(&make().run(cdb, &list)), PROTECTED, "{cdb:02x?}");
        }
        assert_eq!(verdict(&Bench::disk(thin, store).run(cdb, &list)), PROTECTED, "{cdb:02x?}");
    }
    // PRE-FETCH and READ are permitted.
    assert_eq!(verdict(&benches[0]().run(&[0x34, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[])), GOOD);
    assert_eq!(verdict(&benches[0]().run(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[])), GOOD);
}

#[test]
fn commands_without_a_medium_are_refused() {
    let list = encode(&[UnmapDescriptor { lba: 0, blocks: 1 }]);
    let cdbs: &[&[u8]] = &[
        &[0x00, 0, 0, 0, 0, 0],
        &[0x08, 0, 0, 0, 1, 0],
        &[0x28, 0, 0, 0, 0, 0, 0, 0x80, 0, 0],
        &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x2f, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x34, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x35, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0],
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
        &[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32],
    ];
    for cdb in cdbs {
        let mut bench = Bench::disk(|config| (config.online, config.thin_provisioning) = (false, true), FILE);
        assert_eq!(verdict(&bench.run(cdb, &list)), NO_MEDIUM, "{cdb:02x?}");
    }
}

#[test]
fn verify() {
    let durable = || Bench::disk(|_| {}, Capabilities { volatile_cache: false, ..FILE });
    #[rustfmt::skip]
    rows(durable, &[
        (&[0x2f, 0, 0, 0, 0, 8, 0, 0, 2, 0],             0,    GOOD,         vec![probe(8, 2)]),
        (&[0x2f, 0, 0, 0, 0, 8, 0, 0, 0, 0],             0,    GOOD,         vec![]),
        (&[0x2f, 0, 0, 0, 0, 63, 0, 0, 2, 0],            0,    OUT_OF_RANGE, vec![]),
        (&[0x2f, 2, 0, 0, 0, 8, 0, 0, 2, 0],             1024, Some((0xe, 0x1d, 0)), vec![compare(8, 2, None)]),
        (&[0xaf, 6, 0, 0, 0, 8, 0, 0, 0, 2],             512,  Some((0xe, 0x1d, 0)), vec![compare(8, 2, Some(512))]),
        (&[0x8f, 2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2], 1000, BAD_FIELD,    vec![]),
        (&[0x2f, 4, 0, 0, 0, 8, 0, 0, 2, 0],             1024, BAD_FIELD,    vec![]),
        (&[0x2f, 0x20, 0, 0, 0, 8, 0, 0, 2, 0],          0,    BAD_FIELD,    vec![]),
    ]);
    // The cache is flushed first.
    rows(disk, &[(&[0x2f, 0, 0, 0, 0, 8, 0, 0, 2, 0], 0, GOOD, vec![Step::Flush, probe(8, 2)])]);
}

#[test]
fn miscompare_reports_the_offset() {
    let mut bench = disk();
    let mut data = [vec![8; 512], vec![9; 512]].concat();
    assert_eq!(verdict(&bench.run(&[0x2f, 2, 0, 0, 0, 8, 0, 0, 2, 0], &data)), GOOD);
    data[700] = 0;
    let outcome = bench.run(&[0x2f, 2, 0, 0, 0, 8, 0, 0, 2, 0], &data);
    assert_eq!(outcome.sense.unwrap().information, Some(700));
    // One block is compared with each: the second block differs at its first byte.
    let outcome = bench.run(&[0x2f, 6, 0, 0, 0, 8, 0, 0, 2, 0], &data[..512]);
    assert_eq!(outcome.sense.unwrap().information, Some(512));
}

#[test]
fn write_and_verify() {
    #[rustfmt::skip]
    rows(disk, &[
        (&[0x2e, 0, 0, 0, 0, 8, 0, 0, 2, 0],             1024, GOOD, vec![write(8, 2, true), probe(8, 2)]),
        (&[0x2e, 2, 0, 0, 0, 8, 0, 0, 2, 0],             1024, GOOD, vec![write(8, 2, true), compare(8, 2, None)]),
        (&[0x8e, 2, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2], 512,  GOOD, vec![write(8, 1, true), compare(8, 1, None)]),
        (&[0xae, 0, 0, 0, 0, 8, 0, 0, 0, 0],             0,    GOOD, vec![]),
        (&[0xae, 0, 0, 0, 0, 64, 0, 0, 0, 1],            512,  OUT_OF_RANGE, vec![]),
    ]);
    rows(
        || Bench::disk(|_| {}, Capabilities { fua: false, ..FILE }),
        &[(
            &[0x2e, 2, 0, 0, 0, 8, 0, 0, 2, 0],
            1024,
            GOOD,
            vec![write(8, 2, false), Step::Flush, compare(8, 2, None)],
        )],
    );
}

#[test]
fn synchronize_cache_and_prefetch_check_the_range() {
    #[rustfmt::skip]
    rows(disk, &[
        (&[0x35, 0, 0, 0, 0, 0,  0, 0, 0, 0],                     0, GOOD,         vec![Step::Flush]),
        (&[0x35, 2, 0, 0, 0, 8,  0, 0, 1, 0],                     0, GOOD,         vec![Step::Flush]),
        (&[0x35, 0, 0, 0, 0, 63, 0, 0, 2, 0],                     0, OUT_OF_RANGE, vec![]),
        (&[0x91, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1],          0, GOOD,         vec![Step::Flush]),
        (&[0x34, 0, 0, 0, 0, 8,  0, 0, 1, 0],                     0, GOOD,         vec![]),
        (&[0x34, 2, 0, 0, 0, 65, 0, 0, 0, 0],                     0, OUT_OF_RANGE, vec![]),
        (&[0x90, 0, 0, 0, 0, 0, 0, 0, 0, 63, 0, 0, 0, 2],         0, OUT_OF_RANGE, vec![]),
    ]);
    let durable = Capabilities { volatile_cache: false, ..FILE };
    rows(|| Bench::disk(|_| {}, durable), &[(&[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], 0, GOOD, vec![])]);
}

#[test]
fn write_same_of_a_pattern() {
    #[rustfmt::skip]
    rows(thin, &[
        (&[0x41, 0, 0, 0, 0, 8, 0, 0, 4, 0],             512,  GOOD,         vec![fill(8, 4, false)]),
        // With UNMAP the blocks read as zeroes, for any data-out.
        (&[0x41, 8, 0, 0, 0, 8, 0, 0, 4, 0],             512,  GOOD,
            vec![Step::WriteZeroes { offset: 4096, len: 2048, may_unmap: true }]),
        // 0 blocks extends to the end of the medium.
        (&[0x41, 0, 0, 0, 0, 8, 0, 0, 0, 0],             512,  GOOD,         vec![fill(8, 56, false)]),
        (&[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0], 512,  GOOD,         vec![fill(8, 56, false)]),
        (&[0x41, 0, 0, 0, 0, 64, 0, 0, 0, 0],            512,  OUT_OF_RANGE, vec![]),
        (&[0x41, 0, 0, 0, 0, 65, 0, 0, 0, 0],            512,  OUT_OF_RANGE, vec![]),
        (&[0x41, 0, 0, 0, 0, 63, 0, 0, 2, 0],            512,  OUT_OF_RANGE, vec![]),
        (&[0x41, 0, 0, 0, 0, 8, 0, 0, 4, 0],             256,  BAD_FIELD,    vec![]),
        (&[0x41, 8, 0, 0, 0, 8, 0, 0, 4, 0],             1024, BAD_FIELD,    vec![]),
        (&[0x41, 0, 0, 0, 0, 8, 0, 0, 4, 0],             0,    BAD_FIELD,    vec![]),
        // ANCHOR without and with UNMAP; WRPROTECT.
        (&[0x93, 0x10, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1], 512, BAD_FIELD,  vec![]),
        (&[0x93, 0x18, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 1], 512, BAD_FIELD,  vec![]),
        (&[0x41, 0x20, 0, 0, 0, 8, 0, 0, 1, 0],          512,  BAD_FIELD,    vec![]),
    ]);
    rows(disk, &[(&[0x41, 8, 0, 0, 0, 8, 0, 0, 4, 0], 512, BAD_FIELD, vec![])]);
    rows(
        || Bench::disk(|config| config.write_cache = false, FILE),
        &[(&[0x41, 0, 0, 0, 0, 8, 0, 0, 4, 0], 512, GOOD, vec![fill(8, 4, true)])],
    );
}

#[test]
fn write_same_of_zeroes() {
    let (zeroes, nothing) = (&[0; 512][..], &[][..]);
    let plain = &[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4][..];
    let unmap = &[0x93, 8, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4][..];
    let ndob = &[0x93, 1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4][..];
    let unmap_ndob = &[0x93, 9, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 4][..];
    let only_discard = Capabilities { write_zeroes: false, ..FILE };
    let dirty_discard = Capabilities { discard_zeroes: false, ..only_discard };
    #[rustfmt::skip]
    let cases = [
        (FILE,          plain,      zeroes,  GOOD,      vec![zero(8, 4, false)]),
        (FILE,          unmap,      zeroes,  GOOD,      vec![zero(8, 4, true)]),
        (FILE,          unmap,      nothing, GOOD,      vec![zero(8, 4, true)]),
        (FILE,          ndob,       nothing, GOOD,      vec![zero(8, 4, false)]),
        (FILE,          unmap_ndob, nothing, GOOD,      vec![zero(8, 4, true)]),
        (only_discard,  plain,      zeroes,  GOOD,      vec![fill(8, 4, false)]),
        (only_discard,  unmap,      zeroes,  GOOD,      vec![discard(8, 4)]),
        (only_discard,  unmap_ndob, nothing, GOOD,      vec![discard(8, 4)]),
        // Without UNMAP the blocks stay mapped.
        (only_discard,  ndob,       nothing, BAD_FIELD, vec![]),
        // Discarded blocks would not read as zeroes, so they are written.
        (dirty_discard, unmap,      zeroes,  GOOD,      vec![fill(8, 4, false)]),
        (dirty_discard, unmap,      nothing, BAD_FIELD, vec![]),
        (dirty_discard, ndob,       nothing, BAD_FIELD, vec![]),
    ];
    for (capabilities, cdb, data, expected, steps) in cases {
        let mut bench = Bench::disk(|config| config.thin_provisioning = true, capabilities);
        assert_eq!(verdict(&bench.run(cdb, data)), expected, "{cdb:02x?}");
        assert_eq!(bench.steps, steps, "{cdb:02x?} {capabilities:?}");
        if expected == GOOD {
            assert!(bench.bytes[8 * 512..12 * 512].iter().all(|byte| *byte == 0));
            assert_eq!((bench.bytes[8 * 512 - 1], bench.bytes[12 * 512]), (7, 12));
        }
    }
    let mut bench = Bench::disk(|config| config.write_cache = false, FILE);
    bench.run(plain, zeroes);
    assert_eq!(bench.steps, [zero(8, 4, false), Step::Flush]);
}

#[test]
fn unmap() {
    let of = |lba, blocks| UnmapDescriptor { lba, blocks };
    let cdb = |len: u16| {
        let [high, low] = len.to_be_bytes();
        [0x42, 0, 0, 0, 0, 0, 0, high, low, 0]
    };
    let mut cut = encode(&[of(8, 1), of(10, 1)]);
    cut.truncate(24);
    #[rustfmt::skip]
    let cases = [
        (encode(&[of(8, 4), of(0, 0), of(63, 1)]),     None,    GOOD,         vec![discard(8, 4), discard(63, 1)]),
        (encode(&[of(8, 0)]),                          None,    GOOD,         vec![]),
        (encode(&[]),                                  None,    GOOD,         vec![]),
        (vec![],                                       None,    GOOD,         vec![]),
        // One invalid range: nothing is discarded.
        (encode(&[of(8, 4), of(63, 2)]),               None,    OUT_OF_RANGE, vec![]),
        (encode(&[of(u64::MAX, 1)]),                   None,    OUT_OF_RANGE, vec![]),
        (encode(&[of(0, u32::MAX)]),                   None,    OUT_OF_RANGE, vec![]),
        (vec![0; 7],                                   None,    BAD_LIST_LEN, vec![]),
        (cut,                                          None,    BAD_LIST_LEN, vec![]),
        // An empty range is valid directly after the last block, and invalid further on.
        (encode(&[of(64, 0)]),                         None,    GOOD,         vec![]),
        (encode(&[of(65, 0)]),                         None,    OUT_OF_RANGE, vec![]),
        // The maximum number of descriptors of VPD page B0h, and one more.
        (encode(&[of(0, 0); 256]),                     None,    GOOD,         vec![]),
        (encode(&[of(0, 0); 257]),                     None,    BAD_LIST,     vec![]),
        // The parameter list is shorter than the CDB states.
        (encode(&[of(8, 4)]),                          Some(40), BAD_LIST_LEN, vec![]),
    ];
    for (list, len, expected, steps) in cases {
        let mut bench = thin();
        let cdb = cdb(len.unwrap_or(list.len() as u16));
        assert_eq!(verdict(&bench.run(&cdb, &list)), expected, "{list:02x?}");
        assert_eq!(bench.steps, steps, "{list:02x?}");
    }
    let list = encode(&[of(8, 4)]);
    assert_eq!(verdict(&disk().run(&cdb(24), &list)), BAD_OPCODE);
    assert_eq!(verdict(&thin().run(&[0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0], &list)), BAD_FIELD);
}

#[test]
fn lengths_beyond_4_gib_do_not_wrap() {
    let mut bench = thin();
    let blocks = 1u64 << 33;
    bench.store.size.store(blocks * 512, std::sync::atomic::Ordering::Relaxed);
    bench.unit.refresh_capacity().unwrap();
    bench.run(&[0; 6], &[]);
    bench.fail = Some(IoError::CANCELLED);
    bench.run(&[0x93, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]);
    assert_eq!(bench.steps, [zero(0, blocks, false)]);
    let list = encode(&[UnmapDescriptor { lba: 1 << 32, blocks: u32::MAX }]);
    bench.fail = Some(IoError::CANCELLED);
    bench.run(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list);
    assert_eq!(bench.steps, [discard(1 << 32, u32::MAX.into())]);
}

#[test]
fn get_lba_status() {
    let mut bench = thin();
    bench.holes[10..20].fill(true);
    let ask = |lba: u8, len: u8| [0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, lba, 0, 0, 0, len];
    let of = |lba, blocks, status| LbaStatus { lba, blocks, status };
    use Provisioning::{Deallocated, Mapped};

    let outcome = bench.run(&ask(4, 255), &[]);
    let expected = [of(4, 6, Mapped), of(10, 10, Deallocated), of(20, 44, Mapped)];
    assert_eq!(lba_status::decode(&outcome.data_in).unwrap(), expected);
    let outcome = bench.run(&ask(12, 24), &[]);
    assert_eq!(lba_status::decode(&outcome.data_in).unwrap(), [of(12, 8, Deallocated)]);
    assert_eq!(bench.run(&ask(12, 4), &[]).data_in, [0, 0, 0, 20]);
    assert_eq!(verdict(&bench.run(&ask(64, 24), &[])), OUT_OF_RANGE);
    assert_eq!(verdict(&bench.run(&ask(63, 24), &[])), GOOD);

    // Without thin provisioning, or if the store does not report allocation, all blocks are mapped without a query.
    let mut blind =
        Bench::disk(|config| config.thin_provisioning = true, Capabilities { allocation: false, ..FILE });
    for bench in [&mut disk(), &mut blind] {
        let outcome = bench.run(&ask(12, 255), &[]);
        assert_eq!(lba_status::decode(&outcome.data_in).unwrap(), [of(12, 52, Mapped)]);
        assert_eq!(bench.steps, []);
    }
}

#[test]
fn number_of_queries_is_limited() {
    let mut bench = thin();
    for block in (0..64).step_by(2) {
        bench.holes[block] = true;
    }
    let outcome = bench.run(&[0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff], &[]);
    assert_eq!(lba_status::decode(&outcome.data_in).unwrap().len(), 64);
    assert!(bench.steps.len() <= 64);
}

#[test]
fn capacity() {
    let mut bench = disk();
    assert_eq!(bench.run(&[0x25], &[]).data_in, [0, 0, 0, 63, 0, 0, 2, 0]);
    let ask = &[0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 16][..];
    // The physical block exponent comes from the store: 4096 to 512 bytes.
    assert_eq!(bench.run(ask, &[]).data_in, [0, 0, 0, 0, 0, 0, 0, 63, 0, 0, 2, 0, 0, 3, 0, 0]);
    let mut bench = thin();
    assert_eq!(bench.run(ask, &[]).data_in[13..], [3, 0xc0, 0]);
    let mut bench = Bench::disk(|config| (config.lbppbe, config.la_lba) = (Some(1), 7), FILE);
    assert_eq!(bench.run(ask, &[]).data_in[13..], [1, 0, 7]);
    let mut bench = Bench::disk(|config| config.block_len = 4096, FILE);
    assert_eq!(bench.run(ask, &[]).data_in[7..14], [7, 0, 0, 0x10, 0, 0, 0]);
}

#[test]
fn store_error_depends_on_the_kind_of_access() {
    let read = &[0x28, 0, 0, 0, 0, 8, 0, 0, 2, 0][..];
    let write = &[0x2a, 0, 0, 0, 0, 8, 0, 0, 2, 0][..];
    let verify = &[0x2e, 0, 0, 0, 0, 8, 0, 0, 2, 0][..];
    for (cdb, expected) in
        [(read, Some((3, 0x11, 0))), (write, Some((3, 0x0c, 0))), (verify, Some((3, 0x0c, 0)))]
    {
        let mut bench = disk();
        bench.fail = Some(IoError::medium(9 * 512));
        let outcome = bench.run(cdb, &[0; 1024]);
        assert_eq!(verdict(&outcome), expected, "{cdb:02x?}");
        assert_eq!(outcome.sense.unwrap().information, Some(9));
        assert_eq!(bench.steps.len(), 1, "nothing follows a failed step");
    }
}
