//! Logins that repeat declarations succeed. Each refused login has its status and a log line with peer, initiator,
//! target, key and reason.

use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::LoginRequest;

use crate::client::{Client, End, LOCALHOST, LOGIN_REQUEST, next_name};
use crate::harness::{Brand, DISK, Daemon, succeed, target_name, wait_until};

const LEN: u64 = 1 << 20;
const HOST: &str = "iqn.2026-01.org.example:refused";

/// libiscsi and QEMU offer CHAP and None, and repeat their names when the target chooses None.
#[test]
fn initiators_with_credentials_use_a_target_without_accounts() {
    for brand in [Brand::Tgt, Brand::Ours] {
        let daemon = Daemon::start_as(brand, Brand::Tgt, &[]);
        daemon.disk(1, LEN);
        let (portal, target) = (daemon.portal, target_name(1));
        let disk = format!("iscsi://alice%her-own-secret@{portal}/{target}/{DISK}");
        assert!(succeed("iscsi-inq", [&disk]).contains("DIRECT_ACCESS"));
        assert!(succeed("qemu-img", ["info", &disk]).contains("virtual size: 1 MiB"));
        let all = format!("iscsi://alice%her-own-secret@{portal}");
        assert!(succeed("iscsi-ls", ["-s", &all]).contains("DIRECT_ACCESS"));
    }
}

/// A refused login, its status, and its log line after the peer's address.
struct Case {
    request: LoginRequest,
    text: String,
    status: LoginStatus,
    line: String,
}

fn names() -> String {
    format!("InitiatorName={HOST}\0TargetName={}\0SessionType=Normal\0", target_name(1))
}

fn case(text: impl Into<String>, status: LoginStatus, line: &str) -> Case {
    let request = LoginRequest {
        stage: Stage::OperationalNegotiation,
        next: Some(Stage::FullFeature),
        ..LOGIN_REQUEST
    };
    Case { request, text: text.into(), status, line: format!("login refused: {status} ({line})") }
}

impl Case {
    /// With the fields of `request`.
    fn with(self, request: LoginRequest) -> Self {
        Self { request: LoginRequest { next: self.request.next, ..request }, ..self }
    }

    /// The line starts with both names.
    fn named(self) -> Self {
        self.after(&format!("{HOST} to {}: ", target_name(1)))
    }

    /// The line starts with `names`.
    fn after(self, names: &str) -> Self {
        Self { line: format!("{names}{}", self.line), ..self }
    }

    fn is_refused_by(&self, daemon: &Daemon) {
        let mut client = Client::connect(daemon.portal, LOCALHOST, DISK).unwrap();
        let mut end = client.ask_by(self.request, self.text.as_bytes());
        if self.status == LoginStatus::InvalidDuringLogin && end.is_ok() {
            client.send_bytes(&[0x04]);
            end = client.receive_login();
        }
        match end {
            Err(End::Refused(status)) => assert_eq!(status, self.status, "{}", self.line),
            other => panic!("{other:?}: {}", self.line),
        }
        let line = format!("{}: {}", client.local(), self.line);
        wait_until(&line, || daemon.log().contains(&line));
    }
}

