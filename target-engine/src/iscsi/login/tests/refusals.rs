//! Each status with which a login can end (RFC 7143 11.13.5).

use super::*;

const LAST: LoginRequest = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };

#[test]
fn first_request_without_valid_names_is_refused_with_names_and_reason() {
    use LoginStatus::{InitiatorError, MissingParameter, NotFound, SessionTypeNotSupported};
    let (host, disk) = (&INITIATOR["InitiatorName=".len()..], &TARGET["TargetName=".len()..]);
    let both = format!("{host} to {disk}: ");
    let cases: &[(&[&str], LoginStatus, &str, &str)] = &[
        (&[TARGET], MissingParameter, &format!("to {disk}: "), "InitiatorName is missing"),
        (&[], MissingParameter, "", "InitiatorName is missing"),
        (&[INITIATOR], MissingParameter, &format!("{host}: "), "TargetName is missing"),
        (&[INITIATOR, "SessionType=Normal"], MissingParameter, &format!("{host}: "), "TargetName is missing"),
        (
            &[INITIATOR, TARGET, "SessionType=Odd\n"],
            SessionTypeNotSupported,
            &both,
            "SessionType=Odd\\n: expected Normal or Discovery",
        ),
        (
            &["InitiatorName=no body", TARGET],
            InitiatorError,
            &format!("no body to {disk}: "),
            "InitiatorName is no iSCSI name: name has a character that is not allowed",
        ),
        (
            &["InitiatorName=", TARGET],
            InitiatorError,
            &format!(" to {disk}: "),
            "InitiatorName is no iSCSI name: name is empty",
        ),
        (
            &[INITIATOR, "TargetName=no\nthing"],
            NotFound,
            &format!("{host} to no\\nthing: "),
            "TargetName is no iSCSI name: name has a character that is not allowed",
        ),
        (
            &[INITIATOR, "no equals sign"],
            InitiatorError,
            "",
            "not a key=value pair: \"no equals sign\" at byte 43 of the text",
        ),
    ];
    for (pairs, status, names, why) in cases {
        each_chunk(|peer| {
            peer.send(LAST, pairs);
            peer.assert_refused(*status);
            assert_eq!(peer.reason(), (*names, *why));
        });
    }
}

#[test]
fn declaration_with_another_value_is_refused_and_names_the_key() {
    use LoginStatus::InitiatorError;
    let cases: &[(&[&str], &str)] = &[
        (&["InitiatorName=iqn.x:b"], "InitiatorName came more than once: InitiatorName=iqn.x:b"),
        (&["TargetName=iqn.x:b"], "TargetName came more than once: TargetName=iqn.x:b"),
        (
            &["SessionType=Normal", "SessionType=Discovery"],
            "SessionType came more than once: SessionType=Discovery",
        ),
        (&["SessionType=Normal", "SessionType=x"], "SessionType came more than once: SessionType=x"),
        (&["InitiatorAlias=a", "InitiatorAlias=b"], "InitiatorAlias came more than once: InitiatorAlias=b"),
        (
            &["MaxRecvDataSegmentLength=100"],
            "declaration of MaxRecvDataSegmentLength has a value that is not allowed: \
             MaxRecvDataSegmentLength=100",
        ),
        (&["InitialR2T=No", "InitialR2T=No"], "InitialR2T came more than once: InitialR2T=No"),
    ];
    for (pairs, why) in cases {
        // In the first request, and each pair in a request of its own.
        each_chunk(|peer| {
            peer.send(LAST, &[&[INITIATOR, TARGET], *pairs].concat());
            peer.admit(open());
            peer.assert_refused(InitiatorError);
            assert_eq!(peer.reason().1, *why);
        });
        let mut peer = Peer::new(48, LoginConfig::default());
        peer.send(LoginRequest { next: Some(OPERATIONAL), ..REQUEST }, &[INITIATOR, TARGET]);
        peer.admit(open());
        for pair in *pairs {
            assert_eq!(peer.recv().0.status, LoginStatus::Success);
            peer.send(LoginRequest { next: None, ..LAST }, &[pair]);
        }
        peer.assert_refused(InitiatorError);
        assert_eq!(peer.reason().1, *why);
    }
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(LoginRequest { next: Some(OPERATIONAL), ..REQUEST }, &[INITIATOR, TARGET]);
    peer.admit(open());
    peer.recv();
    peer.send(LAST, &[DISCOVERY]);
    peer.assert_refused(InitiatorError);
    assert_eq!(peer.reason().1, "SessionType changes to Discovery");
}

