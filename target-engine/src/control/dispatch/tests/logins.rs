//! Logins: access, authentication, keys, redirection.

use iscsi_proto::login::LoginStatus;
use iscsi_proto::name::IscsiName;
use iscsi_proto::params::SessionType;

use super::*;
use crate::control::request::{Binding, Direction, Secret, State};
use crate::iscsi::login::{
    AccountQuestion, AuthRequirement, Question, Refusal, SendTargetsQuestion, SendTargetsScope, TargetList,
    TargetQuestion,
};
use crate::model::account::Algorithm;
use crate::model::acl::Acl;

const LOGIN: LoginId = LoginId(4);

fn question(target: &str) -> TargetQuestion {
    TargetQuestion {
        initiator_name: IscsiName::parse_any("iqn.i").unwrap(),
        initiator_alias: None,
        session_type: SessionType::Normal,
        target_name: Some(IscsiName::parse_any(target).unwrap()),
    }
}

/// Each target with its address.
fn shown(targets: &TargetList) -> Vec<String> {
    let text = String::from_utf8(targets.text().to_vec()).unwrap();
    let targets = text.split("TargetName=").skip(1);
    targets.map(|target| target.trim_end_matches('\0').replace("\0TargetAddress=", " ")).collect()
}

impl Bench {
    fn open_to(&mut self, address: &str) {
        let rule = Binding::Initiators { address: Some(address.to_owned()), name: None };
        assert_eq!(self.ask(Request::TargetBind { tid: tid(1), rule }), Some(Ok(String::new())));
    }

    fn consult(&mut self, question: Question) -> Option<Answer> {
        let (peer, local) = ("10.0.0.5:999".parse().unwrap(), "10.0.0.1:3260".parse().unwrap());
        let addresses = Addresses { peer, local };
        self.control.question(LOGIN, question, addresses, self.now, &mut self.out)
    }

    fn status(&mut self, question: TargetQuestion) -> LoginStatus {
        match self.consult(Question::Target(Box::new(question))) {
            Some(Answer::Target(_)) => LoginStatus::Success,
            Some(Answer::Refuse(refusal)) => refusal.status,
            other => panic!("{other:?}"),
        }
    }

    fn set(&mut self, name: &str, value: &str) {
        let request = Request::TargetUpdate { tid: tid(1), name: name.to_owned(), value: value.to_owned() };
        assert_eq!(self.ask(request), Some(Ok(String::new())));
    }
}

#[test]
fn only_admitted_initiators_log_in() {
    let mut bench = Bench::with_target();
    assert_eq!(bench.status(question("iqn.x:none")), LoginStatus::NotFound);
    assert_eq!(bench.status(question("iqn.x:one")), LoginStatus::NotFound);
    bench.open_to("10.0.0.6");
    assert_eq!(bench.status(question("iqn.x:one")), LoginStatus::NotFound);
    bench.open_to("10.0.0.5/32");
    assert_eq!(bench.status(question("IQN.X:ONE")), LoginStatus::Success);
    bench.control.model.target_mut(tid(1)).unwrap().state = State::Offline;
    assert_eq!(bench.status(question("iqn.x:one")), LoginStatus::TargetError);
    bench.control.model.target_mut(tid(1)).unwrap().acl = Acl::default();
    assert_eq!(bench.status(question("iqn.x:one")), LoginStatus::NotFound, "the target is hidden");
}

