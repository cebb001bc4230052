//! Tests of all commands: unit attentions, reservations, supported commands, bounds.

use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};

use proptest::prelude::*;

use super::bench::*;
use super::task::DeviceTask;
use super::unit::{Capacity, Unit, UnitConfig, UpdateError};
use super::{Command, NexusIndex};
use crate::cdb::table::COMMANDS;
use crate::page::supported::{decode_all, decode_one};
use crate::sense::{AdditionalSense, Sense, SenseKey};
use crate::status::Status;
use crate::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};

const TUR: &[u8] = &[0; 6];
const POWER_ON: Verdict = Some((6, 0x29, 0));
const RESET: Verdict = Some((6, 0x29, 3));
const INQUIRY: &[u8] = &[0x12, 0, 0, 0, 36, 0];
const REPORT_LUNS: &[u8] = &[0xa0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0];
const REQUEST_SENSE: &[u8] = &[0x03, 0, 0, 0, 18, 0];

fn disk() -> Bench {
    Bench::disk(|_| {}, FILE)
}

/// Attaches nexus 2.
fn newcomer(bench: &mut Bench) -> u32 {
    bench.attach(2);
    2
}

#[test]
fn new_nexus_gets_one_power_on_attention() {
    let mut bench = disk();
    let nexus = newcomer(&mut bench);
    for cdb in [INQUIRY, REPORT_LUNS] {
        assert_eq!(verdict(&bench.command(nexus, cdb, &[])), GOOD, "{cdb:02x?}");
    }
    assert_eq!(verdict(&bench.command(nexus, &[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[0; 512])), POWER_ON);
    assert_eq!(bench.steps, [], "nothing is done by a command that reports an attention");
    assert_eq!(verdict(&bench.command(nexus, TUR, &[])), GOOD);
    assert_eq!(verdict(&bench.run(TUR, &[])), GOOD, "no attention for other nexuses");
}

#[test]
fn request_sense_returns_and_clears_unit_attention() {
    let mut bench = disk();
    let nexus = newcomer(&mut bench);
    let outcome = bench.command(nexus, REQUEST_SENSE, &[]);
    assert_eq!((outcome.status, outcome.data_in.len()), (Status::Good, 18));
    assert_eq!(Sense::decode(&outcome.data_in).unwrap().key, SenseKey::UnitAttention);
    let outcome = bench.command(nexus, &[0x03, 1, 0, 0, 252, 0], &[]);
    assert_eq!(outcome.data_in, [0x72, 0, 0, 0, 0, 0, 0, 0], "descriptor format, no sense");
    assert_eq!(verdict(&bench.command(nexus, TUR, &[])), GOOD);
}

#[test]
fn report_luns_clears_its_unit_attention() {
    let mut bench = disk();
    for _ in 0..2 {
        bench.unit.raise(AdditionalSense::REPORTED_LUNS_DATA_HAS_CHANGED);
    }
    assert_eq!(bench.run(REPORT_LUNS, &[]).data_in[..4], [0, 0, 0, 8]);
    assert_eq!(verdict(&bench.run(TUR, &[])), GOOD);
    assert_eq!(verdict(&bench.command(1, TUR, &[])), Some((6, 0x3f, 0x0e)));
    assert_eq!(verdict(&bench.command(1, TUR, &[])), GOOD);

    let mut report = REPORT_LUNS.to_vec();
    for (select, expected) in [(1, GOOD), (2, GOOD), (3, BAD_FIELD)] {
        report[2] = select;
        assert_eq!(verdict(&bench.run(&report, &[])), expected, "{select}");
    }
}

#[test]
fn configuration_change_raises_attention_for_all_nexuses() {
    type Change = fn(&mut UnitConfig);
    #[rustfmt::skip]
    let cases: [(Change, Verdict); 8] = [
        (|config| config.write_cache = false,           Some((6, 0x2a, 1))),
        (|config| config.read_only = true,              Some((6, 0x2a, 1))),
        (|config| config.sense_descriptor = true,       Some((6, 0x2a, 1))),
        (|config| config.thin_provisioning = true,      Some((6, 0x2a, 9))),
        (|config| config.lbppbe = Some(2),              Some((6, 0x2a, 9))),
        (|config| config.product_id = "X".to_owned(),   Some((6, 0x3f, 3))),
        (|config| config.scsi_id = "X".to_owned(),      Some((6, 0x3f, 3))),
        (|config| config.online = true,                 GOOD),
    ];
    for (number, (change, expected)) in cases.into_iter().enumerate() {
        let mut bench = disk();
        bench.unit.update(change).unwrap();
        for nexus in 0..2 {
            assert_eq!(verdict(&bench.command(nexus, TUR, &[])), expected, "case {number}");
            assert_eq!(verdict(&bench.command(nexus, TUR, &[])), GOOD, "case {number}");
        }
    }
}

#[test]
fn size_change_raises_attention_and_takes_effect() {
    let mut bench = disk();
    bench.store.size.store(32 * 512, Ordering::Relaxed);
    assert_eq!(bench.unit.refresh_capacity(), Ok(Capacity { blocks: 32, block_len: 512 }));
    assert_eq!(verdict(&bench.run(TUR, &[])), Some((6, 0x2a, 9)));
    assert_eq!(verdict(&bench.run(&[0x28, 0, 0, 0, 0, 32, 0, 0, 1, 0], &[])), OUT_OF_RANGE);
    assert_eq!(bench.unit.refresh_capacity(), Ok(Capacity { blocks: 32, block_len: 512 }));
    assert_eq!(verdict(&bench.run(TUR, &[])), GOOD, "the same size is no news");
}

#[test]
fn medium_change_raises_attention() {
    let mut bench = disk();
    bench.unit.update(|config| config.online = false).unwrap();
    assert_eq!(verdict(&bench.run(TUR, &[])), NO_MEDIUM);
    let before = bench.unit.generation();
    bench.unit.set_store(None);
    assert_ne!(bench.unit.generation(), before);
    bench.unit.update(|config| config.online = true).unwrap();
    assert_eq!(verdict(&bench.run(TUR, &[])), NO_MEDIUM, "online without a store is no medium");
    bench.unit.set_store(Some(bench.store.clone()));
    assert_eq!(verdict(&bench.run(TUR, &[])), Some((6, 0x28, 0)));
    assert_eq!(bench.unit.update(|config| config.block_len = 1000), Err(UpdateError::BlockLength));
    assert_eq!(bench.unit.capacity(), Capacity { blocks: 64, block_len: 512 });
}

/// Records whether the unit was locked when the store was dropped.
struct DropProbe {
    unit: OnceLock<Weak<Unit>>,
    was_locked: Arc<OnceLock<bool>>,
}

impl Backstore for DropProbe {
    fn kind(&self) -> &'static str {
        "probe"
    }

    fn geometry(&self) -> Geometry {
        Geometry { size: 4096, physical_block_len: 512 }
    }

    fn capabilities(&self) -> Capabilities {
        FILE
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        Ok(self.geometry())
    }

    fn attach(&self, _: &mut Engines) -> Result<Port, IoError> {
        Err(IoError::UNSUPPORTED)
    }
}

