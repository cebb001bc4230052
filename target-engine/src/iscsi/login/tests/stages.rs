//! Stages, transits, numbers, and what a login leaves behind.

use super::*;

/// The response to the request that ends the security stage.
fn end_of_security() -> LoginResponse {
    LoginResponse {
        next: Some(OPERATIONAL),
        continues: false,
        stage: SECURITY,
        version_max: 0,
        version_active: 0,
        isid: REQUEST.isid,
        tsih: Tsih::NEW,
        itt: REQUEST.itt,
        stat_sn: StatSn(70),
        exp_cmd_sn: CmdSn(500),
        max_cmd_sn: CmdSn(500),
        status: LoginStatus::Success,
    }
}

/// Asserts what the login asks about the initiator.
fn assert_question(question: &TargetQuestion) {
    assert_eq!(question.initiator_name.as_str(), "iqn.2026-01.org.example:host");
    assert_eq!(question.initiator_alias.as_deref(), Some("my host"));
    assert_eq!(question.target_name.as_ref().unwrap().as_str(), "iqn.2026-01.org.example:disk");
    assert_eq!(question.session_type, SessionType::Normal);
}

#[test]
fn security_then_operational_then_full_feature() {
    each_chunk(|peer| {
        peer.send(
            LoginRequest { next: Some(OPERATIONAL), ..REQUEST },
            &[INITIATOR, "InitiatorAlias=my host", TARGET, "SessionType=Normal", "AuthMethod=CHAP,None"],
        );
        assert_question(&peer.question());
        peer.login.answer(Answer::Target(Box::new(TargetAnswer { portal_group_tag: 7, ..open() })));

        let (response, text) = peer.recv();
        assert_eq!(text, ["TargetPortalGroupTag=7", "AuthMethod=None"]);
        let expected = end_of_security();
        assert_eq!(response, expected);

        let keys = ["HeaderDigest=None", "InitialR2T=No", "ImmediateData=Yes", "MaxBurstLength=1048576"];
        peer.send(
            LoginRequest { stage: OPERATIONAL, next: Some(FULL), exp_stat_sn: StatSn(71), ..REQUEST },
            &keys,
        );
        let logged_in = peer.logged_in();
        assert_eq!((logged_in.next_cmd_sn, logged_in.next_stat_sn), (CmdSn(500), StatSn(72)));
        assert_eq!(logged_in.target_name.as_str(), "iqn.2026-01.org.example:disk");
        assert_eq!(logged_in.initiator_alias.as_deref(), Some("my host"));
        assert_eq!((logged_in.cid, logged_in.portal_group_tag), (Cid(3), 7));

        let mut wire = BytesMut::from(&logged_in.final_response(Tsih(9), CmdSn(627))[..]);
        let (bhs, data) = cut(&mut wire);
        assert_eq!(
            pairs(&data),
            [
                "HeaderDigest=None",
                "InitialR2T=Yes",
                "ImmediateData=Yes",
                "MaxBurstLength=262144",
                "MaxRecvDataSegmentLength=8192",
            ]
        );
        assert_eq!(
            LoginResponse::decode(&bhs).unwrap(),
            LoginResponse {
                next: Some(FULL),
                stage: OPERATIONAL,
                tsih: Tsih(9),
                stat_sn: StatSn(71),
                max_cmd_sn: CmdSn(627),
                ..expected
            }
        );
    });
}

#[test]
fn the_last_response_may_still_be_a_refusal() {
    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[INITIATOR, TARGET]);
    peer.admit(open());
    let refusal = peer.logged_in().refusal(LoginStatus::OutOfResources);
    let (bhs, data) = cut(&mut BytesMut::from(&refusal[..]));
    let response = LoginResponse::decode(&bhs).unwrap();
    assert_eq!((response.status, response.next), (LoginStatus::OutOfResources, None));
    assert_eq!((response.itt, response.stat_sn), (REQUEST.itt, StatSn(70)));
    assert!(data.is_empty());
}

#[test]
fn the_security_stage_may_be_skipped_when_nothing_is_to_be_proven() {
    each_chunk(|peer| {
        peer.send(LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[INITIATOR, TARGET]);
        peer.admit(open());
        let logged_in = peer.logged_in();
        assert_eq!(
            pairs(&logged_in.response_text),
            ["TargetPortalGroupTag=1", "MaxRecvDataSegmentLength=8192"]
        );
        assert_eq!(logged_in.chap_user, None);
    });
}

#[test]
fn the_operational_stage_may_be_skipped_and_then_the_defaults_hold() {
    let mut peer = Peer::new(1, LoginConfig::default());
    peer.send(LoginRequest { next: Some(FULL), ..REQUEST }, &[INITIATOR, TARGET, "AuthMethod=None"]);
    let mut terms = open();
    terms.keys.max_recv_data_segment_len = 65536;
    terms.keys.session.max_burst_len = 4096;
    peer.admit(terms);
    let logged_in = peer.logged_in();
    assert_eq!(pairs(&logged_in.response_text), ["TargetPortalGroupTag=1", "AuthMethod=None"]);
    assert_eq!(logged_in.connection.max_recv_data_segment_len, 8192);
    assert_eq!(logged_in.session.max_burst_len, 262144);
}

