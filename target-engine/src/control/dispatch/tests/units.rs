//! Logical units: made, changed, deleted.

use scsi_core::lun::Lun;

use super::*;
use crate::control::request::UnitChange;
use crate::limits::CONTROL_REPLY;
use crate::model::identity::Naming;

fn delete(lun: u64) -> Request {
    Request::UnitDelete { tid: tid(1), lun, within: None }
}

fn update(lun: u64, changes: Vec<Result<UnitChange, ControlError>>) -> Request {
    Request::UnitUpdate { tid: tid(1), lun, changes }
}

#[test]
fn unit_is_shown_once_its_loop_serves_it() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    assert!(!bench.show().contains("LUN: 1"));
    assert_eq!(bench.ask(unit_new(1, 1)), Some(Err(TgtadmError::LunExists.into())), "its number is taken");
    let ticket = bench.opened(Ok(64 * MIB));
    assert!(matches!(bench.out.messages(LoopId(1))[..], [ToLoop::AddUnit(..)]));
    assert!(!bench.show().contains("LUN: 1"));
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
    let shown = bench.show();
    for line in [
        "        LUN: 1\n            Type: disk\n            SCSI ID: IET     00010001\n",
        "            Size: 67 MB, Block size: 512\n            Online: Yes\n",
        "            Backing store path: /srv/disk.img\n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}

#[test]
fn kind_without_a_path_is_refused_if_it_has_no_drive() {
    for (kind, refused) in [("aio", false), ("memory", true)] {
        let mut bench = Bench::with_target();
        let strings = UnitStrings { bstype: Some(kind.to_owned()), ..UnitStrings::default() };
        let answer = bench.ask(Request::UnitNew { tid: tid(1), lun: 1, device_type: 0, strings });
        assert_eq!(matches!(answer, Some(Err(_))), refused, "{kind}");
        if let Some(Err(error)) = answer {
            let begin =
                "--backing-store is missing: --bstype memory needs a name, which is only shown, and a size";
            assert!(error.reason.starts_with(begin), "{}", error.reason);
        }
    }
}

#[test]
fn invalid_requests_open_no_store() {
    let mut bench = Bench::with_unit();
    let strings = |kind: Option<&str>, flags: Option<&str>| UnitStrings {
        path: Some("/x".to_owned()),
        bstype: kind.map(str::to_owned),
        bsoflags: flags.map(str::to_owned),
        ..UnitStrings::default()
    };
    let new =
        |number, lun, device_type, strings| Request::UnitNew { tid: tid(number), lun, device_type, strings };
    let cases = [
        (new(2, 2, 0, strings(None, None)), TgtadmError::NoTarget),
        (new(1, 0, 0, strings(None, None)), TgtadmError::LunExists),
        (new(1, 1, 0, strings(None, None)), TgtadmError::LunExists),
        (new(1, 16384, 0, strings(None, None)), TgtadmError::InvalidRequest),
        (new(1, u64::MAX, 0, strings(None, None)), TgtadmError::InvalidRequest),
        (new(1, 2, 5, strings(None, None)), TgtadmError::InvalidRequest),
        (new(1, 2, 0, strings(Some("nosuch"), None)), TgtadmError::InvalidRequest),
        (new(1, 2, 0, strings(Some("aio"), Some("direct"))), TgtadmError::InvalidRequest),
        (new(1, 2, 0, strings(None, Some("swift"))), TgtadmError::InvalidRequest),
        (delete(0), TgtadmError::InvalidRequest),
        (delete(9), TgtadmError::NoLun),
        (Request::UnitDelete { tid: tid(9), lun: 1, within: None }, TgtadmError::NoLun),
        (update(9, vec![]), TgtadmError::NoLun),
    ];
    for (request, error) in cases {
        let shown = format!("{request:?}");
        assert_eq!(bench.ask(request), Some(Err(error.into())), "{shown}");
    }
    assert!(bench.out.jobs.is_empty());
}

#[test]
fn store_for_one_loop_is_refused_where_there_are_several() {
    let refused = || Err(TgtadmError::InvalidRequest.into());
    let loops = |count: &str| Request::TargetUpdate {
        tid: tid(1),
        name: "loops".to_owned(),
        value: count.to_owned(),
    };
    let mut bench = Bench::with_target();
    let one_loop = |bench: &mut Bench| {
        let Some(Job::Open(ticket, _)) = bench.out.jobs.pop() else { panic!("no store is to be opened") };
        let mut store = blocks(MIB);
        store.capabilities.one_loop = true;
        let store = bench.store(ticket, store);
        bench.control.job_done(JobDone::Opened(ticket, Ok(store)), bench.now, &mut bench.out);
        Ticket(ticket.0 + 1)
    };
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let ticket = one_loop(&mut bench);
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
    assert_eq!(bench.ask(loops("2")), Some(refused()));
    assert_eq!(bench.ask(loops("1")), Some(Ok(String::new())));

    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(loops("2")), Some(Ok(String::new())));
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    one_loop(&mut bench);
    assert_eq!(bench.closed(), [refused()]);
    assert_eq!(bench.ask(unit_new(1, 1)), None, "its number is free");
}

