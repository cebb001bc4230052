//! Stores that violate their contract, and the log lines of stores that fail.

use std::sync::Arc;
use std::time::Duration;

use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::sense::AdditionalSense;
use scsi_core::store::IoError;
use target_engine::control::messages::LoopError;
use target_engine::limits::{WARNINGS_MAX, WARNINGS_PERIOD};
use tgt_tests::bad_store::{BadStore, EDGE, Fault};
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::log_lines;
use tgt_tests::pair::Pair;
use tgt_tests::setup::{DISK, Setup};
use tgt_tests::sim_store::{Behaviour, SimStore};

/// LUN of a disk with the same kind of store as the first, and so the same engine.
const SAME: u64 = 2;
/// LUN of a disk with another kind of store.
const OTHER: u64 = 3;
const GOOD_LBA: u8 = 0;
const BAD_LBA: u32 = (EDGE / 512) as u32;
const FAILURE: Option<(u8, AdditionalSense)> = Some((4, AdditionalSense::INTERNAL_TARGET_FAILURE));
const MOMENT: Duration = Duration::from_secs(1);

fn cdb(opcode: u8, lba: u32, blocks: u8) -> [u8; 10] {
    let lba = lba.to_be_bytes();
    [opcode, 0, lba[0], lba[1], lba[2], lba[3], 0, 0, blocks, 0]
}

fn read(session: &mut Initiator, lun: u64, lba: u32) -> Option<(u8, AdditionalSense)> {
    session.lun = lun;
    let reply = session.run(&cdb(0x28, lba, 4), Io::Read(2048));
    if reply.status == 0 {
        let expected: Vec<u8> = (0..2048).map(|at| (lba as usize + at / 512) as u8).collect();
        assert_eq!(reply.data, if lun == OTHER { vec![0; 2048] } else { expected }, "data of GOOD");
    }
    reply.check()
}

fn write(session: &mut Initiator, lun: u64, lba: u32) -> Option<(u8, AdditionalSense)> {
    session.lun = lun;
    let data: Vec<u8> = (0..2048).map(|at| (lba as usize + at / 512) as u8).collect();
    session.run(&cdb(0x2a, lba, 4), Io::Write(&data)).check()
}

/// Three disks, the first with this fault, and a session that has received their attentions.
fn disks(fault: Fault) -> (Pair, Initiator, Arc<Unit>) {
    let bad = Unit::new(UnitConfig::disk(1, 1), Some(Arc::new(BadStore::new(fault))));
    let mut setup = Setup::disk(Arc::new(BadStore::new(Fault::None)));
    for (number, unit) in &mut setup.units {
        if *number == DISK {
            *unit = bad.clone();
        }
    }
    let same = Unit::new(UnitConfig::disk(1, 2), Some(Arc::new(BadStore::new(Fault::None))));
    let other = Unit::new(UnitConfig::disk(1, 3), Some(Arc::new(SimStore::new(4 << 20, 2))));
    setup.units.extend([(SAME, same), (OTHER, other)]);
    let pair = Pair::new(setup);
    let session = log_in(&pair);
    log_lines::take();
    (pair, session, bad)
}

fn log_in(pair: &Pair) -> Initiator {
    let mut session = Initiator::login_as(pair, &LoginOptions::of_host(1));
    for lun in [DISK, SAME, OTHER] {
        session.lun = lun;
        let _ = session.run(&[0; 6], Io::None);
    }
    session
}