impl Drop for DropProbe {
    fn drop(&mut self) {
        let unit = self.unit.get().and_then(Weak::upgrade).unwrap();
        self.was_locked.set(unit.is_locked()).unwrap();
    }
}

#[test]
fn last_handle_of_a_store_is_dropped_without_the_lock_of_its_unit() {
    let was_locked = Arc::new(OnceLock::new());
    let store = Arc::new(DropProbe { unit: OnceLock::new(), was_locked: Arc::clone(&was_locked) });
    let unit = Unit::new(UnitConfig::disk(1, 1), Some(store.clone()));
    store.unit.set(Arc::downgrade(&unit)).unwrap();
    drop(store);
    unit.set_store(None);
    assert_eq!(was_locked.get(), Some(&false));
}

#[test]
fn reset_raises_attention_and_ends_reservation() {
    let mut bench = disk();
    assert_eq!(verdict(&bench.run(&[0x16, 0, 0, 0, 0, 0], &[])), GOOD);
    bench.port.reset();
    for nexus in 0..2 {
        assert_eq!(verdict(&bench.command(nexus, TUR, &[])), RESET);
        assert_eq!(verdict(&bench.command(nexus, TUR, &[])), GOOD);
    }
}

#[test]
fn reserve_6_excludes_other_nexuses() {
    let (reserve, release) = (&[0x16, 0, 0, 0, 0, 0][..], &[0x17, 0, 0, 0, 0, 0][..]);
    let mut bench = disk();
    assert_eq!(verdict(&bench.run(reserve, &[])), GOOD);
    assert_eq!(verdict(&bench.run(reserve, &[])), GOOD);
    #[rustfmt::skip]
    let cases: [(&[u8], Status); 11] = [
        (TUR,                                   Status::ReservationConflict),
        (reserve,                               Status::ReservationConflict),
        (&[0x1a, 0, 0x3f, 0, 255, 0],           Status::ReservationConflict),
        (&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],    Status::ReservationConflict),
        (&[0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0],    Status::ReservationConflict),
        (&[0x1e, 0, 0, 0, 1, 0],                Status::ReservationConflict),
        (&[0x1e, 0, 0, 0, 0, 0],                Status::Good),
        (INQUIRY,                               Status::Good),
        (REQUEST_SENSE,                         Status::Good),
        (REPORT_LUNS,                           Status::Good),
        (release,                               Status::Good),
    ];
    for (cdb, expected) in cases {
        let outcome = bench.command(1, cdb, &[]);
        assert_eq!((outcome.status, outcome.sense), (expected, None), "{cdb:02x?}");
        assert_eq!(bench.steps, []);
    }
    assert_eq!(verdict(&bench.run(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[])), GOOD);
    // Loss of the holding nexus.
    bench.port.detach_nexus(NexusIndex(0));
    assert_eq!(verdict(&bench.command(1, reserve, &[])), GOOD);
}

