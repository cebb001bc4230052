//! Which loops a target gets, of its own or shared, and what becomes of them.

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

    /// A loop's letters, in short.
    fn read(&mut self, id: u32) -> Vec<String> {
        let letters = self.out.letters(LoopId(id));
        let short = letters.iter().map(|letter| match letter {
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
fn several_loops_know_of_one_another() {
    let mut bench = Bench::new();
    bench.control.model.loops = 2;
    assert_eq!(bench.make(3), [1, 2]);
    assert_eq!(bench.out.names, ["tgt/3.0", "tgt/3.1"]);
    assert_eq!(bench.read(1), ["add 3", "siblings of 3: [2]"]);
    assert_eq!(bench.read(2), ["add 3", "siblings of 3: [1]"]);
}

#[test]
fn a_threads_name_is_one_that_the_kernel_takes() {
    let mut bench = Bench::new();
    bench.control.model.loops = 2;
    bench.make(2_147_483_647);
    assert_eq!(bench.out.names, ["tgt/2147483647.", "tgt/2147483647."]);
}

#[test]
fn loops_are_exchanged_while_nobody_is_there() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(set_loops(1, "65")), Some(Err(TgtadmError::InvalidRequest.into())));
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Ok(String::new())));
    assert_eq!(bench.out.names, ["tgt/1", "tgt/1.0", "tgt/1.1"]);
    let letters = bench.out.letters(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, ticket)] = letters[..] else { panic!("{letters:?}") };
    bench.answer(LoopId(1), ticket, Ok(()));
    assert_eq!(bench.read(1), ["end"]);
    assert_eq!(bench.loops(1), [2, 3]);
    log_in(&mut bench, 1);
    assert_eq!(bench.ask(set_loops(1, "1")), Some(Err(TgtadmError::TargetActive.into())));
    assert_eq!(bench.loops(1), [2, 3]);
}

#[test]
fn loops_that_cannot_be_started_leave_the_target_where_it_is() {
    let mut bench = Bench::with_target();
    bench.out.no_threads = true;
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Err(TgtadmError::NoMemory.into())));
    assert_eq!((bench.loops(1), bench.read(1)), (vec![1], vec![]));
    assert_eq!(bench.control.model.target(tid(1)).unwrap().loops, 1);
}

#[test]
fn shared_loops_are_there_from_the_beginning_and_no_target_has_another() {
    let mut bench = Bench::sharing(2);
    assert_eq!(bench.out.names, ["tgt/s0", "tgt/s1"]);
    let loops: Vec<_> = (1..=5).map(|number| bench.make(number)).collect();
    assert_eq!(loops, [[1], [2], [1], [2], [1]]);
    assert_eq!(bench.out.names.len(), 2);
    assert_eq!(bench.read(2), ["add 2", "add 4"]);
}

#[test]
fn a_shared_loop_survives_its_targets() {
    let mut bench = Bench::sharing(1);
    bench.make(1);
    bench.make(2);
    bench.read(1);
    assert_eq!(bench.ask(delete(1)), None);
    let letters = bench.out.letters(LoopId(1));
    let [ToLoop::RemoveTarget(gone, _, ticket)] = letters[..] else { panic!("{letters:?}") };
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
fn a_target_goes_where_the_fewest_are() {
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
fn a_target_on_several_shared_loops() {
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
fn more_loops_than_are_shared_are_none() {
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
fn shared_loops_are_exchanged_as_well() {
    let mut bench = Bench::sharing(2);
    bench.make(1);
    bench.read(1);
    assert_eq!(bench.ask(set_loops(1, "2")), Some(Ok(String::new())));
    assert_eq!(bench.loops(1), [1, 2]);
    let letters = bench.out.letters(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, ticket), ToLoop::AddTarget(new), ToLoop::Siblings(..)] = &letters[..]
    else {
        panic!("{letters:?}")
    };
    assert_eq!(new.service, ServiceId(2), "another one than the loop forgets");
    assert_eq!(bench.read(2), ["add 1", "siblings of 1: [1]"]);
    bench.answer(LoopId(1), *ticket, Ok(()));
    assert_eq!(bench.read(1), [""; 0], "it goes on");
    assert_eq!(bench.out.names, ["tgt/s0", "tgt/s1"]);
}

#[test]
fn a_session_goes_to_the_loop_of_its_target_with_the_fewest_sessions_of_all() {
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
fn a_shared_loop_that_failed_takes_the_sessions_of_its_targets_along_and_ends_the_server() {
    let mut bench = Bench::sharing(2);
    for number in 1..=3 {
        bench.make(number);
        log_in(&mut bench, number);
    }
    bench.control.letter(ToControl::LoopFailed(LoopId(1)), &mut bench.out);
    assert_eq!(
        (&bench.out.ended_loops[..], &bench.out.failed_loops[..]),
        (&[LoopId(1)][..], &[LoopId(1)][..])
    );
    let left: Vec<_> = bench.control.sessions.all().map(|session| session.key.tid).collect();
    assert_eq!(left, [tid(2)]);
    assert_eq!(bench.ask(delete(1)), None);
    assert_eq!(bench.replies(), [Ok(String::new())], "nobody is waited for");
}

#[test]
fn a_unit_for_a_target_that_came_again_on_the_same_loop_is_not_its() {
    let mut bench = Bench::sharing(1);
    bench.make(1);
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let Some(Job::Open(ticket, _)) = bench.out.jobs.pop() else { panic!("no store is to be opened") };
    bench.read(1);
    assert_eq!(bench.ask(delete(1)), None);
    let letters = bench.out.letters(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, removal)] = letters[..] else { panic!("{letters:?}") };
    assert_eq!(bench.answer(LoopId(1), removal, Ok(())), [Ok(String::new())]);
    bench.make(1);
    bench.read(1);
    let store = bench.store(ticket, Blocks(MIB));
    bench.control.job_done(JobDone::Opened(ticket, Ok(store)), &mut bench.out);
    assert_eq!(bench.replies(), []);
    assert_eq!(bench.read(1), [""; 0]);
    assert_eq!(bench.closed(), [Err(TgtadmError::NoTarget.into())]);
    assert!(!bench.control.model.target(tid(1)).unwrap().has_unit(scsi_core::lun::Lun::new(1).unwrap()));
}

/// The letter would find whatever has the number by then.
#[test]
fn a_unit_that_was_added_to_a_target_that_is_gone_is_left_alone() {
    let mut bench = Bench::sharing(1);
    bench.make(1);
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let added = bench.opened(Ok(MIB));
    assert_eq!(bench.ask(delete(1)), None);
    bench.out.letters(LoopId(1));
    assert_eq!(bench.answer(LoopId(1), added, Ok(())), []);
    assert_eq!(bench.read(1), [""; 0]);
    assert_eq!(bench.closed(), [Err(TgtadmError::NoTarget.into())]);
}