#[test]
fn completion_with_a_wrong_block_fails_its_command() {
    for fault in [Fault::NoBlock, Fault::ShortBlock, Fault::LongBlock, Fault::OtherBlock, Fault::WrongResult]
    {
        let (pair, mut session, _) = disks(fault);
        assert_eq!(read(&mut session, DISK, BAD_LBA), FAILURE, "{fault:?}");
        let lines = log_lines::take();
        assert_eq!(lines.len(), 1, "{fault:?}: {lines:?}");
        let begin = format!("ERROR target 1 LUN 1: bad: read at offset {EDGE} failed: the store misbehaves");
        assert!(lines[0].starts_with(&begin), "{lines:?}");
        assert_eq!(write(&mut session, DISK, BAD_LBA), FAILURE, "{fault:?}");
        for lun in [DISK, SAME, OTHER] {
            assert_eq!(read(&mut session, lun, GOOD_LBA.into()), None, "{fault:?}");
        }
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn completions_with_exchanged_blocks_fail_their_command() {
    let (pair, mut session, _) = disks(Fault::Swapped);
    session.lun = DISK;
    // One command of several operations that are at the store at the same time.
    let reply = session.run(&[0x28, 0, 0, 0, 8, 0, 0, 2, 0, 0], Io::Read(512 * 512));
    assert_eq!(reply.check(), FAILURE);
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn completion_of_an_unknown_operation_is_only_logged() {
    for fault in [Fault::UnknownTag, Fault::Twice] {
        let (pair, mut session, _) = disks(fault);
        for _ in 0..3 {
            assert_eq!(read(&mut session, DISK, BAD_LBA), None, "{fault:?}");
            assert_eq!(write(&mut session, DISK, BAD_LBA), None, "{fault:?}");
        }
        let lines = log_lines::take();
        assert_eq!(lines.len(), 6, "{fault:?}: {lines:?}");
        assert!(lines[0].contains("target 1: a store completed an unknown operation"), "{lines:?}");
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn lines_that_are_left_out_are_counted_after_the_period() {
    let (pair, mut session, _) = disks(Fault::UnknownTag);
    for _ in 0..WARNINGS_MAX + 7 {
        assert_eq!(read(&mut session, DISK, BAD_LBA), None);
    }
    assert_eq!(log_lines::take().len(), WARNINGS_MAX as usize);
    pair.advance(WARNINGS_PERIOD + MOMENT);
    assert_eq!(log_lines::take(), ["ERROR 7 lines like the last ones were left out"]);
    pair.advance(2 * WARNINGS_PERIOD);
    assert_eq!(log_lines::take(), [""; 0], "counted once");
}

#[test]
fn panicked_engine_fails_only_commands_of_its_units() {
    for fault in
        [Fault::PanicTryNow, Fault::PanicTwice, Fault::PanicSubmit, Fault::PanicKick, Fault::PanicReap]
    {
        let (pair, mut session, unit) = disks(fault);
        assert_eq!(read(&mut session, DISK, BAD_LBA), FAILURE, "{fault:?}");
        let lines = log_lines::take();
        for (lun, count) in [(DISK, 1), (SAME, 1), (OTHER, 0)] {
            let of_unit = format!("ERROR target 1 LUN {lun}: ");
            let panicked = |line: &&String| line.starts_with(&of_unit) && line.contains("panicked (");
            assert_eq!(lines.iter().filter(panicked).count(), count, "{fault:?} {lun}: {lines:?}");
        }
        for lun in [DISK, SAME] {
            assert_eq!(read(&mut session, lun, GOOD_LBA.into()), FAILURE, "{fault:?}");
            assert_eq!(write(&mut session, lun, GOOD_LBA.into()), FAILURE, "{fault:?}");
            assert_eq!(session.run(&cdb(0x35, 0, 0), Io::None).check(), None, "nothing to flush");
            session.run(&[0x12, 0, 0, 0, 36, 0], Io::Read(36)).good();
        }
        assert_eq!(read(&mut session, OTHER, GOOD_LBA.into()), None, "{fault:?}");
        assert_eq!(write(&mut session, OTHER, BAD_LBA), None, "{fault:?}");

        assert!(unit.is_broken());
        unit.set_store(Some(Arc::new(BadStore::new(Fault::None))));
        assert!(!unit.is_broken());
        assert_eq!(read(&mut session, DISK, BAD_LBA), None, "the new store has a new engine");
        assert_eq!(read(&mut session, SAME, BAD_LBA), FAILURE, "{fault:?}");
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn write_at_a_panicked_engine_is_fenced_on_other_loops() {
    let (pair, mut session, unit) = disks(Fault::PanicReap);
    assert_eq!(write(&mut session, DISK, BAD_LBA), FAILURE);
    let step = |offset| scsi_core::device::Step::Write { offset, len: 512, fua: false };
    assert!(unit.is_fenced(&step(EDGE)) && !unit.is_fenced(&step(EDGE + 2048)));
    unit.set_store(Some(Arc::new(BadStore::new(Fault::None))));
    assert_eq!(write(&mut session, DISK, BAD_LBA), None);
    assert!(!unit.is_fenced(&step(EDGE)), "the new store fences no other loop");
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn panic_in_cancel_or_detach_completes_abort_and_removal() {
    let (pair, mut session, _) = disks(Fault::PanicCancel);
    session.lun = DISK;
    session.begin(&cdb(0x28, BAD_LBA, 4), Io::Read(2048));
    session.hang_up();
    pair.settle();
    pair.assert_clean();
    assert!(log_lines::take().iter().any(|line| line.contains("cancel panics")));

    let (pair, mut session, _) = disks(Fault::PanicDetach);
    pair.side().remove_unit(DISK);
    assert!(log_lines::take().iter().any(|line| line.contains("detach panics")));
    assert_eq!(read(&mut session, SAME, GOOD_LBA.into()), FAILURE);
    assert_eq!(read(&mut session, OTHER, GOOD_LBA.into()), None);
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn store_that_cannot_be_attached_is_refused() {
    for (fault, error) in [(Fault::PanicAttach, IoError::ABANDONED), (Fault::NoEngine, IoError::MISBEHAVED)] {
        let (pair, mut session, _) = disks(Fault::None);
        let unit = Unit::new(UnitConfig::disk(1, 4), Some(Arc::new(BadStore::new(fault))));
        let added = pair.side().add_unit(4, &unit);
        assert_eq!(added, Err(LoopError::Store(error)), "{fault:?}");
        assert_eq!(read(&mut session, OTHER, GOOD_LBA.into()), None);
    }
}

#[test]
fn panic_in_drop_of_an_engine_is_caught() {
    let (pair, session, _) = disks(Fault::PanicEngineDrop);
    drop(session);
    drop(pair);
}

#[test]
fn failing_store_is_logged_once_and_once_when_it_recovers() {
    let (mut setup, store) = Setup::sim();
    setup.settings.tid = 3;
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    let _ = session.run(&[0; 6], Io::None);
    log_lines::take();
    for behaviour in [Behaviour::INLINE, Behaviour::LATER] {
        store.behave(Behaviour { fail: 1000, ..behaviour });
        store.fail_with(IoError::NO_SPACE.with_errno(28).at(4096));
        for _ in 0..20 {
            session.run(&cdb(0x2a, 8, 4), Io::Write(&[1; 2048])).check().expect("no space");
        }
        let line = "ERROR target 3 LUN 1: sim: write at offset 4096 failed: No space left on device (28)";
        assert_eq!(log_lines::take(), [line]);
        store.behave(behaviour);
        for _ in 0..3 {
            session.run(&cdb(0x2a, 8, 4), Io::Write(&[1; 2048])).good();
        }
        let again = "WARN target 3 LUN 1: sim: I/O succeeds again";
        let others = format!("{line}; 18 other failures since the last such line");
        assert_eq!(log_lines::take(), [&others, again], "the last line says how the store is");
        pair.advance(3 * WARNINGS_PERIOD);
        assert_eq!(log_lines::take(), [""; 0], "reported once");
    }
}

#[test]
fn aborted_command_is_not_logged_as_a_failure() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = Initiator::login(&pair);
    let _ = session.run(&[0; 6], Io::None);
    log_lines::take();
    store.behave(Behaviour::HANG);
    session.begin(&cdb(0x28, 0, 4), Io::Read(2048));
    session.hang_up();
    pair.settle();
    pair.assert_clean();
    assert_eq!(log_lines::take(), [""; 0]);
}
