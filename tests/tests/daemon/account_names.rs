//! Accounts that are bound to initiator names: by tgtadm and by targets.conf, on our daemon and on tgt's, which has none.

use crate::harness::{Brand, DISK, Daemon, fail, succeed, target_name, wait_until};
use crate::targets_conf::{ends, with_files};

const ONE: &str = "iqn.2026-01.org.example:one";
const TWO: &str = "iqn.2026-01.org.example:two";
const THREE: &str = "iqn.2026-01.org.example:three";
const SECRET: &str = "secretpass23";

impl Daemon {
    fn login_as(&self, name: &str) -> (&'static str, [String; 3]) {
        let url = format!("iscsi://bob%{SECRET}@{}/{}/{DISK}", self.portal, target_name(1));
        ("iscsi-inq", ["-i".to_owned(), name.to_owned(), url])
    }

    #[track_caller]
    fn admits(&self, name: &str) {
        let (program, words) = self.login_as(name);
        succeed(program, words.each_ref().map(String::as_str));
    }

    #[track_caller]
    fn refuses(&self, name: &str) {
        let (program, words) = self.login_as(name);
        let text = fail(program, words.each_ref().map(String::as_str));
        assert!(text.contains("Authorization failure"), "{text}");
    }

    fn of_account(&self, op: &str, more: &[&str]) -> (Option<i32>, String) {
        let words = [&["--mode", "account", "--op", op, "--user", "bob"][..], more].concat();
        let output = self.try_adm(&words);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// The initiator names of the accounts of target 1.
    fn names_of_accounts(&self) -> String {
        let shown = self.adm(&["--json", "--mode", "target", "--op", "show"]);
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        shown["targets"][0]["accounts"]["initiator_names"].to_string()
    }
}

#[test]
fn account_is_admitted_under_its_names_only() {
    let daemon = Daemon::start_as(Brand::Ours, Brand::Ours, &[]);
    daemon.disk(1, 1 << 20);
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "bob", "--password", SECRET]);
    let done = (Some(0), String::new());
    assert_eq!(daemon.of_account("bind", &["--tid", "1"]), done);
    daemon.admits(THREE);
    assert_eq!(daemon.of_account("bind", &["--tid", "1", "--initiator-name", ONE]), done);
    assert_eq!(daemon.of_account("bind", &["--tid", "1", "-Q", &TWO.to_uppercase()]), done);
    daemon.admits(ONE);
    daemon.admits(TWO);
    daemon.refuses(THREE);
    let why = "account \"bob\" is bound to other initiator names at the target";
    wait_until("the refusal is logged", || {
        daemon.log().lines().any(|line| line.contains(why) && line.contains(THREE))
    });
    let stat = daemon.adm(&["--json", "--mode", "system", "--op", "stat"]);
    assert!(stat.contains("\"refused_accounts\": 1"), "{stat}");
    assert_eq!(daemon.names_of_accounts(), format!("[{{\"user\":\"bob\",\"names\":[\"{ONE}\",\"{TWO}\"]}}]"));
    assert!(daemon.adm(&["--mode", "target", "--op", "show"]).contains("information:\n        bob\n    ACL"));

    assert_eq!(daemon.of_account("unbind", &["--tid", "1", "--initiator-name", ONE]), done);
    daemon.refuses(ONE);
    for (op, more, sentence) in [
        ("unbind", &["--tid", "1", "--initiator-name", TWO][..], "to remove it, unbind the account"),
        ("unbind", &["--tid", "1", "--initiator-name", ONE], "is not bound to this name"),
        ("bind", &["--tid", "1", "--initiator-name", TWO], "is bound to this name already"),
        ("bind", &["--tid", "1", "--initiator-name", "two"], "name is neither iqn."),
        ("bind", &["--tid", "1", "--initiator-name", ""], "initiator-name has no value"),
        ("bind", &["--initiator-name", TWO], "--initiator-name needs --tid"),
    ] {
        let (code, text) = daemon.of_account(op, more);
        assert!(code == Some(22) && text.contains(sentence), "{op} {more:?}: {text}");
    }
    daemon.admits(TWO);
    daemon.refuses(ONE);
}