#[test]
fn job_that_reads_a_reported_size_waits_for_another_job() {
    let mut bench = Bench::with_unit();
    let unit = Arc::clone(&bench.control.model.target(tid(1)).unwrap().units[&Lun::new(1).unwrap()].unit);
    let report = |bench: &mut Bench| {
        if unit.reports().resized() {
            let message = ToControl::StoreResized(tid(1), Lun::new(1).unwrap(), Arc::clone(&unit));
            bench.control.message(message, bench.now, &mut bench.out);
        }
    };
    bench.out.full = true;
    report(&mut bench);
    report(&mut bench);
    assert!(bench.out.jobs.is_empty());
    bench.out.full = false;
    bench.control.job_done(JobDone::Closed(StoreId(99)), bench.now, &mut bench.out);
    let mut refresh = |answer| {
        let Some(Job::Refresh(ticket, _)) = bench.out.jobs.pop() else { panic!("no size is read") };
        bench.control.job_done(JobDone::Refreshed(ticket, answer), bench.now, &mut bench.out);
    };
    refresh(Err(IoError::UNREACHABLE));
    refresh(Ok(()));
    assert!(bench.out.jobs.is_empty());
    report(&mut bench);
    assert_eq!(bench.out.jobs.len(), 1);
}

#[test]
fn refusal_of_sheepdog_points_to_nbd() {
    let mut bench = Bench::with_target();
    let strings = UnitStrings { bstype: Some("sheepdog".to_owned()), ..UnitStrings::default() };
    let answer = bench.ask(Request::UnitNew { tid: tid(1), lun: 1, device_type: 0, strings });
    let Some(Err(error)) = answer else { panic!("{answer:?}") };
    let begin = "--bstype \"sheepdog\": sheepdog volumes are reached by NBD: ";
    assert!(error.reason.starts_with(begin) && error.reason.ends_with("--bstype nbd"), "{}", error.reason);
}

#[test]
fn failed_open_frees_the_number() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    bench.opened(Err("no such file"));
    assert_eq!(bench.replies(), [Err(TgtadmError::InvalidRequest.into())]);
    assert!(bench.out.messages(LoopId(1)).is_empty());
    assert_eq!(bench.ask(unit_new(1, 1)), None, "its number is free");
}

/// A network file system that does not answer.
#[test]
fn open_that_hangs_is_answered_in_time() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    bench.now += CONTROL_REPLY;
    bench.control.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(bench.replies(), [Err(TgtadmError::Unknown.into())]);
    let ticket = bench.opened(Ok(MIB));
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [], "the client has its reply");
    assert!(bench.show().contains("LUN: 1"), "the unit was added");
}

#[test]
fn unit_of_a_target_removed_meanwhile_is_dropped() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    bench.ask(Request::TargetDelete { tid: tid(1), within: Some(Duration::ZERO) });
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, ticket)] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
    bench.ask(target_new(1, "iqn.x:one"));
    bench.out.messages(LoopId(2));
    bench.opened(Ok(MIB));
    assert_eq!(bench.replies(), [], "what was opened is closed first");
    assert_eq!(bench.closed(), [Err(TgtadmError::NoTarget.into())]);
    assert!(bench.out.messages(LoopId(2)).is_empty());
    assert!(!bench.show().contains("LUN: 1"));
}

