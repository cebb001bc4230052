//! Tests of negotiations, from both sides.

use proptest::prelude::*;

use super::*;
use crate::params::TaskReporting;
use crate::text::{TextLimits, pairs};

const BASE: SessionParams = SessionParams {
    max_connections: 1,
    initial_r2t: false,
    immediate_data: true,
    max_burst_len: 1_048_576,
    first_burst_len: 262_144,
    default_time2wait: 2,
    default_time2retain: 20,
    max_outstanding_r2t: 8,
    data_pdu_in_order: true,
    data_sequence_in_order: true,
    error_recovery_level: 0,
    task_reporting: TaskReporting::Rfc3720,
    protocol_level: 1,
};

fn preferences() -> Preferences {
    Preferences { session: BASE, max_recv_data_segment_len: 262_144, ..Default::default() }
}

fn target() -> Negotiation {
    Negotiation::new(Role::Target, preferences())
}

/// Passes in a text and returns the answer, with `;` for NUL.
fn exchange(side: &mut Negotiation, text: &str) -> Result<String, NegotiationError> {
    let mut out = TextBuilder::new();
    for pair in pairs(text.replace(';', "\0").as_bytes(), &TextLimits::default()) {
        let (key, value) = pair.unwrap();
        side.receive(key, value, &mut out)?;
    }
    Ok(as_text(out))
}

fn as_text(out: TextBuilder) -> String {
    String::from_utf8(out.finish().to_vec()).unwrap().replace('\0', ";")
}

fn offers(side: &mut Negotiation) -> String {
    let mut out = TextBuilder::new();
    side.offer_wanted(&mut out);
    as_text(out)
}

#[test]
fn responder_answers_each_rule() {
    let cases = [
        ("InitialR2T=No", "InitialR2T=No;"),
        ("InitialR2T=Yes", "InitialR2T=Yes;"),
        ("ImmediateData=Yes", "ImmediateData=Yes;"),
        ("ImmediateData=No", "ImmediateData=No;"),
        ("MaxBurstLength=16776192", "MaxBurstLength=1048576;"),
        ("MaxBurstLength=0x10000", "MaxBurstLength=65536;"),
        ("DefaultTime2Wait=0", "DefaultTime2Wait=2;"),
        ("DefaultTime2Wait=5", "DefaultTime2Wait=5;"),
        ("DefaultTime2Retain=0", "DefaultTime2Retain=0;"),
        ("MaxConnections=8", "MaxConnections=1;"),
        ("ErrorRecoveryLevel=2", "ErrorRecoveryLevel=0;"),
        ("DataPDUInOrder=No", "DataPDUInOrder=Yes;"),
        ("HeaderDigest=CRC32C,None", "HeaderDigest=CRC32C;"),
        ("DataDigest=None,CRC32C", "DataDigest=None;"),
        ("HeaderDigest=X-sha,CRC32C", "HeaderDigest=CRC32C;"),
        ("TaskReporting=FastAbort,ResponseFence,RFC3720", "TaskReporting=RFC3720;"),
        ("iSCSIProtocolLevel=2", "iSCSIProtocolLevel=1;"),
        ("RDMAExtensions=Yes", "RDMAExtensions=No;"),
        ("IFMarker=Yes;OFMarker=No", "IFMarker=No;OFMarker=No;"),
        ("IFMarkInt=2048~8192;OFMarkInt=1", "IFMarkInt=Reject;OFMarkInt=Reject;"),
        ("X-com.example.speed=Yes", "X-com.example.speed=NotUnderstood;"),
        ("X-com.example.speed=NotUnderstood", ""),
        ("MaxRecvDataSegmentLength=65536", ""),
        ("InitiatorName=iqn.2024-01.com.example:a;InitiatorAlias=a;SessionType=Normal", ""),
    ];
    for (offer, answer) in cases {
        assert_eq!(exchange(&mut target(), offer).as_deref(), Ok(answer), "{offer}");
    }
}

#[test]
fn responder_rejects_invalid_offers_and_keeps_the_default() {
    let cases = [
        "InitialR2T=Maybe",
        "ImmediateData=yes",
        "MaxBurstLength=511",
        "MaxBurstLength=16777216",
        "MaxBurstLength=",
        "MaxOutstandingR2T=0",
        "MaxConnections=65536",
        "ErrorRecoveryLevel=3",
        "DefaultTime2Wait=3601",
        "iSCSIProtocolLevel=32",
        "HeaderDigest=CRC64",
        "TaskReporting=Never",
        "TargetAlias=x",
        "SendTargets=All",
        "FirstBurstLength=4294967808",
    ];
    for offer in cases {
        let mut target = target();
        let (key, _) = offer.split_once('=').unwrap();
        assert_eq!(exchange(&mut target, offer), Ok(format!("{key}=Reject;")), "{offer}");
        assert_eq!(target.session(), SessionParams::default(), "{offer}");
        assert_eq!(target.connection(), ConnectionParams::default(), "{offer}");
    }
}

