//! CHAP as the initiator sees it.

use std::sync::Arc;

use iscsi_proto::chap::{Algorithm, Challenge, Challenger, Secret};
use iscsi_proto::pdu::TextRequest;
use iscsi_proto::text::value::{format_base64, parse_binary};

use super::*;
use crate::iscsi::discovery::DiscoveryEvent;

/// What the target's challenges are made with.
fn challenger() -> Arc<Challenger> {
    Arc::new(Challenger::new([0x5a; 32]))
}

/// What the requests of the exchange have in common: the security stage, to be left for the operational one.
const GO_ON: LoginRequest = LoginRequest { next: Some(OPERATIONAL), ..REQUEST };

fn account(user: &str, secret: &str) -> ChapAccount {
    ChapAccount { user: user.into(), secret: Secret::new(secret) }
}

fn terms(outgoing: Option<ChapAccount>) -> TargetAnswer {
    let algorithms = Algorithm::ALL.to_vec();
    let terms = ChapTerms { outgoing, algorithms, challenge: ours(), challenger: challenger() };
    TargetAnswer { auth: AuthRequirement::Chap(Box::new(terms)), ..open() }
}

fn ours() -> Challenge {
    challenger().challenge(0xa5, [0xc3; 16])
}

/// CHAP_R of the initiator.
fn proof(algorithm: Algorithm, secret: &str) -> String {
    ours().chap_r(algorithm, &Secret::new(secret))
}

fn in_base64(hex: &str) -> String {
    format_base64(&parse_binary(hex, 32).unwrap())
}

/// Up to the challenge, with these algorithms offered.
fn challenged(peer: &mut Peer, terms: TargetAnswer, offered: &str) -> Vec<String> {
    peer.send(GO_ON, &[INITIATOR, TARGET, "AuthMethod=CHAP,None"]);
    peer.admit(terms);
    let (response, text) = peer.recv();
    assert_eq!(response.next, None, "nothing is proven yet");
    assert_eq!(text, ["TargetPortalGroupTag=1", "AuthMethod=CHAP"]);
    peer.send(GO_ON, &[&format!("CHAP_A={offered}")]);
    let (response, text) = peer.recv();
    assert_eq!((response.status, response.next), (LoginStatus::Success, None));
    text
}

#[test]
fn one_way_with_every_algorithm() {
    for algorithm in Algorithm::ALL {
        each_chunk(|peer| {
            let number = algorithm.number();
            let text = challenged(peer, terms(None), &number.to_string());
            assert_eq!(
                text,
                [format!("CHAP_A={number}"), "CHAP_I=165".into(), format!("CHAP_C={}", ours().chap_c())]
            );
            let response = format!("CHAP_R={}", proof(algorithm, "jim's secret word"));
            peer.send(GO_ON, &["CHAP_N=jim", &response]);
            let (response, text) = peer.recv();
            assert_eq!((response.next, text), (Some(OPERATIONAL), vec![]));
            peer.send(LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[]);
            assert_eq!(peer.logged_in().chap_user.as_deref(), Some("jim"));
            assert_eq!(peer.asked_for, ["jim"], "one account is looked up, once");
        });
    }
}

#[test]
fn the_strongest_algorithm_wins_whatever_comes_first() {
    for (offered, chosen) in [("5,7", "7"), ("5,6,7,8", "8"), ("8,5", "8"), ("6,5,99", "6"), ("0x7,5", "7")] {
        let mut peer = Peer::new(48, LoginConfig::default());
        assert_eq!(challenged(&mut peer, terms(None), offered)[0], format!("CHAP_A={chosen}"), "{offered}");
    }
}

#[test]
fn both_sides_prove_themselves() {
    each_chunk(|peer| {
        let mut peer_terms = terms(Some(account("disk", "disk's secret word")));
        peer_terms.portal_group_tag = 1;
        challenged(peer, peer_terms, "7");
        let theirs = b"the initiator's own challenge";
        peer.send(
            GO_ON,
            &[
                "CHAP_N=joe",
                &format!("CHAP_R={}", in_base64(&proof(Algorithm::Sha256, "joe's secret word"))),
                "CHAP_I=0x11",
                &format!("CHAP_C={}", format_base64(theirs)),
            ],
        );
        let (response, text) = peer.recv();
        assert_eq!(response.next, Some(OPERATIONAL));
        assert_eq!(text[0], "CHAP_N=disk");
        let theirs = Challenge::new(0x11, theirs.to_vec()).unwrap();
        let proof = theirs.chap_r(Algorithm::Sha256, &Secret::new("disk's secret word"));
        assert_eq!(text[1..], [format!("CHAP_R={proof}")]);
    });
}

