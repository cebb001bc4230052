//! WRITE (SBC-3 5.38 ff.) of all CDB lengths, and WRITE SAME.

use iscsi_proto::pdu::Residual;
use scsi_core::sense::AdditionalSense;
use scsi_core::store::IoError;
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::random::Random;
use tgt_tests::setup::Setup;
use tgt_tests::sim_store::{Behaviour, SimStore};

use super::{BAD_FIELD, OUT_OF_RANGE, cdb_10, disk};

#[test]
fn write_of_each_cdb_length_writes_its_extent() {
    let (_, store, mut session) = disk();
    let cdbs: [&[u8]; 4] = [
        &[0x0a, 0, 0, 8, 2, 0],
        &[0x2a, 0, 0, 0, 0, 8, 0, 0, 2, 0],
        &[0xaa, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0],
        &[0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0],
    ];
    for (seed, cdb) in (0..).zip(cdbs) {
        let data = Random::new(seed).bytes(1024);
        session.run(cdb, Io::Write(&data)).good();
        assert_eq!(store.bytes(4096, 1024), data, "{cdb:02x?}");
        assert_eq!(store.log(), ["write 4096+1024"], "{cdb:02x?}");
    }
}

#[test]
fn write_of_0_blocks_is_good() {
    let (_, store, mut session) = disk();
    session.run(&cdb_10(0x2a, 0, 8, 0), Io::None).good();
    assert_eq!(store.log(), [""; 0]);
}

#[test]
fn write_beyond_the_end_is_refused() {
    let (_, store, mut session) = disk();
    for (lba, blocks) in [(8192, 1), (8191, 2), (0xffff_ffff, 1)] {
        let data = vec![1; usize::from(blocks) * 512];
        let reply = session.run(&cdb_10(0x2a, 0, lba, blocks), Io::Write(&data));
        assert_eq!(reply.check(), OUT_OF_RANGE, "{lba}");
    }
    assert_eq!(store.log(), [""; 0]);
    session.run(&cdb_10(0x2a, 0, 8191, 1), Io::Write(&[1; 512])).good();
}

#[test]
fn write_with_fua_writes_through() {
    let (_, store, mut session) = disk();
    session.run(&cdb_10(0x2a, 0x08, 0, 1), Io::Write(&[1; 512])).good();
    assert_eq!(store.log(), ["write 0+512 fua"]);
}

#[test]
fn write_without_write_cache_writes_through() {
    let (_, store, mut session) = disk();
    session.set_write_cache(false).good();
    let _ = store.log();
    session.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[1; 512])).good();
    assert_eq!(store.log(), ["write 0+512 fua"]);
}

#[test]
fn write_with_protection_information_is_refused() {
    let (_, store, mut session) = disk();
    let reply = session.run(&cdb_10(0x2a, 0x20, 0, 1), Io::Write(&[1; 512]));
    assert_eq!(reply.check(), BAD_FIELD);
    assert_eq!(store.log(), [""; 0]);
}

#[test]
fn write_residual_is_the_difference_to_the_expected_length() {
    let (_, store, mut session) = disk();
    let reply = session.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[1; 1024]));
    assert_eq!((reply.status, reply.residual), (0, Residual::Underflow(512)));
    assert_eq!(store.bytes(512, 512), [0; 512], "only the blocks of the CDB are written");
    let reply = session.run(&cdb_10(0x2a, 0, 0, 2), Io::Write(&[2; 512]));
    assert_eq!((reply.status, reply.residual), (0, Residual::Overflow(512)));
}

#[test]
fn read_only_store_refuses_all_writes() {
    let store = SimStore::read_only(1 << 20);
    let mut session = Initiator::login(&Pair::new(Setup::disk(std::sync::Arc::new(store.clone()))));
    for (cdb, data) in [
        (cdb_10(0x2a, 0, 0, 1), vec![1; 512]),
        (cdb_10(0x41, 0, 0, 1), vec![1; 512]),
        (cdb_10(0x2e, 0, 0, 1), vec![1; 512]),
    ] {
        let reply = session.run(&cdb, Io::Write(&data));
        assert_eq!(reply.check(), Some((7, AdditionalSense::WRITE_PROTECTED)), "{cdb:02x?}");
    }
    assert_eq!(store.log(), [""; 0]);
    session.run(&cdb_10(0x28, 0, 0, 1), Io::Read(512)).good();
    assert_eq!(session.run(&[0x1a, 0, 0x3f, 0, 255, 0], Io::Read(255)).good()[2] & 0x80, 0x80, "WP");
}

#[test]
fn store_error_becomes_medium_error_or_space_allocation_failed() {
    for (error, check) in [
        (IoError::medium(0), (3, AdditionalSense::WRITE_ERROR)),
        (IoError::NO_SPACE, (7, AdditionalSense::SPACE_ALLOCATION_FAILED_WRITE_PROTECT)),
    ] {
        let (_, store, mut session) = disk();
        store.behave(Behaviour { fail: 1000, ..Behaviour::INLINE });
        store.fail_with(error);
        let reply = session.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[1; 512]));
        assert_eq!(reply.check(), Some(check), "{error}");
        store.behave(Behaviour::INLINE);
        session.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[1; 512])).good();
    }
}

#[test]
fn write_same_repeats_one_block() {
    let (_, store, mut session) = disk();
    let block = Random::new(1).bytes(512);
    session.run(&cdb_10(0x41, 0, 8, 300), Io::Write(&block)).good();
    assert_eq!(store.bytes(4096, 300 * 512), block.repeat(300));
    assert_eq!(store.bytes(4096 + 300 * 512, 512), [0; 512]);
    let reply = session.run(&cdb_10(0x41, 0, 8192, 1), Io::Write(&block));
    assert_eq!(reply.check(), OUT_OF_RANGE);
}