#[test]
fn unit_is_served_by_all_loops_or_none() {
    let mut bench = Bench::new();
    bench.control.model.loops = 2;
    bench.ask(target_new(1, "iqn.x:one"));
    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let ticket = bench.opened(Ok(MIB));
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), []);
    bench.out.messages(LoopId(1));
    let failure = Err(LoopError::Store(IoError::NOT_READY));
    assert_eq!(bench.answer(LoopId(2), ticket, failure), [], "its store is closed first");
    assert!(matches!(bench.out.messages(LoopId(1))[..], [ToLoop::RemoveUnit { by: Some(_), .. }]));
    bench.out.messages(LoopId(2));
    assert_eq!(bench.closed(), [Err(TgtadmError::InvalidRequest.into())]);
    assert!(!bench.show().contains("LUN: 1"));

    assert_eq!(bench.ask(unit_new(1, 1)), None);
    let ticket = bench.opened(Ok(MIB));
    bench.answer(LoopId(1), ticket, Ok(()));
    assert_eq!(bench.answer(LoopId(2), ticket, Ok(())), [Ok(String::new())]);
    bench.out.messages(LoopId(1));
    bench.out.messages(LoopId(2));
    assert_eq!(bench.ask(delete(1)), None);
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveUnit { by: None, ticket, .. }] = messages[..] else { panic!("{messages:?}") };
    bench.answer(LoopId(1), ticket, Ok(()));
    let busy = Err(LoopError::Busy);
    assert_eq!(bench.answer(LoopId(2), ticket, busy), [Err(TgtadmError::LunActive.into())]);
    assert!(matches!(bench.out.messages(LoopId(1))[..], [ToLoop::AddUnit(..)]), "it serves the unit again");
    assert!(bench.show().contains("LUN: 1"));
}

#[test]
fn unit_deletion_waits_for_the_loop_and_the_store() {
    let mut bench = Bench::with_unit();
    bench.out.messages(LoopId(1));
    assert_eq!(bench.ask(delete(1)), None);
    assert_eq!(bench.ask(delete(1)), Some(Err(TgtadmError::LunActive.into())), "it is being removed");
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveUnit { ticket, .. }] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [], "its store is open");
    assert!(!bench.show().contains("LUN: 1"));
    assert_eq!(bench.closed(), [Ok(String::new())]);
}

#[test]
fn valid_changes_are_made_beside_an_invalid_one() {
    let mut bench = Bench::with_unit();
    let changes = vec![
        Ok(changed("readonly", "1")),
        Err(TgtadmError::UnknownParameter.because("this is not known")),
        Ok(changed("scsi_sn", "0007")),
    ];
    assert_eq!(bench.ask(update(1, changes)), Some(Err(TgtadmError::UnknownParameter.into())));
    let shown = bench.show();
    assert!(shown.contains("Readonly: Yes") && shown.contains("SCSI SN: 0007"), "{shown}");
    assert_eq!(bench.ask(update(1, vec![])), Some(Ok(String::new())));
}

#[test]
fn medium_changes_while_offline_only() {
    let mut bench = Bench::with_unit();
    let path = |path: &str| Ok(changed("path", path));
    assert_eq!(bench.ask(update(1, vec![path("/b")])), Some(Err(TgtadmError::InvalidRequest.into())));
    assert_eq!(bench.ask(update(1, vec![Ok(changed("online", "0"))])), Some(Ok(String::new())));

    assert_eq!(bench.ask(update(1, vec![path("/no"), Ok(changed("readonly", "1"))])), None);
    bench.opened(Err("no such file"));
    assert_eq!(bench.stopped(), [], "the one before is open");
    let shown = bench.show();
    assert!(shown.contains("Size: 0 MB, Block size: 512\n            Online: No"), "{shown}");
    assert!(shown.contains("Readonly: Yes"), "what came after the medium was done");
    assert!(!shown.contains("/srv/disk.img"));

    assert!(
        matches!(bench.out.messages(LoopId(1))[..], [ToLoop::ChangeMedium(..)]),
        "no command is waited for"
    );
    assert_eq!(bench.closed(), [Err(TgtadmError::InvalidRequest.into())]);

    assert_eq!(bench.ask(update(1, vec![path("/b")])), None);
    bench.opened(Ok(100 * MIB));
    assert_eq!(bench.replies(), [Ok(String::new())]);
    let shown = bench.show();
    assert!(shown.contains("Size: 105 MB, Block size: 512\n            Online: Yes"), "{shown}");
    assert!(shown.contains("Backing store path: /b\n"));
}

#[test]
fn medium_with_lost_writes_is_opened_again_when_set_online() {
    let mut bench = Bench::with_unit();
    let online = |on: bool| update(1, vec![Ok(changed("online", if on { "1" } else { "0" }))]);
    let unit = Arc::clone(&bench.control.model.target(tid(1)).unwrap().units[&Lun::new(1).unwrap()].unit);
    let (done, failed) = (Some(Ok(String::new())), Err(TgtadmError::InvalidRequest.into()));
    for request in [online(false), online(true)] {
        assert_eq!(bench.ask(request), done);
        assert!(bench.out.jobs.is_empty(), "what is whole stays open");
    }

    let mut lossy = blocks(64 * MIB);
    lossy.has_lost_writes = true;
    unit.set_store(Some(Arc::new(lossy)));
    assert_eq!(bench.closed(), []);
    assert_eq!(bench.ask(online(true)), done, "it is online");
    assert_eq!(bench.ask(online(false)), done);
    assert_eq!(bench.ask(online(true)), None);
    bench.opened(Err("no such file"));
    assert_eq!(bench.replies(), [failed]);
    let shown = bench.show();
    assert!(shown.contains("/srv/disk.img") && shown.contains("Online: No"), "{shown}");
    assert!(unit.store().unwrap().has_lost_writes(), "it is not forgotten");

    assert_eq!(bench.ask(online(true)), None);
    bench.opened(Ok(64 * MIB));
    assert_eq!(bench.stopped(), [Ok(String::new())]);
    assert!(bench.show().contains("Online: Yes"));
    assert!(!unit.store().unwrap().has_lost_writes());
}