#[test]
fn declarations_may_repeat_their_value_in_each_stage() {
    let names = [INITIATOR, TARGET, "SessionType=Normal", "InitiatorAlias=host"];
    each_chunk(|peer| {
        peer.send(REQUEST, &[&names[..], &names, &["AuthMethod=CHAP,None"]].concat());
        peer.admit(open());
        assert_eq!(peer.recv().1, ["TargetPortalGroupTag=1", "AuthMethod=None"]);
        peer.send(LoginRequest { next: Some(OPERATIONAL), ..REQUEST }, &names);
        assert_eq!(peer.recv().0.next, Some(OPERATIONAL));
        let lengths = ["MaxRecvDataSegmentLength=65536"; 2];
        peer.send(LAST, &[&names[..], &lengths].concat());
        let logged_in = peer.logged_in();
        assert_eq!(logged_in.connection.max_xmit_data_segment_len, 65536);
        assert_eq!(logged_in.initiator_alias.as_deref(), Some("host"));
    });
    each_chunk(|peer| {
        let names = [INITIATOR, DISCOVERY];
        peer.send(REQUEST, &[&names[..], &["AuthMethod=CHAP,None"]].concat());
        peer.admit(open());
        peer.recv();
        peer.send(LoginRequest { next: Some(FULL), ..REQUEST }, &names);
        assert!(matches!(peer.event(), LoginEvent::Discovery(_)));
    });
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
            peer.login.answer(Answer::Refuse(Refusal::because(status, "as the configuration says")));
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
            let address = "[2001:db8::7]:3261".to_owned();
            peer.login.answer(Answer::Refuse(Refusal::redirect(status, address)));
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
        assert_eq!(peer.reason().1, "VersionMin 1: expected 0");
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
    let (names, why) = peer.reason();
    assert_eq!(
        (names, why),
        ("iqn.2026-01.org.example:host to discovery: ", "TSIH 1: a discovery session has one connection")
    );
}

#[test]
fn what_must_stay_the_same_through_a_login() {
    let second = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };
    let changed = [
        (LoginRequest { isid: Isid([1; 6]), ..second }, "ISID changes during login"),
        (LoginRequest { tsih: Tsih(1), ..second }, "TSIH changes during login"),
        (LoginRequest { itt: Itt(0x18), ..second }, "Initiator Task Tag changes during login"),
        (LoginRequest { cid: Cid(4), ..second }, "CID changes during login"),
        (LoginRequest { cmd_sn: CmdSn(501), ..second }, "CmdSN changes during login"),
        (LoginRequest { version_max: 1, ..second }, "VersionMax changes during login"),
        // The stage is the operational one by now.
        (
            LoginRequest { stage: SECURITY, ..second },
            "CSG SecurityNegotiation: expected LoginOperationalNegotiation",
        ),
    ];
    for (request, why) in changed {
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
            assert_eq!(peer.reason().1, why);
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
        assert!(peer.reason().1.contains("CSG"), "{:?}", peer.reason());
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
        assert_eq!(peer.reason().1, "opcode 0x04 during login");
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
    peer.login.answer(Answer::Targets(TargetList::default()));
    peer.assert_refused(LoginStatus::TargetError);
    peer.login.answer(Answer::Target(Box::new(open())));
    assert!(peer.try_recv().is_none() && peer.is_quiet());
}
