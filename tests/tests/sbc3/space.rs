//! UNMAP, WRITE SAME with UNMAP and GET LBA STATUS (SBC-3 5.28, 5.43, 5.4) on a thin-provisioned unit.

use std::sync::Arc;

use scsi_core::device::unit::{Unit, UnitConfig};
use tgt_tests::initiator::{Initiator, Io};
use tgt_tests::pair::Pair;
use tgt_tests::setup::Setup;
use tgt_tests::sim_store::SimStore;

use super::{BAD_FIELD, OUT_OF_RANGE, cdb_10, disk};

fn thin() -> (SimStore, Initiator) {
    let (mut setup, store) = Setup::sim();
    let config = UnitConfig { thin_provisioning: true, ..UnitConfig::disk(1, 1) };
    setup.units[1].1 = Unit::new(config, Some(Arc::new(store.clone())));
    store.put(0, &vec![1; 1 << 20]);
    (store, Initiator::login(&Pair::new(setup)))
}

/// The UNMAP parameter list of these ranges.
fn unmap(ranges: &[(u64, u32)]) -> Vec<u8> {
    let len = ranges.len() as u16 * 16;
    let mut list = [&(len + 6).to_be_bytes()[..], &len.to_be_bytes(), &[0; 4]].concat();
    for (lba, blocks) in ranges {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    list
}

#[test]
fn unmapped_blocks_read_as_zeroes() {
    let (store, mut session) = thin();
    let list = unmap(&[(8, 8), (64, 16)]);
    session.run(&cdb_10(0x42, 0, 0, list.len() as u16), Io::Write(&list)).good();
    assert_eq!(store.bytes(4096, 4096), [0; 4096]);
    assert_eq!(store.bytes(64 * 512, 8192), [0; 8192]);
    assert_eq!((store.bytes(4095, 1), store.bytes(8192, 1)), (vec![1], vec![1]));
}

#[test]
fn unmap_with_a_range_beyond_the_end_unmaps_nothing() {
    let (store, mut session) = thin();
    let list = unmap(&[(8, 8), (8190, 3)]);
    let reply = session.run(&cdb_10(0x42, 0, 0, list.len() as u16), Io::Write(&list));
    assert_eq!(reply.check(), OUT_OF_RANGE);
    assert_eq!(store.bytes(4096, 1), [1], "no range is unmapped");
}

#[test]
fn write_same_with_unmap_unmaps() {
    let (store, mut session) = thin();
    let cdb = [0x93, 0x08, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 8, 0, 0];
    session.run(&cdb, Io::Write(&[0; 512])).good();
    assert_eq!(store.bytes(4096, 4096), [0; 4096]);
    let log = store.log();
    assert!(log.iter().all(|line| !line.starts_with("write")), "{log:?}");
}

#[test]
fn get_lba_status_returns_extents() {
    let (_, mut session) = thin();
    let cdb = [0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 24, 0, 0];
    let status = session.run(&cdb, Io::Read(24)).good();
    assert_eq!(status[8..20], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0], "mapped up to 1 MiB");
    assert_eq!(status[20], 0);
    let mut beyond = cdb;
    beyond[7..10].copy_from_slice(&[0, 0x20, 0]);
    assert_eq!(session.run(&beyond, Io::Read(24)).check(), OUT_OF_RANGE);
}

#[test]
fn fully_provisioned_unit_refuses_unmap() {
    let (_, store, mut session) = disk();
    store.put(0, &[1; 4096]);
    let list = unmap(&[(0, 8)]);
    let reply = session.run(&cdb_10(0x42, 0, 0, list.len() as u16), Io::Write(&list));
    assert_eq!(reply.check().map(|(key, _)| key), Some(5));
    let cdb = [0x93, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0];
    assert_eq!(session.run(&cdb, Io::Write(&[0; 512])).check(), BAD_FIELD);
    assert_eq!(store.bytes(0, 4096), [1; 4096]);
}
