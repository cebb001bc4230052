//! Removal of units and targets, and exchange of media, while stores are busy or hang.

use super::targets::log_in;
use super::*;
use crate::control::request::UnitChange;

const WITHIN: Duration = Duration::from_secs(30);
const DONE: &[Said] = &[Ok(String::new())];

fn unit_delete(within: Option<Duration>) -> Request {
    Request::UnitDelete { tid: tid(1), lun: 1, within }
}

fn target_delete(within: Option<Duration>) -> Request {
    Request::TargetDelete { tid: tid(1), within }
}

fn update(changes: Vec<UnitChange>) -> Request {
    Request::UnitUpdate { tid: tid(1), lun: 1, changes: changes.into_iter().map(Ok).collect() }
}

fn path(path: &str) -> UnitChange {
    changed("path", path)
}

impl Bench {
    /// A target with a unit and a session, all messages read.
    fn in_use() -> Self {
        let mut bench = Self::with_unit();
        log_in(&mut bench, 1);
        bench.out.messages(LoopId(1));
        bench
    }

    /// The deadline and ticket of the removal that the loop is asked for.
    fn removal(&mut self) -> (Option<Instant>, Ticket) {
        match self.out.messages(LoopId(1))[..] {
            [ToLoop::RemoveUnit { by, ticket, .. }] => (by, ticket),
            [ToLoop::RemoveTarget(_, by, ticket)] => (Some(by), ticket),
            ref other => panic!("{other:?}"),
        }
    }

    fn advance(&mut self, time: Duration) -> Vec<Said> {
        self.now += time;
        self.control.handle_timeout(self.now, &mut self.out);
        self.replies()
    }
}

/// Asserts that the only reply names this store as still open.
#[track_caller]
fn assert_still_open(replies: &[Said], path: &str) {
    let [Err(ControlError { kind: TgtadmError::LunActive, reason })] = replies else { panic!("{replies:?}") };
    assert!(reason.ends_with(&format!("still open: {path}")), "{reason}");
}

#[test]
fn deletion_gives_commands_its_time_and_no_more() {
    for request in [unit_delete, target_delete] {
        let mut bench = Bench::in_use();
        assert_eq!(bench.ask(request(Some(WITHIN))), None);
        let (by, ticket) = bench.removal();
        assert_eq!(by, Some(bench.now + WITHIN));
        assert!(!bench.show().contains("LUN: 1"));
        assert_eq!(bench.advance(WITHIN + CONTROL_REPLY - Duration::from_millis(1)), []);
        assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [], "its store is open");
        assert_eq!(bench.closed(), DONE);
    }
}

#[test]
fn forced_deletion_of_a_hanging_store_names_it() {
    for request in [unit_delete, target_delete] {
        let mut bench = Bench::in_use();
        assert_eq!(bench.ask(request(Some(Duration::ZERO))), None);
        let (by, ticket) = bench.removal();
        assert_eq!(by, Some(bench.now));
        assert_still_open(&bench.advance(CONTROL_REPLY), "/srv/disk.img");
        assert!(!bench.show().contains("LUN: 1"));
        let again = [unit_new(1, 1), target_new(1, "iqn.x:two")];
        let taken = again.map(|request| bench.ask(request));
        assert!(taken.iter().all(|reply| matches!(reply, Some(Err(_)))), "its number is not free: {taken:?}");

        assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [], "the hanging operation completed");
        assert_eq!(bench.closed(), [], "the client has its reply");
        assert!(bench.ask(unit_new(1, 1)).is_none() || bench.ask(target_new(1, "iqn.x:one")).is_some());
    }
}

#[test]
fn store_that_does_not_close_in_time_is_named() {
    for request in [unit_delete, target_delete] {
        let mut bench = Bench::in_use();
        assert_eq!(bench.ask(request(Some(Duration::ZERO))), None);
        let (_, ticket) = bench.removal();
        assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
        assert_eq!(bench.advance(CONTROL_REPLY - Duration::from_millis(1)), []);
        assert_still_open(&bench.advance(Duration::from_millis(1)), "/srv/disk.img");
        let again = [unit_new(1, 1), target_new(1, "iqn.x:one")].map(|request| bench.ask(request));
        assert!(again.iter().any(|reply| !matches!(reply, Some(Err(_)))), "{again:?}");
        assert_eq!(bench.closed(), [], "the client has its reply");
    }
}

