//! Redirected logins, by a fixed address and by a command, followed by libiscsi.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use iscsi_proto::login::LoginStatus;

use crate::client::{Client, End, LOCALHOST, next_name};
use crate::harness::{DISK, Daemon, run, succeed, target_name, wait_until};

const LEN: u64 = 1 << 20;

fn set(daemon: &Daemon, name: &str, value: &str) {
    daemon.adm(&["--mode", "target", "--op", "update", "--tid", "1", "-n", name, "-v", value]);
}

/// A daemon that redirects, and one with the same target and a disk.
fn two_daemons() -> (Daemon, Daemon) {
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

/// Writes a shell script and returns its path.
fn script(daemon: &Daemon, lines: &str) -> String {
    let path = daemon.path("redirect");
    fs::write(&path, format!("#!/bin/sh\n{lines}\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Number of running child processes of the daemon.
fn children(daemon: &Daemon) -> usize {
    let parent = |path: std::path::PathBuf| {
        let stat = fs::read_to_string(path.join("stat")).ok()?;
        // State and parent follow the name, which may contain any character.
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse::<u32>().ok()
    };
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| Some(entry.ok()?.path()));
    processes.filter(|path| parent(path.clone()) == Some(daemon.pid())).count()
}

#[test]
fn redirect_address_and_reason_redirect_logins() {
    let (first, second) = two_daemons();
    set(&first, "RedirectAddress", "127.0.0.1");
    set(&first, "RedirectPort", &second.portal.port().to_string());
    assert_eq!(status(&first), LoginStatus::Success, "RedirectReason is not set");
    set(&first, "RedirectReason", "Permanent");
    // Initiators that already use the address are not redirected.
    assert_eq!(status(&first), LoginStatus::Success);
    set(&first, "RedirectAddress", "localhost");
    assert_eq!(status(&first), LoginStatus::TargetMovedPermanently);
    set(&first, "RedirectReason", "Temporary");
    assert_eq!(status(&first), LoginStatus::TargetMovedTemporarily);
    // Redirection precedes the state of the target and its access rules.
    set(&first, "state", "offline");
    first.adm(&["--mode", "target", "--op", "unbind", "--tid", "1", "-I", "ALL"]);
    assert_eq!(status(&first), LoginStatus::TargetMovedTemporarily);
    assert!(serial(&second).contains("elsewhere"));
}

#[test]
fn redirect_callback_gets_the_initiator_and_returns_the_address() {
    let (first, second) = two_daemons();
    let lines = format!("echo \"$#:$*\" >>arguments\necho localhost:{}:Temporary", second.portal.port());
    let command = script(&first, &format!("cd {}\n{lines}", first.path("").display()));
    set(&first, "RedirectCallback", &format!("{command}  one   $two"));
    // The login is refused if starting the shell exceeds the time limit of the command.
    let url = first.url(1);
    wait_until("libiscsi follows the redirection", || {
        run("iscsi-inq", ["-e", "1", "-c", "128", &url]).text.contains("elsewhere")
    });
    let arguments = fs::read_to_string(first.path("arguments")).unwrap();
    assert_eq!(arguments.lines().next().unwrap(), format!("4:one $two {} 127.0.0.1", target_name(1)));
    let shown = first.adm(&["--mode", "target", "--op", "show", "--tid", "1"]);
    assert_eq!(shown, format!("RedirectCallback={command}  one   $two\n"));
}

#[test]
fn failed_or_hung_redirect_callback_refuses_only_its_login() {
    let daemon = Daemon::start();
    daemon.target(1);
    let commands = [
        ("exit 3", "failed: exit status: 3"),
        ("echo nonsense", "expected address:port:Temporary or address:port:Permanent, not \"nonsense\""),
        ("echo 10.0.0.9:3260:Temporary; exec sleep 1000", "took more than 100 ms"),
    ];
    for (lines, reason) in commands {
        set(&daemon, "RedirectCallback", &script(&daemon, lines));
        wait_until(reason, || {
            assert_eq!(status(&daemon), LoginStatus::TargetError, "{lines}");
            daemon.log().contains(reason)
        });
    }
    // The hanging command runs for all these logins; other requests are answered at once.
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
    wait_until("no child process is running", || children(&daemon) == 0);
    set(&daemon, "RedirectCallback", "/no/such/command");
    assert_eq!(status(&daemon), LoginStatus::TargetError);
}
