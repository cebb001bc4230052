//! Each status with which a login can end (RFC 7143 11.13.5).

use super::*;

const LAST: LoginRequest = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };

#[test]
fn first_requests_that_lack_or_spoil_a_name() {
    let cases: &[(&[&str], LoginStatus)] = &[
        (&[TARGET], LoginStatus::MissingParameter),
        (&[], LoginStatus::MissingParameter),
        (&[INITIATOR], LoginStatus::MissingParameter),
        (&[INITIATOR, "SessionType=Normal"], LoginStatus::MissingParameter),
        (&[INITIATOR, TARGET, "SessionType=Odd"], LoginStatus::SessionTypeNotSupported),
        (&["InitiatorName=no body", TARGET], LoginStatus::InitiatorError),
        (&["InitiatorName=", TARGET], LoginStatus::InitiatorError),
        (&[INITIATOR, "TargetName=no thing"], LoginStatus::NotFound),
        (&[INITIATOR, "no equals sign"], LoginStatus::InitiatorError),
    ];
    for (pairs, status) in cases {
        each_chunk(|peer| {
            peer.send(LAST, pairs);
            peer.assert_refused(*status);
        });
    }
}

#[test]
fn declarations_that_come_twice_or_change_their_mind() {
    let cases: &[&[&str]] = &[
        &[INITIATOR, TARGET, INITIATOR],
        &[INITIATOR, TARGET, "SessionType=Normal", "SessionType=Normal"],
        &[INITIATOR, TARGET, "MaxRecvDataSegmentLength=100"],
    ];
    for pairs in cases {
        each_chunk(|peer| {
            peer.send(LAST, pairs);
            peer.admit(open());
            peer.assert_refused(LoginStatus::InitiatorError);
        });
    }
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(LoginRequest { next: Some(OPERATIONAL), ..REQUEST }, &[INITIATOR, TARGET]);
    peer.admit(open());
    peer.recv();
    peer.send(LAST, &[DISCOVERY]);
    peer.assert_refused(LoginStatus::InitiatorError);
}

#[test]
fn what_the_configuration_refuses() {
    let statuses = [
        LoginStatus::AuthorizationFailure,
        LoginStatus::NotFound,
        LoginStatus::TargetRemoved,
        LoginStatus::TooManyConnections,
        LoginStatus::CannotIncludeInSession,
        LoginStatus::SessionDoesNotExist,
        LoginStatus::TargetError,
        LoginStatus::ServiceUnavailable,
        LoginStatus::OutOfResources,
    ];
    for status in statuses {
        each_chunk(|peer| {
            peer.send(LAST, &[INITIATOR, TARGET]);
            peer.question();
            peer.login.answer(Answer::Refuse(status.into()));
            peer.assert_refused(status);
        });
    }
}

#[test]
fn redirection_names_the_other_address() {
    for status in [LoginStatus::TargetMovedTemporarily, LoginStatus::TargetMovedPermanently] {
        each_chunk(|peer| {
            peer.send(LAST, &[INITIATOR, TARGET]);
            peer.question();
            let target_address = Some("[2001:db8::7]:3261".to_owned());
            peer.login.answer(Answer::Refuse(Refusal { target_address, ..status.into() }));
            let (response, text) = peer.recv();
            assert_eq!((response.status, response.next), (status, None));
            assert_eq!(text, ["TargetAddress=[2001:db8::7]:3261"]);
            peer.assert_closed(CloseReason::Refused(status));
        });
    }
}

#[test]
fn a_version_we_do_not_speak() {
    each_chunk(|peer| {
        peer.send(LoginRequest { version_min: 1, version_max: 2, ..LAST }, &[INITIATOR, TARGET]);
        peer.assert_refused(LoginStatus::UnsupportedVersion);
    });
    let mut peer = Peer::new(1, LoginConfig::default());
    peer.send(LoginRequest { version_max: 2, ..LAST }, &[INITIATOR, TARGET]);
    peer.admit(open());
    assert_eq!(peer.logged_in().response.version_active, 0);
}

