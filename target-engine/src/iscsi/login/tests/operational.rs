//! The operational stage: the target's values against the initiator's, key by key.

use iscsi_proto::params::{ConnectionParams, SessionParams};

use super::*;

const LAST: LoginRequest = LoginRequest { stage: OPERATIONAL, next: Some(FULL), ..REQUEST };

fn keys() -> Preferences {
    Preferences {
        session: SessionParams {
            max_connections: 4,
            initial_r2t: false,
            immediate_data: true,
            max_burst_len: 524288,
            first_burst_len: 131072,
            max_outstanding_r2t: 8,
            default_time2wait: 2,
            default_time2retain: 20,
            ..SessionParams::default()
        },
        max_recv_data_segment_len: 262144,
        ..Preferences::default()
    }
}

/// Logs in with one request of these keys; gives what the target answered to them, and the result.
fn log_in(keys: Preferences, offered: &[&str]) -> (Vec<String>, LoggedIn) {
    let mut peer = Peer::new(48, LoginConfig::default());
    let mut pairs = vec![INITIATOR, TARGET];
    pairs.extend(offered);
    peer.send(LAST, &pairs);
    peer.admit(TargetAnswer { keys, ..open() });
    let logged_in = peer.logged_in();
    let mut answer = super::pairs(&logged_in.response_text);
    assert_eq!(answer.remove(0), "TargetPortalGroupTag=1");
    assert_eq!(answer.pop().as_deref(), Some("MaxRecvDataSegmentLength=262144"));
    (answer, logged_in)
}

#[test]
fn each_keys_rule_makes_one_value_of_two() {
    let cases = [
        ("MaxConnections=8", "MaxConnections=4"),
        ("MaxConnections=2", "MaxConnections=2"),
        ("InitialR2T=No", "InitialR2T=No"),
        ("InitialR2T=Yes", "InitialR2T=Yes"),
        ("ImmediateData=No", "ImmediateData=No"),
        ("ImmediateData=Yes", "ImmediateData=Yes"),
        ("MaxBurstLength=16776192", "MaxBurstLength=524288"),
        ("FirstBurstLength=4096", "FirstBurstLength=4096"),
        ("MaxOutstandingR2T=1", "MaxOutstandingR2T=1"),
        ("DataPDUInOrder=No", "DataPDUInOrder=Yes"),
        ("DataSequenceInOrder=Yes", "DataSequenceInOrder=Yes"),
        ("DefaultTime2Wait=0", "DefaultTime2Wait=2"),
        ("DefaultTime2Retain=0", "DefaultTime2Retain=0"),
        ("ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0"),
        ("HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C"),
        ("DataDigest=None,CRC32C", "DataDigest=None"),
        ("OFMarker=No", "OFMarker=No"),
        ("X-org.example.odd=1", "X-org.example.odd=NotUnderstood"),
    ];
    for (offered, answer) in cases {
        assert_eq!(log_in(keys(), &[offered]).0, [answer], "{offered}");
    }
}

#[test]
fn the_result_is_what_both_have_said() {
    let (_, logged_in) = log_in(
        keys(),
        &[
            "HeaderDigest=CRC32C",
            "DataDigest=None",
            "MaxRecvDataSegmentLength=65536",
            "InitialR2T=No",
            "ImmediateData=No",
            "MaxBurstLength=262144",
            "FirstBurstLength=262144",
            "MaxOutstandingR2T=4",
            "DefaultTime2Wait=5",
            "DefaultTime2Retain=1",
            "MaxConnections=1",
        ],
    );
    assert_eq!(
        logged_in.connection,
        ConnectionParams {
            header_digest: true,
            data_digest: false,
            max_recv_data_segment_len: 262144,
            max_xmit_data_segment_len: 65536,
        }
    );
    let session = logged_in.session;
    assert_eq!((session.initial_r2t, session.immediate_data), (false, false));
    assert_eq!((session.max_burst_len, session.first_burst_len), (262144, 131072));
    assert_eq!((session.max_outstanding_r2t, session.max_connections), (4, 1));
    assert_eq!((session.default_time2wait, session.default_time2retain), (5, 1));
}

#[test]
fn a_first_burst_is_never_longer_than_a_burst() {
    let (_, logged_in) = log_in(keys(), &["MaxBurstLength=8192"]);
    assert_eq!((logged_in.session.max_burst_len, logged_in.session.first_burst_len), (8192, 8192));
}

#[test]
fn digests_the_target_refuses_or_demands() {
    let none = Preferences { header_digest: DigestChoice::None, ..keys() };
    let (answer, logged_in) = log_in(none, &["HeaderDigest=CRC32C,None"]);
    assert_eq!((answer, logged_in.connection.header_digest), (vec!["HeaderDigest=None".into()], false));
    let (answer, logged_in) = log_in(none, &["HeaderDigest=CRC32C"]);
    assert_eq!((answer, logged_in.connection.header_digest), (vec!["HeaderDigest=Reject".into()], false));
    let crc = Preferences { data_digest: DigestChoice::Crc32c, ..keys() };
    let (answer, logged_in) = log_in(crc, &["DataDigest=None,CRC32C"]);
    assert_eq!((answer, logged_in.connection.data_digest), (vec!["DataDigest=CRC32C".into()], true));
}