/// The cases that need no change of the daemon.
fn cases(joining: Tsih) -> Vec<Case> {
    use LoginStatus::{
        CannotIncludeInSession, InitiatorError, InvalidDuringLogin, MissingParameter, NotFound,
        SessionDoesNotExist, SessionTypeNotSupported, TooManyConnections, UnsupportedVersion,
    };
    let operational = LoginRequest { stage: Stage::OperationalNegotiation, ..LOGIN_REQUEST };
    let last = LoginRequest { next: Some(Stage::FullFeature), ..operational };
    let (name, target) = (names(), target_name(1));
    let unknown = name.replace("target1", "none");
    let discovery = format!("InitiatorName={HOST}\0SessionType=Discovery\0");
    vec![
        case(
            format!("{name}TargetName=iqn.x:y\0"),
            InitiatorError,
            "TargetName came more than once: TargetName=iqn.x:y",
        )
        .named(),
        case(
            format!("{name}InitialR2T=No\0InitialR2T=No\0"),
            InitiatorError,
            "InitialR2T came more than once: InitialR2T=No",
        )
        .named(),
        case("A=1\0no pair", InitiatorError, r#"not a key=value pair: "no pair" at byte 4 of the text"#),
        case(&name, UnsupportedVersion, "VersionMin 3: expected 0").with(LoginRequest {
            version_min: 3,
            version_max: 3,
            ..operational
        }),
        case(format!("TargetName={target}\0"), MissingParameter, "InitiatorName is missing")
            .after(&format!("to {target}: ")),
        case(format!("InitiatorName={HOST}\0"), MissingParameter, "TargetName is missing")
            .after(&format!("{HOST}: ")),
        case(unknown, NotFound, "there is no such target")
            .after(&format!("{HOST} to iqn.2026-01.org.example:none: ")),
        case(discovery, CannotIncludeInSession, "TSIH 7: a discovery session has one connection")
            .with(LoginRequest { tsih: Tsih(7), ..operational })
            .after(&format!("{HOST} to discovery: ")),
        case(
            format!("{name}SessionType=Odd\0").replace("SessionType=Normal\0", ""),
            SessionTypeNotSupported,
            "SessionType=Odd: expected Normal or Discovery",
        )
        .named(),
        case(&name, SessionDoesNotExist, "TSIH: the initiator port has no such session")
            .with(LoginRequest { tsih: Tsih(joining.0.wrapping_add(1)), ..last })
            .named(),
        case(&name, TooManyConnections, "the session has MaxConnections connections")
            .with(LoginRequest { tsih: joining, cid: Cid(1), ..last })
            .named(),
        Case {
            request: LOGIN_REQUEST,
            ..case(&name, InvalidDuringLogin, "opcode 0x04 during login").named()
        },
    ]
}

#[test]
fn every_refusal_is_logged_with_names_key_and_reason() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let session = Client::login_by(&daemon, HOST, 1, DISK);
    for case in cases(session.tsih) {
        case.is_refused_by(&daemon);
    }
    let set = |name: &str, value: &str| {
        daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", name, "-v", value]);
    };
    set("state", "offline");
    case(names(), LoginStatus::TargetError, "the target is offline").named().is_refused_by(&daemon);
    set("state", "ready");
    daemon.adm(&["--mode", "target", "--op", "unbind", "--tid", "1", "-I", "ALL"]);
    case(names(), LoginStatus::NotFound, "no rule of access lets it in").named().is_refused_by(&daemon);
    daemon.adm(&["--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"]);
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "a", "--password", "twelve bytes and more"]);
    daemon.adm(&["--mode", "account", "--op", "bind", "--tid", "1", "--user", "a"]);
    let proof = "AuthMethod: the security stage is skipped, and a proof is required";
    case(names(), LoginStatus::AuthenticationFailure, proof).named().is_refused_by(&daemon);
    set("RedirectCallback", "/bin/false");
    let text = "redirect command";
    let mut refused = case(names(), LoginStatus::TargetError, text).named();
    refused.line = refused.line.trim_end_matches(')').to_owned();
    refused.is_refused_by(&daemon);
}

/// The target admits the initiator and is deleted before the login ends.
#[test]
fn login_to_a_target_that_is_deleted_meanwhile_is_refused_and_logged() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let mut client = Client::connect(daemon.portal, LOCALHOST, DISK).unwrap();
    let name = next_name();
    let text = format!("InitiatorName={name}\0TargetName={}\0AuthMethod=None\0", target_name(1));
    client.ask(Stage::SecurityNegotiation, Some(Stage::OperationalNegotiation), text.as_bytes()).unwrap();
    daemon.adm(&["--mode", "target", "--op", "delete", "--force", "--tid", "1"]);
    let end = client.ask(Stage::OperationalNegotiation, Some(Stage::FullFeature), b"");
    assert!(matches!(end, Err(End::Refused(LoginStatus::TargetRemoved))), "{end:?}");
    let line = format!(
        "{}: {name} to {}: login refused: target removed (the target was deleted during the login)",
        client.local(),
        target_name(1)
    );
    wait_until(&line, || daemon.log().contains(&line));
}

#[test]
fn redirected_login_is_logged_for_debugging() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--debug", "1"]);
    daemon.disk(1, LEN);
    for (name, value) in
        [("RedirectAddress", "192.0.2.7"), ("RedirectPort", "3261"), ("RedirectReason", "Temporary")]
    {
        daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", name, "-v", value]);
    }
    case(names(), LoginStatus::TargetMovedTemporarily, "the login continues at 192.0.2.7:3261")
        .named()
        .is_refused_by(&daemon);
}