#[test]
fn unit_that_goes_offline_is_flushed_before_the_reply() {
    let mut bench = Bench::with_unit();
    let online = |on: &str| update(1, vec![Ok(changed("online", on))]);
    for (result, reply) in
        [(Ok(()), Ok(String::new())), (Err(IoError::LOST), Err(TgtadmError::InvalidRequest.into()))]
    {
        assert_eq!(bench.ask_without_flush(online("0")), None);
        assert!(bench.show().contains("Online: No"));
        assert_eq!(bench.flushed(result), [reply]);
        assert_eq!(bench.ask_without_flush(online("0")), Some(Ok(String::new())), "it is offline");
        assert_eq!(bench.ask_without_flush(online("1")), Some(Ok(String::new())));
    }
    assert_eq!(bench.ask_without_flush(online("0")), None);
    bench.now += 2 * CONTROL_REPLY;
    bench.control.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(bench.replies().len(), 1, "a store that hangs delays the reply by a bounded time");
}

#[test]
fn size_is_read_by_a_job() {
    let mut bench = Bench::with_unit();
    assert_eq!(
        bench.ask(update(0, vec![Ok(changed("disksize", "auto"))])),
        Some(Err(TgtadmError::UnsupportedOperation.into()))
    );
    for (answer, reply) in
        [(Ok(()), Ok(String::new())), (Err(IoError::NOT_READY), Err(TgtadmError::InvalidRequest.into()))]
    {
        assert_eq!(bench.ask(update(1, vec![Ok(changed("disksize", "auto"))])), None);
        let Some(Job::Refresh(ticket, _)) = bench.out.jobs.pop() else { panic!("no size is read") };
        bench.control.job_done(JobDone::Refreshed(ticket, answer), bench.now, &mut bench.out);
        assert_eq!(bench.replies(), [reply]);
    }
}

/// Linux, Windows and ESXi put what has one name together as one disk with several paths.
#[test]
fn names_are_unique_among_stores() {
    let strings = |path: &str| UnitStrings { path: Some(path.to_owned()), ..UnitStrings::default() };
    let new = |lun, path| Request::UnitNew { tid: tid(1), lun, device_type: 0, strings: strings(path) };
    let named = |lun, id: &str| update(lun, vec![Ok(changed("scsi_id", id))]);
    let numbered = |lun, sn: &str| update(lun, vec![Ok(changed("scsi_sn", sn))]);
    let mut bench = Bench::with_target();
    bench.control.model.naming = Naming::Installation([1; 16]);
    for (lun, path) in [(1, "/a"), (2, "/b"), (3, "/a")] {
        assert_eq!(bench.ask(new(lun, path)), None);
        let ticket = bench.opened(Ok(MIB));
        assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
    }
    let (ok, refused) = (Some(Ok(String::new())), Some(Err(TgtadmError::InvalidRequest.into())));
    assert_eq!(bench.ask(named(1, "0a1")), ok);
    assert_eq!(bench.ask(named(1, "0a1")), ok, "its own");
    assert_eq!(bench.ask(numbered(1, "s1")), ok);
    assert_eq!(bench.ask(named(2, "0a1")), refused);
    assert_eq!(bench.ask(named(2, "a1")), refused, "the same number");
    assert_eq!(bench.ask(numbered(2, "s1")), refused);
    assert!(!bench.show().split("LUN: 2").nth(1).unwrap().split("LUN: 3").next().unwrap().contains("s1"));
    assert_eq!(bench.ask(named(3, "0a1")), ok, "another path to the same disk");
    assert_eq!(bench.ask(numbered(3, "s1")), ok);

    assert_eq!(bench.ask(update(3, vec![Ok(changed("online", "0"))])), ok);
    assert_eq!(bench.ask(update(3, vec![Ok(changed("path", "/c"))])), refused, "no longer the same");
    bench.control.model.naming = Naming::Compatible;
    assert_eq!(bench.ask(named(2, "0a1")), ok, "tgt does not check");
}