/// The unit is no longer shown, and its store is open.
#[test]
fn deletion_of_a_target_waits_for_stores_of_units_that_are_being_removed() {
    for (unit_gone, closes) in [(false, false), (true, false), (true, true)] {
        let mut bench = Bench::in_use();
        assert_eq!(bench.ask(unit_delete(Some(WITHIN))), None);
        let (_, ticket) = bench.removal();
        if unit_gone {
            assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
        }
        assert_eq!(bench.ask(target_delete(Some(Duration::ZERO))), None);
        let (_, ticket) = bench.removal();
        if closes {
            assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
            assert_eq!(bench.closed(), [DONE, DONE].concat());
            continue;
        }
        assert_still_open(&bench.advance(CONTROL_REPLY), "/srv/disk.img");
        assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);

        assert_eq!(bench.ask(target_new(1, "iqn.x:two")), Some(Ok(String::new())));
        assert_eq!(bench.ask(target_delete(Some(Duration::ZERO))), None);
        let messages = bench.out.messages(LoopId(2));
        let Some(ToLoop::RemoveTarget(_, _, ticket)) = messages.last() else { panic!("{messages:?}") };
        assert_eq!(bench.answer(LoopId(2), *ticket, Ok(())), DONE, "the store is of the previous target");
    }
}

#[test]
fn waiting_change_keeps_no_store_open() {
    let mut bench = Bench::in_use();
    bench.ask(update(vec![changed("online", "0")]));
    assert_eq!(bench.ask(update(vec![path("/dead-nfs/b")])), None);
    assert_eq!(bench.ask(unit_delete(None)), None);
    let (_, ticket) = bench.removal();
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
    assert_eq!(bench.closed(), DONE, "although the other one is being opened");
    bench.opened(Ok(MIB));
    assert_eq!(bench.replies(), []);
    assert_eq!(bench.closed(), [Err(TgtadmError::NoLun.into())]);
}

#[test]
fn unit_closes_after_its_size_was_read() {
    let mut bench = Bench::in_use();
    assert_eq!(bench.ask(update(vec![changed("disksize", "auto")])), None);
    assert_eq!(bench.ask(unit_delete(None)), None);
    let (_, ticket) = bench.removal();
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
    let Some(Job::Refresh(asked, unit)) = bench.out.jobs.pop() else { panic!("no size is asked for") };
    assert!(bench.dropped.lock().unwrap().is_empty(), "the opener uses it");
    drop(unit);
    bench.control.job_done(JobDone::Refreshed(asked, Ok(())), bench.now, &mut bench.out);
    assert_eq!(bench.replies(), DONE);
    assert_eq!(bench.closed(), DONE);
}

#[test]
fn second_deletion_shortens_the_time() {
    for request in [unit_delete, target_delete] {
        let mut bench = Bench::in_use();
        assert_eq!(bench.ask(request(Some(WITHIN))), None);
        let (_, patient) = bench.removal();
        assert!(matches!(
            bench.ask(request(None)),
            Some(Err(ControlError { kind: TgtadmError::NoLun | TgtadmError::NoTarget, .. }))
        ));
        assert_eq!(bench.ask(request(Some(Duration::ZERO))), None);
        let (by, hurried) = bench.removal();
        assert_eq!(by, Some(bench.now));
        assert_eq!(bench.answer(LoopId(1), patient, Ok(())), []);
        assert_eq!(bench.answer(LoopId(1), hurried, Ok(())), []);
        assert_eq!(bench.closed(), [DONE, DONE].concat(), "both get the reply when it is closed");
    }
}

