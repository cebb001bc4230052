//! Proofs: with every algorithm, one way and both ways, for targets and for discovery, by libiscsi, by qemu and by an
//! initiator of ours; and everybody who has none, or a wrong one, is refused.

use iscsi_proto::chap::{Algorithm, Challenge, Secret};
use iscsi_proto::login::{LoginStatus, Stage};

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{Brand, DISK, Daemon, fail, run, succeed, target_name, wait_until};

const LEN: u64 = 1 << 20;
const ALICE: &str = "alice's own secret";
const DISKS: &str = "the disk's own secret";

/// Accounts and what they are bound to.
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

/// A daemon with a disk for which alice, bob or nobody else must prove who they are.
fn guarded(options: &[&str]) -> Daemon {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, options);
    daemon.disk(1, LEN);
    for (user, secret) in [("alice", ALICE), ("bob", "bob's other secret"), ("disk", DISKS)] {
        daemon.account(user, secret);
    }
    daemon.bind_account(&["--user", "alice", "--tid", "1"]);
    daemon.bind_account(&["--user", "bob", "--tid", "1"]);
    daemon
}

/// What an initiator of ours says of itself and asks of the target.
#[derive(Clone)]
struct Proof<'a> {
    offered: &'a str,
    user: &'a str,
    secret: &'a str,
    /// Asks the target to prove itself, and what it should know.
    targets: Option<(Challenge, &'a str)>,
}

const ONE_WAY: Proof<'_> = Proof { offered: "8,7,6,5", user: "alice", secret: ALICE, targets: None };

fn value<'a>(said: &'a str, key: &str) -> &'a str {
    let pair = |pair: &'a str| pair.split_once('=').filter(|(name, _)| *name == key);
    said.split('\0').find_map(pair).unwrap_or_else(|| panic!("no {key} in {said:?}")).1
}

/// Up to the target's challenge, and the algorithm it chose.
fn challenged(daemon: &Daemon, offered: &str) -> Result<(Client, Algorithm, Challenge), End> {
    let mut client = Client::connect(daemon.portal, LOCALHOST, DISK)?;
    let (name, target) = (next_name(), target_name(1));
    let text = format!("InitiatorName={name}\0TargetName={target}\0SessionType=Normal\0AuthMethod=CHAP\0");
    let stage = Stage::SecurityNegotiation;
    let (_, said) = client.ask(stage, None, text.as_bytes())?;
    assert_eq!(value(&said, "AuthMethod"), "CHAP");
    let (_, said) = client.ask(stage, None, format!("CHAP_A={offered}\0").as_bytes())?;
    let algorithm =
        value(&said, "CHAP_A").parse().ok().and_then(Algorithm::from_number).expect("one of ours");
    let challenge = Challenge::parse(value(&said, "CHAP_I"), value(&said, "CHAP_C")).expect("a challenge");
    Ok((client, algorithm, challenge))
}

/// A whole login; the algorithm that was used.
fn login(daemon: &Daemon, proof: &Proof<'_>) -> Result<(Client, Algorithm), End> {
    let (mut client, algorithm, asked) = challenged(daemon, proof.offered)?;
    let response = asked.chap_r(algorithm, &Secret::new(proof.secret));
    let mut text = format!("CHAP_N={}\0CHAP_R={response}\0", proof.user);
    if let Some((challenge, _)) = &proof.targets {
        text.push_str(&format!("CHAP_I={}\0CHAP_C={}\0", challenge.chap_i(), challenge.chap_c()));
    }
    let (next, said) =
        client.ask(Stage::SecurityNegotiation, Some(Stage::OperationalNegotiation), text.as_bytes())?;
    assert_eq!(next, Some(Stage::OperationalNegotiation));
    if let Some((challenge, secret)) = &proof.targets {
        assert_eq!(value(&said, "CHAP_N"), "disk");
        let proven = challenge.verify(algorithm, &Secret::new(*secret), value(&said, "CHAP_R"));
        assert_eq!(proven, Ok(()), "the target proves itself");
    }
    while client.ask(Stage::OperationalNegotiation, Some(Stage::FullFeature), b"")?.0
        != Some(Stage::FullFeature)
    {}
    Ok((client, algorithm))
}

