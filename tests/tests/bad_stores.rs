//! What the target does about a store that breaks its contract, and what the log says of stores that fail.

use std::sync::Arc;
use std::time::Duration;

use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::sense::AdditionalSense;
use scsi_core::store::IoError;
use target_engine::limits::WARNINGS_PERIOD;
use tgt_tests::bad_store::{BadStore, EDGE, Fault};
use tgt_tests::initiator::{Initiator, Io, Wish};
use tgt_tests::log_lines;
use tgt_tests::pair::Pair;
use tgt_tests::setup::{DISK, Setup};
use tgt_tests::sim_store::{Behaviour, SimStore};

/// A disk of the same kind of store as the first, thus on the same engine.
const SAME: u64 = 2;
/// A disk of another kind of store.
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
        assert_eq!(reply.data, if lun == OTHER { vec![0; 2048] } else { expected }, "GOOD has its data");
    }
    reply.check()
}

fn write(session: &mut Initiator, lun: u64, lba: u32) -> Option<(u8, AdditionalSense)> {
    session.lun = lun;
    let data: Vec<u8> = (0..2048).map(|at| (lba as usize + at / 512) as u8).collect();
    session.run(&cdb(0x2a, lba, 4), Io::Write(&data)).check()
}

/// Three disks, the first with this fault, and a session that knows them.
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
    let mut session = Initiator::login_as(pair, &Wish::of(1));
    for lun in [DISK, SAME, OTHER] {
        session.lun = lun;
        let _ = session.run(&[0; 6], Io::None);
    }
    session
}

#[test]
fn a_completion_without_the_block_that_was_lent_is_an_error_of_its_command() {
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
fn completions_that_exchange_their_blocks_are_errors() {
    let (pair, mut session, _) = disks(Fault::Swapped);
    session.lun = DISK;
    // One command of several operations, which are with the store together.
    let reply = session.run(&[0x28, 0, 0, 0, 8, 0, 0, 2, 0, 0], Io::Read(512 * 512));
    assert_eq!(reply.check(), FAILURE);
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn a_completion_of_an_unknown_operation_is_logged_and_harms_no_command() {
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
fn an_engine_that_panics_fails_the_commands_of_its_units_and_of_no_others() {
    for fault in
        [Fault::PanicTryNow, Fault::PanicTwice, Fault::PanicSubmit, Fault::PanicKick, Fault::PanicReap]
    {
        let (pair, mut session, unit) = disks(fault);
        assert_eq!(read(&mut session, DISK, BAD_LBA), FAILURE, "{fault:?}");
        let lines = log_lines::take();
        for (lun, count) in [(DISK, 1), (SAME, 1), (OTHER, 0)] {
            let of_unit = format!("ERROR target 1 LUN {lun}: ");
            let told = |line: &&String| line.starts_with(&of_unit) && line.contains("panicked (");
            assert_eq!(lines.iter().filter(told).count(), count, "{fault:?} {lun}: {lines:?}");
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
        assert_eq!(read(&mut session, DISK, BAD_LBA), None, "opened again, it has a new engine");
        assert_eq!(read(&mut session, SAME, BAD_LBA), FAILURE, "{fault:?}");
        session.hang_up();
        pair.assert_clean();
    }
}

#[test]
fn a_write_that_a_panicked_engine_may_still_carry_out_keeps_other_loops_off() {
    let (pair, mut session, unit) = disks(Fault::PanicReap);
    assert_eq!(write(&mut session, DISK, BAD_LBA), FAILURE);
    let step = |offset| scsi_core::device::Step::Write { offset, len: 512, fua: false };
    assert!(unit.is_fenced(&step(EDGE)) && !unit.is_fenced(&step(EDGE + 2048)));
    unit.set_store(Some(Arc::new(BadStore::new(Fault::None))));
    assert_eq!(write(&mut session, DISK, BAD_LBA), None);
    assert!(!unit.is_fenced(&step(EDGE)), "another store has nothing to fear");
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn an_engine_that_panics_in_cancel_or_detach_ends_the_abort_and_the_removal() {
    let (pair, mut session, _) = disks(Fault::PanicCancel);
    session.lun = DISK;
    session.begin(&cdb(0x28, BAD_LBA, 4), Io::Read(2048));
    session.hang_up();
    pair.settle();
    pair.assert_clean();
    assert!(log_lines::take().iter().any(|line| line.contains("cancel panics")));

    let (pair, mut session, _) = disks(Fault::PanicDetach);
    pair.side().with_env(|shard, env| {
        shard.remove_unit(scsi_core::lun::Lun::new(DISK).unwrap(), env.now, env);
    });
    pair.settle();
    assert!(log_lines::take().iter().any(|line| line.contains("detach panics")));
    assert_eq!(read(&mut session, SAME, GOOD_LBA.into()), FAILURE);
    assert_eq!(read(&mut session, OTHER, GOOD_LBA.into()), None);
    session.hang_up();
    pair.assert_clean();
}

#[test]
fn a_store_that_cannot_be_attached_makes_no_unit() {
    for (fault, error) in [(Fault::PanicAttach, IoError::ABANDONED), (Fault::NoEngine, IoError::MISBEHAVED)] {
        let (pair, mut session, _) = disks(Fault::None);
        let unit = Unit::new(UnitConfig::disk(1, 4), Some(Arc::new(BadStore::new(fault))));
        let lun = scsi_core::lun::Lun::new(4).unwrap();
        let added = pair.side().with_env(|shard, env| shard.add_unit(lun, unit, env));
        assert_eq!(added, Err(error), "{fault:?}");
        pair.settle();
        assert_eq!(read(&mut session, OTHER, GOOD_LBA.into()), None);
    }
}

#[test]
fn engines_that_panic_when_they_are_dropped_are_dropped_all_the_same() {
    let (pair, session, _) = disks(Fault::PanicEngineDrop);
    drop(session);
    drop(pair);
}

#[test]
fn the_log_has_one_line_of_a_unit_that_fails_and_one_when_it_works_again() {
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
        assert_eq!(log_lines::take(), ["WARN target 3 LUN 1: sim: I/O succeeds again"]);
        pair.advance(WARNINGS_PERIOD + MOMENT);
        let late = format!("{line}; 18 other failures since the last such line");
        assert_eq!(log_lines::take(), [late], "what was left out");
        pair.advance(2 * WARNINGS_PERIOD);
        assert_eq!(log_lines::take(), [""; 0], "said once");
    }
}

#[test]
fn a_command_that_was_aborted_is_no_failure_of_its_store() {
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
