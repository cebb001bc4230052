//! Changed CHAP secrets in the configuration: our daemon replaces them in place; for tgt's daemon, `tgt-admin` creates
//! the account again while its targets are offline.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use target_engine::control::wire::{Mode, Op, Record, RecordReader, encode_reply};

use crate::client::Client;
use crate::harness::{Brand, CONTROL_PORT, DISK, Daemon, run, target_name};
use crate::targets_conf::{ends, ends_at, shown, with_files};

const OLD: &str = "the-old-secret";
const NEW: &str = "the-new-secret";

/// Two targets and discovery have the account alice, among others; the first target has an outgoing account.
fn conf() -> String {
    format!(
        "incomingdiscoveryuser alice {OLD}\noutgoingdiscoveryuser disk the-disks-secret\n\
         <target {}>\nincominguser first first-secret-12\nincominguser alice {OLD}\n\
         incominguser bob secret-of-bob-12\noutgoinguser disk the-disks-secret\n\
         <backing-store @/a.img>\nlun {DISK}\n</backing-store>\n</target>\n\
         <target {}>\nincominguser alice {OLD}\n<backing-store @/b.img>\nlun {DISK}\n</backing-store>\n</target>\n\
         <target {}>\n<backing-store @/c.img>\nlun {DISK}\n</backing-store>\n</target>\n",
        target_name(1),
        target_name(2),
        target_name(3),
    )
}

/// Whether libiscsi logs in with this account, or without credentials.
fn logs_in(daemon: &Daemon, tid: u32, account: Option<(&str, &str)>) -> bool {
    let account = account.map_or(String::new(), |(user, secret)| format!("{user}%{secret}@"));
    let output =
        run("iscsi-inq", [format!("iscsi://{account}{}/{}/{DISK}", daemon.portal, target_name(tid))]);
    output.success
}

fn discovers(daemon: &Daemon, account: Option<(&str, &str)>) -> bool {
    let account = account.map_or(String::new(), |(user, secret)| format!("{user}%{secret}@"));
    let output = run("iscsi-ls", [format!("iscsi://{account}{}", daemon.portal)]);
    output.success && output.text.contains(&target_name(3))
}

/// Asserts that alice's secret is `right` everywhere, that the other accounts are unchanged, and that logins without
/// credentials are refused.
#[track_caller]
fn assert_secret(daemon: &Daemon, right: &str, wrong: &str) {
    for tid in [1, 2] {
        assert!(logs_in(daemon, tid, Some(("alice", right))), "{tid}: the right one");
        assert!(!logs_in(daemon, tid, Some(("alice", wrong))), "{tid}: the wrong one");
        assert!(!logs_in(daemon, tid, None), "{tid}: none");
    }
    for (user, secret) in [("first", "first-secret-12"), ("bob", "secret-of-bob-12")] {
        assert!(logs_in(daemon, 1, Some((user, secret))), "{user}");
    }
    let seen =
        [Some(("alice", right)), Some(("alice", wrong)), None].map(|account| discovers(daemon, account));
    assert_eq!(seen, [true, false, false]);
}

fn configured(brand: Brand) -> Daemon {
    let daemon = with_files(Daemon::start_as(brand, Brand::Ours, &[]));
    ends(0, Brand::Ours, &daemon, &conf(), &["-e"]);
    assert_secret(&daemon, OLD, NEW);
    daemon
}

#[test]
fn plan_shows_no_secret_of_a_new_account() {
    for brand in [Brand::Ours, Brand::Tgt] {
        let daemon = with_files(Daemon::start_as(brand, Brand::Ours, &[]));
        let plan = ends(3, Brand::Ours, &daemon, &conf(), &["--plan"]);
        assert_eq!(
            plan.matches("--mode account --op new").count(),
            plan.matches("--password=***\n").count(),
            "{plan}"
        );
        for secret in [OLD, "first-secret", "secret-of-bob", "disks-secret"] {
            assert!(!plan.contains(secret), "{secret}: {plan}");
        }
    }
}

