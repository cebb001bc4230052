//! Stores behind a network, on the simulated clock: operations that take time, and what a store reports unasked.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use scsi_core::lun::Lun;
use scsi_core::sense::AdditionalSense;
use scsi_core::store::Notice;
use target_engine::control::jobs::{Job, JobDone};
use target_engine::control::messages::ToLoop;
use target_engine::control::pending::ClientId;
use target_engine::control::report::{Report, UnitReport};
use target_engine::control::request::{Request, UnitStrings};
use target_engine::model::Tid;
use target_engine::model::store::StoreId;
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::log_lines;
use tgt_tests::pair::Pair;
use tgt_tests::setup::{DISK, Setup};
use tgt_tests::sim_store::{Behaviour, SimStore};

const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 4, 0];
const MIB: usize = 1 << 20;
const LATENCY: Duration = Duration::from_millis(70);
const MOMENT: Duration = Duration::from_millis(1);

fn tid() -> Tid {
    Tid::new(1).unwrap()
}

/// Takes the attentions of a new session.
fn log_in(pair: &Pair, number: u8) -> Initiator {
    let mut session = Initiator::login_as(pair, &LoginOptions::of_host(number));
    let _ = session.run(&[0; 6], Io::None);
    session
}

/// A target on two loops whose unit is in the configuration.
fn configured() -> (Pair, SimStore, StoreId) {
    let store = SimStore::new(4 * MIB, 1);
    let pair = Pair::managed(Setup::disk(Arc::new(store.clone())));
    let mut side = pair.side();
    let name = "iqn.2026-01.org.example:disk".to_owned();
    let (key, value) = ("loops".to_owned(), "2".to_owned());
    for request in
        [Request::TargetNew { tid: tid(), name }, Request::TargetUpdate { tid: tid(), name: key, value }]
    {
        side.request(ClientId(1), request).unwrap().unwrap();
    }
    drop(side);
    let id = make_unit(&pair, &store);
    (pair, store, id)
}

/// Makes the unit, and returns the identifier of its store.
fn make_unit(pair: &Pair, store: &SimStore) -> StoreId {
    let mut side = pair.side();
    let strings = UnitStrings { path: Some("/volume".to_owned()), ..UnitStrings::default() };
    let new = Request::UnitNew { tid: tid(), lun: DISK, device_type: 0, strings };
    assert_eq!(side.request(ClientId(2), new), None);
    let Some(Job::Open(ticket, _)) = side.world.jobs.pop() else { panic!("a store is opened") };
    side.job_done(JobDone::Opened(ticket, Ok(Arc::new(store.clone()))));
    side.settle();
    assert_eq!(side.world.replies.pop(), Some((ClientId(2), Ok(Report::Done))));
    StoreId(ticket.0)
}

/// The unit, and how often its store has become unreachable.
fn shown(pair: &Pair) -> (UnitReport, u64) {
    let mut side = pair.side();
    let show = side.request(ClientId(3), Request::UnitShow { tid: tid(), lun: DISK });
    let Some(Ok(Report::Units(mut units))) = show else { panic!("{show:?}") };
    let stat = side.request(ClientId(3), Request::UnitStat { tid: tid(), lun: DISK, sid: 0 });
    let Some(Ok(Report::UnitCounts(_, stores))) = stat else { panic!("{stat:?}") };
    (units.remove(0), stores[0].losses)
}

fn unreachable_seconds(pair: &Pair) -> Option<u64> {
    shown(pair).0.unreachable_seconds
}

#[test]
fn operation_completes_when_its_latency_has_passed() {
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = log_in(&pair, 1);
    for _ in 0..2 {
        store.behave(Behaviour { latency: LATENCY, ..Behaviour::LATER });
        let first = session.begin(&READ, Io::Read(2048));
        pair.advance(LATENCY / 2);
        let second = session.begin(&READ, Io::Read(2048));
        pair.advance(LATENCY / 2 - MOMENT);
        session.poll();
        assert!(session.take_reply(first).is_none());
        pair.advance(MOMENT);
        session.wait(first).good();
        assert!(session.take_reply(second).is_none());
        pair.advance(LATENCY / 2);
        session.wait(second).good();
        // The engine has no timeout now, and must get the time again with the next operation.
        pair.advance(Duration::from_secs(60));
    }
    session.hang_up();
    pair.assert_clean();
}

/// WRITE AND VERIFY reads when its write has completed: nothing but the timeouts of the engine wakes the loop between them.
#[test]
fn loop_turns_when_the_timeout_of_an_engine_is_due() {
    const WRITE_AND_VERIFY: [u8; 10] = [0x2e, 2, 0, 0, 0, 0, 0, 0, 4, 0];
    let (setup, store) = Setup::sim();
    let pair = Pair::new(setup);
    let mut session = log_in(&pair, 1);
    store.behave(Behaviour { latency: LATENCY, ..Behaviour::LATER });
    let itt = session.begin(&WRITE_AND_VERIFY, Io::Write(&[7; 2048]));
    pair.advance(LATENCY);
    session.poll();
    assert!(session.take_reply(itt).is_none(), "it takes two operations");
    pair.advance(LATENCY);
    session.poll();
    session.take_reply(itt).expect("both have completed").good();
    let itt = session.begin(&WRITE_AND_VERIFY, Io::Write(&[8; 2048]));
    pair.advance(LATENCY * 4);
    session.poll();
    session.take_reply(itt).expect("it is done").good();
}