#[test]
fn values_out_of_range_are_rejected_and_change_nothing() {
    for offered in ["MaxBurstLength=511", "MaxBurstLength=x", "InitialR2T=yes", "MaxConnections=0"] {
        let (answer, logged_in) = log_in(keys(), &[offered]);
        let key = offered.split('=').next().unwrap();
        assert_eq!(answer, [format!("{key}=Reject")]);
        assert_eq!(logged_in.session.max_burst_len, 262144);
        assert!(logged_in.session.initial_r2t);
    }
}

#[test]
fn keys_of_the_other_side_and_of_the_other_stage_are_rejected() {
    let (answer, _) = log_in(keys(), &["TargetAlias=me", "AuthMethod=None", "SendTargets=All"]);
    assert_eq!(answer, ["TargetAlias=Reject", "AuthMethod=Reject", "SendTargets=Reject"]);

    let mut peer = Peer::new(48, LoginConfig::default());
    peer.send(
        LoginRequest { next: Some(OPERATIONAL), ..REQUEST },
        &[INITIATOR, TARGET, "MaxBurstLength=512"],
    );
    peer.admit(open());
    let (response, text) = peer.recv();
    assert_eq!(text, ["TargetPortalGroupTag=1", "MaxBurstLength=Reject"]);
    assert_eq!(response.next, Some(OPERATIONAL));
    peer.send(LAST, &[]);
    assert_eq!(peer.logged_in().session.max_burst_len, 262144);
}

#[test]
fn a_key_is_negotiated_once() {
    let mut peer = Peer::new(49, LoginConfig::default());
    peer.send(LoginRequest { next: None, ..LAST }, &[INITIATOR, TARGET, "MaxBurstLength=512"]);
    peer.admit(open());
    peer.recv();
    peer.send(LAST, &["MaxBurstLength=512"]);
    peer.assert_refused(LoginStatus::InitiatorError);
}

#[test]
fn what_the_target_cannot_leave_at_its_default_it_offers_itself() {
    each_chunk(|peer| {
        let mut terms = open();
        terms.keys.session.immediate_data = false;
        terms.keys.session.max_burst_len = 65536;
        terms.keys.session.first_burst_len = 16384;
        peer.send(LAST, &[INITIATOR, TARGET, "FirstBurstLength=65536"]);
        peer.admit(terms);
        let (response, text) = peer.recv();
        assert_eq!((response.next, response.stage), (None, OPERATIONAL));
        assert_eq!(
            text,
            [
                "TargetPortalGroupTag=1",
                "FirstBurstLength=16384",
                "MaxRecvDataSegmentLength=8192",
                "ImmediateData=No",
                "MaxBurstLength=65536",
            ]
        );
        // The stage is not left while one is unanswered.
        peer.send(LAST, &["ImmediateData=No"]);
        let (response, text) = peer.recv();
        assert_eq!((response.next, text), (None, vec![]));
        peer.send(LAST, &["MaxBurstLength=32768"]);
        let logged_in = peer.logged_in();
        assert_eq!(logged_in.response_text, "");
        let session = logged_in.session;
        assert_eq!(
            (session.immediate_data, session.max_burst_len, session.first_burst_len),
            (false, 32768, 16384)
        );
    });
}

#[test]
fn an_answer_outside_of_what_was_offered_ends_the_login() {
    for answer in ["MaxBurstLength=131072", "MaxBurstLength=1", "MaxBurstLength=Reject"] {
        let mut peer = Peer::new(48, LoginConfig::default());
        let mut terms = open();
        terms.keys.session.max_burst_len = 65536;
        peer.send(LAST, &[INITIATOR, TARGET]);
        peer.admit(terms);
        peer.recv();
        peer.send(LAST, &[answer]);
        peer.assert_refused(LoginStatus::InitiatorError);
    }
}

#[test]
fn a_question_mark_is_answered_by_the_value_in_force() {
    assert_eq!(log_in(keys(), &["MaxBurstLength=?"]).0, ["MaxBurstLength=262144"]);
}

#[test]
fn the_target_offers_nothing_before_the_initiator_is_done() {
    let mut peer = Peer::new(48, LoginConfig::default());
    let mut terms = open();
    terms.keys.session.max_burst_len = 65536;
    peer.send(LoginRequest { next: None, ..LAST }, &[INITIATOR, TARGET]);
    peer.admit(terms);
    assert_eq!(peer.recv().1, ["TargetPortalGroupTag=1", "MaxRecvDataSegmentLength=8192"]);
    peer.send(LAST, &["MaxBurstLength=131072"]);
    assert_eq!(pairs(&peer.logged_in().response_text), ["MaxBurstLength=65536"]);
}

#[test]
fn a_key_that_was_offered_in_vain_is_not_offered_back() {
    let mut terms = keys();
    terms.session.max_burst_len = 65536;
    let (answer, logged_in) = log_in(terms, &["MaxBurstLength=511", "FirstBurstLength=4096"]);
    assert_eq!(answer, ["MaxBurstLength=Reject", "FirstBurstLength=4096"]);
    assert_eq!(logged_in.session.max_burst_len, 262144);
}

#[test]
fn a_digest_that_is_demanded_is_offered() {
    let mut peer = Peer::new(48, LoginConfig::default());
    let mut terms = open();
    terms.keys.header_digest = DigestChoice::Crc32c;
    peer.send(LAST, &[INITIATOR, TARGET]);
    peer.admit(terms);
    let (response, text) = peer.recv();
    assert_eq!((response.next, text[2].as_str()), (None, "HeaderDigest=CRC32C"));
    peer.send(LAST, &["HeaderDigest=CRC32C"]);
    let connection = peer.logged_in().connection;
    assert!(connection.header_digest && !connection.data_digest);
}