#[test]
fn result_matches_the_answer() {
    let mut target = target();
    let offer = "InitialR2T=No;ImmediateData=Yes;MaxBurstLength=524288;FirstBurstLength=131072;\
                 MaxOutstandingR2T=4;HeaderDigest=CRC32C;DataDigest=None;MaxRecvDataSegmentLength=131072";
    exchange(&mut target, offer).unwrap();
    let expected = SessionParams {
        initial_r2t: false,
        max_burst_len: 524_288,
        first_burst_len: 131_072,
        max_outstanding_r2t: 4,
        ..SessionParams::default()
    };
    assert_eq!(target.session(), expected);
    let connection = target.connection();
    assert!(connection.header_digest && !connection.data_digest);
    assert_eq!((connection.max_xmit_data_segment_len, connection.max_recv_data_segment_len), (131_072, 8192));
}

#[test]
fn receive_limit_is_in_force_once_declared() {
    let mut target = target();
    assert_eq!(target.connection().max_recv_data_segment_len, 8192);
    let mut out = TextBuilder::new();
    assert!(target.offer(Key::MaxRecvDataSegmentLength, &mut out));
    assert_eq!(as_text(out), "MaxRecvDataSegmentLength=262144;");
    assert_eq!(target.connection().max_recv_data_segment_len, 262_144);
    assert!(target.pending().is_empty());
}

#[test]
fn receive_limit_is_clamped_to_the_range_of_the_standard() {
    for (preferred, declared) in [(0, 512), (u32::MAX, 16_777_215)] {
        let preferences = Preferences { max_recv_data_segment_len: preferred, ..preferences() };
        let mut target = Negotiation::new(Role::Target, preferences);
        let mut out = TextBuilder::new();
        target.offer(Key::MaxRecvDataSegmentLength, &mut out);
        assert_eq!(as_text(out), format!("MaxRecvDataSegmentLength={declared};"));
        assert_eq!(target.connection().max_recv_data_segment_len, declared);
    }
}

#[test]
fn answer_to_our_declaration_is_not_a_declaration() {
    let mut target = target();
    offers(&mut target);
    for answer in ["NotUnderstood", "Irrelevant"] {
        assert_eq!(exchange(&mut target, &format!("MaxRecvDataSegmentLength={answer}")), Ok(String::new()));
    }
    exchange(&mut target, "MaxRecvDataSegmentLength=1024").unwrap();
    assert_eq!(target.connection().max_xmit_data_segment_len, 1024);
}

#[test]
fn receive_limit_of_the_peer_is_checked_below_and_capped_above() {
    for value in ["511", "0", "none", "-1", ""] {
        let declared = format!("MaxRecvDataSegmentLength={value}");
        let error = NegotiationError::BadDeclaration(Key::MaxRecvDataSegmentLength);
        assert_eq!(exchange(&mut target(), &declared), Err(error), "{value:?}");
    }
    let mut target = target();
    exchange(&mut target, "MaxRecvDataSegmentLength=16777216").unwrap();
    assert_eq!(target.connection().max_xmit_data_segment_len, 16_777_215);
}

#[test]
fn repeated_key_is_an_error() {
    let cases = [
        ("InitialR2T=No;InitialR2T=No", Key::InitialR2t),
        ("MaxRecvDataSegmentLength=512;MaxRecvDataSegmentLength=513", Key::MaxRecvDataSegmentLength),
        ("InitiatorName=iqn.x:a;InitiatorName=iqn.x:b", Key::InitiatorName),
        ("SessionType=Normal;SessionType=Discovery", Key::SessionType),
        ("SessionType=Normal;SessionType=normal", Key::SessionType),
        ("IFMarker=No;IFMarker=No", Key::IfMarker),
        ("CHAP_A=5;CHAP_A=5", Key::ChapA),
        ("TargetAlias=x;TargetAlias=x", Key::TargetAlias),
    ];
    for (text, key) in cases {
        assert_eq!(exchange(&mut target(), text), Err(NegotiationError::Repeated(key)), "{text}");
    }
    let mut initiator = Negotiation::new(Role::Initiator, preferences());
    assert_eq!(exchange(&mut initiator, "TargetAddress=a;TargetAddress=b"), Ok(String::new()));
}