#[test]
fn changed_secret_is_planned_and_replaced_in_place() {
    let daemon = configured(Brand::Ours);
    let text = ends(0, Brand::Ours, &daemon, &conf(), &["--plan"]);
    assert!(!text.contains("secret"), "nothing differs: {text}");
    let mut session = Client::login(&daemon, 3, DISK);
    let before = shown(&daemon);

    let changed = conf().replace(OLD, NEW);
    let plan = ends(3, Brand::Ours, &daemon, &changed, &["--plan"]);
    assert!(plan.contains("# The secret of account alice differs\n"), "{plan}");
    assert!(plan.contains("--op update --user=alice --password=***\n"), "{plan}");
    assert!(plan.contains("3 as the file has them. 1 secret changes."), "{plan}");
    assert!(!plan.contains(OLD) && !plan.contains(NEW), "{plan}");
    assert_secret(&daemon, OLD, NEW);

    let output = ends(0, Brand::Ours, &daemon, &changed, &["--update", "ALL", "-v"]);
    assert!(!output.contains(OLD) && !output.contains(NEW) && !output.contains("offline"), "{output}");
    assert_secret(&daemon, NEW, OLD);
    assert_eq!(shown(&daemon), before, "the rest is unchanged");
    session.read(0, 1).expect("the session continues");
    ends(0, Brand::Ours, &daemon, &changed, &["--plan"]);

    // For a single target.
    ends(3, Brand::Ours, &daemon, &conf(), &["--plan", &target_name(2)]);
    ends(0, Brand::Ours, &daemon, &conf(), &["--plan", &target_name(3)]);
    ends(0, Brand::Ours, &daemon, &conf(), &["--update", &target_name(2)]);
    assert_secret(&daemon, OLD, NEW);
    let disk = conf().replace("the-disks-secret", "another-of-disk");
    ends(3, Brand::Ours, &daemon, &disk, &["--plan"]);
    ends(0, Brand::Ours, &daemon, &disk, &["--update", "ALL"]);
    ends(0, Brand::Ours, &daemon, &disk, &["--plan"]);
    let log = daemon.whole_log();
    assert!(!log.contains(OLD) && !log.contains(NEW) && !log.contains("another-of-disk"), "{log}");
    assert_eq!(
        log.matches("mode=account op=update params=\"user=alice,password=***\" result=success").count(),
        2
    );
    assert_eq!(
        log.matches("mode=account op=update params=\"user=disk,password=***\" result=success").count(),
        1
    );
}

#[test]
fn refused_target_or_secret_does_not_prevent_other_changes() {
    let daemon = configured(Brand::Ours);
    let refused = "<target iqn.2001-04.com.example:z>\nMaxConnections 0\n</target>\n";
    ends(22, Brand::Ours, &daemon, &(conf().replace(OLD, NEW) + refused), &["--update", "ALL"]);
    assert_secret(&daemon, NEW, OLD);
    let long = conf().replace("the-disks-secret", &"x".repeat(256));
    let output = ends(22, Brand::Ours, &daemon, &long, &["--update", "ALL"]);
    assert!(output.contains("up to 255 bytes") && !output.contains("xxx"), "{output}");
    assert_secret(&daemon, OLD, NEW);
    ends(0, Brand::Ours, &daemon, &long, &["--update", "ALL", "--ignore-errors"]);
    ends(0, Brand::Ours, &daemon, &conf(), &["--plan"]);
}

#[test]
fn placeholder_of_a_dump_does_not_replace_a_secret() {
    let daemon = configured(Brand::Ours);
    let dump = ends(0, Brand::Ours, &daemon, "", &["--dump"]);
    ends(0, Brand::Ours, &daemon, &dump, &["--plan"]);
    ends(0, Brand::Ours, &daemon, &dump, &["--update", "ALL"]);
    assert_secret(&daemon, OLD, NEW);
}

