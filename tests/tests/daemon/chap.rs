//! CHAP: every algorithm, one-way and mutual, for targets and discovery, by libiscsi, QEMU and the test initiator; logins
//! without or with wrong credentials are refused.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use iscsi_proto::chap::{Algorithm, Challenge, Secret};
use iscsi_proto::ids::{Cid, Tsih};
use iscsi_proto::login::{LoginStatus, Stage};
use iscsi_proto::pdu::LoginRequest;

use crate::client::{Client, End, LOCALHOST, LOGIN_REQUEST, next_name};
use crate::harness::{Brand, CONTROL_PORT, DISK, Daemon, fail, run, succeed, target_name, wait_until};

const LEN: u64 = 1 << 20;
const ALICE: &str = "alice's own secret";
const DISKS: &str = "the disk's own secret";

/// Commands for accounts.
impl Daemon {
    fn account(&self, user: &str, secret: &str) {
        self.adm(&["--mode", "account", "--op", "new", "--user", user, "--password", secret]);
    }

    fn bind_account(&self, words: &[&str]) {
        self.adm(&[&["--mode", "account", "--op", "bind"][..], words].concat());
    }

    fn unbind_account(&self, words: &[&str]) {
        self.adm(&[&["--mode", "account", "--op", "unbind"][..], words].concat());
    }

    fn url_as(&self, user: &str, secret: &str, more: &str) -> String {
        format!("iscsi://{user}%{secret}@{}/{}/{DISK}{more}", self.portal, target_name(1))
    }
}

/// A daemon with a disk that requires CHAP as alice or bob.
fn with_accounts(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    daemon.disk(1, LEN);
    for (user, secret) in [("alice", ALICE), ("bob", "bob's other secret"), ("disk", DISKS)] {
        daemon.account(user, secret);
    }
    daemon.bind_account(&["--user", "alice", "--tid", "1"]);
    daemon.bind_account(&["--user", "bob", "--tid", "1"]);
    daemon
}

/// Credentials of a login by the test initiator.
#[derive(Clone)]
struct Credentials<'a> {
    /// InitiatorName; a new one if `None`.
    name: Option<&'a str>,
    offered: &'a str,
    user: &'a str,
    secret: &'a str,
    /// Challenge to the target and the secret that it should prove, for mutual CHAP.
    mutual: Option<(Challenge, &'a str)>,
}

const ONE_WAY: Credentials<'_> =
    Credentials { name: None, offered: "8,7,6,5", user: "alice", secret: ALICE, mutual: None };

fn value<'a>(text: &'a str, key: &str) -> &'a str {
    let pair = |pair: &'a str| pair.split_once('=').filter(|(name, _)| *name == key);
    text.split('\0').find_map(pair).unwrap_or_else(|| panic!("no {key} in {text:?}")).1
}

/// Logs in under a new name up to the target's challenge; returns the chosen algorithm and the challenge.
fn challenged(daemon: &Daemon, offered: &str) -> Result<(Client, Algorithm, Challenge), End> {
    challenged_by(daemon, &next_name(), offered)
}

/// The same under this name.
fn challenged_by(daemon: &Daemon, name: &str, offered: &str) -> Result<(Client, Algorithm, Challenge), End> {
    let mut client = Client::connect(daemon.portal, LOCALHOST, DISK)?;
    let target = target_name(1);
    let text = format!("InitiatorName={name}\0TargetName={target}\0SessionType=Normal\0AuthMethod=CHAP\0");
    let stage = Stage::SecurityNegotiation;
    let (_, text) = client.ask(stage, None, text.as_bytes())?;
    assert_eq!(value(&text, "AuthMethod"), "CHAP");
    let (_, text) = client.ask(stage, None, format!("CHAP_A={offered}\0").as_bytes())?;
    let algorithm =
        value(&text, "CHAP_A").parse().ok().and_then(Algorithm::from_number).expect("a supported algorithm");
    let challenge = Challenge::parse(value(&text, "CHAP_I"), value(&text, "CHAP_C")).expect("a challenge");
    Ok((client, algorithm, challenge))
}

