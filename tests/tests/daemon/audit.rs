//! Audit lines of a running daemon: one for each change, none for `show` and `stat`, none with a secret.

use crate::harness::{Brand, Daemon};

fn audit(daemon: &Daemon) -> Vec<String> {
    let log = daemon.whole_log();
    log.lines().filter_map(|line| line.split_once("audit: ")).map(|(_, what)| what.to_owned()).collect()
}

#[test]
fn every_change_is_logged_with_user_and_result() {
    let daemon = Daemon::start();
    let new = ["--mode", "target", "--op", "new", "--tid", "1", "-T", "iqn.2026-01.org.example:one"];
    daemon.adm(&new);
    daemon.try_adm(&new);
    daemon.adm(&["--mode", "target", "--op", "show"]);
    daemon.adm(&["--mode", "sys", "--op", "stat"]);
    daemon.try_adm(&["--json", "--mode", "lu", "--op", "delete", "--tid", "1", "--lun", "9"]);
    let lines = audit(&daemon);
    let (uid, gid) = (rustix::process::getuid().as_raw(), rustix::process::getgid().as_raw());
    let what = "comm=\"tgtadm\" mode=target op=new lld=\"iscsi\" tid=1 params=\"targetname=iqn.2026-01.org.example:one\"";
    let ends = [
        format!("{what} result=success"),
        format!(
            "{what} result=\"this target already exists\" \
             reason=\"--tid 1: that is the number of the target iqn.2026-01.org.example:one\""
        ),
        "comm=\"tgtadm\" mode=logicalunit op=delete lld=\"iscsi\" tid=1 lun=9 result=\"can't find the logical unit\" \
         reason=\"--lun 9: target 1 has no logical unit of this number\""
            .to_owned(),
    ];
    assert_eq!(lines.len(), ends.len(), "{lines:#?}");
    for (line, end) in lines.iter().zip(&ends) {
        let (who, pid) =
            line.strip_suffix(end.as_str()).unwrap_or_else(|| panic!("{line}")).split_once(" pid=").unwrap();
        assert_eq!(who, format!("uid={uid} gid={gid}"));
        assert!(pid.trim_end().parse::<u32>().unwrap() > 0, "{line}");
    }
}

#[test]
fn log_has_no_password() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &["--debug", "1"]);
    let account = |words: &[&str]| daemon.try_adm(&[&["--mode", "account", "--op"], words].concat());
    for secret in ["hush-hush-hush", "hush-hush,hush=hush"] {
        for form in [&[][..], &["--json"]] {
            account(&[&["new", "--user", "mike", "--password", secret], form].concat());
        }
    }
    account(&["new", "--user", "", "--password", "hush-hush-hush"]);
    account(&["bind", "--user", "mike"]);
    let lines = audit(&daemon);
    assert_eq!(lines.len(), 6, "{lines:#?}");
    assert!(lines[0].contains("params=\"user=mike,password=***\" result=success"), "{lines:#?}");
    let log = daemon.whole_log();
    assert!(!log.contains("hush"), "{log}");
}
