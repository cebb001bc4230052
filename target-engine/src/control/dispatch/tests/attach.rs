//! Connections that have logged in: which sessions they may join and reinstate.

use bytes::Bytes;
use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::{ConnectionParams, SessionParams};
use iscsi_proto::pdu::LoginResponse;
use iscsi_proto::sn::{CmdSn, StatSn};

use super::*;
use crate::control::messages::AttachMode;
use crate::control::request::{Direction, Secret};
use crate::iscsi::login::LoggedIn;
use crate::limits::CONNECTIONS_MAX;
use crate::model::connections::{ConnectionBound, ConnectionBounds};

/// A login to target 1 that needs its session.
#[derive(Clone, Copy)]
struct LogIn<'a> {
    name: &'a str,
    isid: Isid,
    tsih: Tsih,
    cid: u16,
    user: Option<&'a str>,
    address: &'a str,
}

const PLAIN: LogIn<'_> =
    LogIn { name: "iqn.i", isid: Isid([3; 6]), tsih: Tsih::NEW, cid: 0, user: None, address: "10.0.0.5:999" };

impl LogIn<'_> {
    fn done(self) -> LoggedIn {
        let response = LoginResponse {
            next: Some(Stage::FullFeature),
            continues: false,
            stage: Stage::OperationalNegotiation,
            version_max: 0,
            version_active: 0,
            isid: self.isid,
            tsih: self.tsih,
            itt: Itt(0),
            stat_sn: StatSn(0),
            exp_cmd_sn: CmdSn(1),
            max_cmd_sn: CmdSn(1),
            status: LoginStatus::Success,
        };
        LoggedIn {
            initiator_name: IscsiName::parse_any(self.name).unwrap(),
            initiator_alias: None,
            target_name: IscsiName::parse_any("iqn.x:one").unwrap(),
            isid: self.isid,
            tsih: self.tsih,
            cid: Cid(self.cid),
            chap_user: self.user.map(str::to_owned),
            session: SessionParams { max_connections: 2, ..SessionParams::default() },
            connection: ConnectionParams::default(),
            portal_group_tag: 1,
            response,
            response_text: Bytes::new(),
            next_cmd_sn: CmdSn(1),
            next_stat_sn: StatSn(1),
            unread: Bytes::new(),
            received: 0,
            sent: 0,
        }
    }
}

impl Bench {
    /// A target whose loop takes connections.
    fn attaching() -> Self {
        let mut bench = Self::with_target();
        bench.out.attached = Some(Vec::new());
        bench
    }

    /// Attaches a connection and confirms its session. Returns the session's handle and what becomes of a session of the
    /// same initiator port.
    fn attach(&mut self, login: LogIn<'_>) -> Result<(Tsih, AttachMode), (LoginStatus, String)> {
        let addresses =
            Addresses { peer: login.address.parse().unwrap(), local: "10.0.0.1:3260".parse().unwrap() };
        let attached = self.control.attach(LoginId(1), Box::new(login.done()), addresses, &mut self.out);
        attached.map_err(|refused| (refused.status, refused.why.into_owned()))?;
        let attach = self.out.attached.as_mut().and_then(Vec::pop).unwrap();
        let Attach { tsih, nexus, mode, .. } = attach;
        let from = self.control.loops_of(tid(1))[0];
        let mut message = |message| self.control.message(message, self.now, &mut self.out);
        match mode {
            AttachMode::Join => message(ToControl::ConnectionJoined(from, tid(1), tsih, Cid(login.cid))),
            AttachMode::New | AttachMode::Reinstate(_) => {
                message(ToControl::SessionStarted(from, tid(1), tsih, nexus));
            }
        }
        if let AttachMode::Reinstate(previous) = mode {
            let nexus = self.control.sessions.get(previous).unwrap().nexus;
            self.control.message(
                ToControl::SessionEnded(from, tid(1), previous, nexus),
                self.now,
                &mut self.out,
            );
        }
        Ok((tsih, mode))
    }

    fn account(&mut self, user: &str) {
        let password = Secret::new("twelve bytes".to_owned());
        assert_eq!(self.ask(Request::AccountNew { user: user.to_owned(), password }), DONE);
        self.bind_account(user);
    }

    fn bind_account(&mut self, user: &str) {
        let (tid, direction, user) = (Some(tid(1)), Direction::Incoming, user.to_owned());
        assert_eq!(self.ask(Request::AccountBind { tid, user, direction, name: None }), DONE);
    }