#[test]
fn declaration_may_be_repeated_with_the_same_value() {
    let mut target = target();
    for pair in [
        "InitiatorName=iqn.x:a",
        "InitiatorAlias=",
        "TargetName=iqn.x:t",
        "SessionType=Normal",
        "MaxRecvDataSegmentLength=512",
    ] {
        assert_eq!(exchange(&mut target, &format!("{pair};{pair}")), Ok(String::new()), "{pair}");
    }
    for pair in ["TargetName=iqn.x:t", "MaxRecvDataSegmentLength=512"] {
        assert_eq!(exchange(&mut target, pair), Ok(String::new()), "{pair}");
    }
    assert_eq!(target.connection().max_xmit_data_segment_len, 512);
    target.begin_exchange();
    assert_eq!(exchange(&mut target, "MaxRecvDataSegmentLength=1024"), Ok(String::new()));
}

#[test]
fn first_burst_stays_within_max_burst_in_either_order() {
    for text in
        ["MaxBurstLength=65536;FirstBurstLength=131072", "FirstBurstLength=131072;MaxBurstLength=65536"]
    {
        let mut target = target();
        exchange(&mut target, text).unwrap();
        assert_eq!(target.session().first_burst_len, 65_536, "{text}");
    }
    let answer = exchange(&mut target(), "MaxBurstLength=65536;FirstBurstLength=131072").unwrap();
    assert_eq!(answer, "MaxBurstLength=65536;FirstBurstLength=65536;");
    let small = SessionParams { max_burst_len: 4096, ..BASE };
    let mut target = Negotiation::new(Role::Target, Preferences { session: small, ..preferences() });
    assert_eq!(exchange(&mut target, "FirstBurstLength=131072").unwrap(), "FirstBurstLength=4096;");
}

#[test]
fn session_keys_are_irrelevant_in_discovery() {
    let mut target = target();
    let text = "SessionType=Discovery;InitialR2T=No;MaxConnections=4;TaskReporting=RFC3720;HeaderDigest=None;\
                DefaultTime2Wait=2;ErrorRecoveryLevel=0";
    assert_eq!(
        exchange(&mut target, text).unwrap(),
        "InitialR2T=Irrelevant;MaxConnections=Irrelevant;TaskReporting=Irrelevant;HeaderDigest=None;\
         DefaultTime2Wait=2;ErrorRecoveryLevel=0;"
    );
    assert_eq!(target.session_type(), SessionType::Discovery);
    assert_eq!(offers(&mut target), "MaxRecvDataSegmentLength=262144;");
}

#[test]
fn unknown_session_type_is_an_error() {
    assert_eq!(exchange(&mut target(), "SessionType=Other"), Err(NegotiationError::SessionType));
}

#[test]
fn further_connection_may_repeat_session_keys_but_not_change_them() {
    let session = SessionParams { max_burst_len: 4096, first_burst_len: 4096, ..BASE };
    let cases = [
        ("MaxBurstLength=512", "MaxBurstLength=Reject;"),
        ("MaxBurstLength=8192", "MaxBurstLength=4096;"),
        ("MaxBurstLength=x", "MaxBurstLength=Reject;"),
        ("DefaultTime2Wait=3", "DefaultTime2Wait=Reject;"),
        ("InitialR2T=Yes", "InitialR2T=Reject;"),
        ("InitialR2T=No;ImmediateData=Yes", "InitialR2T=No;ImmediateData=Yes;"),
        ("TaskReporting=FastAbort", "TaskReporting=Reject;"),
        ("TaskReporting=FastAbort,RFC3720", "TaskReporting=RFC3720;"),
        ("HeaderDigest=CRC32C;SessionType=Normal", "HeaderDigest=CRC32C;"),
    ];
    for (text, answer) in cases {
        let mut target = Negotiation::joining(Role::Target, preferences(), session);
        assert_eq!(exchange(&mut target, text).as_deref(), Ok(answer), "{text}");
        assert_eq!(target.session(), session);
        assert_eq!(offers(&mut target), "MaxRecvDataSegmentLength=262144;");
    }
}