/// A complete login; returns the algorithm used.
fn login(daemon: &Daemon, credentials: &Credentials<'_>) -> Result<(Client, Algorithm), End> {
    let name = credentials.name.map_or_else(next_name, str::to_owned);
    let (mut client, algorithm, challenge) = challenged_by(daemon, &name, credentials.offered)?;
    let response = challenge.chap_r(algorithm, &Secret::new(credentials.secret));
    let mut text = format!("CHAP_N={}\0CHAP_R={response}\0", credentials.user);
    if let Some((challenge, _)) = &credentials.mutual {
        text.push_str(&format!("CHAP_I={}\0CHAP_C={}\0", challenge.chap_i(), challenge.chap_c()));
    }
    let (next, text) =
        client.ask(Stage::SecurityNegotiation, Some(Stage::OperationalNegotiation), text.as_bytes())?;
    assert_eq!(next, Some(Stage::OperationalNegotiation));
    if let Some((challenge, secret)) = &credentials.mutual {
        assert_eq!(value(&text, "CHAP_N"), "disk");
        let result = challenge.verify(algorithm, &Secret::new(*secret), value(&text, "CHAP_R"));
        assert_eq!(result, Ok(()), "the response of the target");
    }
    while client.ask(Stage::OperationalNegotiation, Some(Stage::FullFeature), b"")?.0
        != Some(Stage::FullFeature)
    {}
    Ok((client, algorithm))
}

#[test]
fn initiator_that_has_not_authenticated_learns_of_no_session() {
    let daemon = with_accounts(&[]);
    let name = next_name();
    let (session, _) = login(&daemon, &Credentials { name: Some(&name), ..ONE_WAY }).unwrap();
    let unknown = Tsih(session.tsih.0.wrapping_add(1).max(1));
    let text =
        format!("InitiatorName={name}\0TargetName={}\0SessionType=Normal\0AuthMethod=CHAP\0", target_name(1));
    for (tsih, cid) in [(session.tsih, 0), (session.tsih, 1), (unknown, 0), (unknown, 1)] {
        let request =
            LoginRequest { stage: Stage::SecurityNegotiation, tsih, cid: Cid(cid), ..LOGIN_REQUEST };
        let mut client = Client::connect(daemon.portal, LOCALHOST, DISK).unwrap();
        let (_, answer) = client.ask_by(request, text.as_bytes()).expect("the login goes on");
        assert_eq!((client.tsih, value(&answer, "AuthMethod")), (tsih, "CHAP"), "{tsih:?} {cid}");
    }
}

#[track_caller]
fn assert_refused(daemon: &Daemon, credentials: &Credentials<'_>) {
    assert_refused_with(LoginStatus::AuthenticationFailure, daemon, credentials);
}

#[track_caller]
fn assert_refused_with(expected: LoginStatus, daemon: &Daemon, credentials: &Credentials<'_>) {
    match login(daemon, credentials) {
        Err(End::Refused(status)) if status == expected => {}
        Err(end) => panic!("{end:?}"),
        Ok(_) => panic!("logged in"),
    }
}

fn our_challenge() -> Challenge {
    Challenge::new(7, (0..24).collect()).unwrap()
}

#[test]
fn every_algorithm_verifies_both_sides_and_refuses_wrong_secrets() {
    let daemon = with_accounts(&[]);
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    for algorithm in Algorithm::ALL {
        let offered = algorithm.number().to_string();
        let one_way = Credentials { offered: &offered, ..ONE_WAY };
        let (mut client, used) = login(&daemon, &one_way).unwrap();
        assert_eq!(used, algorithm);
        client.write(0, &[7; 512]).unwrap();
        assert!(
            login(&daemon, &Credentials { user: "bob", secret: "bob's other secret", ..one_way.clone() })
                .is_ok()
        );
        assert!(
            login(&daemon, &Credentials { mutual: Some((our_challenge(), DISKS)), ..one_way.clone() })
                .is_ok()
        );
        let wrong =
            [("alice", "alice's own secreT"), ("bob", ALICE), ("disk", DISKS), ("eve", ALICE), ("alice", "")];
        // Each refusal is delayed.
        thread::scope(|scope| {
            for (user, secret) in wrong {
                let credentials = Credentials { user, secret, ..one_way.clone() };
                scope.spawn(|| assert_refused(&daemon, &{ credentials }));
            }
        });
    }
    let (_client, used) = login(&daemon, &Credentials { offered: "5,6,7,8", ..ONE_WAY }).unwrap();
    assert_eq!(used, Algorithm::Sha3_256);
    assert_refused(&daemon, &Credentials { offered: "4,9", ..ONE_WAY });
}

