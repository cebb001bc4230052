//! The counters of sessions and connections. tgt 1.0.85 showed the same figures for the same commands.

use std::sync::Arc;

use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::R2t;
use scsi_core::device::unit::{Unit, UnitConfig};
use scsi_core::lun::Lun;

use super::*;
use crate::keys::SessionIndex;
use crate::shard::Env;
use crate::stats::{ConnectionCounts, Moved, UnitCounts};

const TEST_UNIT_READY: [u8; 6] = [0; 6];
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0];
/// Beyond the end of every disk here.
const READ_BEYOND: [u8; 10] = [0x28, 0, 0xff, 0xff, 0xff, 0, 0, 0, 8, 0];

impl Bench {
    fn unit_counts(&self, session: usize, lun: u64) -> UnitCounts {
        self.shard.sessions[SessionIndex::new(session)].stats().unit(Lun::new(lun).unwrap()).unwrap().counts()
    }

    fn connection_counts(&self) -> ConnectionCounts {
        self.shard.sessions[self.connection].counts()
    }

    fn add(&mut self, lun: u64, unit: Arc<Unit>) {
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        self.shard.add_unit(Lun::new(lun).unwrap(), unit, &mut env).unwrap();
    }
}

fn moved(bytes: u64, commands: u32) -> Moved {
    Moved { bytes, commands }
}

/// Takes the power-on attention of the nexus.
const AFTER_POWER_ON: UnitCounts = UnitCounts {
    read_submitted: Moved { bytes: 0, commands: 0 },
    read_done: Moved { bytes: 0, commands: 0 },
    write_submitted: Moved { bytes: 0, commands: 0 },
    write_done: Moved { bytes: 0, commands: 0 },
    errors: 1,
};

#[test]
fn reads_are_counted_by_what_the_initiator_expects() {
    for mode in [Mode::Inline, Mode::Later] {
        let mut bench = Bench::new();
        bench.set_mode(mode);
        assert_eq!(bench.unit_counts(0, 1), AFTER_POWER_ON);
        bench.command(&TEST_UNIT_READY, Expect::Nothing);
        assert_eq!(bench.unit_counts(0, 1), AFTER_POWER_ON, "no data, no count");
        for expected in [4096, 1024, 8192] {
            bench.command(&READ, Expect::In(expected));
        }
        bench.settle();
        let counted = moved(4096 + 1024 + 8192, 3);
        let expected = UnitCounts { read_submitted: counted, read_done: counted, ..AFTER_POWER_ON };
        assert_eq!(bench.unit_counts(0, 1), expected);
        bench.command(&READ_BEYOND, Expect::In(4096));
        let counted = moved(4096 + 1024 + 8192 + 4096, 4);
        let expected =
            UnitCounts { read_submitted: counted, read_done: counted, errors: 2, ..AFTER_POWER_ON };
        assert_eq!(bench.unit_counts(0, 1), expected);
        assert_eq!((bench.connection_counts().command_pdus, bench.connection_counts().data_out_pdus), (6, 0));
    }
}

#[test]
fn a_write_has_begun_when_its_data_has_arrived() {
    let mut bench = Bench::new();
    let data = [7; 4096];
    let itt = bench.command(&WRITE, Expect::Out(4096, &[], true));
    let r2t = R2t::decode(&bench.drain()[0].0).unwrap();
    assert_eq!(bench.unit_counts(0, 1), AFTER_POWER_ON);
    bench.data_out(itt, Some(&r2t), 0, 0, &data[..1024], false);
    assert_eq!(bench.unit_counts(0, 1), AFTER_POWER_ON);
    bench.set_mode(Mode::Later);
    bench.data_out(itt, Some(&r2t), 1, 1024, &data[1024..], true);
    let begun = UnitCounts { write_submitted: moved(4096, 1), ..AFTER_POWER_ON };
    assert_eq!(bench.unit_counts(0, 1), begun);
    bench.settle();
    assert_eq!(bench.unit_counts(0, 1), UnitCounts { write_done: moved(4096, 1), ..begun });
    assert_eq!((bench.connection_counts().command_pdus, bench.connection_counts().data_out_pdus), (2, 2));
}

#[test]
fn a_command_that_fails_before_it_begins_is_an_error_and_nothing_else() {
    let mut bench = Bench::new();
    let itt = bench.command(&WRITE, Expect::Out(4096, &[], true));
    let r2t = R2t::decode(&bench.drain()[0].0).unwrap();
    bench.data_out(itt, Some(&r2t), 0, 512, &[7; 512], false);
    assert_eq!(bench.unit_counts(0, 1), UnitCounts { errors: 2, ..AFTER_POWER_ON });
}

#[test]
fn an_aborted_command_was_begun_and_never_done() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    let begun = UnitCounts { read_submitted: moved(4096, 1), ..AFTER_POWER_ON };
    assert_eq!(bench.unit_counts(0, 1), begun);
    let stats = Arc::clone(bench.shard.sessions[SessionIndex::new(0)].stats());
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.close_all(&mut env);
    bench.settle();
    assert!(bench.shard.is_idle());
    assert_eq!(stats.unit(Lun::new(1).unwrap()).unwrap().counts(), begun, "others may still read it");
}

#[test]
fn commands_without_a_unit_count_at_the_controller() {
    let mut bench = Bench::new();
    bench.add(0, Unit::new(UnitConfig::controller(1), None));
    let mut command = bench.pdu(&[0x12, 0, 0, 0, 96, 0], Expect::In(96));
    command.lun = Lun::new(7).unwrap().to_wire();
    let mut bhs = [0; 48];
    command.encode(&mut bhs);
    bench.send(&bhs, &[]);
    let expected = UnitCounts { read_submitted: moved(96, 1), read_done: moved(96, 1), ..Default::default() };
    assert_eq!(bench.unit_counts(0, 0), expected);
}

#[test]
fn each_session_and_each_added_unit_has_its_own_counters() {
    let mut bench = Bench::new();
    bench.connection = bench.connect(2, &SessionParams::default());
    bench.cmd_sn = 1;
    assert_eq!(bench.unit_counts(1, 1), UnitCounts::default());
    bench.command(&TEST_UNIT_READY, Expect::Nothing);
    bench.command(&READ, Expect::In(4096));
    let expected = UnitCounts { read_submitted: moved(4096, 1), read_done: moved(4096, 1), ..AFTER_POWER_ON };
    assert_eq!((bench.unit_counts(0, 1), bench.unit_counts(1, 1)), (AFTER_POWER_ON, expected));
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.remove_unit(Lun::new(1).unwrap(), bench.now, &mut env);
    let unit = Unit::new(UnitConfig::disk(1, 1), Some(Arc::new(store(Arc::clone(&bench.store)))));
    bench.add(1, unit);
    assert_eq!((bench.unit_counts(0, 1), bench.unit_counts(1, 1)), Default::default());
}
