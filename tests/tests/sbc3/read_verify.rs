//! READ and VERIFY (SBC-3 5.11 ff., 5.33 ff.), READ CAPACITY.

use scsi_core::sense::AdditionalSense;
use tgt_tests::initiator::Io;
use tgt_tests::random::Random;

use super::{OUT_OF_RANGE, cdb_10, disk};

#[test]
fn read_of_each_cdb_length_reads_its_extent() {
    let (_, store, mut session) = disk();
    let data = Random::new(2).bytes(1024);
    store.put(4096, &data);
    let cdbs: [&[u8]; 4] = [
        &[0x08, 0, 0, 8, 2, 0],
        &[0x28, 0, 0, 0, 0, 8, 0, 0, 2, 0],
        &[0xa8, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0],
        &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0],
    ];
    for cdb in cdbs {
        assert_eq!(session.run(cdb, Io::Read(1024)).good(), data, "{cdb:02x?}");
    }
    // In READ (6), transfer length 0 means 256 blocks.
    assert_eq!(session.run(&[0x08, 0, 0, 0, 0, 0], Io::Read(256 * 512)).good().len(), 256 * 512);
}

#[test]
fn read_beyond_the_end_is_refused() {
    let (_, _, mut session) = disk();
    for (lba, blocks) in [(8192, 1), (8191, 2), (0xffff_ffff, 1)] {
        let reply = session.run(&cdb_10(0x28, 0, lba, blocks), Io::Read(u32::from(blocks) * 512));
        assert_eq!((reply.check(), reply.data.len()), (OUT_OF_RANGE, 0), "{lba}");
    }
    let mut cdb = [0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0, 0];
    assert_eq!(session.run(&cdb, Io::Read(1024)).check(), OUT_OF_RANGE, "the sum does not wrap");
    cdb[2..10].fill(0);
    session.run(&cdb, Io::Read(1024)).good();
}

#[test]
fn read_capacity_returns_the_last_block() {
    let (_, _, mut session) = disk();
    let short = session.run(&cdb_10(0x25, 0, 0, 0), Io::Read(8)).good();
    assert_eq!(short, [0, 0, 0x1f, 0xff, 0, 0, 2, 0]);
    let cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let long = session.run(&cdb, Io::Read(32)).good();
    assert_eq!(long[..12], [0, 0, 0, 0, 0, 0, 0x1f, 0xff, 0, 0, 2, 0]);
}

#[test]
fn verify_with_bytchk_compares_with_data_out() {
    let (_, store, mut session) = disk();
    let data = Random::new(3).bytes(2048);
    store.put(0, &data);
    session.run(&cdb_10(0x2f, 0x02, 0, 4), Io::Write(&data)).good();
    let mut other = data;
    other[1500] ^= 1;
    let reply = session.run(&cdb_10(0x2f, 0x02, 0, 4), Io::Write(&other));
    assert_eq!(reply.check(), Some((0x0e, AdditionalSense::MISCOMPARE_DURING_VERIFY_OPERATION)));
    assert_eq!(reply.sense.and_then(|sense| sense.information), Some(1500), "offset of the difference");
    session.run(&cdb_10(0x2f, 0, 0, 4), Io::None).good();
    assert_eq!(session.run(&cdb_10(0x2f, 0, 8192, 1), Io::None).check(), OUT_OF_RANGE);
}

#[test]
fn write_and_verify_writes_through_and_compares() {
    let (_, store, mut session) = disk();
    let data = Random::new(4).bytes(2048);
    session.run(&cdb_10(0x2e, 0x02, 8, 4), Io::Write(&data)).good();
    assert_eq!(store.bytes(4096, 2048), data);
    let log = store.log();
    assert!(log.iter().any(|line| line.contains("fua") || line == "flush"), "{log:?}");
}
