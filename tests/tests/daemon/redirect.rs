//! Logins that are sent elsewhere, by a fixed address or by a command, as libiscsi follows them.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use iscsi_proto::login::LoginStatus;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{DISK, Daemon, run, succeed, target_name, wait_until};

const LEN: u64 = 1 << 20;

fn set(daemon: &Daemon, name: &str, value: &str) {
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", name, "-v", value]);
}

/// One daemon that sends away, and one with a disk of the same target.
fn two() -> (Daemon, Daemon) {
    let (first, second) = (Daemon::start(), Daemon::start());
    first.target(1);
    second.disk(1, LEN);
    second.set_unit(1, DISK, "scsi_sn=elsewhere");
    (first, second)
}

fn serial(daemon: &Daemon) -> String {
    succeed("iscsi-inq", ["-e", "1", "-c", "128", &daemon.url(1)])
}

fn status(daemon: &Daemon) -> LoginStatus {
    match Client::try_login(daemon.portal, LOCALHOST, &next_name(), &target_name(1), DISK) {
        Ok(_) => LoginStatus::Success,
        Err(End::Refused(status)) => status,
        Err(end) => panic!("{end:?}"),
    }
}

/// A command of a test: a script; where it is.
fn script(daemon: &Daemon, lines: &str) -> String {
    let path = daemon.path("redirect");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Processes that the daemon has started and that are there.
fn children(daemon: &Daemon) -> usize {
    let parent = |path: std::path::PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // After the name, which may hold anything: state, parent.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    processes.filter(|path| parent(path.clone()) == Some(daemon.pid())).count()
}

#[test]
fn a_fixed_address_is_where_initiators_go() {
    let (first, second) = two();
    set(&first, "RedirectAddress", "127.0.0.1");
    set(&first, "RedirectPort", &second.portal.port().to_string());
    assert_eq!(status(&first), LoginStatus::Success, "there is no reason yet");
    set(&first, "RedirectReason", "Permanent");
    // Who is at that address already stays there.
    assert_eq!(status(&first), LoginStatus::Success);
    set(&first, "RedirectAddress", "localhost");
    assert_eq!(status(&first), LoginStatus::TargetMovedPermanently);
    set(&first, "RedirectReason", "Temporary");
    assert_eq!(status(&first), LoginStatus::TargetMovedTemporarily);
    // Before the target's state and its rules.
    set(&first, "state", "offline");
    first.adm(&["--mode", "target", "--op", "unbind", "--tid", "1", "-I", "ALL"]);
    assert_eq!(status(&first), LoginStatus::TargetMovedTemporarily);
    assert!(serial(&second).contains("elsewhere"));
}

#[test]
fn a_command_says_where_and_is_told_who_asks() {
    let (first, second) = two();
    let lines = format!("echo \"$#:$*\" >>told\necho localhost:{}:Temporary", second.portal.port());
    let command = script(&first, &format!("cd {}\n{lines}", first.path("").display()));
    set(&first, "RedirectCallback", &format!("{command}  one   $two"));
    // Where starting a shell takes longer than the command may, the login is refused.
    let url = first.url(1);
    wait_until("libiscsi goes where it is sent", || {
        run("iscsi-inq", ["-e", "1", "-c", "128", &url]).text.contains("elsewhere")
    });
    let told = fs::read_to_string(first.path("told")).unwrap();
    assert_eq!(told.lines().next().unwrap(), format!("4:one $two {} 127.0.0.1", target_name(1)));
    let shown = first.adm(&["--mode", "target", "--op", "show", "--tid", "1"]);
    assert_eq!(shown, format!("RedirectCallback={command}  one   $two\n"));
}

#[test]
fn a_command_that_fails_or_hangs_refuses_its_login_and_holds_nobody_up() {
    let daemon = Daemon::start();
    daemon.target(1);
    let commands = [
        ("exit 3", "failed: exit status: 3"),
        ("echo nonsense", "expected address:port:Temporary or address:port:Permanent, not \"nonsense\""),
        ("echo 10.0.0.9:3260:Temporary; exec sleep 1000", "took more than 100ms"),
    ];
    for (lines, why) in commands {
        set(&daemon, "RedirectCallback", &script(&daemon, lines));
        wait_until(why, || {
            assert_eq!(status(&daemon), LoginStatus::TargetError, "{lines}");
            daemon.log().contains(why)
        });
    }
    // It is the last that is run for all of these; whoever asks something else is answered at once.
    let logins: Vec<_> = (0..40)
        .map(|_| {
            std::thread::spawn({
                let (portal, name) = (daemon.portal, next_name());
                move || Client::try_login(portal, LOCALHOST, &name, &target_name(1), DISK).is_err()
            })
        })
        .collect();
    assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains(&target_name(1)));
    assert!(logins.into_iter().all(|login| login.join().unwrap()));
    wait_until("no command is left", || children(&daemon) == 0);
    set(&daemon, "RedirectCallback", "/no/such/command");
    assert_eq!(status(&daemon), LoginStatus::TargetError);
}