#[test]
fn full_feature_phase_accepts_only_declarations_and_requests() {
    let start = ConnectionParams::default();
    let mut target = Negotiation::full_feature(Role::Target, preferences(), SessionType::Normal, BASE, start);
    let mut out = TextBuilder::new();
    assert_eq!(target.receive("SendTargets", "All", &mut out), Ok(Event::Request(Key::SendTargets)));
    let again = target.receive("SendTargets", "All", &mut out);
    assert_eq!(again, Err(NegotiationError::Repeated(Key::SendTargets)));
    target.begin_exchange();
    assert_eq!(target.receive("SendTargets", "All", &mut out), Ok(Event::Request(Key::SendTargets)));
    assert!(out.is_empty());
    assert_eq!(
        exchange(&mut target, "HeaderDigest=CRC32C;InitialR2T=Yes;MaxRecvDataSegmentLength=1024").unwrap(),
        "HeaderDigest=Reject;InitialR2T=Reject;"
    );
    assert_eq!(target.connection().max_xmit_data_segment_len, 1024);
    assert_eq!(target.session(), BASE);
}

#[test]
fn inquiry_returns_the_current_value_and_changes_nothing() {
    let mut target = target();
    let text = "MaxBurstLength=?;InitialR2T=?;HeaderDigest=?;MaxBurstLength=65536;MaxBurstLength=?";
    assert_eq!(
        exchange(&mut target, text).unwrap(),
        "MaxBurstLength=262144;InitialR2T=Yes;HeaderDigest=None;MaxBurstLength=65536;MaxBurstLength=65536;"
    );
}

#[test]
fn security_keys_are_passed_to_the_caller() {
    let mut out = TextBuilder::new();
    let event = target().receive("AuthMethod", "CHAP,None", &mut out);
    assert_eq!((event, out.is_empty()), (Ok(Event::Security(Key::AuthMethod)), true));
    assert_eq!(choose("KRB5,CHAP,None", &["None", "CHAP"]), Some("CHAP"));
    assert_eq!(choose("KRB5,SRP", &["None", "CHAP"]), None);
}

#[test]
fn offers_are_limited_to_keys_that_change() {
    assert_eq!(
        offers(&mut target()),
        "InitialR2T=No;MaxRecvDataSegmentLength=262144;MaxBurstLength=1048576;FirstBurstLength=262144;\
         MaxOutstandingR2T=8;"
    );
    let mut target = target();
    exchange(&mut target, "InitialR2T=Yes;MaxBurstLength=512;FirstBurstLength=512;MaxOutstandingR2T=1")
        .unwrap();
    assert_eq!(offers(&mut target), "MaxRecvDataSegmentLength=262144;");
    assert_eq!(offers(&mut target), "");
}

#[test]
fn digest_is_offered_if_crc32c_is_preferred() {
    let preferences = Preferences {
        header_digest: DigestChoice::PreferCrc32c,
        data_digest: DigestChoice::Crc32c,
        ..Default::default()
    };
    let mut initiator = Negotiation::new(Role::Initiator, preferences);
    assert_eq!(
        offers(&mut initiator),
        "HeaderDigest=CRC32C,None;DataDigest=CRC32C;MaxRecvDataSegmentLength=8192;"
    );
    assert_eq!(exchange(&mut initiator, "HeaderDigest=None;DataDigest=CRC32C"), Ok(String::new()));
    let connection = initiator.connection();
    assert!(!connection.header_digest && connection.data_digest && initiator.pending().is_empty());
}

#[test]
fn digest_choice_determines_the_answer() {
    let cases = [
        (DigestChoice::None, "CRC32C", "Reject"),
        (DigestChoice::None, "CRC32C,None", "None"),
        (DigestChoice::Crc32c, "None", "Reject"),
        (DigestChoice::Crc32c, "None,CRC32C", "CRC32C"),
        (DigestChoice::PreferNone, "CRC32C,None", "CRC32C"),
        (DigestChoice::PreferCrc32c, "None,CRC32C", "None"),
    ];
    for (choice, offer, answer) in cases {
        let preferences = Preferences { header_digest: choice, ..Default::default() };
        let mut target = Negotiation::new(Role::Target, preferences);
        let text = exchange(&mut target, &format!("HeaderDigest={offer}"));
        assert_eq!(text, Ok(format!("HeaderDigest={answer};")), "{choice:?} {offer}");
        assert_eq!(target.connection().header_digest, answer == "CRC32C");
    }
}

#[test]
fn answer_must_be_permitted_by_the_offer() {
    let cases = [
        (Key::MaxBurstLength, "1048577", false),
        (Key::MaxBurstLength, "1048576", true),
        (Key::MaxBurstLength, "512", true),
        (Key::MaxBurstLength, "0", false),
        (Key::DefaultTime2Wait, "1", false),
        (Key::DefaultTime2Wait, "3", true),
        (Key::InitialR2t, "Yes", true),
        (Key::ImmediateData, "No", true),
        (Key::DataPduInOrder, "No", false),
        (Key::HeaderDigest, "CRC32C", true),
        (Key::HeaderDigest, "CRC32C,None", false),
        (Key::TaskReporting, "FastAbort", false),
        (Key::TaskReporting, "RFC3720", true),
        (Key::ErrorRecoveryLevel, "1", false),
        (Key::InitialR2t, "?", false),
    ];
    for (key, value, legal) in cases {
        let mut initiator = Negotiation::new(Role::Initiator, preferences());
        let mut out = TextBuilder::new();
        assert!(initiator.offer(key, &mut out), "{key}");
        let expected = if legal { Ok(Event::Settled(key)) } else { Err(NegotiationError::BadAnswer(key)) };
        assert_eq!(initiator.receive(key.name(), value, &mut TextBuilder::new()), expected, "{key}={value}");
    }
}

