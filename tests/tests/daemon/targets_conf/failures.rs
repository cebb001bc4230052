//! Files that cannot be applied completely, and daemons that cannot be dumped completely: the tool does the rest and
//! reports what it could not do.

use std::fs;

use super::{LEN, RICH, daemons, ends, shown, tgt_admin, with_files};
use crate::harness::{Brand, Daemon, target_name};

#[test]
fn failed_update_of_a_target_is_undone_and_others_are_updated() {
    for daemon in daemons() {
        ends(0, Brand::Ours, &daemon, RICH, &["-e"]);
        let before = shown(&daemon);
        let conf = RICH
            .replace("MaxConnections 2", "MaxConnections 3")
            .replace("192.0.2.0/24", "198.51.100.0/24")
            .replace("incominguser bob", "incominguser dave")
            .replace("SN-A", "SN-B")
            .replace("bs-type aio", "bs-type rdwr")
            // The tool sends this parameter last.
            .replace("vendor_id ACME", "vendor_id ACME\nparams bogus=1")
            .replace("controller_tid 7", "controller_tid 8\nMaxConnections 0")
            + "<target iqn.2001-04.com.example:m>\nincominguser frank secretpass45\nMaxConnections 0\n</target>\n\
               <target iqn.2001-04.com.example:y>\nincominguser frank secretpass45\nbacking-store @/d.img\n</target>\n";
        let text = ends(22, Brand::Ours, &daemon, &conf, &["--update", "ALL", "-v"]);
        assert!(text.contains("Command:\n\ttgtadm -C 7 --lld iscsi --mode target --op update"), "{text}");
        assert!(text.contains("undoing what was done"), "{text}");
        for name in ["a", "b", "m"] {
            let line = 1 + conf.lines().position(|line| line.ends_with(&format!("example:{name}>"))).unwrap();
            let messages = format!(
                "tgt-admin: targets.conf:{line}: target iqn.2001-04.com.example:{name} is not as the file has it\n"
            );
            assert!(text.contains(&messages), "{messages}{text}");
        }
        let made = shown(&daemon);
        assert!(made.contains("example:y\n") && made.contains("frank") && made.contains("@/d.img"), "{text}");
        ends(0, Brand::Ours, &daemon, RICH, &["--update", "iqn.2001-04.com.example:y"]);
        daemon.adm(&["--mode", "account", "--op", "delete", "--user", "frank"]);
        assert_eq!(sorted(&shown(&daemon)), sorted(&before), "{text}");
    }
}

#[test]
fn execute_creates_every_valid_target_and_leaves_none_incomplete() {
    for daemon in daemons() {
        let target = |name: &str, lines: &str| {
            format!("<target iqn.2001-04.com.example:{name}>\n{lines}\n</target>\n")
        };
        let conf = "default-driver iscsi\n".to_owned()
            + &target("a", "backing-store @/a.img")
            + &target("b", "backing-store @/b.img\nMaxConnections 0")
            + &target("c", "backing-store @/b.img\nparams bogus=1")
            + &target("d", "backing-store @/b.img\nincominguser alice secretpass12");
        let text = ends(22, Brand::Ours, &daemon, &conf, &["-e"]);
        let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
        let names: Vec<&str> =
            shown.lines().filter_map(|line| line.split_once("example:")).map(|(_, name)| name).collect();
        assert_eq!(names, ["a", "d"], "{text}");
        assert!(shown.contains("b.img") && shown.matches("        ALL").count() == 2, "{shown}");
        for (line, name) in [(5, "b"), (9, "c")] {
            let messages = format!(
                "tgt-admin: targets.conf:{line}: target iqn.2001-04.com.example:{name} is not made\n"
            );
            assert!(text.contains(&messages), "{text}");
        }
        let corrected = conf.replace("MaxConnections 0", "").replace("@/b.img\nparams bogus=1", "@/c.img");
        let corrected = corrected.replacen("@/b.img", "@/d.img", 1);
        ends(0, Brand::Ours, &daemon, &corrected, &["-e"]);
        ends(0, Brand::Ours, &daemon, &corrected, &["--plan"]);
    }
}