    fn unbind_account(&mut self, user: &str) {
        let (tid, direction, user) = (Some(tid(1)), Direction::Incoming, user.to_owned());
        assert_eq!(self.ask(Request::AccountUnbind { tid, user, direction, name: None }), DONE);
    }

    fn bind_name(&mut self, user: &str, name: &str) {
        let (tid, direction, user) = (Some(tid(1)), Direction::Incoming, user.to_owned());
        let name = Some(IscsiName::parse(name).unwrap());
        assert_eq!(self.ask(Request::AccountBind { tid, user, direction, name }), DONE);
    }

    fn unbind_name(&mut self, user: &str, name: &str) -> Option<Said> {
        let (tid, direction, user) = (Some(tid(1)), Direction::Incoming, user.to_owned());
        let name = Some(IscsiName::parse(name).unwrap());
        self.ask(Request::AccountUnbind { tid, user, direction, name })
    }
}

const DONE: Option<Said> = Some(Ok(String::new()));

#[test]
fn session_is_joined_and_reinstated_by_the_account_that_made_it() {
    let mut bench = Bench::attaching();
    bench.account("alice");
    bench.account("bob");
    let (alice, bob) = (LogIn { user: Some("alice"), ..PLAIN }, LogIn { user: Some("bob"), ..PLAIN });
    let (tsih, mode) = bench.attach(alice).unwrap();
    assert_eq!(mode, AttachMode::New);
    for other in [bob, PLAIN, LogIn { tsih, cid: 1, ..bob }, LogIn { tsih, ..bob }, LogIn { tsih, ..PLAIN }] {
        let (status, why) = bench.attach(other).unwrap_err();
        assert_eq!(status, LoginStatus::AuthorizationFailure);
        assert!(why.contains("belongs to account \"alice\""), "{why}");
        assert!(why.contains(other.user.unwrap_or("proven: none")), "{why}");
    }
    assert_eq!(bench.attach(LogIn { tsih, cid: 1, ..alice }), Ok((tsih, AttachMode::Join)));
    assert_eq!(bench.attach(LogIn { isid: Isid([4; 6]), ..bob }).unwrap().1, AttachMode::New, "another port");
    let (next, mode) = bench.attach(alice).unwrap();
    assert_eq!(mode, AttachMode::Reinstate(tsih));
    assert_eq!(bench.attach(bob).unwrap_err().0, LoginStatus::AuthorizationFailure);
    assert_eq!(bench.attach(LogIn { tsih: next, ..alice }), Ok((next, AttachMode::Join)));
}

#[test]
fn session_of_an_account_that_is_not_bound_any_more_is_open_to_the_next() {
    let mut bench = Bench::attaching();
    bench.account("alice");
    bench.account("bob");
    let (alice, bob) = (LogIn { user: Some("alice"), ..PLAIN }, LogIn { user: Some("bob"), ..PLAIN });
    let (first, _) = bench.attach(alice).unwrap();
    bench.unbind_account("alice");
    let (second, mode) = bench.attach(bob).unwrap();
    assert_eq!(mode, AttachMode::Reinstate(first));
    // Bound again, alice has no claim to the session of bob.
    bench.bind_account("alice");
    assert_eq!(bench.attach(alice).unwrap_err().0, LoginStatus::AuthorizationFailure);
    bench.ask(Request::AccountDelete { user: "bob".to_owned() });
    let (third, mode) = bench.attach(LogIn { tsih: second, ..alice }).unwrap();
    assert_eq!((third, mode), (second, AttachMode::Join));
    // Made and bound again, bob is the same account, but the session is alice's since she has joined it.
    bench.account("bob");
    assert_eq!(bench.attach(bob).unwrap_err().0, LoginStatus::AuthorizationFailure);
    assert_eq!(bench.attach(alice).unwrap().1, AttachMode::Reinstate(second));
}

