//! A store that hangs delays its own commands only: not other units of its sessions, not other sessions of its loop,
//! and not task management.

use std::sync::Arc;
use std::time::Duration;

use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::status::Status;
use target_engine::limits::{HANG_AFTER, HANG_BUSY};
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{DISK, Setup};
use tgt_tests::sim_store::{Behaviour, SimStore};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const SYNCHRONIZE_CACHE: [u8; 10] = [0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const INQUIRY: [u8; 6] = [0x12, 0, 0, 0, 36, 0];
const OTHER: u64 = 2;
const MOMENT: Duration = Duration::from_secs(1);

/// A target with two disks, the first with the returned store, and a session that has received the attentions of both.
fn two_disks() -> (Pair, SimStore, Initiator) {
    let (mut setup, store) = Setup::sim();
    let other = Arc::new(SimStore::new(4 << 20, 2));
    setup.units.push((OTHER, Unit::new(UnitConfig::disk(1, 2), Some(other))));
    let pair = Pair::new(setup);
    let session = log_in(&pair, 1);
    (pair, store, session)
}

fn log_in(pair: &Pair, number: u8) -> Initiator {
    let mut session = Initiator::login_as(pair, &LoginOptions::of_host(number));
    for lun in [OTHER, DISK] {
        session.lun = lun;
        let _ = session.run(&[0; 6], Io::None);
    }
    session
}

#[test]
fn hung_unit_reports_busy_until_its_store_completes_everything() {
    let (pair, store, mut session) = two_disks();
    store.behave(Behaviour::DEAD);
    // Fills the command window.
    let hanging: Vec<_> = (0..32).map(|_| session.begin(&READ, Io::Read(2048))).collect();
    let window_len = |session: &Initiator| {
        let (expected, max) = session.window.expect("a window");
        max.0.wrapping_add(1).wrapping_sub(expected.0)
    };
    session.poll();
    assert_eq!(session.cmd_sn.0, session.window.unwrap().1.0 + 1, "the window is closed");
    pair.advance(HANG_AFTER + MOMENT);
    session.poll();
    assert_eq!(window_len(&session), 32, "hung commands do not occupy the window");

    session.lun = OTHER;
    session.run(&WRITE, Io::Write(&[1; 2048])).good();
    assert_eq!(session.run(&READ, Io::Read(2048)).good(), [1; 2048]);
    session.lun = DISK;
    for cdb in [READ, SYNCHRONIZE_CACHE] {
        let io = if cdb == READ { Io::Read(2048) } else { Io::None };
        assert_eq!(session.run(&cdb, io).status, Status::Busy as u8, "{cdb:02x?}");
    }
    session.run(&INQUIRY, Io::Read(36)).good();
    pair.advance(HANG_BUSY);
    let (key, code) = session.run(&READ, Io::Read(2048)).check().expect("an error after HANG_BUSY");
    assert_eq!((key, code.asc, code.ascq), (4, 0x08, 0));

    store.behave(Behaviour::INLINE);
    store.release();
    for itt in hanging {
        session.wait(itt).good();
    }
    session.run(&READ, Io::Read(2048)).good();
    assert_eq!(window_len(&session), 32, "the window is open again");
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn hung_unit_is_busy_for_other_sessions_and_other_units_serve() {
    let (pair, store, mut session) = two_disks();
    let mut neighbour = log_in(&pair, 2);
    store.behave(Behaviour::DEAD);
    session.begin(&WRITE, Io::Write(&[1; 2048]));
    pair.advance(HANG_AFTER + MOMENT);
    let beside = [0x28, 0, 0, 0, 0, 64, 0, 0, 4, 0];
    assert_eq!(neighbour.run(&beside, Io::Read(2048)).status, Status::Busy as u8);
    neighbour.lun = OTHER;
    neighbour.run(&READ, Io::Read(2048)).good();
    store.release();
    pair.settle();
    session.hang_up();
    neighbour.hang_up();
    pair.assert_clean();
}

#[test]
fn slow_store_and_long_flush_do_not_count_as_hung() {
    let (pair, store, mut session) = two_disks();
    store.behave(Behaviour::DEAD);
    let stuck = session.begin(&READ, Io::Read(2048));
    store.behave(Behaviour::LATER);
    for _ in 0..20 {
        pair.advance(MOMENT);
        session.run(&READ, Io::Read(2048)).good();
    }
    store.release();
    session.wait(stuck).good();
    store.behave(Behaviour::DEAD);
    let flush = session.begin(&SYNCHRONIZE_CACHE, Io::None);
    pair.advance(2 * HANG_AFTER);
    store.behave(Behaviour::INLINE);
    session.run(&READ, Io::Read(2048)).good();
    store.release();
    session.wait(flush).good();
}

#[test]
fn replaced_store_of_a_hung_unit_serves_at_once() {
    let (setup, store) = Setup::sim();
    let unit = setup.unit(DISK);
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    store.behave(Behaviour::DEAD);
    let stuck = session.begin(&READ, Io::Read(2048));
    let _ = (session.begin(&READ, Io::Read(2048)), session.run(&INQUIRY, Io::Read(36)));
    pair.advance(HANG_AFTER + MOMENT);
    assert_eq!(session.run(&READ, Io::Read(2048)).status, Status::Busy as u8);
    unit.set_store(Some(Arc::new(SimStore::new(4 << 20, 3))));
    session.run(&READ, Io::Read(2048)).good();
    // Operations that hang in the old store do not make the unit hung again.
    pair.advance(2 * HANG_AFTER);
    session.run(&READ, Io::Read(2048)).good();
    store.release();
    session.wait(stuck);
    session.hang_up();
    pair.settle();
    pair.assert_clean();
}

#[test]
fn removed_hung_unit_keeps_its_buffers_until_completion() {
    let (pair, store, mut session) = two_disks();
    store.behave(Behaviour::DEAD);
    session.begin(&WRITE, Io::Write(&[1; 2048]));
    pair.advance(HANG_AFTER + MOMENT);
    let removal = pair.side().remove_unit(DISK);
    assert!(pair.side().pool().used_bytes() > 0, "the store may still read the buffers");
    assert_eq!(pair.side().answer_to(removal), None);
    session.lun = OTHER;
    session.run(&READ, Io::Read(2048)).good();
    store.release();
    pair.settle();
    assert_eq!(pair.side().answer_to(removal), Some(Ok(())));
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn hung_store_is_detected_after_its_initiator_disconnects() {
    let (pair, store, mut session) = two_disks();
    let mut neighbour = log_in(&pair, 2);
    store.behave(Behaviour::DEAD);
    session.begin(&WRITE, Io::Write(&[1; 2048]));
    session.hang_up();
    pair.advance(HANG_AFTER + MOMENT);
    let beside = [0x28, 0, 0, 0, 0, 64, 0, 0, 4, 0];
    assert_eq!(neighbour.run(&beside, Io::Read(2048)).status, Status::Busy as u8);
    store.release();
    store.behave(Behaviour::INLINE);
    pair.settle();
    neighbour.run(&beside, Io::Read(2048)).good();
    neighbour.hang_up();
    pair.assert_clean();
}