#[test]
fn ports_of_a_unit_share_its_state() {
    let mut bench = disk();
    let mut other = super::port::UnitPort::new(bench.unit.clone());
    std::mem::swap(&mut bench.port, &mut other);
    bench.attach(5);
    assert_eq!(verdict(&bench.command(5, TUR, &[])), POWER_ON);
    assert_eq!(verdict(&bench.command(5, &[0x16, 0, 0, 0, 0, 0], &[])), GOOD);
    std::mem::swap(&mut bench.port, &mut other);
    assert_eq!(bench.run(TUR, &[]).status, Status::ReservationConflict);
}

#[test]
fn unknown_nexus_gets_busy() {
    let mut bench = disk();
    assert_eq!(bench.command(9, TUR, &[]).status, Status::Busy);
    bench.port.detach_nexus(NexusIndex(1));
    assert_eq!(bench.command(1, TUR, &[]).status, Status::Busy);
}

/// The commands that REPORT SUPPORTED OPERATION CODES reports.
fn supported(bench: &mut Bench) -> Vec<(u8, Option<u16>)> {
    let data = bench.run(&[0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0], &[]).data_in;
    decode_all(&data).unwrap().iter().map(|command| (command.opcode, command.service_action)).collect()
}

#[test]
fn reported_commands_are_exactly_the_supported_ones() {
    let thin = Bench::disk(|config| config.thin_provisioning = true, FILE);
    for mut bench in [disk(), thin, Bench::new(UnitConfig::controller(1), FILE)] {
        let listed = supported(&mut bench);
        for command in COMMANDS {
            let mut cdb = vec![0; command.usage.len()];
            cdb[0] = command.opcode;
            cdb[1] = command.service_action.unwrap_or(0) as u8;
            let outcome = bench.run(&cdb, &[]);
            let refused = outcome.status == Status::CheckCondition && verdict(&outcome) == BAD_OPCODE;
            let is_listed = listed.contains(&(command.opcode, command.service_action));
            assert_eq!(refused, !is_listed, "{}", command.name);

            let [high, low] = command.service_action.unwrap_or(0).to_be_bytes();
            let report = |option, opcode| [0xa3, 0x0c, option, opcode, high, low, 0, 0, 0, 64, 0, 0];
            let one = bench.run(&report(3, command.opcode), &[]);
            let usage = decode_one(&one.data_in).unwrap();
            assert_eq!(usage, is_listed.then_some(command.usage), "{}", command.name);
            let option = if command.service_action.is_some() { 2 } else { 1 };
            assert_eq!(verdict(&bench.run(&report(option, command.opcode), &[])), GOOD, "{}", command.name);
            assert_eq!(
                verdict(&bench.run(&report(3 - option, command.opcode), &[])),
                BAD_FIELD,
                "{}",
                command.name
            );
        }
    }
    assert!(!supported(&mut disk()).contains(&(0x42, None)), "UNMAP needs thin provisioning");
}

#[test]
fn controller_is_ready_without_a_medium() {
    let mut bench = Bench::new(UnitConfig::controller(1), FILE);
    assert_eq!(verdict(&bench.run(TUR, &[])), GOOD);
    for cdb in [
        &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0][..],
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x1a, 0, 0x3f, 0, 4, 0],
    ] {
        assert_eq!(verdict(&bench.run(cdb, &[])), BAD_OPCODE, "{cdb:02x?}");
    }
    assert_eq!(bench.run(&[0xa3, 0x0d, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0], &[]).data_in, [0xda, 0, 0, 0]);
}

#[test]
fn self_test_passes_and_diagnostic_pages_are_refused() {
    assert_eq!(verdict(&disk().run(&[0x1d, 4, 0, 0, 0, 0], &[])), GOOD);
    assert_eq!(verdict(&disk().run(&[0x1d, 0x10, 0, 0, 8, 0], &[0; 8])), BAD_FIELD);
}