/// tgt's tool admits all initiators to such a target.
#[test]
fn target_without_its_account_admits_nobody_even_with_ignore_errors() {
    for daemon in daemons() {
        // Longer than a daemon accepts in one request.
        let name = "x".repeat(9000);
        let conf = format!(
            "default-driver iscsi\n<target iqn.2001-04.com.example:a>\nincominguser {name} secretpass12\n</target>\n"
        );
        for action in [&["-e"][..], &["--update", "ALL"]] {
            let text = ends(0, Brand::Ours, &daemon, &conf, &[action, &["--ignore-errors"]].concat());
            let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
            assert!(shown.contains("example:a") && !shown.contains("xxx"), "{shown}{text}");
            assert!(!shown.contains("ALL"), "{shown}");
            ends(0, Brand::Ours, &daemon, &conf, &["--delete", "ALL"]);
            let output = tgt_admin(Brand::Ours, &daemon, &conf, action);
            assert_ne!(output.code, Some(0), "no reply counts as a failure: {}", output.text);
        }
    }
}

#[test]
fn target_with_a_refused_rule_admits_nobody() {
    let daemon = with_files(Daemon::start());
    let conf = "default-driver iscsi\n<target iqn.2001-04.com.example:a>\nbacking-store @/a.img\n\
                initiator-address 10.0.0.256\n</target>\n<target iqn.2001-04.com.example:b>\n</target>\n";
    let why = "targets.conf:4: 'initiator-address 10.0.0.256': ";
    assert!(ends(3, Brand::Ours, &daemon, conf, &["--plan"]).contains(why), "--plan reports the rule");
    for action in [&["-e"][..], &["--update", "ALL"]] {
        let text = ends(22, Brand::Ours, &daemon, conf, action);
        assert!(text.contains(why) && text.contains("targets.conf:2: target "), "{text}");
        let shown = daemon.adm(&["--mode", "target", "--op", "show"]);
        assert!(shown.contains(": iqn.2001-04.com.example:b\n"), "{shown}");
        assert!(!shown.contains("example:a"), "{shown}");
        ends(0, Brand::Ours, &daemon, conf, &["--delete", "ALL"]);
    }
}

/// As tgt's tool, ours then does nothing: the rest of the included file might restrict a target of another file.
#[test]
fn syntax_error_in_an_included_file_prevents_all_changes() {
    for daemon in daemons() {
        fs::write(
            daemon.path("bad.inc"),
            "<target iqn.2001-04.com.example:b>\ninitiator-address 192.0.2.1\n",
        )
        .unwrap();
        let conf = "default-driver iscsi\n<target iqn.2001-04.com.example:a>\n</target>\ninclude bad.inc\n";
        for tool in [Brand::Tgt, Brand::Ours] {
            for action in [&["-e"][..], &["--update", "ALL"]] {
                let output = tgt_admin(tool, &daemon, conf, action);
                assert!(output.code.is_some_and(|code| code != 0), "{tool:?} {action:?}: {}", output.text);
                assert!(output.text.contains("bad.inc:1") || tool == Brand::Tgt, "{}", output.text);
                assert_eq!(daemon.adm(&["--mode", "target", "--op", "show"]), "");
            }
        }
    }
}

