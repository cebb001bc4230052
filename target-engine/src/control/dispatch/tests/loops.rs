//! The loops of targets, own or shared.

use super::targets::{log_in, log_in_on};
use super::*;
use crate::control::messages::ServiceId;

fn set_loops(number: u32, value: &str) -> Request {
    Request::TargetUpdate { tid: tid(number), name: "loops".to_owned(), value: value.to_owned() }
}

fn delete(number: u32) -> Request {
    Request::TargetDelete { tid: tid(number), within: Some(Duration::ZERO) }
}

impl Bench {
    /// A daemon with so many shared loops, `LoopId(1)` the first.
    fn sharing(count: usize) -> Self {
        let mut bench = Self::new();
        bench.control.share_loops(count, &mut bench.out).unwrap();
        bench
    }

    fn make(&mut self, number: u32) -> Vec<u32> {
        assert_eq!(self.ask(target_new(number, &format!("iqn.x:{number}"))), Some(Ok(String::new())));
        self.loops(number)
    }

    fn loops(&self, number: u32) -> Vec<u32> {
        self.control.loops_of(tid(number)).iter().map(|id| id.0).collect()
    }

    /// The messages to a loop, in short.
    fn read(&mut self, id: u32) -> Vec<String> {
        let messages = self.out.messages(LoopId(id));
        let short = messages.iter().map(|message| match message {
            ToLoop::AddTarget(new) => format!("add {}", new.tid),
            ToLoop::RemoveTarget(tid, ..) => format!("remove {tid}"),
            ToLoop::Siblings(tid, others) => {
                let others: Vec<_> = others.iter().map(|id| id.0).collect();
                format!("siblings of {tid}: {others:?}")
            }
            ToLoop::End(_) => "end".to_owned(),
            other => panic!("{other:?}"),
        });
        short.collect()
    }
}

#[test]
fn loops_of_a_target_are_siblings() {
    let mut bench = Bench::new();
    bench.control.model.loops = 2;
    assert_eq!(bench.make(3), [1, 2]);
    assert_eq!(bench.out.names, ["tgt/3.0", "tgt/3.1"]);
    assert_eq!(bench.read(1), ["add 3", "siblings of 3: [2]"]);
    assert_eq!(bench.read(2), ["add 3", "siblings of 3: [1]"]);
}

#[test]
fn thread_names_are_cut_to_15_bytes() {
    let mut bench = Bench::new();
    bench.control.model.loops = 2;
    bench.make(2_147_483_647);
    assert_eq!(bench.out.names, ["tgt/2147483647.", "tgt/2147483647."]);
}

#[test]
fn loops_change_without_sessions_only() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(set_loops(1, "65")), Some(Err(TgtadmError::InvalidRequest.into())));
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Ok(String::new())));
    assert_eq!(bench.out.names, ["tgt/1", "tgt/1.0", "tgt/1.1"]);
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, ticket)] = messages[..] else { panic!("{messages:?}") };
    bench.answer(LoopId(1), ticket, Ok(()));
    assert_eq!(bench.read(1), ["end"]);
    assert_eq!(bench.loops(1), [2, 3]);
    log_in(&mut bench, 1);
    assert_eq!(bench.ask(set_loops(1, "1")), Some(Err(TgtadmError::TargetActive.into())));
    assert_eq!(bench.loops(1), [2, 3]);
}

#[test]
fn failure_to_start_loops_keeps_the_present_ones() {
    let mut bench = Bench::with_target();
    bench.out.no_threads = true;
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Err(TgtadmError::NoMemory.into())));
    assert_eq!((bench.loops(1), bench.read(1)), (vec![1], vec![]));
    assert_eq!(bench.control.model.target(tid(1)).unwrap().loops, 1);
}

#[test]
fn targets_use_shared_loops_only() {
    let mut bench = Bench::sharing(2);
    assert_eq!(bench.out.names, ["tgt/s0", "tgt/s1"]);
    let loops: Vec<_> = (1..=5).map(|number| bench.make(number)).collect();
    assert_eq!(loops, [[1], [2], [1], [2], [1]]);
    assert_eq!(bench.out.names.len(), 2);
    assert_eq!(bench.read(2), ["add 2", "add 4"]);
}

#[test]
fn shared_loop_outlives_its_targets() {
    let mut bench = Bench::sharing(1);
    bench.make(1);
    bench.make(2);
    bench.read(1);
    assert_eq!(bench.ask(delete(1)), None);
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveTarget(gone, _, ticket)] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(gone, tid(1));
    assert_eq!(
        bench.ask(target_new(1, "iqn.x:1")),
        Some(Err(TgtadmError::TargetExists.into())),
        "not gone yet"
    );
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
    assert_eq!(bench.read(1), [""; 0]);
    assert_eq!(bench.make(1), [1], "its number is free");
    assert_eq!(bench.read(1), ["add 1"]);
}

#[test]
fn target_gets_the_loop_with_the_fewest_targets() {
    let mut bench = Bench::sharing(3);
    for number in 1..=4 {
        bench.make(number);
    }
    // Loop 1 has two targets, loops 2 and 3 one; on 2 there is a session.
    log_in(&mut bench, 2);
    assert_eq!(bench.make(5), [3]);
    assert_eq!(bench.make(6), [2]);
    assert_eq!(bench.ask(delete(1)), None);
    assert_eq!(bench.ask(delete(4)), None);
    assert_eq!(bench.make(7), [1]);
}