#[test]
fn a_discovery_session_cannot_be_joined() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(LoginRequest { tsih: Tsih(1), ..LAST }, &[INITIATOR, DISCOVERY]);
    peer.assert_refused(LoginStatus::CannotIncludeInSession);
}

#[test]
fn what_must_stay_the_same_through_a_login() {
    let second = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };
    let changed = [
        LoginRequest { isid: Isid([1; 6]), ..second },
        LoginRequest { tsih: Tsih(1), ..second },
        LoginRequest { itt: Itt(0x18), ..second },
        LoginRequest { cid: Cid(4), ..second },
        LoginRequest { cmd_sn: CmdSn(501), ..second },
        LoginRequest { version_max: 1, ..second },
        // The stage is the operational one by now.
        LoginRequest { stage: SECURITY, ..second },
    ];
    for request in changed {
        each_chunk(|peer| {
            peer.send(
                LoginRequest { next: Some(OPERATIONAL), ..REQUEST },
                &[INITIATOR, TARGET, "AuthMethod=None"],
            );
            peer.admit(open());
            assert_eq!(peer.recv().0.next, Some(OPERATIONAL));
            peer.send(request, &[]);
            let (response, _) = peer.recv();
            assert_eq!(response.status, LoginStatus::InitiatorError);
            assert_eq!(
                (response.itt, response.isid, response.tsih),
                (REQUEST.itt, REQUEST.isid, REQUEST.tsih)
            );
            peer.assert_closed(CloseReason::Refused(LoginStatus::InitiatorError));
        });
    }
}

#[test]
fn transits_that_do_not_lead_forward() {
    let backward = [
        LoginRequest { next: Some(SECURITY), ..REQUEST },
        LoginRequest { stage: OPERATIONAL, next: Some(OPERATIONAL), ..REQUEST },
        LoginRequest { stage: OPERATIONAL, next: Some(SECURITY), ..REQUEST },
        LoginRequest { stage: FULL, next: None, ..REQUEST },
        LoginRequest { stage: FULL, next: Some(FULL), ..REQUEST },
    ];
    for request in backward {
        let mut peer = Peer::new(48, LoginConfig::default());
        peer.send(request, &[INITIATOR, TARGET]);
        peer.assert_refused(LoginStatus::InitiatorError);
    }
}

#[test]
fn flags_that_no_request_has() {
    // T with C; CSG 2; NSG 2.
    for flags in [0xc7, 0x08, 0x82] {
        each_chunk(|peer| {
            let mut bhs = [0; BHS_LEN];
            REQUEST.encode(&mut bhs);
            bhs[1] = flags;
            peer.send_pdu(&bhs, &text(&[INITIATOR, TARGET]));
            peer.assert_refused(LoginStatus::InitiatorError);
        });
    }
}

#[test]
fn another_pdu_within_the_login() {
    each_chunk(|peer| {
        peer.send(LoginRequest { next: Some(OPERATIONAL), ..REQUEST }, &[INITIATOR, TARGET]);
        peer.admit(open());
        peer.recv();
        let mut text_request = [0; BHS_LEN];
        text_request[0] = 0x04;
        peer.send_pdu(&text_request, &[]);
        peer.assert_refused(LoginStatus::InvalidDuringLogin);
    });
}

#[test]
fn another_pdu_before_the_login_gets_no_answer() {
    for opcode in (0..0x40).filter(|opcode| *opcode != LoginRequest::OPCODE) {
        let mut peer = Peer::new(1, LoginConfig::default());
        peer.send_bytes(&[opcode]);
        assert!(peer.try_recv().is_none());
        peer.assert_closed(CloseReason::NotALogin(opcode));
    }
}

#[test]
fn an_answer_to_another_question_is_the_targets_fault() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(LAST, &[INITIATOR, TARGET]);
    peer.question();
    peer.login.answer(Answer::Targets(vec![]));
    peer.assert_refused(LoginStatus::TargetError);
    peer.login.answer(Answer::Target(Box::new(open())));
    assert!(peer.try_recv().is_none() && peer.login.poll_event().is_none());
}