#[test]
fn account_is_created_again_on_tgts_daemon_with_targets_offline() {
    let daemon = configured(Brand::Tgt);
    let before = shown(&daemon);
    let changed = conf().replace(OLD, NEW);
    let plan = ends(0, Brand::Ours, &daemon, &changed, &["--plan"]);
    assert!(plan.contains("# No report shows whether this is so: tgtadm -C 7 --mode account --op new --user=alice --password=***\n"), "{plan}");
    assert!(!plan.contains(NEW), "{plan}");
    let output = ends(0, Brand::Ours, &daemon, &changed, &["--update", "ALL"]);
    for closed in [format!("target {} (tid 1)", target_name(1)), format!("target {} (tid 2)", target_name(2))]
    {
        assert!(output.contains("account alice is deleted and made again; offline meanwhile: "), "{output}");
        assert!(output.contains(&closed), "{output}");
    }
    assert!(!output.contains(NEW), "{output}");
    assert_secret(&daemon, NEW, OLD);
    // Everything except the order of the accounts is unchanged.
    let bindings = |text: &str| text.split("Account list:").next().map(str::to_owned);
    assert_eq!(bindings(&shown(&daemon)), bindings(&before));

    let mut session = Client::login(&daemon, 3, DISK);
    let open = conf().replace(
        &format!("<target {}>\n", target_name(3)),
        &format!("<target {}>\nincominguser alice {NEW}\n", target_name(3)),
    );
    let open = open.replace(OLD, NEW);
    ends(0, Brand::Ours, &daemon, &open, &["--update", "ALL"]);
    let output = ends(0, Brand::Ours, &daemon, &open.replace(NEW, OLD), &["--update", "ALL"]);
    let stays =
        format!("Target with tid 3 ({}) is in use, and this daemon cannot change a secret", target_name(3));
    assert!(output.contains(&stays), "{output}");
    assert!(!output.contains("account alice is deleted"), "{output}");
    assert_secret(&daemon, NEW, OLD);
    session.read(0, 1).expect("the session continues");
}

/// What happens at one request.
enum Disturbance {
    Refused,
    /// Another process does this before.
    Done(Command),
}

/// A proxy of the control socket that records requests and disturbs one of them.
struct Proxy {
    requests: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// Listens in this directory, and disturbs the request `at` (counted from 0) of a mode and operation.
    fn new(directory: &Path, daemon: &Daemon, at: (Mode, Op, usize), mut disturbance: Disturbance) -> Self {
        let listener = UnixListener::bind(directory.join(format!("control.{CONTROL_PORT}"))).unwrap();
        let daemon = daemon.path(&format!("control.{CONTROL_PORT}"));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&requests);
        std::thread::spawn(move || {
            let mut countdown = at.2;
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                // A client that only checks for a daemon sends no request.
                let Some(record) = record(&mut stream) else { continue };
                let (mode, op) = (record.header.mode, record.header.op);
                let text = String::from_utf8_lossy(&record.payload).into_owned();
                notes.lock().unwrap().push(format!("{mode} {op} {} {text}", record.header.tid));
                if (mode, op) == (at.0 as u32, at.1 as u32) {
                    if countdown == 0 {
                        countdown = usize::MAX;
                        match &mut disturbance {
                            Disturbance::Refused => {
                                stream.write_all(&encode_reply(17, "")).unwrap();
                                continue;
                            }
                            Disturbance::Done(command) => assert!(command.status().unwrap().success()),
                        }
                    }
                    countdown -= 1;
                }
                let mut upstream = UnixStream::connect(&daemon).unwrap();
                upstream.write_all(&record.encode()).unwrap();
                let mut reply = Vec::new();
                upstream.read_to_end(&mut reply).unwrap();
                stream.write_all(&reply).unwrap();
            }
        });
        Self { requests }
    }
}

fn record(stream: &mut UnixStream) -> Option<Record> {
    let mut reader = RecordReader::default();
    loop {
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        if count == 0 {
            return None;
        }
        if let Some(record) = reader.receive(&bytes[..count]).unwrap() {
            return Some(record);
        }
    }
}

