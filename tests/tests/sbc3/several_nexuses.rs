//! Effects of one initiator on another: reservations, mode pages, capacity, new units.

use std::sync::Arc;

use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::sense::AdditionalSense;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::sim_store::SimStore;

use super::{cdb_10, disk, test_unit_ready};

const CONFLICT: u8 = 0x18;
const RESERVE: [u8; 6] = [0x16, 0, 0, 0, 0, 0];
const RELEASE: [u8; 6] = [0x17, 0, 0, 0, 0, 0];

#[test]
fn reserved_unit_conflicts_for_other_initiators() {
    let (pair, store, mut one) = disk();
    let mut two = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    one.run(&RESERVE, Io::None).good();
    assert_eq!(two.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[1; 512])).status, CONFLICT);
    assert_eq!(two.run(&cdb_10(0x28, 0, 0, 1), Io::Read(512)).status, CONFLICT);
    assert_eq!(two.run(&RESERVE, Io::None).status, CONFLICT);
    two.run(&RELEASE, Io::None).good();
    assert_eq!(
        two.run(&cdb_10(0x28, 0, 0, 1), Io::Read(512)).status,
        CONFLICT,
        "RELEASE of another initiator has no effect"
    );
    two.run(&[0x12, 0, 0, 0, 36, 0], Io::Read(36)).good();
    assert_eq!(store.log(), [""; 0]);
    one.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[2; 512])).good();
    one.run(&RELEASE, Io::None).good();
    two.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[3; 512])).good();
}

#[test]
fn reservation_ends_with_its_session() {
    let (pair, _, mut one) = disk();
    let mut two = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    one.run(&RESERVE, Io::None).good();
    one.hang_up();
    assert_eq!(two.run(&cdb_10(0x28, 0, 0, 1), Io::Read(512)).status, 0);
}

#[test]
fn mode_select_persists_and_raises_attentions_for_others() {
    let (pair, _, mut one) = disk();
    let mut two = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    one.set_write_cache(false).good();
    assert_eq!(one.mode_page(0x08)[2] & 0x04, 0);
    test_unit_ready(&mut one).good();
    assert_eq!(test_unit_ready(&mut two).check(), Some((6, AdditionalSense::MODE_PARAMETERS_CHANGED)));
    test_unit_ready(&mut two).good();
    assert_eq!(two.mode_page(0x08)[2] & 0x04, 0);
    one.hang_up();
    let mut again = Initiator::login(&pair);
    assert_eq!(again.mode_page(0x08)[2] & 0x04, 0, "the page outlives the session");
}

#[test]
fn capacity_change_raises_attentions_for_all() {
    let (pair, store, mut one) = disk();
    let mut two = Initiator::login_as(&pair, &LoginOptions::of_host(2));
    store.resize(8 << 20);
    pair.side().setup.unit(1).refresh_capacity().unwrap();
    for session in [&mut one, &mut two] {
        assert_eq!(test_unit_ready(session).check(), Some((6, AdditionalSense::CAPACITY_DATA_HAS_CHANGED)));
        test_unit_ready(session).good();
        assert_eq!(session.run(&cdb_10(0x25, 0, 0, 0), Io::Read(8)).good()[..4], [0, 0, 0x3f, 0xff]);
        session.run(&cdb_10(0x2a, 0, 16_383, 1), Io::Write(&[1; 512])).good();
    }
}

#[test]
fn read_beyond_a_shrunk_store_fails_and_others_succeed() {
    let (_, store, mut one) = disk();
    store.resize(1 << 20);
    let reply = one.run(&cdb_10(0x28, 0, 4096, 8), Io::Read(4096));
    assert_ne!(reply.status, 0);
    one.run(&cdb_10(0x28, 0, 0, 8), Io::Read(4096)).good();
}

#[test]
fn added_unit_is_in_report_luns() {
    let (pair, _, mut one) = disk();
    let luns = |session: &mut Initiator| {
        let list = session.run(&[0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], Io::Read(256)).good();
        list[8..].chunks(8).map(|lun| lun[1]).collect::<Vec<_>>()
    };
    assert_eq!(luns(&mut one), [0, 1]);
    let store = SimStore::new(1 << 20, 3);
    let unit = Unit::new(UnitConfig::disk(1, 5), Some(Arc::new(store.clone())));
    pair.side().add_unit(5, &unit).expect("the store can be attached");
    let unit = pair.side().setup.unit(1);
    unit.raise(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
    let attention = test_unit_ready(&mut one).check();
    assert_eq!(attention, Some((6, AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED)));
    assert_eq!(luns(&mut one), [0, 1, 5]);
    one.lun = 5;
    let _ = test_unit_ready(&mut one);
    one.run(&cdb_10(0x2a, 0, 0, 1), Io::Write(&[5; 512])).good();
    assert_eq!(store.bytes(0, 512), [5; 512]);
}