#[test]
fn target_on_several_shared_loops() {
    let mut bench = Bench::sharing(3);
    bench.control.model.loops = 2;
    assert_eq!(bench.make(1), [1, 2]);
    assert_eq!(bench.make(2), [3, 1]);
    assert_eq!(
        bench.read(1),
        ["add 1", "siblings of 1: [2]", "add 2", "siblings of 2: [3]"],
        "each target has siblings of its own"
    );
    assert_eq!(bench.ask(delete(1)), None);
    assert_eq!(
        (bench.read(1), bench.read(3).pop()),
        (vec!["remove 1".to_owned()], Some("siblings of 2: [1]".to_owned()))
    );
}

#[test]
fn loops_of_a_target_are_limited_to_the_shared_ones() {
    let mut bench = Bench::new();
    bench.control.model.loops = 4;
    bench.control.share_loops(2, &mut bench.out).unwrap();
    assert_eq!(bench.make(1).len(), 2);
    assert_eq!(bench.control.model.target(tid(1)).unwrap().loops, 2);
    assert_eq!(bench.ask(set_loops(1, "3")), Some(Err(TgtadmError::InvalidRequest.into())));
    let mut bench = Bench::sharing(0);
    bench.control.model.loops = 4;
    bench.control.share_loops(0, &mut bench.out).unwrap();
    assert_eq!(bench.make(1).len(), 4, "none are shared");
}

#[test]
fn shared_loops_of_a_target_change() {
    let mut bench = Bench::sharing(2);
    bench.make(1);
    bench.read(1);
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Ok(String::new())));
    assert_eq!(bench.loops(1), [1, 2]);
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, ticket), ToLoop::AddTarget(new), ToLoop::Siblings(..)] = &messages[..]
    else {
        panic!("{messages:?}")
    };
    assert_eq!(new.service, ServiceId(2), "another service than the one that is removed");
    assert_eq!(bench.read(2), ["add 1", "siblings of 1: [1]"]);
    bench.answer(LoopId(1), *ticket, Ok(()));
    assert_eq!(bench.read(1), [""; 0], "the shared loop goes on");
    assert_eq!(bench.out.names, ["tgt/s0", "tgt/s1"]);
}

#[test]
fn session_gets_the_loop_with_the_fewest_sessions() {
    let mut bench = Bench::sharing(2);
    bench.make(1);
    assert_eq!(bench.make(2), [2]);
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Ok(String::new())));
    assert_eq!(bench.loops(1), [1, 2]);
    assert_eq!(bench.control.least_loaded(tid(1)), 0, "the first among equals");
    log_in_on(&mut bench, 1, 0);
    assert_eq!(bench.control.least_loaded(tid(1)), 1);
    log_in(&mut bench, 2);
    assert_eq!(bench.control.least_loaded(tid(1)), 0, "another target's session counts too");
    log_in(&mut bench, 2);
    log_in_on(&mut bench, 1, 0);
    log_in_on(&mut bench, 1, 0);
    assert_eq!(bench.control.least_loaded(tid(1)), 1);
}

#[test]
fn failed_shared_loop_ends_its_sessions_and_the_server() {
    let mut bench = Bench::sharing(2);
    for number in 1..=3 {
        bench.make(number);
        log_in(&mut bench, number);
    }
    bench.control.message(ToControl::LoopFailed(LoopId(1)), bench.now, &mut bench.out);
    assert_eq!(
        (&bench.out.ended_loops[..], &bench.out.failed_loops[..]),
        (&[LoopId(1)][..], &[LoopId(1)][..])
    );
    let left: Vec<_> = bench.control.sessions.all().map(|session| session.key.tid).collect();
    assert_eq!(left, [tid(2)]);
    assert_eq!(bench.ask(delete(1)), None);
    assert_eq!(bench.replies(), [Ok(String::new())], "no loop is waited for");
}

#[test]
fn unit_is_not_added_to_a_later_target_of_the_same_number() {
    let mut bench = Bench::sharing(1);
    bench.make(1);
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let Some(Job::Open(ticket, _)) = bench.out.jobs.pop() else { panic!("no store is to be opened") };
    bench.read(1);
    assert_eq!(bench.ask(delete(1)), None);
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, removal)] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(bench.answer(LoopId(1), removal, Ok(())), [Ok(String::new())]);
    bench.make(1);
    bench.read(1);
    let store = bench.store(ticket, blocks(MIB));
    bench.control.job_done(JobDone::Opened(ticket, Ok(store)), bench.now, &mut bench.out);
    assert_eq!(bench.replies(), []);
    assert_eq!(bench.read(1), [""; 0]);
    assert_eq!(bench.closed(), [Err(TgtadmError::NoTarget.into())]);
    assert!(!bench.control.model.target(tid(1)).unwrap().has_unit(scsi_core::lun::Lun::new(1).unwrap()));
}

/// The message would reach a later target of the same number.
#[test]
fn unit_of_a_removed_target_is_not_removed_from_the_loops() {
    let mut bench = Bench::sharing(1);
    bench.make(1);
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let added = bench.opened(Ok(MIB));
    assert_eq!(bench.ask(delete(1)), None);
    bench.out.messages(LoopId(1));
    assert_eq!(bench.answer(LoopId(1), added, Ok(())), []);
    assert_eq!(bench.read(1), [""; 0]);
    assert_eq!(bench.closed(), [Err(TgtadmError::NoTarget.into())]);
}