/// For every refused request of tgt's daemon, with and without `--ignore-errors`.
#[test]
fn target_of_tgts_daemon_is_never_left_open_without_its_account() {
    let cases = [
        (Mode::Account, Op::Unbind, 0, true),
        (Mode::Account, Op::Unbind, 3, true),
        (Mode::Account, Op::Delete, 0, true),
        (Mode::Account, Op::New, 0, false),
        (Mode::Account, Op::Bind, 0, false),
        (Mode::Account, Op::Bind, 2, false),
        (Mode::Account, Op::Bind, 3, false),
    ];
    for (mode, op, which, is_restored) in cases {
        for options in [&["--update", "ALL"][..], &["--update", "ALL", "--ignore-errors"]] {
            let daemon = configured(Brand::Tgt);
            let directory = tempfile::tempdir().unwrap();
            let proxy = Proxy::new(directory.path(), &daemon, (mode, op, which), Disturbance::Refused);
            let socket = directory.path().join("control");
            let code = if options.len() == 2 { 22 } else { 0 };
            let output = ends_at(&socket, code, Brand::Ours, &daemon, &changed_of_alice(), options);
            let case = format!("{op:?} {which} {options:?}: {output}");
            if is_restored {
                assert_secret(&daemon, OLD, NEW);
                assert!(!output.contains("stays offline"), "{case}");
                continue;
            }
            assert!(output.contains("account alice is not as it was, so this stays offline: "), "{case}");
            for tid in [1, 2] {
                let enters = [None, Some(("alice", OLD)), Some(("alice", NEW))];
                assert_eq!(enters.map(|account| logs_in(&daemon, tid, account)), [false; 3], "{case}");
            }
            assert!(!discovers(&daemon, None), "{case}");
            let requests = proxy.requests.lock().unwrap().join("\n");
            assert!(!requests.contains("state=ready") && !requests.contains("State=ready"), "{requests}");

            // The commands of the message complete the change.
            let (_, left) = output.split_once("what is left to do: ").unwrap();
            for command in left.lines().next().unwrap().split("; ") {
                let command = command.replace("***", NEW);
                let words: Vec<String> = command.split_whitespace().skip(1).map(str::to_owned).collect();
                assert!(daemon.plain_adm(Brand::Ours, &words).status.success(), "{command}");
            }
            assert_secret(&daemon, NEW, OLD);
        }
    }
}

/// Alice's alone is made again; the others' secrets are those of a dump.
fn changed_of_alice() -> String {
    ["the-disks-secret", "first-secret-12", "secret-of-bob-12"]
        .iter()
        .fold(conf().replace(OLD, NEW), |conf, secret| conf.replace(secret, "PLEASE_CORRECT_THE_PASSWORD"))
}