struct NoLuns;

impl super::TargetView for NoLuns {
    fn luns(&self) -> &[crate::lun::Lun] {
        &[]
    }
}

#[test]
fn aborted_task_can_be_reused() {
    let mut bench = Bench::disk(|config| config.write_cache = false, Capabilities { fua: false, ..FILE });
    let mut task = DeviceTask::default();
    let mut cdb = [0; 16];
    cdb[..10].copy_from_slice(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let command = Command { nexus: NexusIndex(0), cdb: &cdb, data_out_len: 512, data_out: &[0; 512] };
    let _ = bench.port.start(&mut task, &command, &NoLuns);
    assert_eq!(task.transfer_len(), 512);
    bench.port.abort(&mut task);
    assert_eq!(task.transfer_len(), 0);
    let done = bench.port.io_done(&mut task, Ok(super::IoDone::Done));
    assert!(matches!(done, super::Step::Done(_)), "nothing is left of the write's flush");
}

#[test]
fn one_flush_of_each_nexus_fails_whose_writes_were_forgotten() {
    let mut bench = disk();
    let forgotten = Some((0x04, 0x0c, 0x00));
    let write = |bench: &mut Bench, nexus| {
        let cdb = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        assert_eq!(verdict(&bench.command(nexus, &cdb, &[7; 512])), GOOD);
    };
    let flush =
        |bench: &mut Bench, nexus| verdict(&bench.command(nexus, &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[]));
    write(&mut bench, 0);
    assert_eq!(bench.port.forget_writes(), 1);
    // Nexus 1 has written nothing before.
    write(&mut bench, 1);
    assert_eq!([flush(&mut bench, 1), flush(&mut bench, 0), flush(&mut bench, 0)], [GOOD, forgotten, GOOD]);
    assert_eq!(bench.port.forget_writes(), 0);
    // A write with FUA that the store performs needs no flush.
    assert_eq!(verdict(&bench.command(0, &[0x2a, 8, 0, 0, 0, 0, 0, 0, 1, 0], &[7; 512])), GOOD);
    assert_eq!(bench.port.forget_writes(), 0);
    // An aborted write may have been performed.
    let mut task = DeviceTask::default();
    let mut cdb = [0; 16];
    cdb[..10].copy_from_slice(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    let command = Command { nexus: NexusIndex(1), cdb: &cdb, data_out_len: 512, data_out: &[0; 512] };
    let _ = bench.port.start(&mut task, &command, &NoLuns);
    bench.port.abort(&mut task);
    assert_eq!(bench.port.forget_writes(), 1);
    assert_eq!([flush(&mut bench, 1), flush(&mut bench, 1)], [forgotten, GOOD]);
}

#[test]
fn task_size_is_limited() {
    assert!(size_of::<DeviceTask>() <= 64, "{} bytes", size_of::<DeviceTask>());
}

fn capabilities() -> impl Strategy<Value = Capabilities> {
    any::<[bool; 7]>().prop_map(
        |[read_only, volatile_cache, fua, discard, discard_zeroes, write_zeroes, allocation]| Capabilities {
            read_only,
            volatile_cache,
            fua,
            discard,
            discard_zeroes,
            write_zeroes,
            allocation,
            ..FILE
        },
    )
}

/// CDBs that are often valid: a known operation code and small numbers.
fn cdb() -> impl Strategy<Value = [u8; 16]> {
    let known =
        prop::sample::select(COMMANDS.iter().map(|row| (row.opcode, row.service_action)).collect::<Vec<_>>());
    let byte = prop_oneof![3 => Just(0), 2 => 0..80u8, 1 => any::<u8>()];
    (known, any::<bool>(), prop::array::uniform16(byte)).prop_map(|((opcode, action), wild, mut bytes)| {
        if !wild {
            bytes[0] = opcode;
            bytes[1] = action.map_or(bytes[1], |action| action as u8);
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// Runs any command with any data on any store; the bench checks the range of each step.
    #[test]
    fn no_command_exceeds_the_store_or_panics(
        capabilities in capabilities(),
        [thin, removable, write_cache, large_blocks] in any::<[bool; 4]>(),
        cdbs in prop::collection::vec((cdb(), prop_oneof![Just(0), Just(512), 0..5000usize], any::<u8>()), 1..8),
    ) {
        let mut bench = Bench::disk(
            |config| {
                config.thin_provisioning = thin;
                config.removable = removable;
                config.write_cache = write_cache;
                config.block_len = if large_blocks { 4096 } else { 512 };
            },
            capabilities,
        );
        for (cdb, data_len, fill) in cdbs {
            bench.run(&cdb, &vec![fill; data_len]);
        }
    }
}
