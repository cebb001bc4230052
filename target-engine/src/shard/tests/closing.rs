//! Units that stop or are removed, and targets that end, while commands run.

use std::time::Duration;

use iscsi_proto::pdu::ScsiResponse;
use scsi_core::lun::Lun;

use super::*;
use crate::shard::{Env, ShardEvent, TargetShard};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const LATER: Duration = Duration::from_secs(30);

fn lun() -> Lun {
    Lun::new(1).unwrap()
}

impl Bench {
    fn with_env<T>(&mut self, act: impl FnOnce(&mut TargetShard, &mut Env<'_>) -> T) -> T {
        let mut env = Env { engines: &mut self.engines, pool: &mut self.pool, now: self.now };
        act(&mut self.shard, &mut env)
    }

    fn events(&mut self) -> Vec<ShardEvent> {
        let mut events = Vec::new();
        self.shard.take_events(&mut events);
        events
    }

    /// Advances the time.
    fn pass(&mut self, time: Duration) {
        let due = self.shard.poll_timeout(self.now);
        self.now += time;
        assert!(due.is_some_and(|due| due <= self.now), "it asked to be called: {due:?}");
        self.with_env(|shard, env| shard.handle_timeout(env));
    }

    /// Sense key and code of the only response, which is not GOOD.
    fn only_sense(&mut self) -> (u8, u8) {
        let [(bhs, data)] = &self.drain()[..] else { panic!("one response") };
        assert_eq!(ScsiResponse::decode(bhs).unwrap().status, 2);
        (data[2 + 2] & 0xf, data[2 + 12])
    }
}

#[test]
fn commands_of_a_removed_unit_may_finish_and_no_new_ones_begin() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    bench.command(&READ, Expect::In(4096));
    let by = bench.now + LATER;
    bench.with_env(|shard, env| shard.remove_unit(lun(), by, env));
    bench.command(&READ, Expect::In(4096));
    assert_eq!(bench.only_sense(), (5, 0x25), "LOGICAL UNIT NOT SUPPORTED");
    assert_eq!(bench.events(), []);
    bench.settle();
    assert_eq!(bench.drain().len(), 1, "the data and GOOD");
    assert_eq!(bench.events(), [ShardEvent::UnitGone(lun())]);
    assert_eq!(bench.shard.poll_timeout(bench.now), None, "nothing is left to wait for");
}

#[test]
fn commands_are_aborted_at_the_deadline_of_their_unit() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    let by = bench.now + LATER;
    bench.with_env(|shard, env| shard.remove_unit(lun(), by, env));
    bench.pass(LATER - Duration::from_millis(1));
    bench.settle();
    assert_eq!(bench.events(), []);
    bench.pass(Duration::from_secs(1));
    bench.settle();
    assert_eq!(bench.events(), [ShardEvent::UnitGone(lun())]);
    assert_eq!(bench.only_sense(), (5, 0x25));
}

#[test]
fn a_second_removal_may_shorten_the_deadline() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    let (now, by) = (bench.now, bench.now + LATER);
    bench.with_env(|shard, env| shard.remove_unit(lun(), by, env));
    bench.with_env(|shard, env| shard.remove_unit(lun(), now, env));
    bench.settle();
    assert_eq!(bench.events(), [ShardEvent::UnitGone(lun())]);
}

#[test]
fn a_stopped_unit_is_idle_after_its_last_command_and_serves_on() {
    let mut bench = Bench::new();
    let by = bench.now + LATER;
    bench.with_env(|shard, env| shard.stop_unit(lun(), by, env));
    assert_eq!(bench.events(), [ShardEvent::UnitIdle(lun())], "nothing runs");

    bench.set_mode(Mode::Later);
    bench.command(&READ, Expect::In(4096));
    bench.with_env(|shard, env| shard.stop_unit(lun(), by, env));
    assert_eq!(bench.events(), []);
    bench.settle();
    assert_eq!(bench.events(), [ShardEvent::UnitIdle(lun())]);
    assert_eq!(bench.drain().len(), 1);

    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    bench.with_env(|shard, env| shard.stop_unit(lun(), by, env));
    bench.pass(LATER);
    bench.settle();
    assert_eq!(bench.events(), [ShardEvent::UnitIdle(lun())]);
    assert_eq!(bench.only_sense(), (2, 0x3a), "MEDIUM NOT PRESENT");
    bench.set_mode(Mode::Inline);
    bench.command(&READ, Expect::In(4096));
    assert_eq!(bench.drain().len(), 1, "it serves on");
}

#[test]
fn a_target_that_ends_sends_its_final_responses_first() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Later);
    bench.command(&READ, Expect::In(4096));
    let by = bench.now + LATER;
    bench.with_env(|shard, env| shard.end(by, env));
    assert_eq!(bench.events(), [ShardEvent::UnitGone(Lun::ZERO)][..0], "a bench has no controller");
    bench.settle();
    bench.with_env(|shard, env| shard.close_if_done(env));
    assert_eq!(bench.events(), [ShardEvent::UnitGone(lun())], "the answer is not sent yet");
    assert_eq!(bench.drain().len(), 1);
    bench.pass(crate::limits::DRAIN_TIMEOUT + Duration::from_secs(1));
    bench.pass(crate::limits::DRAIN_TIMEOUT + Duration::from_secs(1));
    assert!(matches!(bench.events()[..], [ShardEvent::ConnectionClosed(_), ShardEvent::SessionEnded(..)]));
    assert!(bench.shard.is_idle());
}

#[test]
fn a_target_whose_commands_hang_ends_at_its_deadline() {
    let mut bench = Bench::new();
    bench.set_mode(Mode::Hang);
    bench.command(&READ, Expect::In(4096));
    let by = bench.now + LATER;
    bench.with_env(|shard, env| shard.end(by, env));
    bench.pass(LATER);
    assert!(matches!(bench.events()[..], [ShardEvent::ConnectionClosed(_), ShardEvent::ConnectionEnded(..)]));
    bench.settle();
    assert!(matches!(bench.events()[..], [ShardEvent::UnitGone(_), ShardEvent::SessionEnded(..)]));
}