#[test]
fn the_proof_may_come_before_the_wish_to_leave() {
    let mut peer = Peer::new(48, LoginConfig::default());
    challenged(&mut peer, terms(None), "5");
    let response = format!("CHAP_R={}", proof(Algorithm::Md5, "joe's secret word"));
    peer.send(REQUEST, &["CHAP_N=joe", &response]);
    assert_eq!(peer.recv().0.next, None);
    peer.send(LoginRequest { next: Some(FULL), ..REQUEST }, &[]);
    assert_eq!(peer.logged_in().chap_user.as_deref(), Some("joe"));
}

#[test]
fn wrong_proofs() {
    let good = proof(Algorithm::Sha1, "joe's secret word");
    let of_jim = proof(Algorithm::Sha1, "jim's secret word");
    let of_nobody = proof(Algorithm::Sha1, "");
    let short = &good[..good.len() - 2];
    let cases = [
        ("joe", of_jim.as_str()),
        ("jim", &good),
        ("nobody", &good),
        ("nobody", &of_nobody),
        ("", &of_nobody),
        ("Joe", &good),
        ("joe", short),
        ("joe", "0x"),
        ("joe", ""),
        ("joe", "joe's secret word"),
    ];
    for (name, response) in cases {
        each_chunk(|peer| {
            challenged(peer, terms(None), "6");
            peer.send(GO_ON, &[&format!("CHAP_N={name}"), &format!("CHAP_R={response}")]);
            peer.assert_refused(LoginStatus::AuthenticationFailure);
        });
    }
}

/// The other is that of another login, which may still be under way.
#[test]
fn a_challenge_of_ours_sent_back_is_refused_on_whichever_connection_it_went_out() {
    for sent_back in [ours(), challenger().challenge(0xa6, [0x3c; 16])] {
        let mut peer = Peer::new(48, LoginConfig::default());
        challenged(&mut peer, terms(Some(account("disk", "disk's secret word"))), "7");
        let good = format!("CHAP_R={}", proof(Algorithm::Sha256, "joe's secret word"));
        peer.send(GO_ON, &["CHAP_N=joe", &good, "CHAP_I=1", &format!("CHAP_C={}", sent_back.chap_c())]);
        peer.assert_refused(LoginStatus::AuthenticationFailure);
    }
}

#[test]
fn one_secret_does_not_prove_both_sides() {
    let mutual = ["CHAP_I=1", "CHAP_C=0x0102030405060708"];
    for (user, questions, status) in [
        ("joe", &mutual[..], LoginStatus::AuthenticationFailure),
        ("joe", &[], LoginStatus::Success),
        ("jim", &mutual, LoginStatus::Success),
    ] {
        let mut peer = Peer::new(48, LoginConfig::default());
        challenged(&mut peer, terms(Some(account("disk", "joe's secret word"))), "7");
        let good = format!("CHAP_R={}", proof(Algorithm::Sha256, &format!("{user}'s secret word")));
        let user = format!("CHAP_N={user}");
        peer.send(GO_ON, &[&[user.as_str(), &good], questions].concat());
        match status {
            LoginStatus::Success => assert_eq!(peer.recv().0.next, Some(OPERATIONAL), "{user}"),
            refused => peer.assert_refused(refused),
        }
    }
}

#[test]
fn the_algorithms_that_are_allowed_are_chosen_in_their_order() {
    let allow = |algorithms: &[Algorithm]| {
        let mut answer = terms(None);
        let AuthRequirement::Chap(chap) = &mut answer.auth else { panic!() };
        chap.algorithms = algorithms.to_vec();
        answer
    };
    let mut peer = Peer::new(48, LoginConfig::default());
    let weakest_first = allow(&[Algorithm::Md5, Algorithm::Sha256]);
    assert_eq!(challenged(&mut peer, weakest_first, "8,7,6,5")[0], "CHAP_A=5");
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(GO_ON, &[INITIATOR, TARGET, "AuthMethod=CHAP"]);
    peer.admit(allow(&[Algorithm::Sha3_256, Algorithm::Sha256]));
    peer.recv();
    peer.send(GO_ON, &["CHAP_A=6,5"]);
    peer.assert_refused(LoginStatus::AuthenticationFailure);
}