#[test]
fn a_stage_lasts_until_the_initiator_wants_to_leave_it() {
    each_chunk(|peer| {
        peer.send(LoginRequest { stage: OPERATIONAL, ..REQUEST }, &[INITIATOR, TARGET]);
        peer.admit(open());
        let (response, text) = peer.recv();
        assert_eq!(text, ["TargetPortalGroupTag=1", "MaxRecvDataSegmentLength=8192"]);
        assert_eq!((response.next, response.stage), (None, OPERATIONAL));

        peer.send(LoginRequest { stage: OPERATIONAL, ..REQUEST }, &["ErrorRecoveryLevel=2"]);
        let (response, text) = peer.recv();
        assert_eq!((response.next, response.stat_sn), (None, StatSn(71)));
        assert_eq!(text, ["ErrorRecoveryLevel=0"]);

        peer.send(LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[]);
        assert_eq!(peer.logged_in().response_text, "");
    });
}

/// The connection's counters go on from there.
#[test]
fn what_the_login_took_is_known() {
    let mut peer = Peer::new(7, LoginConfig::default());
    peer.send(LoginRequest { stage: OPERATIONAL, next: None, ..REQUEST }, &[INITIATOR, TARGET]);
    peer.admit(open());
    let (_, data) = peer.try_recv_raw().unwrap();
    let received = BHS_LEN + text(&[INITIATOR, TARGET]).len().next_multiple_of(4);
    let sent = BHS_LEN + data.len().next_multiple_of(4);
    peer.send(LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }, &[]);
    let logged_in = peer.logged_in();
    assert_eq!((logged_in.received, logged_in.sent), ((received + BHS_LEN) as u64, sent as u64));
}

#[test]
fn what_follows_the_last_request_is_handed_on() {
    let mut peer = Peer::new(usize::MAX, LoginConfig::default());
    let mut bhs = [0; BHS_LEN];
    LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST }.encode(&mut bhs);
    let mut wire = BytesMut::new();
    frame::encode_pdu(&mut wire, &bhs, &[], &text(&[INITIATOR, TARGET]), Digests::default());
    wire.extend_from_slice(b"the next PDU");
    peer.send_bytes(&wire);
    peer.admit(open());
    assert_eq!(&peer.logged_in().unread[..], b"the next PDU");
}

#[test]
fn a_connection_may_join_a_session_whose_commands_go_on_meanwhile() {
    let mut peer = Peer::new(49, LoginConfig::default());
    let join = LoginRequest { tsih: Tsih(4), ..REQUEST };
    peer.send(LoginRequest { next: Some(OPERATIONAL), ..join }, &[INITIATOR, TARGET, "AuthMethod=None"]);
    let _ = peer.question();
    peer.login.answer(Answer::Target(Box::new(open())));
    assert_eq!(peer.recv().0.tsih, Tsih(4));
    peer.send(
        LoginRequest { stage: OPERATIONAL, next: Some(FULL), cmd_sn: CmdSn(515), ..join },
        &["MaxBurstLength=512", "MaxRecvDataSegmentLength=4096"],
    );
    let logged_in = peer.logged_in();
    assert_eq!((logged_in.tsih, logged_in.next_cmd_sn), (Tsih(4), CmdSn(515)));
    // Session-wide keys are the leading connection's.
    assert_eq!(pairs(&logged_in.response_text), ["MaxBurstLength=Reject", "MaxRecvDataSegmentLength=8192"]);
    assert_eq!(logged_in.connection.max_xmit_data_segment_len, 4096);
}

#[test]
fn a_discovery_login_needs_no_target() {
    each_chunk(|peer| {
        peer.send(
            LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST },
            &[INITIATOR, "InitialR2T=No", DISCOVERY, "MaxRecvDataSegmentLength=32768"],
        );
        let question = peer.question();
        assert_eq!((question.session_type, question.target_name), (SessionType::Discovery, None));
        let mut terms = open();
        terms.keys.max_recv_data_segment_len = 262144;
        peer.login.answer(Answer::Target(Box::new(terms)));
        let LoginEvent::Discovery(mut discovery) = peer.event() else { panic!("no discovery session") };
        let (bhs, data) = cut(&mut BytesMut::from(&discovery.poll_transmit().unwrap()[..]));
        let response = LoginResponse::decode(&bhs).unwrap();
        assert_eq!((response.next, response.tsih), (Some(FULL), Tsih(0xffff)));
        assert_eq!(pairs(&data), ["InitialR2T=Irrelevant", "MaxRecvDataSegmentLength=8192"]);
    });
}