/// The names that an account is bound to decide at login; a session that runs goes on.
#[test]
fn account_is_used_only_under_the_names_it_is_bound_to() {
    let [one, two, three] =
        ["iqn.2026-01.org.example:one", "iqn.2026-01.org.example:two", "iqn.2026-01.org.example:three"];
    let mut bench = Bench::attaching();
    bench.account("alice");
    bench.account("bob");
    let alice = |name| LogIn { name, user: Some("alice"), ..PLAIN };
    bench.attach(alice(three)).unwrap();
    bench.bind_name("alice", one);
    bench.bind_name("alice", two);
    let (tsih, _) = bench.attach(alice(one)).unwrap();
    bench.attach(alice("IQN.2026-01.org.example:TWO")).unwrap();
    let (status, why) = bench.attach(alice(three)).unwrap_err();
    assert_eq!(status, LoginStatus::AuthorizationFailure);
    assert_eq!(why, "account \"alice\" is bound to other initiator names at the target");
    assert_eq!(bench.control.login_counts.refused_accounts, 1);
    assert!(
        bench.attach(LogIn { name: "iqn.third", user: Some("bob"), ..PLAIN }).is_ok(),
        "bob has no names"
    );

    assert_eq!(bench.unbind_name("alice", one), DONE);
    assert!(bench.control.sessions.get(tsih).is_some(), "the session continues");
    assert!(bench.attach(alice(one)).is_err(), "nor is it reinstated");
    let Some(Err(refused)) = bench.unbind_name("alice", two) else { panic!("the last name is removed") };
    assert!(refused.reason.contains("unbind the account"), "{}", refused.reason);
    assert!(bench.attach(alice(three)).is_err());
    bench.unbind_account("alice");
    bench.bind_account("alice");
    assert!(bench.attach(alice(three)).is_ok(), "bound without names it admits any");
}

#[test]
fn account_made_again_owns_its_sessions_once_it_is_bound() {
    let mut bench = Bench::attaching();
    let (alice, bob) = (LogIn { user: Some("alice"), ..PLAIN }, LogIn { user: Some("bob"), ..PLAIN });
    bench.account("alice");
    bench.account("bob");
    bench.attach(alice).unwrap();
    bench.ask(Request::AccountDelete { user: "alice".to_owned() });
    bench.account("alice");
    assert_eq!(bench.attach(bob).unwrap_err().0, LoginStatus::AuthorizationFailure);
    bench.unbind_account("alice");
    assert!(bench.attach(bob).is_ok());
}

#[test]
fn session_without_account_is_open_to_accounts_and_to_none() {
    let mut bench = Bench::attaching();
    let (first, _) = bench.attach(PLAIN).unwrap();
    assert_eq!(bench.attach(PLAIN).unwrap().1, AttachMode::Reinstate(first));
    bench.account("alice");
    let alice = LogIn { user: Some("alice"), ..PLAIN };
    assert!(matches!(bench.attach(alice).unwrap().1, AttachMode::Reinstate(_)));
    assert_eq!(bench.attach(PLAIN).unwrap_err().0, LoginStatus::AuthorizationFailure);
    bench.unbind_account("alice");
    assert!(bench.attach(PLAIN).is_ok(), "the target has no accounts any more");
}

#[test]
fn session_is_joined_by_its_own_initiator_port_only() {
    let mut bench = Bench::attaching();
    let status = |result: Result<_, (LoginStatus, String)>| {
        result.map_or_else(|(status, _)| status, |_| LoginStatus::Success)
    };
    assert_eq!(status(bench.attach(LogIn { tsih: Tsih(1), ..PLAIN })), LoginStatus::SessionDoesNotExist);
    let (tsih, _) = bench.attach(PLAIN).unwrap();
    let join = LogIn { tsih, ..PLAIN };
    for other in [
        LogIn { tsih: Tsih(tsih.0 + 1), ..join },
        LogIn { isid: Isid([4; 6]), ..join },
        LogIn { name: "iqn.other", ..join },
    ] {
        assert_eq!(status(bench.attach(other)), LoginStatus::SessionDoesNotExist);
    }
    assert_eq!(status(bench.attach(join)), LoginStatus::Success, "in place of its only connection");
    assert_eq!(status(bench.attach(LogIn { cid: 1, ..join })), LoginStatus::Success);
    bench.ask(Request::TargetUpdate { tid: tid(1), name: "MaxConnections".into(), value: "8".into() });
    assert_eq!(
        status(bench.attach(LogIn { cid: 2, ..join })),
        LoginStatus::TooManyConnections,
        "2 were negotiated"
    );
}

/// The largest share by default of an initiator name that is alone: half of what its address may still have.
const NAME_MAX: usize = CONNECTIONS_MAX / 8;

/// Opens sessions of one name until one is refused; returns their number and the refusal.
fn fill(bench: &mut Bench, name: &str, address: &str) -> (usize, (LoginStatus, String)) {
    for number in 0..=u16::MAX {
        let [high, low] = number.to_be_bytes();
        let login = LogIn { name, isid: Isid([0, 0, 0, 0, high, low]), address, ..PLAIN };
        if let Err(refusal) = bench.attach(login) {
            return (number.into(), refusal);
        }
    }
    unreachable!("a bound is reached")
}