#[test]
fn a_target_without_a_secret_of_its_own_cannot_prove_itself() {
    let mut peer = Peer::new(48, LoginConfig::default());
    challenged(&mut peer, terms(None), "7");
    let good = format!("CHAP_R={}", proof(Algorithm::Sha256, "joe's secret word"));
    peer.send(GO_ON, &["CHAP_N=joe", &good, "CHAP_I=1", "CHAP_C=0x0102030405060708"]);
    peer.assert_refused(LoginStatus::AuthenticationFailure);
}

#[test]
fn half_a_question_to_the_target_is_the_initiators_mistake() {
    for keys in [
        ["CHAP_I=1", "X-a=1"],
        ["CHAP_C=0x0102", "X-a=1"],
        ["CHAP_I=256", "CHAP_C=0x01"],
        ["CHAP_I=1", "CHAP_C=0x"],
    ] {
        let mut peer = Peer::new(48, LoginConfig::default());
        challenged(&mut peer, terms(Some(account("disk", "disk's secret word"))), "7");
        let good = format!("CHAP_R={}", proof(Algorithm::Sha256, "joe's secret word"));
        peer.send(GO_ON, &["CHAP_N=joe", &good, keys[0], keys[1]]);
        peer.assert_refused(LoginStatus::InitiatorError);
    }
}

#[test]
fn ways_around_the_proof() {
    const NO_CHAP: &str = "AuthMethod does not offer CHAP";
    const MISSING: &str = "AuthMethod is missing: a proof is required";
    const SKIPPED: &str = "AuthMethod: the security stage is skipped, and a proof is required";
    let firsts: [(LoginRequest, &[&str], &str); 5] = [
        (GO_ON, &[INITIATOR, TARGET, "AuthMethod=None"], NO_CHAP),
        (GO_ON, &[INITIATOR, TARGET, "AuthMethod=KRB5,SRP"], NO_CHAP),
        (GO_ON, &[INITIATOR, TARGET], MISSING),
        (LoginRequest { next: Some(FULL), ..REQUEST }, &[INITIATOR, TARGET], MISSING),
        (LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[INITIATOR, TARGET], SKIPPED),
    ];
    for (request, pairs, why) in firsts {
        each_chunk(|peer| {
            peer.send(request, pairs);
            peer.admit(terms(None));
            peer.assert_refused(LoginStatus::AuthenticationFailure);
            assert_eq!(peer.reason().1, why);
        });
    }
    for stage in [None, Some(OPERATIONAL), Some(FULL)] {
        let mut peer = Peer::new(48, LoginConfig::default());
        challenged(&mut peer, terms(None), "5");
        // Saying nothing leads nowhere.
        peer.send(LoginRequest { next: stage, ..REQUEST }, &[]);
        assert_eq!(peer.recv().0.next, None);
        peer.send(LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[]);
        peer.assert_refused(LoginStatus::InitiatorError);
    }
}

#[test]
fn steps_out_of_order_are_the_initiators_mistake() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(GO_ON, &[INITIATOR, TARGET, "AuthMethod=CHAP"]);
    peer.admit(terms(None));
    peer.recv();
    peer.send(GO_ON, &["CHAP_N=joe", "CHAP_R=0x00"]);
    peer.assert_refused(LoginStatus::InitiatorError);
    assert_eq!(peer.reason().1, "CHAP_N: not at this step of CHAP");
}

#[test]
fn no_algorithm_in_common() {
    for offered in ["CHAP_A=99", "CHAP_A=md5", "CHAP_A="] {
        let mut peer = Peer::new(48, LoginConfig::default());
        peer.send(GO_ON, &[INITIATOR, TARGET, "AuthMethod=CHAP"]);
        peer.admit(terms(None));
        peer.recv();
        peer.send(GO_ON, &[offered]);
        peer.assert_refused(LoginStatus::AuthenticationFailure);
    }
}

#[test]
fn an_initiator_that_insists_on_chap_without_accounts_is_refused() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(GO_ON, &[INITIATOR, TARGET, "AuthMethod=CHAP"]);
    peer.admit(open());
    peer.assert_refused(LoginStatus::AuthenticationFailure);
}