#[test]
fn unit_with_commands_stays_without_force() {
    let mut bench = Bench::in_use();
    assert_eq!(bench.ask(unit_delete(None)), None);
    let (by, ticket) = bench.removal();
    assert_eq!(by, None);
    assert_eq!(bench.answer(LoopId(1), ticket, Err(LoopError::Busy)), [Err(TgtadmError::LunActive.into())]);
    assert!(bench.show().contains("LUN: 1"));
}

/// One command's data must not be on two media.
#[test]
fn exchange_of_the_medium_waits_for_commands() {
    let mut bench = Bench::in_use();
    assert_eq!(bench.ask(update(vec![changed("online", "0")])), Some(Ok(String::new())));
    assert_eq!(bench.ask(update(vec![path("/b"), changed("readonly", "1")])), None);
    bench.opened(Ok(100 * MIB));
    assert!(bench.show().contains("Backing store path: /srv/disk.img\n"));
    assert_eq!(bench.stopped(), [], "the one before is open");
    let shown = bench.show();
    assert!(shown.contains("Backing store path: /b\n") && shown.contains("Readonly: Yes"), "{shown}");
    assert!(matches!(bench.out.messages(LoopId(1))[..], [ToLoop::ChangeMedium(..)]));
    assert_eq!(bench.closed(), DONE);
}

#[test]
fn exchange_of_a_hanging_medium_is_answered_in_time() {
    let mut bench = Bench::in_use();
    bench.ask(update(vec![changed("online", "0")]));
    assert_eq!(bench.ask(update(vec![path("/b")])), None);
    bench.opened(Ok(MIB));
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::StopUnit(_, _, by, ticket)] = messages[..] else { panic!("{messages:?}") };
    assert!(by < bench.now + CONTROL_REPLY, "they are aborted before the reply is due");
    assert_eq!(bench.advance(CONTROL_REPLY), [Err(TgtadmError::LunActive.into())]);
    assert!(bench.show().contains("Backing store path: /srv/disk.img\n"));
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
    assert!(bench.show().contains("Backing store path: /b\n"));
}

#[test]
fn medium_set_online_meanwhile_stays() {
    let mut bench = Bench::in_use();
    bench.ask(update(vec![changed("online", "0")]));
    assert_eq!(bench.ask(update(vec![path("/b")])), None);
    bench.opened(Ok(MIB));
    bench.ask(update(vec![changed("online", "1")]));
    assert_eq!(bench.stopped(), [], "the other one is closed first");
    assert_eq!(bench.closed(), [Err(TgtadmError::InvalidRequest.into())]);
    assert!(bench.show().contains("Backing store path: /srv/disk.img\n"));
}

/// Whatever hangs, everything that is asked has its answer by its deadline.
#[test]
fn requests_for_a_hanging_unit_are_answered_in_time() {
    let mut bench = Bench::in_use();
    for request in [
        Request::TargetShowAll,
        Request::TargetShow(tid(1)),
        Request::SystemStat,
        Request::TargetStat(Some(tid(1))),
        Request::UnitStat { tid: tid(1), lun: 1, sid: 0 },
        Request::ConnectionShow(tid(1)),
        update(vec![changed("readonly", "1"), changed("scsi_sn", "x")]),
        update(vec![changed("online", "0")]),
        Request::TargetUpdate { tid: tid(1), name: "state".to_owned(), value: "offline".to_owned() },
    ] {
        let shown = format!("{request:?}");
        assert!(matches!(bench.ask(request), Some(Ok(_))), "{shown} waits for nothing");
    }
    for request in [
        update(vec![changed("disksize", "auto")]),
        update(vec![path("/b")]),
        unit_new(1, 2),
        unit_delete(None),
        Request::ConnectionDelete { tid: tid(1), sid: 1, cid: 0 },
    ] {
        let shown = format!("{request:?}");
        assert_eq!(bench.ask(request), None, "{shown}");
        assert_eq!(bench.control.next_deadline(), Some(bench.now + CONTROL_REPLY), "{shown}");
        assert!(matches!(bench.advance(CONTROL_REPLY)[..], [Err(_)]), "{shown}");
    }
}
