//! Targets: made, changed, shown, deleted.

use super::*;
use crate::control::request::Binding;
use crate::model::sessions::{Connection, SessionKey};
use iscsi_proto::ids::{Cid, Isid, Tsih};
use iscsi_proto::params::{ConnectionParams, SessionParams};

/// Opens a session and confirms it for its loop.
pub(super) fn log_in(bench: &mut Bench, number: u32) -> (Tsih, scsi_core::device::NexusId) {
    log_in_on(bench, number, 0)
}

/// As [`log_in`], on this loop of the target.
pub(super) fn log_in_on(bench: &mut Bench, number: u32, index: usize) -> (Tsih, scsi_core::device::NexusId) {
    let key = SessionKey {
        initiator_name: "iqn.i".to_owned(),
        isid: Isid([3; 6]),
        tid: tid(number),
        portal_group: 1,
    };
    let first = Connection {
        cid: Cid(0),
        peer: "127.0.0.1".parse().unwrap(),
        params: ConnectionParams::default(),
        stats: Arc::default(),
    };
    let session = bench.control.sessions.open(key, index, None, SessionParams::default(), first).unwrap();
    let (tsih, nexus) = (session.tsih, session.nexus);
    let from = bench.control.loops_of(tid(number))[index];
    bench.control.message(
        ToControl::SessionStarted(from, tid(number), tsih, nexus),
        bench.now,
        &mut bench.out,
    );
    (tsih, nexus)
}

#[test]
fn target_new_starts_a_loop() {
    let mut bench = Bench::new();
    assert_eq!(bench.ask(target_new(3, "iqn.x:three")), Some(Ok(String::new())));
    assert_eq!(bench.out.names, ["tgt/3"]);
    let messages = bench.out.messages(LoopId(1));
    assert!(matches!(&messages[..], [ToLoop::AddTarget(new)] if new.tid == tid(3) && new.units.len() == 1));
}

#[test]
fn target_new_fails_without_a_thread() {
    let mut bench = Bench::new();
    bench.out.no_threads = true;
    assert_eq!(bench.ask(target_new(3, "iqn.x:three")), Some(Err(TgtadmError::NoMemory.into())));
    assert_eq!(bench.show(), "");
    bench.out.no_threads = false;
    assert_eq!(bench.ask(target_new(3, "iqn.x:three")), Some(Ok(String::new())));
}

#[test]
fn target_with_sessions_is_deleted_by_force_only() {
    let mut bench = Bench::with_target();
    let (tsih, nexus) = log_in(&mut bench, 1);
    let delete = |force: bool| Request::TargetDelete { tid: tid(1), within: force.then_some(Duration::ZERO) };
    assert_eq!(bench.ask(delete(false)), Some(Err(TgtadmError::TargetActive.into())));
    assert!(bench.out.messages(LoopId(1)).is_empty());

    assert_eq!(bench.ask(delete(true)), None);
    assert_eq!(bench.show(), "");
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::RemoveTarget(_, _, ticket)] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(
        bench.ask(target_new(1, "iqn.x:one")),
        Some(Err(TgtadmError::TargetExists.into())),
        "not gone yet"
    );
    bench.control.message(ToControl::SessionEnded(LoopId(1), tid(1), tsih, nexus), bench.now, &mut bench.out);
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
    assert!(matches!(bench.out.messages(LoopId(1))[..], [ToLoop::End(_)]));
    bench.control.message(ToControl::LoopEnded(LoopId(1)), bench.now, &mut bench.out);
    assert_eq!(bench.out.ended_loops, [LoopId(1)]);
    assert_eq!(bench.ask(target_new(1, "iqn.x:one")), Some(Ok(String::new())));
}

/// In tgt it ends with an error after half of the units are removed.
#[test]
fn forced_deletion_is_answered_while_a_loop_hangs() {
    let mut bench = Bench::with_unit();
    log_in(&mut bench, 1);
    assert_eq!(bench.ask(Request::TargetDelete { tid: tid(1), within: Some(Duration::ZERO) }), None);
    bench.now += CONTROL_REPLY - Duration::from_millis(1);
    bench.control.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(bench.replies(), []);
    bench.now += Duration::from_millis(1);
    assert_eq!(bench.control.next_deadline(), Some(bench.now));
    bench.control.handle_timeout(bench.now, &mut bench.out);
    assert_eq!(bench.replies(), [Err(TgtadmError::LunActive.into())], "its store is open");
    assert_eq!(bench.show(), "");
    assert_eq!(bench.ask(target_new(1, "iqn.x:one")), Some(Err(TgtadmError::TargetExists.into())));
}

#[test]
fn target_of_an_ended_loop_can_be_deleted() {
    let mut bench = Bench::with_target();
    log_in(&mut bench, 1);
    bench.control.message(ToControl::LoopEnded(LoopId(1)), bench.now, &mut bench.out);
    assert!(!bench.show().contains("I_T nexus: 1"), "its sessions went with it");
    assert_eq!(bench.ask(Request::TargetDelete { tid: tid(1), within: None }), None);
    assert_eq!(bench.replies(), [Ok(String::new())]);
}