/// tgt's daemon would ignore the name, and admit any initiator.
#[test]
fn tgt_daemon_gets_no_account_that_has_names() {
    let daemon = with_files(Daemon::start_as(Brand::Tgt, Brand::Ours, &[]));
    daemon.target(1);
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "bob", "--password", SECRET]);
    let why = "this daemon does not bind accounts to initiator names; nothing was changed";
    let (code, text) = daemon.of_account("bind", &["--tid", "1", "--initiator-name", ONE]);
    assert!(code == Some(22) && text.contains(why), "{text}");
    assert!(!daemon.adm(&["--mode", "target", "--op", "show"]).contains("bob"));

    let conf = format!("<target {}>\nincominguser bob {SECRET} {ONE}\n</target>\n", target_name(2));
    let text = ends(22, Brand::Ours, &daemon, &conf, &["-e"]);
    assert!(text.contains(why), "{text}");
    assert!(
        !daemon.adm(&["--mode", "target", "--op", "show"]).contains(&target_name(2)),
        "it is deleted again"
    );
}

fn conf(names: &[&str]) -> String {
    format!(
        "default-driver iscsi\n<target {}>\n<backing-store @/a.img>\nlun {DISK}\n</backing-store>\n\
         incominguser bob {SECRET} {}\n</target>\n",
        target_name(1),
        names.join(" ")
    )
}

#[test]
fn names_in_targets_conf_are_executed_updated_and_dumped() {
    let daemon = with_files(Daemon::start_as(Brand::Ours, Brand::Ours, &[]));
    let run = |code, names: &[&str], options: &[&str]| {
        let text = ends(code, Brand::Ours, &daemon, &conf(names), options);
        let steps = text.lines().filter(|line| line.starts_with("tgtadm ")).map(|line| {
            let words = line.split_once("--op ").unwrap().1;
            words.replace("iqn.2026-01.org.example:", "").replace("--tid=1 --user=bob --initiator-name", "as")
        });
        steps.collect::<Vec<_>>()
    };
    run(0, &[ONE, &TWO.to_uppercase()], &["-e"]);
    daemon.admits(TWO);
    daemon.refuses(THREE);
    assert!(run(0, &[TWO, ONE], &["--plan"]).is_empty());
    let dump = ends(0, Brand::Ours, &daemon, "", &["--dump"]);
    assert!(
        dump.contains(&format!("\tincominguser bob PLEASE_CORRECT_THE_PASSWORD {ONE} {TWO}\n")),
        "{dump}"
    );
    ends(0, Brand::Ours, &daemon, &dump, &["--plan"]);

    // Where a name stays, the old ones go first; else the last old one goes when the account has a new one.
    let two = [&TWO.to_uppercase(), THREE];
    assert_eq!(run(3, &two, &["--plan"]), ["unbind as one", "bind as three"]);
    run(0, &two, &["--update", "ALL"]);
    daemon.refuses(ONE);
    daemon.admits(THREE);
    assert_eq!(run(3, &[ONE], &["--plan"]), ["unbind as two", "bind as one", "unbind as three"]);
    run(0, &[ONE], &["--update", "ALL"]);
    daemon.refuses(THREE);
    assert_eq!(daemon.names_of_accounts(), format!("[{{\"user\":\"bob\",\"names\":[\"{ONE}\"]}}]"));

    // A target whose only account is unbound meanwhile has no rules then.
    let to_any = [
        "unbind --mode target --tid 1 -I ALL",
        "unbind --tid=1 --user=bob",
        "bind --tid=1 --user=bob",
        "bind --mode target --tid 1 -I ALL",
    ];
    assert_eq!(run(3, &[], &["--plan"]), to_any);
    run(0, &[], &["--update", "ALL"]);
    daemon.admits(THREE);
    let [open, unbind, _, close] = to_any;
    assert_eq!(run(3, &[TWO], &["--plan"]), [open, unbind, "bind as two", close]);
    run(0, &[TWO], &["--update", "ALL"]);
    daemon.refuses(THREE);
    daemon.admits(TWO);
    assert!(run(0, &[TWO], &["--plan"]).is_empty());
}
