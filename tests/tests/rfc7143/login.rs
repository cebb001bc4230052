//! RFC 7143 6.3, 11.12, 11.13: stages of the login, and refused logins with their status.

use std::time::Duration;

use iscsi_proto::ids::{Cid, Isid, Itt, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::{LoginRequest, LoginResponse, Pdu, set_lengths};
use iscsi_proto::sn::{CmdSn, StatSn};
use target_engine::iscsi::login::{Refusal, TargetQuestion};
use tgt_tests::initiator::{Initiator, Io, LoginOptions};
use tgt_tests::pair::Pair;
use tgt_tests::setup::{Setup, TARGET, each_chunk};

use super::READ;

pub(super) const REQUEST: LoginRequest = LoginRequest {
    next: Some(Stage::FullFeature),
    continues: false,
    stage: Stage::OperationalNegotiation,
    version_max: 0,
    version_min: 0,
    isid: Isid([0x00, 0x02, 0x3d, 0, 0, 1]),
    tsih: Tsih::NEW,
    itt: Itt(0),
    cid: Cid(0),
    cmd_sn: CmdSn(1),
    exp_stat_sn: StatSn(0),
};

fn names() -> String {
    format!("InitiatorName=iqn.2026-01.org.example:host TargetName={TARGET} ")
}

/// Sends a request with keys, each ended by a space, and receives the response.
#[track_caller]
fn say(raw: &mut Initiator, request: LoginRequest, keys: &str) -> (LoginResponse, String) {
    raw.send(request, keys.replace(' ', "\0").as_bytes());
    let (Pdu::LoginResponse(response), data) = raw.recv() else { panic!("a login response") };
    (response, String::from_utf8_lossy(&data).replace('\0', " "))
}

#[test]
fn both_stages_lead_to_the_full_feature_phase() {
    each_chunk(|setup, _| {
        let pair = Pair::new(setup);
        let mut raw = Initiator::raw(&pair);
        let security = LoginRequest {
            stage: Stage::SecurityNegotiation,
            next: Some(Stage::OperationalNegotiation),
            ..REQUEST
        };
        let (response, keys) = say(&mut raw, security, &format!("{}AuthMethod=None ", names()));
        assert_eq!(
            (response.stage, response.next),
            (Stage::SecurityNegotiation, Some(Stage::OperationalNegotiation))
        );
        assert!(keys.contains("AuthMethod=None ") && keys.contains("TargetPortalGroupTag=1 "), "{keys}");
        let request = LoginRequest { exp_stat_sn: response.stat_sn.next(), ..REQUEST };
        let (response, keys) = say(&mut raw, request, "MaxBurstLength=16384 ");
        assert_eq!(response.next, Some(Stage::FullFeature));
        assert!(!response.tsih.is_new() && keys.contains("MaxBurstLength=16384 "), "{keys}");
        assert_eq!(pair.side().session_count(), 1);
        raw.exp_stat_sn = response.stat_sn.next();
        raw.cmd_sn = CmdSn(1);
        let nop = raw.nop();
        raw.send(nop, b"hello");
        assert_eq!(raw.lines(), ["NopIn itt=1 len=5"]);
    });
}

/// A TCP segment may contain the last Login Request and the first command.
#[test]
fn request_received_with_the_last_login_request_is_served() {
    each_chunk(|setup, _| {
        let pair = Pair::new(setup);
        let mut raw = Initiator::raw(&pair);
        let mut bhs = [0; 48];
        REQUEST.encode(&mut bhs);
        let mut bytes = raw.wire_bytes(&bhs, &[], names().replace(' ', "\0").as_bytes());
        let nop = raw.nop();
        nop.encode(&mut bhs);
        bytes.extend_from_slice(&raw.wire_bytes(&bhs, &[], b"abc"));
        raw.send_bytes(&bytes);
        let (Pdu::LoginResponse(response), _) = raw.recv() else { panic!("a login response") };
        assert!(response.status.is_success());
        raw.exp_stat_sn = response.stat_sn.next();
        assert_eq!(raw.lines(), ["NopIn itt=1 len=3"]);
    });
}

#[test]
fn negotiated_parameters_follow_both_sides() {
    let (setup, _) = Setup::sim();
    let mut options = LoginOptions::default();
    options.keys.session.max_burst_len = 1 << 20;
    options.keys.session.first_burst_len = 4096;
    options.keys.session.max_outstanding_r2t = 100;
    options.keys.session.error_recovery_level = 2;
    let session = Initiator::login_as(&Pair::new(setup), &options).session;
    assert_eq!((session.max_burst_len, session.first_burst_len), (262_144, 4096));
    assert_eq!((session.max_outstanding_r2t, session.error_recovery_level), (8, 0));
}

/// RFC 7143 11.13.5: each refusal has its status and closes the connection.
#[test]
fn refused_login_has_its_status() {
    let missing = "InitiatorName=iqn.2026-01.org.example:host ";
    let unknown = format!("{missing}TargetName=iqn.2026-01.org.example:other ");
    let version = LoginRequest { version_min: 1, version_max: 1, ..REQUEST };
    let joining = LoginRequest { tsih: Tsih(77), ..REQUEST };
    #[rustfmt::skip]
    let cases = [
        (REQUEST, unknown.as_str(), LoginStatus::NotFound),
        (REQUEST, missing, LoginStatus::MissingParameter),
        (REQUEST, "TargetName=iqn.2026-01.org.example:disk ", LoginStatus::MissingParameter),
        (version, &names(), LoginStatus::UnsupportedVersion),
        (joining, &names(), LoginStatus::SessionDoesNotExist),
        (REQUEST, &format!("{}SessionType=Other ", names()), LoginStatus::SessionTypeNotSupported),
    ];
    for (request, keys, status) in cases {
        let (setup, _) = Setup::sim();
        let pair = Pair::new(setup);
        let mut raw = Initiator::raw(&pair);
        assert_eq!(say(&mut raw, request, keys).0.status, status, "{keys}");
        assert!(raw.is_closed(), "{keys}");
        pair.assert_clean();
    }
}

#[test]
fn forbidden_login_is_refused_or_redirected() {
    type Refuse = fn(&TargetQuestion) -> Option<Refusal>;
    let forbidden: Refuse = |_| Some(Refusal::because(LoginStatus::AuthorizationFailure, "as the test asks"));
    let moved: Refuse =
        |_| Some(Refusal::redirect(LoginStatus::TargetMovedTemporarily, "192.0.2.9:3260".to_owned()));
    for (refuse, status, address) in [
        (forbidden, LoginStatus::AuthorizationFailure, ""),
        (moved, LoginStatus::TargetMovedTemporarily, "TargetAddress=192.0.2.9:3260 "),
    ] {
        let (setup, _) = Setup::sim();
        let setup = Setup { refuse, ..setup };
        let mut raw = Initiator::raw(&Pair::new(setup));
        let (response, keys) = say(&mut raw, REQUEST, &names());
        assert_eq!(response.status, status);
        assert!(keys.contains(address), "{keys}");
        assert!(raw.is_closed());
    }
}

#[test]
fn login_beyond_its_deadline_is_closed() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let silent = Initiator::raw(&pair);
    let mut slow = Initiator::raw(&pair);
    slow.send_bytes(&[0x43; 20]);
    pair.advance(Duration::from_secs(29));
    assert!(!silent.is_closed() && !slow.is_closed());
    pair.advance(Duration::from_secs(2));
    assert!(silent.is_closed() && slow.is_closed());
}

#[test]
fn login_with_too_much_text_is_closed() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    let mut long = Initiator::raw(&pair);
    let mut bhs = [0; 48];
    REQUEST.encode(&mut bhs);
    set_lengths(&mut bhs, 0, 8193);
    long.send_bytes(&bhs);
    assert!(long.is_closed());
    let mut endless = Initiator::raw(&pair);
    let request = LoginRequest { continues: true, next: None, ..REQUEST };
    for _ in 0..100 {
        if endless.is_closed() {
            break;
        }
        endless.send(request, &[b'x'; 4096]);
    }
    assert!(endless.is_closed());
}

#[test]
fn repeated_logins_leave_nothing() {
    let (setup, _) = Setup::sim();
    let pair = Pair::new(setup);
    for _ in 0..50 {
        let mut session = Initiator::login(&pair);
        session.run(&READ, Io::Read(2048)).good();
        session.hang_up();
        pair.assert_clean();
    }
}