#[test]
fn resized_store_raises_the_attention_without_a_request() {
    let (setup, store) = Setup::sim();
    let pair = Pair::with_loops(setup, 2);
    let mut sessions = [1, 2].map(|number| log_in(&pair, number));
    let refresh = || {
        let mut side = pair.side();
        let job = side.world.jobs.pop();
        assert!(side.world.jobs.is_empty(), "one job at a time");
        let Some(Job::Refresh(ticket, unit)) = job else { return false };
        let done = unit.refresh_capacity().map(drop);
        side.job_done(JobDone::Refreshed(ticket, done));
        true
    };
    // Both loops report it.
    store.resize(8 * MIB);
    store.notice(Notice::Resized);
    pair.settle();
    while refresh() {}
    for session in &mut sessions {
        let changed = Some((6, AdditionalSense::CAPACITY_DATA_HAS_CHANGED));
        assert_eq!(session.run(&[0; 6], Io::None).check(), changed);
        session.run(&[0; 6], Io::None).good();
        assert_eq!(
            session.run(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], Io::Read(8)).good()[..4],
            [0, 0, 0x3f, 0xff]
        );
    }
    // A store that reports it again and again causes one job at a time.
    for _ in 0..5 {
        store.notice(Notice::Resized);
        pair.settle();
    }
    assert!(refresh() && refresh() && !refresh());
    for session in &mut sessions {
        session.run(&[0; 6], Io::None).good();
    }
}

#[test]
fn unreachable_store_is_shown_and_counted_until_it_is_back() {
    let (pair, store, _) = configured();
    log_lines::take();
    assert_eq!((unreachable_seconds(&pair), shown(&pair).1), (None, 0));
    for losses in 1..=2 {
        // Both loops report it, and one of them twice.
        store.notice(Notice::Unreachable);
        store.notice(Notice::Unreachable);
        pair.settle();
        assert_eq!(log_lines::take(), ["WARN target 1 LUN 1: sim: the store cannot be reached"]);
        pair.advance(Duration::from_secs(12));
        assert_eq!((unreachable_seconds(&pair), shown(&pair).1), (Some(12), losses));
        store.notice(Notice::Back);
        pair.settle();
        assert_eq!(
            log_lines::take(),
            ["WARN target 1 LUN 1: sim: the store can be reached again, after 12 s"]
        );
        assert_eq!((unreachable_seconds(&pair), shown(&pair).1), (None, losses));
    }
}

#[test]
fn lines_on_a_store_that_comes_and_goes_are_limited() {
    let (pair, store, _) = configured();
    log_lines::take();
    for _ in 0..100 {
        store.notice(Notice::Unreachable);
        store.notice(Notice::Back);
        pair.settle();
    }
    let lines = log_lines::take().len();
    assert!((10..50).contains(&lines), "{lines}");
    pair.advance(Duration::from_secs(11));
    let left_out = log_lines::take();
    let is_count = |line: &String| line.ends_with("lines like the last ones were left out");
    assert!(left_out.len() == 2 && left_out.iter().all(is_count), "one of each loop: {left_out:?}");
    assert_eq!((unreachable_seconds(&pair), shown(&pair).1), (None, 200), "each loop reports both");
}

#[test]
fn replaced_store_does_not_count_as_unreachable() {
    let (setup, store) = Setup::sim();
    let unit = setup.unit(DISK);
    let pair = Pair::with_loops(setup, 2);
    store.notice(Notice::Unreachable);
    pair.settle();
    assert!(unit.reports().reach().unreachable_since.is_some());
    unit.set_store(Some(Arc::new(SimStore::new(MIB, 2))));
    let lun = Lun::new(DISK).unwrap();
    pair.side().send(|tid, _| ToLoop::ChangeMedium(tid, lun));
    assert_eq!(unit.reports().reach().unreachable_since, None);
    // What the engines still report of the previous store reaches nobody.
    store.notice(Notice::Unreachable);
    pair.settle();
    assert_eq!(unit.reports().reach().unreachable_since, None);
}

#[test]
fn unit_that_is_made_again_does_not_inherit_that_its_store_is_unreachable() {
    let (pair, store, id) = configured();
    store.notice(Notice::Unreachable);
    pair.settle();
    assert_eq!(unreachable_seconds(&pair), Some(0));
    let mut side = pair.side();
    assert_eq!(side.request(ClientId(4), Request::UnitDelete { tid: tid(), lun: DISK, within: None }), None);
    side.settle();
    side.job_done(JobDone::Closed(id));
    assert_eq!(side.world.replies.pop(), Some((ClientId(4), Ok(Report::Done))));
    drop(side);
    make_unit(&pair, &store);
    pair.settle();
    assert_eq!((unreachable_seconds(&pair), shown(&pair).1), (None, 0));
}
