//! PREEMPT AND ABORT: the commands of the preempted nexuses end before it is answered.

use iscsi_proto::params::SessionParams;
use iscsi_proto::pdu::{Bhs, DataIn, ScsiResponse};
use scsi_core::lun::Lun;

use super::*;
use crate::keys::ConnectionIndex;
use crate::shard::functions::Reach;
use crate::shard::{Env, ShardEvent};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const REGISTER: u8 = 0;
const PREEMPT_AND_ABORT: u8 = 5;

/// Two sessions that are registered, the first with key 1, the second with key 2.
struct Cluster {
    bench: Bench,
    /// The other session: its connection and next CmdSN.
    other: (ConnectionIndex, u32),
}

impl Cluster {
    fn new() -> Self {
        let mut bench = Bench::new();
        let other = (bench.connect(2, &SessionParams::default()), 1);
        let mut cluster = Self { bench, other };
        cluster.persist_out(REGISTER, 0, 1);
        cluster.swap();
        cluster.bench.command(&[0], Expect::Nothing);
        cluster.bench.drain();
        cluster.persist_out(REGISTER, 0, 2);
        cluster.swap();
        cluster
    }

    fn swap(&mut self) {
        std::mem::swap(&mut self.other.0, &mut self.bench.connection);
        std::mem::swap(&mut self.other.1, &mut self.bench.cmd_sn);
    }

    fn send_persist_out(&mut self, action: u8, own: u8, other: u8) {
        let mut list = [0; 24];
        (list[7], list[15]) = (own, other);
        self.bench.command(&[0x5f, action, 1, 0, 0, 0, 0, 0, 24, 0], Expect::Out(24, &list, true));
    }

    fn persist_out(&mut self, action: u8, own: u8, other: u8) {
        self.send_persist_out(action, own, other);
        self.bench.settle();
        assert_eq!(self.statuses(), [0]);
    }

    fn statuses(&mut self) -> Vec<u8> {
        let status = |bhs: &Bhs| ScsiResponse::decode(bhs).unwrap().status;
        self.bench.drain().iter().map(|(bhs, _)| status(bhs)).collect()
    }
}

#[test]
fn the_response_waits_for_the_commands_of_the_preempted() {
    let mut cluster = Cluster::new();
    cluster.bench.set_mode(Mode::Hang);
    cluster.bench.command(&READ, Expect::In(4096));
    cluster.swap();
    cluster.bench.command(&READ, Expect::In(4096));
    cluster.swap();
    cluster.send_persist_out(PREEMPT_AND_ABORT, 1, 2);
    let mut env =
        Env { engines: &mut cluster.bench.engines, pool: &mut cluster.bench.pool, now: cluster.bench.now };
    cluster.bench.shard.run_ready(&mut env);
    assert_eq!(cluster.statuses(), [] as [u8; 0], "the read is still out");
    cluster.bench.settle();
    assert_eq!(cluster.statuses(), [0]);
    assert_eq!(cluster.bench.shard.running(), 1, "our own read goes on");
    cluster.swap();
    assert_eq!(cluster.statuses(), [] as [u8; 0], "who was aborted gets no response");
    cluster.bench.command(&[0], Expect::Nothing);
    let (bhs, sense) = cluster.bench.drain().remove(0);
    assert_eq!(ScsiResponse::decode(&bhs).unwrap().status, 2);
    assert_eq!(sense[2 + 12..2 + 14], [0x2a, 5], "REGISTRATIONS PREEMPTED");
    cluster.bench.set_mode(Mode::Inline);
    cluster.bench.settle();
    cluster.swap();
    let out = cluster.bench.drain();
    assert!(DataIn::decode(&out[0].0).is_ok());
    assert_eq!(cluster.bench.shard.running(), 0);
}

#[test]
fn without_commands_it_is_answered_at_once() {
    let mut cluster = Cluster::new();
    cluster.persist_out(PREEMPT_AND_ABORT, 1, 2);
    assert_eq!(cluster.bench.shard.running(), 0);
}

#[test]
fn an_abort_that_takes_too_long_is_not_reported_as_good() {
    let mut cluster = Cluster::new();
    cluster.bench.set_mode(Mode::Hang);
    cluster.swap();
    cluster.bench.command(&READ, Expect::In(4096));
    cluster.swap();
    cluster.send_persist_out(PREEMPT_AND_ABORT, 1, 2);
    cluster.bench.now += crate::limits::ABORT_WAIT * 2;
    let bench = &mut cluster.bench;
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.handle_timeout(&mut env);
    bench.shard.run_ready(&mut env);
    let (bhs, sense) = bench.drain().remove(0);
    assert_eq!(ScsiResponse::decode(&bhs).unwrap().status, 2);
    assert_eq!((sense[2 + 2] & 0xf, sense[2 + 12]), (4, 0x44), "INTERNAL TARGET FAILURE");
    bench.settle();
    assert_eq!((bench.drain().len(), bench.shard.running()), (0, 0));
}

#[test]
fn siblings_end_the_commands_of_the_preempted_too() {
    let mut cluster = Cluster::new();
    cluster.bench.shard.set_siblings(1);
    cluster.send_persist_out(PREEMPT_AND_ABORT, 1, 2);
    cluster.bench.settle();
    assert_eq!(cluster.statuses(), [] as [u8; 0]);
    let mut events = Vec::new();
    cluster.bench.shard.take_events(&mut events);
    let [ShardEvent::ResetSiblings(reach, id)] = &events[..] else { panic!("{events:?}") };
    assert_eq!(reach.lun, Lun::new(1));
    let names: Vec<_> = reach.nexuses.iter().flat_map(|names| names.iter()).collect();
    assert_eq!(names.iter().map(|name| &*name.initiator_port).collect::<Vec<_>>(), ["i2"]);

    // On the sibling the nexus has a command, and so has another.
    let mut sibling = Bench::new();
    let other = sibling.connect(2, &SessionParams::default());
    sibling.set_mode(Mode::Hang);
    sibling.command(&READ, Expect::In(4096));
    (sibling.connection, sibling.cmd_sn) = (other, 1);
    sibling.command(&[0], Expect::Nothing);
    sibling.command(&READ, Expect::In(4096));
    let reset = |sibling: &mut Bench, reach: &Reach| {
        let mut env = Env { engines: &mut sibling.engines, pool: &mut sibling.pool, now: sibling.now };
        sibling.shard.sibling_reset(reach, *id, &mut env);
        sibling.settle();
        let mut events = Vec::new();
        sibling.shard.take_events(&mut events);
        assert_eq!(events, [ShardEvent::ResetDone(*id)]);
        sibling.shard.running()
    };
    assert_eq!(reset(&mut sibling, &Reach { lun: Lun::new(2), ..reach.clone() }), 2);
    assert_eq!(reset(&mut sibling, reach), 1);

    cluster.bench.shard.sibling_reset_done(*id);
    cluster.bench.settle();
    assert_eq!(cluster.statuses(), [0]);
}

#[test]
fn it_ends_with_its_connection() {
    let mut cluster = Cluster::new();
    cluster.bench.set_mode(Mode::Hang);
    cluster.swap();
    cluster.bench.command(&READ, Expect::In(4096));
    cluster.swap();
    cluster.send_persist_out(PREEMPT_AND_ABORT, 1, 2);
    let bench = &mut cluster.bench;
    let mut env = Env { engines: &mut bench.engines, pool: &mut bench.pool, now: bench.now };
    bench.shard.close_connection(bench.connection, &mut env);
    bench.settle();
    assert_eq!((bench.shard.running(), bench.pool.used_bytes()), (0, 0));
}