#[test]
fn discovery_is_authenticated_too() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(GO_ON, &[INITIATOR, DISCOVERY, "AuthMethod=CHAP"]);
    peer.admit(terms(None));
    assert_eq!(peer.recv().1, ["AuthMethod=CHAP"]);
    peer.send(GO_ON, &["CHAP_A=8"]);
    peer.recv();
    let response = format!("CHAP_R={}", proof(Algorithm::Sha3_256, "joe's secret word"));
    peer.send(LoginRequest { next: Some(FULL), ..REQUEST }, &["CHAP_N=joe", &response]);
    let LoginEvent::Discovery(mut discovery) = peer.event() else { panic!("no discovery session") };
    let request = TextRequest {
        immediate: true,
        last: true,
        continues: false,
        lun: [0; 8],
        itt: Itt(1),
        ttt: None,
        cmd_sn: REQUEST.cmd_sn,
        exp_stat_sn: REQUEST.exp_stat_sn,
    };
    let (mut bhs, mut stream) = ([0; BHS_LEN], BytesMut::new());
    request.encode(&mut bhs);
    frame::encode_pdu(&mut stream, &bhs, &[], b"SendTargets=All\0", Digests::NONE);
    discovery.receive(&stream, peer.now);
    discovery.handle_request();
    match discovery.poll_event() {
        Some(DiscoveryEvent::Ask(Question::SendTargets(question))) => {
            assert_eq!(question.chap_user.as_deref(), Some("joe"));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_proof_that_nobody_asked_for_is_the_initiators_mistake() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(GO_ON, &[INITIATOR, TARGET, "AuthMethod=None", "CHAP_A=5"]);
    peer.admit(open());
    peer.assert_refused(LoginStatus::InitiatorError);
    assert_eq!(peer.reason().1, "CHAP_A: no proof is asked for");
}

#[test]
fn proof_that_comes_again_is_refused_and_not_logged() {
    let mut peer = Peer::new(48, LoginConfig::default());
    challenged(&mut peer, terms(None), "6");
    let good = format!("CHAP_R={}", proof(Algorithm::Sha1, "joe's secret word"));
    peer.send(GO_ON, &["CHAP_N=joe", &good, &good]);
    peer.assert_refused(LoginStatus::InitiatorError);
    assert_eq!(peer.reason().1, "CHAP_R came more than once");
}

/// As libiscsi up to 1.15: its names come again after the proof.
#[test]
fn names_may_come_again_after_the_proof() {
    let mut peer = Peer::new(48, LoginConfig::default());
    challenged(&mut peer, terms(None), "6");
    let good = format!("CHAP_R={}", proof(Algorithm::Sha1, "joe's secret word"));
    peer.send(GO_ON, &["CHAP_N=joe", &good]);
    assert_eq!(peer.recv().0.next, Some(OPERATIONAL));
    let last = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };
    peer.send(last, &[INITIATOR, TARGET, "SessionType=Normal"]);
    assert_eq!(peer.logged_in().chap_user.as_deref(), Some("joe"));
}

#[test]
fn refusal_of_a_failed_proof_is_delayed() {
    let wrong = |peer: &mut Peer| {
        challenged(peer, terms(None), "6");
        let wrong = format!("CHAP_R={}", proof(Algorithm::Sha1, "a guess"));
        peer.send(GO_ON, &["CHAP_N=joe", &wrong]);
        assert!(matches!(peer.event(), LoginEvent::ProofFailed));
    };
    let mut peer = Peer::new(48, LoginConfig::default());
    let delay = LoginConfig::default().proof_delay;
    wrong(&mut peer);
    assert_eq!(peer.login.poll_timeout(), Some(peer.now + delay));
    peer.now += delay - Duration::from_millis(1);
    peer.login.handle_timeout(peer.now);
    peer.send(GO_ON, &["CHAP_N=joe", &format!("CHAP_R={}", proof(Algorithm::Sha1, "joe's secret word"))]);
    assert!(peer.try_recv().is_none() && peer.is_quiet(), "a right proof comes too late");
    peer.now += Duration::from_millis(1);
    peer.login.handle_timeout(peer.now);
    peer.assert_refused(LoginStatus::AuthenticationFailure);

    // The delay does not outlast the login.
    let mut peer =
        Peer::new(48, LoginConfig { proof_delay: Duration::from_secs(60), ..LoginConfig::default() });
    let end = peer.now + LoginConfig::default().timeout;
    wrong(&mut peer);
    assert_eq!(peer.login.poll_timeout(), Some(end));
    peer.login.handle_timeout(end);
    peer.assert_refused(LoginStatus::AuthenticationFailure);
}

#[test]
fn peer_that_floods_while_its_refusal_waits_is_closed() {
    let mut peer = Peer::new(usize::MAX, LoginConfig::default());
    challenged(&mut peer, terms(None), "6");
    peer.send(GO_ON, &["CHAP_N=joe", "CHAP_R=0x00"]);
    assert!(matches!(peer.event(), LoginEvent::ProofFailed));
    (0..10).for_each(|_| peer.send_bytes(&[0; 8192]));
    peer.assert_closed(CloseReason::TooMuch);
}