#[test]
fn step_that_another_process_takes_first_is_planned_again() {
    let alice = ["--mode", "account", "--user", "alice", "--op"];
    let account = |words: &[&'static str]| [&alice, words].concat();
    let cases = [
        (Mode::Account, Op::Unbind, 1, account(&["unbind", "--tid", "2"])),
        (Mode::Account, Op::Unbind, 3, account(&["delete"])),
        (Mode::Account, Op::Delete, 0, account(&["delete"])),
        (Mode::Account, Op::Delete, 0, account(&["bind", "--tid", "2"])),
        (Mode::Account, Op::New, 0, account(&["new", "--password", NEW])),
        (Mode::Account, Op::Bind, 1, account(&["delete"])),
        (Mode::Account, Op::Bind, 3, account(&["bind", "--tid", "2"])),
        (
            Mode::Target,
            Op::Update,
            3,
            vec!["--mode", "target", "--op", "update", "--tid", "2", "-n", "state", "-v", "ready"],
        ),
    ];
    for (mode, op, which, words) in cases {
        let daemon = configured(Brand::Tgt);
        let directory = tempfile::tempdir().unwrap();
        let mut other = Command::new(Brand::Ours.program("tgtadm"));
        other.args(["-C", CONTROL_PORT]).args(&words).env("TGT_IPC_SOCKET", daemon.path("control"));
        let _proxy = Proxy::new(directory.path(), &daemon, (mode, op, which), Disturbance::Done(other));
        let socket = directory.path().join("control");
        let said = ends_at(&socket, 0, Brand::Ours, &daemon, &changed_of_alice(), &["--update", "ALL"]);
        assert!(!said.contains("stays offline"), "{op:?} {which} {words:?}: {said}");
        let shown = shown(&daemon);
        assert!(!shown.contains("offline"), "{op:?} {which} {words:?}: {shown}");
        assert_secret(&daemon, NEW, OLD);
    }
}

#[test]
fn account_of_tgts_daemon_that_others_have_stays_when_one_target_is_updated() {
    let daemon = configured(Brand::Tgt);
    let changed = changed_of_alice();
    let new = format!("<target {}>\nincominguser alice {NEW}\n</target>\n", target_name(4));
    let log = |said: &str| {
        assert!(said.contains("the secret of account alice is not compared with the file: "), "{said}");
        assert!(said.contains("'tgt-admin --update ALL' makes the account again"), "{said}");
        assert!(!said.contains("offline"), "{said}");
        assert_eq!(said.matches("not compared").count(), 1, "{said}");
    };
    let directory = tempfile::tempdir().unwrap();
    let proxy =
        Proxy::new(directory.path(), &daemon, (Mode::Account, Op::Delete, usize::MAX), Disturbance::Refused);
    let socket = directory.path().join("control");
    for (conf, name) in [(changed.clone() + &new, target_name(4)), (changed.clone(), target_name(2))] {
        for options in [&["--update", &name, "-p"][..], &["--update", &name]] {
            log(&ends_at(&socket, 0, Brand::Ours, &daemon, &conf, options));
            assert_secret(&daemon, OLD, NEW);
        }
    }
    assert!(shown(&daemon).contains(&target_name(4)));
    for word in ["offline", "ready"] {
        let asked = proxy.requests.lock().unwrap().join("\n");
        assert!(!asked.contains(word), "{asked}");
    }

    // What this run makes, has the account only from now on.
    ends(0, Brand::Ours, &daemon, &changed.replace(NEW, OLD), &["--update", &target_name(4)]);
    let conf = changed.clone() + &new;
    for options in [&["--update", "ALL", "-p"][..], &["--update", "ALL"]] {
        log(&ends(0, Brand::Ours, &daemon, &conf, options));
        assert_secret(&daemon, OLD, NEW);
    }
    ends(0, Brand::Ours, &daemon, &conf, &["--update", "ALL"]);
    assert_secret(&daemon, NEW, OLD);

    // One that no other target has is made again with that target alone.
    let carol = format!("<target {}>\nincominguser carol {OLD}\n</target>\n", target_name(5));
    ends(0, Brand::Ours, &daemon, &carol, &["--update", &target_name(5)]);
    let said = ends(0, Brand::Ours, &daemon, &carol, &["--update", &target_name(5)]);
    let only = format!(
        "account carol is deleted and made again; offline meanwhile: target {} (tid 5)\n",
        target_name(5)
    );
    assert!(said.contains(&only), "{said}");
}

#[test]
fn parallel_updates_of_all_targets_of_tgts_daemon_leave_each_with_its_account() {
    let daemon = configured(Brand::Tgt);
    let here = daemon.path("");
    let here = here.to_str().unwrap().trim_end_matches('/');
    std::fs::write(daemon.path("targets.conf"), changed_of_alice().replace('@', here)).unwrap();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut update = Command::new(Brand::Ours.program("tgt-admin"));
                update.args(["-C", CONTROL_PORT, "-c", "targets.conf", "--update", "ALL"]).current_dir(here);
                let output = update.env("TGT_IPC_SOCKET", daemon.path("control")).output().unwrap();
                assert!(output.status.success(), "{output:?}");
            });
        }
    });
    assert!(!shown(&daemon).contains("offline"));
    assert_secret(&daemon, NEW, OLD);
}