#[track_caller]
fn assert_refused(daemon: &Daemon, proof: &Proof<'_>) {
    match login(daemon, proof) {
        Err(End::Refused(LoginStatus::AuthenticationFailure)) => {}
        Err(end) => panic!("{end:?}"),
        Ok(_) => panic!("logged in"),
    }
}

fn our_challenge() -> Challenge {
    Challenge::new(7, (0..24).collect()).unwrap()
}

#[test]
fn every_algorithm_proves_both_sides_and_no_wrong_secret() {
    let daemon = guarded(&[]);
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    for algorithm in Algorithm::ALL {
        let offered = algorithm.number().to_string();
        let one_way = Proof { offered: &offered, ..ONE_WAY };
        let (mut client, used) = login(&daemon, &one_way).unwrap();
        assert_eq!(used, algorithm);
        client.write(0, &[7; 512]).unwrap();
        assert!(
            login(&daemon, &Proof { user: "bob", secret: "bob's other secret", ..one_way.clone() }).is_ok()
        );
        assert!(
            login(&daemon, &Proof { targets: Some((our_challenge(), DISKS)), ..one_way.clone() }).is_ok()
        );
        for (user, secret) in
            [("alice", "alice's own secreT"), ("bob", ALICE), ("disk", DISKS), ("eve", ALICE), ("alice", "")]
        {
            assert_refused(&daemon, &Proof { user, secret, ..one_way.clone() });
        }
    }
    let (_client, used) = login(&daemon, &Proof { offered: "5,6,7,8", ..ONE_WAY }).unwrap();
    assert_eq!(used, Algorithm::Sha3_256);
    assert_refused(&daemon, &Proof { offered: "4,9", ..ONE_WAY });
}

#[test]
fn only_the_algorithms_that_the_daemon_was_given_are_used_in_its_order() {
    let daemon = guarded(&["--chap-algorithms", "sha1,sha256"]);
    assert_eq!(login(&daemon, &ONE_WAY).unwrap().1, Algorithm::Sha1);
    assert_eq!(login(&daemon, &Proof { offered: "8,7,5", ..ONE_WAY }).unwrap().1, Algorithm::Sha256);
    assert_refused(&daemon, &Proof { offered: "8,5", ..ONE_WAY });
    let url = daemon.url_as("alice", ALICE, "");
    let said = fail("iscsi-inq", [&url]);
    assert!(said.contains("Authentication failure"), "libiscsi knows MD5 only: {said}");
}

/// Who has nothing but two connections lets the daemon make the proof that it wants of him.
#[test]
fn a_challenge_sent_back_on_another_connection_proves_nothing() {
    let daemon = guarded(&[]);
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    let (_waiting, _, asked) = challenged(&daemon, "5").unwrap();
    assert_refused(&daemon, &Proof { targets: Some((asked, DISKS)), ..ONE_WAY });
    wait_until("the log says why", || daemon.log().contains("CHAP_C is a challenge of this target"));
}