#[test]
fn chap_algorithms_option_sets_algorithms_and_order() {
    let daemon = with_accounts(&["--chap-algorithms", "sha1,sha256"]);
    assert_eq!(login(&daemon, &ONE_WAY).unwrap().1, Algorithm::Sha1);
    assert_eq!(login(&daemon, &Credentials { offered: "8,7,5", ..ONE_WAY }).unwrap().1, Algorithm::Sha256);
    assert_refused(&daemon, &Credentials { offered: "8,5", ..ONE_WAY });
    let url = daemon.url_as("alice", ALICE, "");
    let text = fail("iscsi-inq", [&url]);
    assert!(text.contains("Authentication failure"), "libiscsi supports MD5 only: {text}");
}

/// Reflection attack: the initiator sends the challenge of one connection back on another, to get its response.
#[test]
fn reflected_challenge_is_refused() {
    let daemon = with_accounts(&[]);
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    let (_waiting, _, challenge) = challenged(&daemon, "5").unwrap();
    assert_refused(&daemon, &Credentials { mutual: Some((challenge, DISKS)), ..ONE_WAY });
    wait_until("the reason is logged", || daemon.log().contains("CHAP_C is a challenge of this target"));
}

#[test]
fn weak_account_settings_are_logged() {
    let daemon = with_accounts(&[]);
    daemon.account("short", "eleven char");
    daemon.account("twin", ALICE);
    daemon.bind_account(&["--user", "twin", "--tid", "1", "--outgoing"]);
    assert_refused(&daemon, &Credentials { mutual: Some((our_challenge(), ALICE)), ..ONE_WAY });
    assert!(login(&daemon, &ONE_WAY).is_ok(), "one-way CHAP succeeds");
    daemon.unbind_account(&["--user", "alice", "--tid", "1"]);
    daemon.adm(&["--mode", "account", "--op", "delete", "--user", "bob"]);
    let log = daemon.whole_log();
    for warning in [
        "account \"short\": its secret is shorter than the 12 bytes",
        "accounts \"alice\" and \"twin\" have the same secret",
        "CHAP_C asks the target for a proof with the same secret",
        "target 1: no incoming account is left",
    ] {
        assert!(log.contains(warning), "{warning}: {log}");
    }
    assert!(!log.contains("\"disk\": its secret"), "{log}");
}

#[test]
fn libiscsi_logs_in_with_one_way_and_mutual_chap() {
    let daemon = with_accounts(&[]);
    succeed("iscsi-inq", [&daemon.url_as("alice", ALICE, "")]);
    succeed("iscsi-inq", [&daemon.url_as("bob", "bob's other secret", "")]);
    for url in [
        daemon.url(1),
        daemon.url_as("alice", "a wrong secret", ""),
        daemon.url_as("bob", ALICE, ""),
        daemon.url_as("eve", ALICE, ""),
        daemon.url_as("alice", ALICE, &format!("?target_user=disk&target_password={DISKS}")),
    ] {
        let text = fail("iscsi-inq", [&url]);
        assert!(text.contains("Authentication failure"), "{url}: {text}");
    }
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    let mutual =
        |secret: &str| daemon.url_as("alice", ALICE, &format!("?target_user=disk&target_password={secret}"));
    succeed("iscsi-inq", [&mutual(DISKS)]);
    let text = fail("iscsi-inq", [&mutual("another secret")]);
    assert!(text.contains("Invalid CHAP_R response from the target"), "{text}");
}

