//! Modes system and lld.

use super::*;
use crate::control::request::{Driver, State, SystemChange};
use crate::control::wire::{Mode, RequestHeader};

#[test]
fn system_settings() {
    let mut bench = Bench::new();
    let changes = vec![
        SystemChange::Debug(true),
        SystemChange::State(State::Offline),
        SystemChange::IsnsServer("10.0.0.1".to_owned()),
        SystemChange::Isns(true),
        SystemChange::IsnsPort(99),
        SystemChange::IsnsAccessControl(true),
    ];
    assert_eq!(
        bench.ask(Request::SystemUpdate(changes.into_iter().map(Ok).collect())),
        Some(Ok(String::new()))
    );
    assert!(bench.out.debug);
    let shown = bench.ask(Request::SystemShow).unwrap().unwrap();
    for line in [
        "    State: offline\n    debug: on\n",
        "    rdwr (bsoflags sync:direct)\n    aio\n",
        "    iSNS=On\n    iSNSServerIP=10.0.0.1\n    iSNSServerPort=99\n    iSNSAccessControl=On\n",
    ] {
        assert!(shown.contains(line), "{line} is not in\n{shown}");
    }
}

#[test]
fn valid_settings_are_made_beside_an_invalid_one() {
    let mut bench = Bench::new();
    let wrong = || TgtadmError::InvalidRequest.because("--name colour is not known");
    let changes = vec![Ok(SystemChange::State(State::Offline)), Err(wrong()), Ok(SystemChange::Debug(true))];
    assert_eq!(bench.ask(Request::SystemUpdate(changes)), Some(Err(wrong())));
    assert!(bench.out.debug && bench.control.model.state == State::Offline);
}

#[test]
fn isns_stays_off_without_a_server() {
    let mut bench = Bench::new();
    bench.ask(Request::SystemUpdate(vec![Ok(SystemChange::Isns(true))]));
    assert!(bench.ask(Request::SystemShow).unwrap().unwrap().contains("iSNS=Off"));
}

#[test]
fn system_delete_requires_that_there_are_no_targets() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(Request::SystemDelete), Some(Err(TgtadmError::InvalidRequest.into())));
    assert!(!bench.out.ending);
    let mut bench = Bench::new();
    assert_eq!(bench.ask(Request::SystemDelete), Some(Ok(String::new())));
    assert!(bench.out.ending);
}

#[test]
fn started_driver_listens_on_the_portals_of_the_start() {
    use Driver::Iscsi;
    let mut bench = Bench::new();
    bench.control.listen("127.0.0.1:3260".parse().unwrap(), &mut bench.out).unwrap();
    bench.control.remember_portals();
    bench.ask(Request::PortalNew(PortalOptions::parse("portal=127.0.0.1:3261").unwrap()));
    assert_eq!(bench.ask(Request::LldStop(Iscsi)), Some(Ok(String::new())));
    assert!(bench.out.listening.is_empty() && bench.out.logins_closed);
    assert!(bench.ask(Request::SystemShow).unwrap().unwrap().contains("iscsi: stopped"));
    assert_eq!(bench.ask(Request::LldStart(Iscsi)), Some(Ok(String::new())));
    assert_eq!(bench.ask(Request::PortalShow), Some(Ok("Portal: 127.0.0.1:3260,1\n".to_owned())));
    assert_eq!(bench.ask(target_new(1, "iqn.x")), Some(Ok(String::new())));
    assert_eq!(bench.ask(Request::LldStop(Iscsi)), Some(Err(TgtadmError::DriverActive.into())));
}

#[test]
fn named_driver_must_be_ready() {
    let mut bench = Bench::new();
    let admitted = |bench: &Bench, mode: Mode, lld: &str| {
        let header = RequestHeader { mode: mode as u32, lld: lld.to_owned(), ..RequestHeader::default() };
        bench.control.admit(&header).map_err(|error| error.kind)
    };
    let refused = Err(TgtadmError::NoDriver);
    assert_eq!(admitted(&bench, Mode::Target, "iscsi"), Ok(()));
    assert_eq!(admitted(&bench, Mode::Target, "iser"), refused);
    assert_eq!(admitted(&bench, Mode::Target, "json.1/iser"), refused);
    assert_eq!(admitted(&bench, Mode::Target, "json.1/iscsi"), Ok(()));
    assert_eq!(admitted(&bench, Mode::Lld, "iser"), Ok(()));
    bench.ask(Request::LldStop(Driver::Iscsi));
    assert_eq!(admitted(&bench, Mode::System, "iscsi"), refused);
    assert_eq!(admitted(&bench, Mode::Lld, "iscsi"), Ok(()));
    assert_eq!(admitted(&bench, Mode::Target, ""), Ok(()), "as in tgt");
    assert_eq!(admitted(&bench, Mode::Target, "json.1"), Ok(()));
}

#[test]
fn iser_is_listed_and_does_not_start() {
    let mut bench = Bench::with_target();
    let shown = "LLDs:\n    iscsi: ready\n        Target 1: iqn.x:one\n    iser: error\n";
    for _ in 0..2 {
        assert_eq!(bench.ask(Request::LldShow), Some(Ok(shown.to_owned())));
        assert_eq!(bench.ask(Request::LldStart(Driver::Iser)), Some(Err(TgtadmError::Unknown.into())));
        assert_eq!(bench.ask(Request::LldStop(Driver::Iser)), Some(Ok(String::new())));
    }
}