#[test]
fn what_is_unwise_about_accounts_is_logged() {
    let daemon = guarded(&[]);
    daemon.account("short", "eleven char");
    daemon.account("twin", ALICE);
    daemon.bind_account(&["--user", "twin", "--tid", "1", "--outgoing"]);
    assert_refused(&daemon, &Proof { targets: Some((our_challenge(), ALICE)), ..ONE_WAY });
    assert!(login(&daemon, &ONE_WAY).is_ok(), "who asks for no proof of the target's is let in");
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
fn libiscsi_proves_itself_and_has_the_target_prove_itself() {
    let daemon = guarded(&[]);
    succeed("iscsi-inq", [&daemon.url_as("alice", ALICE, "")]);
    succeed("iscsi-inq", [&daemon.url_as("bob", "bob's other secret", "")]);
    for url in [
        daemon.url(1),
        daemon.url_as("alice", "a wrong secret", ""),
        daemon.url_as("bob", ALICE, ""),
        daemon.url_as("eve", ALICE, ""),
        daemon.url_as("alice", ALICE, &format!("?target_user=disk&target_password={DISKS}")),
    ] {
        let said = fail("iscsi-inq", [&url]);
        assert!(said.contains("Authentication failure"), "{url}: {said}");
    }
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    let mutual =
        |secret: &str| daemon.url_as("alice", ALICE, &format!("?target_user=disk&target_password={secret}"));
    succeed("iscsi-inq", [&mutual(DISKS)]);
    let said = fail("iscsi-inq", [&mutual("not what it knows")]);
    assert!(said.contains("Invalid CHAP_R response from the target"), "{said}");
}

#[test]
fn qemu_proves_itself() {
    let daemon = guarded(&[]);
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
    assert!(right.well && right.text.contains("1 MiB"), "{}", right.text);
    assert!(info("bob", "bob's other secret", ",file.header-digest=crc32c").well);
    for (user, secret) in [("alice", "a wrong secret"), ("eve", ALICE)] {
        let said = info(user, secret, "");
        assert!(!said.well && said.text.contains("Authentication failure"), "{user}: {}", said.text);
    }
    fail("qemu-img", ["info", "--image-opts", &disk("")]);
}

#[test]
fn discovery_asks_for_a_proof_where_it_has_accounts() {
    let daemon = guarded(&[]);
    daemon.target(2);
    daemon.account("seeker", "the seeker's secret");
    let listed = |url: &str| {
        let said = run("iscsi-ls", [url]);
        [1, 2].map(|tid| said.well && said.text.contains(&target_name(tid)))
    };
    let as_user =
        |user: &str, secret: &str, more: &str| format!("iscsi://{user}%{secret}@{}{more}", daemon.portal);
    let nobody = format!("iscsi://{}", daemon.portal);
    assert_eq!(listed(&nobody), [true, true], "a target's accounts are not discovery's");
    daemon.bind_account(&["--user", "seeker"]);
    assert_eq!(listed(&nobody), [false, false]);
    assert_eq!(listed(&as_user("seeker", "the seeker's secret", "")), [true, true]);
    assert_eq!(listed(&as_user("seeker", "a wrong secret", "")), [false, false]);
    assert_eq!(listed(&as_user("alice", ALICE, "")), [false, false], "she is bound to a target only");

    // A target's own account finds that target and those that want none.
    daemon.bind_account(&["--user", "alice"]);
    assert_eq!(listed(&as_user("alice", ALICE, "")), [true, true]);
    daemon.bind_account(&["--user", "seeker", "--tid", "2"]);
    assert_eq!(listed(&as_user("alice", ALICE, "")), [true, false]);
    assert_eq!(listed(&as_user("seeker", "the seeker's secret", "")), [false, true]);

    let mutual =
        |secret: &str| as_user("alice", ALICE, &format!("?target_user=disk&target_password={secret}"));
    assert_eq!(listed(&mutual(DISKS)), [false, false], "discovery has nothing to prove itself with");
    daemon.bind_account(&["--user", "disk", "--outgoing"]);
    assert_eq!(listed(&mutual(DISKS)), [true, false]);
    assert_eq!(listed(&mutual("not what it knows")), [false, false]);
}

#[test]
fn accounts_count_from_the_next_login_on() {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let mut early = Client::login(&daemon, 1, DISK);
    daemon.account("alice", ALICE);
    daemon.bind_account(&["--user", "alice", "--tid", "1"]);
    early.write(0, &[1; 512]).unwrap();
    fail("iscsi-inq", [&daemon.url(1)]);
    let mut proven = login(&daemon, &ONE_WAY).unwrap().0;
    let shown = daemon.adm(&["--json", "--mode", "session", "--op", "show"]);
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let users = [0, 1].map(|session| shown["sessions"][session]["user"].as_str());
    assert_eq!(users, [Some("alice"), None], "the newest first");
    daemon.adm(&["--mode", "account", "--op", "delete", "--user", "alice"]);
    proven.write(0, &[2; 512]).unwrap();
    early.read(0, 1).unwrap();
    succeed("iscsi-inq", [&daemon.url(1)]);
    assert!(login(&daemon, &ONE_WAY).is_err(), "there is nothing to prove any more");
}

#[test]
fn updated_secret_counts_from_the_next_login_on() {
    let daemon = guarded(&[]);
    let mut proven = login(&daemon, &ONE_WAY).unwrap().0;
    let new = "alice's newest secret";
    let update = |user: &str, secret: &str| {
        daemon.adm(&["--mode", "account", "--op", "update", "--user", user, "--password", secret]);
    };
    update("alice", new);
    proven.write(0, &[1; 512]).expect("the session goes on");
    assert_refused(&daemon, &ONE_WAY);
    assert!(login(&daemon, &Proof { secret: new, ..ONE_WAY }).is_ok());
    let bob = Proof { user: "bob", secret: "bob's other secret", ..ONE_WAY };
    assert!(login(&daemon, &bob).is_ok(), "the other account is as it was");

    // The target's own.
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    update("disk", "the disk's newest secret");
    let targets = Some((our_challenge(), "the disk's newest secret"));
    assert!(login(&daemon, &Proof { secret: new, targets, ..ONE_WAY }).is_ok());

    update("disk", new);
    update("bob", "eleven char");
    let log = daemon.log();
    for warning in [
        "target 1: accounts \"alice\" and \"disk\" have the same secret",
        "account \"bob\": its secret is shorter than the 12 bytes",
    ] {
        assert!(log.contains(warning), "{warning}: {log}");
    }
}

#[test]
fn secret_is_compared_without_being_told() {
    let daemon = guarded(&[]);
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
    assert!(!daemon.log().contains(ALICE));
}

#[test]
fn no_secret_and_no_proof_is_logged_however_much_is() {
    let daemon = guarded(&["--debug", "1"]);
    daemon.bind_account(&["--user", "disk", "--tid", "1", "--outgoing"]);
    let (mut client, algorithm, asked) = challenged(&daemon, "7").unwrap();
    let response = asked.chap_r(algorithm, &Secret::new("a wrong secret"));
    let text = format!("CHAP_N=alice\0CHAP_R={response}\0");
    assert!(client.ask(Stage::SecurityNegotiation, Some(Stage::FullFeature), text.as_bytes()).is_err());
    login(&daemon, &Proof { targets: Some((our_challenge(), DISKS)), ..ONE_WAY }).unwrap();
    fail("iscsi-inq", [&daemon.url_as("alice", "a wrong secret", "")]);
    let has = |text: &str| daemon.log().to_lowercase().contains(&text.to_lowercase());
    wait_until("the log tells of the logins", || {
        has("logged in from 127.0.0.1 as \"alice\"") && has("wrong name or secret")
    });
    let log = daemon.whole_log().to_lowercase();
    for secret in [ALICE, DISKS, "bob's other secret", "a wrong secret", &response[2..], &asked.chap_c()[2..]]
    {
        assert!(!log.contains(&secret.to_lowercase()), "{secret}: {log}");
    }
}

#[test]
fn a_peer_that_fails_again_and_again_fills_no_log() {
    let daemon = guarded(&[]);
    let attempts = 300;
    for _ in 0..attempts {
        assert_refused(&daemon, &Proof { secret: "guess", ..ONE_WAY });
    }
    let lines = daemon.whole_log().lines().filter(|line| line.contains("wrong name or secret")).count();
    assert!((1..attempts / 2).contains(&lines), "{lines} lines for {attempts} attempts");
}