#[test]
fn qemu_logs_in_with_chap() {
    let daemon = with_accounts(&[]);
    let disk = |more: &str| {
        let target = target_name(1);
        format!(
            "driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={},file.target={target},file.lun={DISK}{more}",
            daemon.portal
        )
    };
    let info = |user: &str, secret: &str, more: &str| {
        let secret = format!("secret,id=s,data={secret}");
        let disk = disk(&format!(",file.user={user},file.password-secret=s{more}"));
        run("qemu-img", ["info", "--object", &secret, "--image-opts", &disk])
    };
    let right = info("alice", ALICE, "");
    assert!(right.success && right.text.contains("1 MiB"), "{}", right.text);
    assert!(info("bob", "bob's other secret", ",file.header-digest=crc32c").success);
    for (user, secret) in [("alice", "a wrong secret"), ("eve", ALICE)] {
        let output = info(user, secret, "");
        assert!(!output.success && output.text.contains("Authentication failure"), "{user}: {}", output.text);
    }
    fail("qemu-img", ["info", "--image-opts", &disk("")]);
}

#[test]
fn discovery_requires_chap_if_it_has_accounts() {
    let daemon = with_accounts(&[]);
    daemon.target(2);
    daemon.account("seeker", "the seeker's secret");
    let listed = |url: &str| {
        let output = run("iscsi-ls", [url]);
        [1, 2].map(|tid| output.success && output.text.contains(&target_name(tid)))
    };
    let as_user =
        |user: &str, secret: &str, more: &str| format!("iscsi://{user}%{secret}@{}{more}", daemon.portal);
    let anonymous = format!("iscsi://{}", daemon.portal);
    assert_eq!(listed(&anonymous), [true, true], "accounts of a target do not apply to discovery");
    daemon.bind_account(&["--user", "seeker"]);
    assert_eq!(listed(&anonymous), [false, false]);
    assert_eq!(listed(&as_user("seeker", "the seeker's secret", "")), [true, true]);
    assert_eq!(listed(&as_user("seeker", "a wrong secret", "")), [false, false]);
    assert_eq!(listed(&as_user("alice", ALICE, "")), [false, false], "alice is bound to a target only");

    // An account of a target finds that target and the targets without accounts.
    daemon.bind_account(&["--user", "alice"]);
    assert_eq!(listed(&as_user("alice", ALICE, "")), [true, true]);
    daemon.bind_account(&["--user", "seeker", "--tid", "2"]);
    assert_eq!(listed(&as_user("alice", ALICE, "")), [true, false]);
    assert_eq!(listed(&as_user("seeker", "the seeker's secret", "")), [false, true]);

    let mutual =
        |secret: &str| as_user("alice", ALICE, &format!("?target_user=disk&target_password={secret}"));
    assert_eq!(listed(&mutual(DISKS)), [false, false], "discovery has no outgoing account");
    daemon.bind_account(&["--user", "disk", "--outgoing"]);
    assert_eq!(listed(&mutual(DISKS)), [true, false]);
    assert_eq!(listed(&mutual("another secret")), [false, false]);
}