#[test]
fn discovery_lists_targets_that_admit_the_initiator() {
    let mut bench = Bench::with_target();
    bench.ask(target_new(2, "iqn.x:two"));
    bench.open_to("ALL");
    let mut names = |scope| {
        let initiator_name = IscsiName::parse_any("iqn.i").unwrap();
        let question = SendTargetsQuestion { initiator_name, chap_user: None, scope };
        match bench.consult(Question::SendTargets(Box::new(question))) {
            Some(Answer::Targets(targets)) => shown(&targets),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(names(SendTargetsScope::All), ["iqn.x:one 10.0.0.1:3260,1"]);
    let named = |name: &str| SendTargetsScope::Named(IscsiName::parse_any(name).unwrap());
    assert_eq!(names(named("iqn.x:one")).len(), 1);
    assert_eq!(names(named("iqn.x:two")).len(), 0);
}

#[test]
fn discovery_with_an_account_hides_targets_of_other_accounts() {
    let mut bench = Bench::with_target();
    bench.ask(target_new(2, "iqn.x:two"));
    bench.ask(target_new(3, "iqn.x:open"));
    for number in 1..=3 {
        let rule = Binding::Initiators { address: Some("ALL".to_owned()), name: None };
        bench.ask(Request::TargetBind { tid: tid(number), rule });
    }
    for user in ["one", "two", "seeker"] {
        let password = Secret::new("twelve bytes".to_owned());
        bench.ask(Request::AccountNew { user: user.to_owned(), password });
    }
    let bind = |number, user: &str| Request::AccountBind {
        tid: Some(tid(number)),
        user: user.to_owned(),
        direction: Direction::Incoming,
        name: None,
    };
    bench.ask(bind(1, "one"));
    bench.ask(bind(2, "two"));
    let mut seen_by = |user: Option<&str>| {
        let question = SendTargetsQuestion {
            initiator_name: IscsiName::parse_any("iqn.i").unwrap(),
            chap_user: user.map(str::to_owned),
            scope: SendTargetsScope::All,
        };
        match bench.consult(Question::SendTargets(Box::new(question))) {
            Some(Answer::Targets(targets)) => {
                let names = shown(&targets).into_iter();
                names.map(|target| target.split(' ').next().unwrap().to_owned()).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seen_by(Some("one")), ["iqn.x:one", "iqn.x:open"]);
    assert_eq!(seen_by(Some("two")), ["iqn.x:two", "iqn.x:open"]);
    // The holder of an account for discovery only may know the secrets of the targets as well.
    let all = ["iqn.x:one", "iqn.x:two", "iqn.x:open"];
    assert_eq!(seen_by(Some("seeker")), all);
    assert_eq!(seen_by(None), all);
}

#[test]
fn discovery_hides_targets_whose_account_is_bound_to_other_names() {
    let mut bench = Bench::with_target();
    bench.open_to("ALL");
    let password = Secret::new("twelve bytes".to_owned());
    bench.ask(Request::AccountNew { user: "one".to_owned(), password });
    bench.ask(Request::AccountBind {
        tid: Some(tid(1)),
        user: "one".to_owned(),
        direction: Direction::Incoming,
        name: IscsiName::parse("iqn.2026-01.org.example:own").ok(),
    });
    let mut seen_by = |name: &str| {
        let question = SendTargetsQuestion {
            initiator_name: IscsiName::parse_any(name).unwrap(),
            chap_user: Some("one".to_owned()),
            scope: SendTargetsScope::All,
        };
        match bench.consult(Question::SendTargets(Box::new(question))) {
            Some(Answer::Targets(targets)) => shown(&targets).len(),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(seen_by("iqn.2026-01.org.example:own"), 1);
    assert_eq!(seen_by("iqn.2026-01.org.example:other"), 0);
}

#[test]
fn accounts_require_authentication() {
    let mut bench = Bench::with_target();
    bench.open_to("ALL");
    for user in ["in", "out"] {
        let password = Secret::new("twelve bytes".to_owned());
        bench.ask(Request::AccountNew { user: user.to_owned(), password });
    }
    let terms = |bench: &mut Bench, question| match bench.consult(Question::Target(Box::new(question))) {
        Some(Answer::Target(answer)) => answer.auth,
        other => panic!("{other:?}"),
    };
    let discovery = || TargetQuestion {
        session_type: SessionType::Discovery,
        target_name: None,
        ..question("iqn.x:one")
    };
    assert!(matches!(terms(&mut bench, question("iqn.x:one")), AuthRequirement::None));
    for (user, direction) in [("in", Direction::Incoming), ("out", Direction::Outgoing)] {
        bench.ask(Request::AccountBind { tid: Some(tid(1)), user: user.to_owned(), direction, name: None });
    }
    let AuthRequirement::Chap(chap) = terms(&mut bench, question("iqn.x:one")) else {
        panic!("no authentication")
    };
    let secret = |bench: &mut Bench, target: Option<&str>, user: &str| {
        let target_name = target.map(|name| IscsiName::parse_any(name).unwrap());
        match bench
            .consult(Question::Account(Box::new(AccountQuestion { target_name, user: user.to_owned() })))
        {
            Some(Answer::Account(secret)) => secret.is_some(),
            other => panic!("{other:?}"),
        }
    };
    let known = ["in", "out", "none"].map(|user| secret(&mut bench, Some("IQN.x:one"), user));
    assert_eq!(known, [true, false, false]);
    assert!(!secret(&mut bench, Some("iqn.x:none"), "in") && !secret(&mut bench, None, "in"));
    assert_eq!(chap.outgoing.as_ref().map(|account| account.user.as_str()), Some("out"));
    assert_eq!(chap.algorithms, Algorithm::ALL);
    bench.control.model.chap_algorithms = vec![Algorithm::Sha256];
    let AuthRequirement::Chap(next) = terms(&mut bench, question("iqn.x:one")) else {
        panic!("no authentication")
    };
    assert_eq!(next.algorithms, [Algorithm::Sha256]);
    assert_ne!(next.challenge, chap.challenge);
    assert!(next.challenger.has_made(&chap.challenge), "one login knows the challenges of the others");
    assert!(matches!(terms(&mut bench, discovery()), AuthRequirement::None));
    let direction = Direction::Incoming;
    bench.ask(Request::AccountBind { tid: None, user: "in".to_owned(), direction, name: None });
    assert!(matches!(terms(&mut bench, discovery()), AuthRequirement::Chap(_)));
    assert!(secret(&mut bench, None, "in") && !secret(&mut bench, None, "out"));
}

#[test]
fn keys_of_the_target_are_offered() {
    let mut bench = Bench::with_target();
    bench.open_to("ALL");
    bench.set("MaxRecvDataSegmentLength", "262144");
    bench.set("InitialR2T", "No");
    bench.set("MaxOutstandingR2T", "4");
    let Some(Answer::Target(answer)) = bench.consult(Question::Target(Box::new(question("iqn.x:one"))))
    else {
        panic!("refused")
    };
    assert_eq!(answer.keys.max_recv_data_segment_len, 262_144);
    assert!(!answer.keys.session.initial_r2t && answer.keys.session.immediate_data);
    assert_eq!(answer.keys.session.max_outstanding_r2t, 4);
    assert_eq!(answer.portal_group_tag, 1);
}

#[test]
fn fixed_redirection_comes_first() {
    let mut bench = Bench::with_target();
    bench.set("RedirectAddress", "2001:db8::1");
    bench.set("RedirectPort", "3261");
    assert_eq!(bench.status(question("iqn.x:one")), LoginStatus::NotFound, "there is no reason yet");
    bench.set("RedirectReason", "Permanent");
    let answer = bench.consult(Question::Target(Box::new(question("iqn.x:one"))));
    let Some(Answer::Refuse(Refusal { status, target_address, .. })) = answer else { panic!("{answer:?}") };
    assert_eq!(status, LoginStatus::TargetMovedPermanently);
    assert_eq!(target_address.as_deref(), Some("[2001:db8::1]:3261"));
    bench.set("RedirectAddress", "10.0.0.5");
    assert_eq!(bench.status(question("iqn.x:one")), LoginStatus::NotFound, "no redirection to itself");
}

#[test]
fn redirect_command_runs_as_a_job() {
    let mut bench = Bench::with_target();
    bench.open_to("ALL");
    bench.set("RedirectCallback", "/bin/where now");
    let cases = [
        (Some("10.0.0.9:3261:Temporary"), LoginStatus::TargetMovedTemporarily, Some("10.0.0.9:3261")),
        (Some("[::9]:3261:Permanent"), LoginStatus::TargetMovedPermanently, Some("[::9]:3261")),
        (Some("10.0.0.5:3261:Temporary"), LoginStatus::Success, None),
        (Some("10.0.0.9:Temporary"), LoginStatus::TargetError, None),
        (Some("10.0.0.9:x:Temporary"), LoginStatus::TargetError, None),
        (Some("10.0.0.9:+3261:Temporary"), LoginStatus::TargetError, None),
        (Some(""), LoginStatus::TargetError, None),
        (None, LoginStatus::TargetError, None),
        (Some("10.0.0.9\0:3260:Temporary"), LoginStatus::TargetError, None),
    ];
    for (output, status, address) in cases {
        assert!(bench.consult(Question::Target(Box::new(question("iqn.x:one")))).is_none());
        let Some(Job::Redirect(ticket, command)) = bench.out.jobs.pop() else { panic!("no command") };
        assert_eq!((command.command.as_str(), command.target_name.as_str()), ("/bin/where now", "iqn.x:one"));
        bench.now += crate::limits::REDIRECT_TIME_MIN;
        let output = output.map(str::to_owned).ok_or("it took too long".to_owned());
        bench.control.job_done(JobDone::Redirected(ticket, output.clone()), bench.now, &mut bench.out);
        match bench.out.answers.pop() {
            Some((LOGIN, Answer::Target(_))) => assert_eq!(status, LoginStatus::Success),
            Some((LOGIN, Answer::Refuse(refusal))) => {
                assert_eq!(
                    (refusal.status, refusal.target_address.as_deref()),
                    (status, address),
                    "{output:?}"
                );
            }
            other => panic!("{other:?}"),
        }
    }
}