/// Sorts the lines: rules and accounts that were removed and added again have another order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn dump_reports_values_it_cannot_write() {
    for daemon in daemons() {
        let whole = ["a b", "a\"b", "a\\", "a<b", "ä", " a", "a$b", "a'b", "a#b"];
        for name in whole.iter().chain(&["a\nb", "twice"]) {
            fs::File::create(daemon.path(name)).unwrap().set_len(LEN).unwrap();
        }
        daemon.target(1);
        let unit = |tid: &str, lun: usize, path: &str, more: &[&str]| {
            let lun = lun.to_string();
            let words = ["--mode", "logicalunit", "--op", "new", "--tid", tid, "--lun", &lun, "-b", path];
            daemon.adm(&[&words, more].concat());
        };
        let path = |name: &str| daemon.path(name).to_str().unwrap().to_owned();
        for (index, name) in whole.iter().enumerate() {
            unit("1", index + 1, &path(name), &[]);
        }
        daemon.target(2);
        unit("1", 20, &path("twice"), &[]);
        unit("2", 1, &path("twice"), &[]);
        unit("2", 2, "nothing", &["--bstype", "null"]);
        let before = shown(&daemon);
        let dump = ends(0, Brand::Ours, &daemon, "", &["--dump"]);
        ends(0, Brand::Ours, &daemon, "", &["--delete", "ALL"]);
        ends(0, Brand::Ours, &daemon, &dump, &["-e"]);
        assert_eq!(shown(&daemon), before, "{dump}");
        ends(0, Brand::Ours, &daemon, &dump, &["--plan"]);

        let broken = path("a\nb");
        let new = ["--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "22", "-b", &broken];
        // Our daemon refuses it.
        let has_broken = daemon.try_adm(&new).status.success();
        unit("1", 23, &path("twice"), &[]);
        daemon.adm(&["--mode", "account", "--op", "new", "--user", "a b", "--password", "secretpass12"]);
        daemon.adm(&["--mode", "account", "--op", "bind", "--tid", "2", "--user", "a b"]);
        let dump = ends(1, Brand::Ours, &daemon, "", &["--dump"]);
        let messages: Vec<&str> = dump.lines().filter(|line| line.starts_with("tgt-admin: ")).collect();
        let of = |tid| format!("tgt-admin: target {}: ", target_name(tid));
        let broken = of(1) + "LUN 22: path '@/a\\nb' cannot be written: it has a line break";
        let expected = [
            of(1)
                + "LUN 23: path '@/twice' cannot be written: an earlier unit of the target has it, and a target of the file has a path once",
            of(2) + "account 'a b' cannot be written",
            of(2) + "it has no account in the file, so its rules are left out and it is closed there",
        ];
        let expected: Vec<String> = has_broken.then_some(broken).into_iter().chain(expected).collect();
        assert_eq!(messages, expected, "{dump}");
        assert!(dump.contains("\tinitiator-address none\n"), "{dump}");
        assert!(!dump.contains("/a>"), "no unit with the path before the line break: {dump}");
    }
}

#[test]
fn failures_have_tgts_exit_codes_and_messages() {
    for daemon in daemons() {
        let refused =
            "default-driver iscsi\n<target iqn.2001-04.com.example:a>\nMaxConnections 0\n</target>\n";
        let absent = "default-driver iscsi\n<target iqn.2001-04.com.example:a>\n</target>\n";
        #[rustfmt::skip]
        let cases: &[(&str, &[&str])] = &[
            (refused, &["-e"]),
            (refused, &["-e", "--ignore-errors"]),
            (absent, &["--update", "tid=99"]),
            (absent, &["--update", "iqn.2001-04.com.example:nobody"]),
            (absent, &["--offline", "iqn.2001-04.com.example:nobody"]),
            (absent, &["--offline", "tid=99"]),
            (absent, &["--delete", "tid=99", "-v"]),
            (absent, &["--delete", "iqn.2001-04.com.example:nobody", "-v"]),
        ];
        for (conf, options) in cases {
            let by = |tool| {
                let output = tgt_admin(tool, &daemon, conf, options);
                tgt_admin(tool, &daemon, absent, &["--delete", "ALL"]);
                // Lines that only our tool prints: the reason of a refusal and its target.
                let own =
                    |line: &&str| line.starts_with("  ") || line.starts_with("tgt-admin: targets.conf:");
                let messages = output.text.lines().filter(|line| !own(line)).map(str::to_owned);
                (output.code, messages.collect::<Vec<_>>())
            };
            assert_eq!(by(Brand::Ours), by(Brand::Tgt), "{options:?}");
        }
    }
}