#[test]
fn one_name_leaves_room_for_others_and_can_reconnect() {
    let mut bench = Bench::attaching();
    let (opened, (status, why)) = fill(&mut bench, "iqn.hog", "10.0.0.5:999");
    assert_eq!((opened, status), (NAME_MAX, LoginStatus::OutOfResources));
    assert!(why.contains("the initiator name has 2048 connections"), "{why}");
    assert!(bench.attach(LogIn { name: "iqn.other", ..PLAIN }).is_ok());
    assert!(bench.attach(LogIn { name: "iqn.third", address: "10.0.0.6:999", ..PLAIN }).is_ok());
    let reconnecting = LogIn { name: "iqn.hog", isid: Isid([0; 6]), ..PLAIN };
    let (tsih, mode) = bench.attach(reconnecting).unwrap();
    assert!(matches!(mode, AttachMode::Reinstate(_)), "a reinstatement is not one more");

    bench.ask(Request::TargetUpdate { tid: tid(1), name: "MaxConnections".into(), value: "2".into() });
    let join = LogIn { tsih, ..reconnecting };
    let (status, why) = bench.attach(LogIn { cid: 1, ..join }).unwrap_err();
    assert_eq!(status, LoginStatus::TooManyConnections, "{why}");
    assert_eq!(bench.attach(join).unwrap().1, AttachMode::Join, "in place of its connection");
}

#[test]
fn bounds_of_connections_are_set() {
    let mut bench = Bench::attaching();
    let none = ConnectionBound::from_count(0);
    let all_none = ConnectionBounds { per_target: none, per_address: none, per_initiator: none };
    let three = ConnectionBound::from_count(3);
    for (bounds, holder) in [
        (ConnectionBounds { per_initiator: three, ..all_none }, "initiator name"),
        (ConnectionBounds { per_address: three, ..all_none }, "address"),
        (ConnectionBounds { per_target: three, ..all_none }, "target"),
    ] {
        bench.control.model.connection_bounds = bounds;
        let (opened, (_, why)) = fill(&mut bench, "iqn.a", "10.0.0.5:999");
        assert!(opened == 3 && why.contains(&format!("the {holder} has 3 connections")), "{opened} {why}");
        let other_name = bench.attach(LogIn { name: "iqn.b", ..PLAIN }).is_ok();
        let other_address = bench.attach(LogIn { name: "iqn.c", address: "10.0.0.6:999", ..PLAIN }).is_ok();
        assert_eq!((other_name, other_address), (holder == "initiator name", holder != "target"));
        let open: Vec<_> =
            bench.control.sessions.all().map(|session| (session.tsih, session.nexus)).collect();
        for (tsih, nexus) in open {
            bench.control.sessions.end(tsih, nexus);
        }
    }
    bench.control.model.connection_bounds = all_none;
    let (opened, (status, why)) = fill(&mut bench, "iqn.a", "10.0.0.5:999");
    assert_eq!((opened, status), (CONNECTIONS_MAX, LoginStatus::OutOfResources));
    assert!(why.contains("all 16384 connections are in use"), "{why}");
    assert!(bench.attach(LogIn { name: "iqn.a", isid: Isid([0; 6]), ..PLAIN }).is_ok(), "it reconnects");
}

#[test]
fn refused_connections_are_counted() {
    let mut bench = Bench::attaching();
    bench.control.model.connection_bounds.per_initiator = ConnectionBound::from_count(1);
    bench.control.model.connection_bounds.per_target = ConnectionBound::from_count(2);
    bench.account("alice");
    bench.account("bob");
    let alice = LogIn { user: Some("alice"), ..PLAIN };
    bench.attach(alice).unwrap();
    bench.attach(LogIn { user: Some("bob"), ..PLAIN }).unwrap_err();
    bench.attach(LogIn { isid: Isid([4; 6]), ..alice }).unwrap_err();
    bench.attach(LogIn { name: "iqn.second", ..alice }).unwrap();
    bench.attach(LogIn { name: "iqn.third", ..alice }).unwrap_err();
    let counts = &bench.control.login_counts;
    let counted = (counts.refused_accounts, counts.refused_per_initiator, counts.refused_per_target);
    assert_eq!((counted, counts.refused_per_address), ((1, 1, 1), 0));
}