#[test]
fn parameters_are_sent_to_the_loops() {
    let mut bench = Bench::with_target();
    let update = |name: &str, value: &str| Request::TargetUpdate {
        tid: tid(1),
        name: name.to_owned(),
        value: value.to_owned(),
    };
    assert_eq!(bench.ask(update("nop_interval", "5")), Some(Ok(String::new())));
    assert_eq!(bench.ask(update("state", "offline")), Some(Ok(String::new())));
    assert_eq!(bench.ask(update("RedirectAddress", "10.0.0.9")), Some(Ok(String::new())));
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::UpdateTarget(_, first), ToLoop::UpdateTarget(_, second)] = &messages[..] else {
        panic!("{messages:?}")
    };
    assert_eq!((first.nop_interval, first.online), (Duration::from_secs(5), true));
    assert!(!second.online);
    let shown = bench.ask(Request::TargetShow(tid(1))).unwrap().unwrap();
    assert_eq!(shown, "RedirectAddress=10.0.0.9\nRedirectPort=\nRedirectReason=Unknown\n");
    assert_eq!(bench.ask(Request::TargetShow(tid(2))), Some(Err(TgtadmError::NoTarget.into())));
}

#[test]
fn rules_and_hosts_are_bound_and_unbound() {
    let mut bench = Bench::with_target();
    let both = Binding::Initiators { address: Some("ALL".to_owned()), name: Some("iqn.i".to_owned()) };
    let bind = |rule: &Binding| Request::TargetBind { tid: tid(1), rule: rule.clone() };
    let unbind = |rule: &Binding| Request::TargetUnbind { tid: tid(1), rule: rule.clone() };
    assert_eq!(bench.ask(bind(&both)), Some(Ok(String::new())));
    assert_eq!(bench.ask(bind(&both)), Some(Err(TgtadmError::AclExists.into())));
    assert!(bench.show().ends_with("    ACL information:\n        ALL\n        iqn.i\n"));
    assert_eq!(bench.ask(unbind(&both)), Some(Ok(String::new())));
    assert_eq!(bench.ask(unbind(&both)), Some(Err(TgtadmError::AclNotFound.into())));
    let host = Binding::Host(3);
    assert_eq!(bench.ask(unbind(&host)), Some(Err(TgtadmError::NoBinding.into())));
    assert_eq!(bench.ask(bind(&host)), Some(Ok(String::new())));
    assert_eq!(bench.ask(bind(&host)), Some(Err(TgtadmError::BindingExists.into())));
    assert_eq!(bench.ask(unbind(&host)), Some(Ok(String::new())));
}

#[test]
fn connections_are_shown_and_closed() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.ask(Request::ConnectionShow(tid(1))), Some(Ok(String::new())));
    let (tsih, _) = log_in(&mut bench, 1);
    let shown = "Session: 1\n    Connection: 0\n        Initiator: iqn.i\n        IP Address: 127.0.0.1\n";
    assert_eq!(bench.ask(Request::ConnectionShow(tid(1))), Some(Ok(shown.to_owned())));
    let tree = "        I_T nexus: 1\n            Initiator: iqn.i alias: none\n            Connection: 0\n";
    assert!(bench.show().contains(tree));

    let delete = |number, sid, cid| Request::ConnectionDelete { tid: tid(number), sid, cid };
    assert_eq!(bench.ask(delete(2, 1, 0)), Some(Err(TgtadmError::NoTarget.into())));
    assert_eq!(bench.ask(delete(1, 2, 0)), Some(Err(TgtadmError::NoSession.into())));
    assert_eq!(bench.ask(delete(1, 0x1_0001, 0)), Some(Err(TgtadmError::NoSession.into())));
    assert_eq!(bench.ask(delete(1, 1, 1)), Some(Err(TgtadmError::NoConnection.into())));
    assert_eq!(bench.ask(delete(1, 1, 0)), None);
    let messages = bench.out.messages(LoopId(1));
    let [ToLoop::CloseConnection { tsih: closed, ticket, .. }] = messages[..] else { panic!("{messages:?}") };
    assert_eq!(closed, tsih);
    assert_eq!(bench.answer(LoopId(1), ticket, Ok(())), [Ok(String::new())]);
}

#[test]
fn connection_that_failed_to_join_is_forgotten() {
    let mut bench = Bench::with_target();
    let (tsih, nexus) = log_in(&mut bench, 1);
    let first = bench.control.sessions.get(tsih).unwrap().connections[0].clone();
    bench.control.sessions.join(tsih, Connection { cid: Cid(1), ..first });
    assert_eq!(bench.control.sessions.connections(), 2);
    let failed = ToControl::AttachFailed(LoopId(1), tid(1), tsih, nexus, Cid(1));
    bench.control.message(failed, bench.now, &mut bench.out);
    assert_eq!(bench.control.sessions.connections(), 1, "its session goes on");
}