#[test]
fn refused_offer_keeps_the_previous_value() {
    for (answer, event) in [
        ("Reject", Event::Refused(Key::MaxBurstLength)),
        ("Irrelevant", Event::Settled(Key::MaxBurstLength)),
        ("NotUnderstood", Event::Settled(Key::MaxBurstLength)),
    ] {
        let mut initiator = Negotiation::new(Role::Initiator, preferences());
        let mut out = TextBuilder::new();
        initiator.offer(Key::MaxBurstLength, &mut out);
        assert!(initiator.pending().contains(Key::MaxBurstLength));
        assert_eq!(initiator.receive("MaxBurstLength", answer, &mut out), Ok(event));
        assert_eq!(initiator.session(), SessionParams::default());
    }
}

#[test]
fn keys_without_a_preference_are_not_offered() {
    let mut out = TextBuilder::new();
    for key in [Key::AuthMethod, Key::InitiatorName, Key::SendTargets, Key::IfMarker] {
        assert!(!target().offer(key, &mut out), "{key}");
    }
    assert!(out.is_empty());
}

/// Preferences within the bounds of the keys.
fn any_preferences() -> impl Strategy<Value = Preferences> {
    let choice = prop::sample::select(vec![
        DigestChoice::None,
        DigestChoice::Crc32c,
        DigestChoice::PreferNone,
        DigestChoice::PreferCrc32c,
    ]);
    let numbers = prop::collection::vec(any::<u32>(), KEYS.len());
    (numbers, choice.clone(), choice, LENGTH_MIN..=LENGTH_MAX).prop_map(|(numbers, header, data, limit)| {
        let mut session = SessionParams::default();
        for (row, number) in KEYS.iter().zip(numbers) {
            match row.rule {
                Rule::Boolean { set, .. } => set(&mut session, number % 2 == 0),
                Rule::Number { min, max, set, .. } => set(&mut session, min + number % (max - min + 1)),
                _ => {}
            }
        }
        Preferences { session, max_recv_data_segment_len: limit, header_digest: header, data_digest: data }
    })
}

proptest! {
    /// With any preferences both sides end with the same parameters, unless one refuses a digest.
    #[test]
    fn both_sides_reach_the_same_result(a in any_preferences(), b in any_preferences()) {
        let mut initiator = Negotiation::new(Role::Initiator, a);
        let mut target = Negotiation::new(Role::Target, b);
        let mut text = offers(&mut initiator);
        let mut refused = false;
        for round in 0.. {
            prop_assert!(round < 4, "the negotiation does not end");
            let answer = exchange(&mut target, &text).unwrap();
            let answer = answer + &offers(&mut target);
            text = exchange(&mut initiator, &answer).unwrap();
            refused |= answer.contains("Reject") || text.contains("Reject");
            if text.is_empty() {
                break;
            }
        }
        prop_assert!(initiator.pending().is_empty() && target.pending().is_empty());
        prop_assert!(target.session().first_burst_len <= target.session().max_burst_len);
        prop_assert_eq!(initiator.session(), target.session());
        let (i, t) = (initiator.connection(), target.connection());
        prop_assert_eq!(i.max_recv_data_segment_len, t.max_xmit_data_segment_len);
        prop_assert_eq!(i.max_xmit_data_segment_len, t.max_recv_data_segment_len);
        if !refused {
            prop_assert_eq!(i.digests(), t.digests());
        }
    }

    #[test]
    fn receive_accepts_any_value_without_panic(
        pairs in prop::collection::vec(
            (prop::sample::select(KEYS.iter().map(|row| row.name).collect::<Vec<_>>()), "\\PC{0,12}"), 0..40),
        discovery in any::<bool>(),
    ) {
        let mut target = target();
        if discovery {
            target.set_session_type(SessionType::Discovery);
        }
        let mut out = TextBuilder::new();
        for (key, value) in &pairs {
            let _ = target.receive(key, value, &mut out);
        }
    }
}