#[test]
fn account_changes_apply_to_later_logins() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let mut early = Client::login(&daemon, 1, DISK);
    daemon.account("alice", ALICE);
    daemon.bind_account(&["--user", "alice", "--tid", "1"]);
    early.write(0, &[1; 512]).unwrap();
    fail("iscsi-inq", [&daemon.url(1)]);
    let mut result = login(&daemon, &ONE_WAY).unwrap().0;
    let shown = daemon.adm(&["--json", "--mode", "session", "--op", "show"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let users = [0, 1].map(|session| shown["sessions"][session]["user"].as_str());
    assert_eq!(users, [Some("alice"), None], "the newest session is first");
    daemon.adm(&["--mode", "account", "--op", "delete", "--user", "alice"]);
    result.write(0, &[2; 512]).unwrap();
    early.read(0, 1).unwrap();
    succeed("iscsi-inq", [&daemon.url(1)]);
    assert!(login(&daemon, &ONE_WAY).is_err(), "CHAP is not offered any more");
}

#[test]
fn updated_secret_applies_to_later_logins() {
    let daemon = with_accounts(&[]);
    let mut session = login(&daemon, &ONE_WAY).unwrap().0;
    let new = "alice's newest secret";
    let update = |user: &str, secret: &str| {
        daemon.adm(&["--mode", "account", "--op", "update", "--user", user, "--password", secret]);
    };
    update("alice", new);
    session.write(0, &[1; 512]).expect("the session continues");
    assert_refused(&daemon, &ONE_WAY);
    assert!(login(&daemon, &Credentials { secret: new, ..ONE_WAY }).is_ok());
    let bob = Credentials { user: "bob", secret: "bob's other secret", ..ONE_WAY };
    assert!(login(&daemon, &bob).is_ok(), "the other account is unchanged");

    // The secret of the target.
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    update("disk", "the disk's newest secret");
    let mutual = Some((our_challenge(), "the disk's newest secret"));
    assert!(login(&daemon, &Credentials { secret: new, mutual, ..ONE_WAY }).is_ok());

    update("disk", new);
    update("bob", "eleven char");
    let log = daemon.whole_log();
    for warning in [
        "target 1: accounts \"alice\" and \"disk\" have the same secret",
        "account \"bob\": its secret is shorter than the 12 bytes",
    ] {
        assert!(log.contains(warning), "{warning}: {log}");
    }
}

/// CHAP proves an account, not the name of the initiator.
#[test]
fn account_cannot_take_the_session_of_another_account() {
    let daemon = with_accounts(&[]);
    let name = next_name();
    let alice = Credentials { name: Some(&name), ..ONE_WAY };
    let bob = Credentials { user: "bob", secret: "bob's other secret", ..alice.clone() };
    let mut session = login(&daemon, &alice).unwrap().0;
    session.write(0, &[1; 512]).unwrap();
    assert_refused_with(LoginStatus::AuthorizationFailure, &daemon, &bob);
    session.write(0, &[2; 512]).expect("the session goes on");
    let why = "belongs to account \"alice\", which is bound to the target; proven: \"bob\"";
    wait_until("the refusal is logged", || daemon.log().contains(why));
    let mut next = login(&daemon, &alice).expect("alice reinstates her session").0;
    assert_eq!(next.read(0, 1).unwrap(), [2; 512]);
    assert!(session.read(0, 1).is_err(), "the previous one is closed");
}

#[test]
fn accounts_are_exchanged_while_sessions_run() {
    let daemon = with_accounts(&[]);
    daemon.unbind_account(&["--user", "bob", "--tid", "1"]);
    let rotated = AtomicBool::new(false);
    let names: Vec<_> = (0..4).map(|_| next_name()).collect();
    thread::scope(|scope| {
        for (name, block) in names.iter().zip(0..) {
            let (daemon, rotated) = (&daemon, &rotated);
            scope.spawn(move || {
                let alice = Credentials { name: Some(name), ..ONE_WAY };
                let mut session = login(daemon, &alice).unwrap().0;
                let mut written = 0;
                while !rotated.load(Ordering::Acquire) {
                    written += 1;
                    session.write(block, &[written as u8; 512]).expect("the session goes on");
                }
                let bob = Credentials { user: "bob", secret: "bob's other secret", ..alice.clone() };
                let mut next = login(daemon, &bob).expect("the session is reinstated").0;
                assert_eq!(next.read(block, 1).unwrap(), [written as u8; 512]);
                assert!(session.read(block, 1).is_err(), "the previous one is closed");
                assert_refused(daemon, &alice);
            });
        }
        wait_until("all have logged in", || {
            let shown = daemon.adm(&["--json", "--mode", "session", "--op", "show", "--tid", "1"]);
            shown.matches("\"alice\"").count() == names.len()
        });
        daemon.bind_account(&["--user", "bob", "--tid", "1"]);
        daemon.unbind_account(&["--user", "alice", "--tid", "1"]);
        daemon.adm(&["--mode", "account", "--op", "delete", "--user", "alice"]);
        rotated.store(true, Ordering::Release);
    });
}

#[test]
fn show_compares_a_secret_without_returning_it() {
    let daemon = with_accounts(&[]);
    let compare = |user: &str, secret: &str| {
        let words = ["--json", "--mode", "account", "--op", "show", "--user", user, "--password", secret];
        let output = daemon.try_adm(&words);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        (document["same_secret"].as_bool(), document["error"]["number"].as_u64())
    };
    assert_eq!(compare("alice", ALICE), (Some(true), None));
    for other in ["a", &ALICE[1..], &format!("{ALICE}x"), "ALICE'S own secret"] {
        assert_eq!(compare("alice", other), (Some(false), None));
    }
    assert_eq!(compare("nobody", ALICE), (None, Some(15)));
    assert!(!daemon.whole_log().contains(ALICE));
}

#[test]
fn debug_log_has_no_secret_and_no_response() {
    let daemon = with_accounts(&["--debug", "1"]);
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    let (mut client, algorithm, challenge) = challenged(&daemon, "7").unwrap();
    let response = challenge.chap_r(algorithm, &Secret::new("a wrong secret"));
    let text = format!("CHAP_N=alice\0CHAP_R={response}\0");
    assert!(client.ask(Stage::SecurityNegotiation, Some(Stage::FullFeature), text.as_bytes()).is_err());
    login(&daemon, &Credentials { mutual: Some((our_challenge(), DISKS)), ..ONE_WAY }).unwrap();
    fail("iscsi-inq", [&daemon.url_as("alice", "a wrong secret", "")]);
    let has = |text: &str| daemon.log().to_lowercase().contains(&text.to_lowercase());
    wait_until("the logins are logged", || {
        has("logged in from 127.0.0.1 as \"alice\"") && has("wrong name or secret")
    });
    let log = daemon.whole_log().to_lowercase();
    for secret in
        [ALICE, DISKS, "bob's other secret", "a wrong secret", &response[2..], &challenge.chap_c()[2..]]
    {
        assert!(!log.contains(&secret.to_lowercase()), "{secret}: {log}");
    }
}

#[test]
fn repeated_login_failures_are_rate_limited_in_the_log() {
    let daemon = with_accounts(&[]);
    let attempts = 100;
    thread::scope(|scope| {
        for _ in 0..attempts {
            scope.spawn(|| assert_refused(&daemon, &Credentials { secret: "guess", ..ONE_WAY }));
        }
        // Refusals that wait delay no login.
        assert!(login(&daemon, &ONE_WAY).is_ok());
    });
    let stat = daemon.adm(&["--json", "--mode", "system", "--op", "stat"]);
    let stat: serde_json::Value = serde_json::from_str(&stat).unwrap();
    let counted = &stat["login_counters"]["failed_proofs_by_address"][0];
    assert_eq!((&counted["address"], &counted["count"]), (&"127.0.0.1".into(), &attempts.into()));
    let lines = daemon.whole_log().lines().filter(|line| line.contains("wrong name or secret")).count();
    assert!((1..attempts / 2).contains(&lines), "{lines} lines for {attempts} attempts");
}

/// tgt accepts it; then everyone who knows the name can log in.
#[test]
fn empty_secret_is_refused_by_daemon_and_tool() {
    let daemon = with_accounts(&[]);
    for (brand, op, user, sentence) in [
        (Brand::Tgt, "new", "eve", "tgtadm: invalid request"),
        (Brand::Ours, "new", "eve", "tgtadm: --password is empty"),
        (Brand::Ours, "update", "alice", "tgtadm: --password is empty"),
    ] {
        let mut tool = daemon.command(brand.program("tgtadm"));
        tool.args(["-C", CONTROL_PORT, "--mode", "account", "--op", op, "--user", user, "--password", ""]);
        let output = tool.output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(22), "{op} {brand:?}: {output:?}");
        assert!(stderr.contains(sentence), "{op} {brand:?}: {stderr}");
    }
    assert!(!daemon.adm(&["--mode", "account", "--op", "show"]).contains("eve"));
    succeed("iscsi-inq", [&daemon.url_as("alice", ALICE, "")]);
}
