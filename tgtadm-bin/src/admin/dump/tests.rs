//! What reads back from a dump, and the messages about the rest.

use std::collections::BTreeMap;

use super::*;
use crate::admin::running;
use crate::admin::snapshot::snapshot;

/// The report of a target with these parts.
fn shown(units: &[(u64, &str, &str)], accounts: &[&str], rules: &[&str]) -> RunningTarget {
    let mut text =
        "Target 7: iqn.a:b\n    System information:\n        Driver: iscsi\n        State: ready\n\
                    \u{20}   LUN information:\n"
            .to_owned();
    for (lun, kind, path) in units {
        text += &format!(
            "        LUN: {lun}\n            Type: disk\n            SCSI ID: IET     0001\n            SCSI SN: beaf\n\
             \u{20}           Size: 1099512 MB, Block size: 512\n            Online: Yes\n            Removable media: No\n\
             \u{20}           Readonly: No\n            Thin-provisioning: No\n            Backing store type: {kind}\n\
             \u{20}           Backing store path: {path}\n            Backing store flags: \n"
        );
    }
    text += "    Account information:\n";
    accounts.iter().for_each(|account| text += &format!("        {account}\n"));
    text += "    ACL information:\n";
    rules.iter().for_each(|rule| text += &format!("        {rule}\n"));
    running::targets(&text).remove(0)
}

fn dumped(targets: Vec<RunningTarget>) -> (Vec<Target>, String, Vec<String>) {
    let snapshots = targets.iter().map(|target| snapshot(target, &BTreeMap::new())).collect();
    let running = Running { targets, ..Running::default() };
    let Dump { text, missing } = dump(&running, snapshots);
    let config = read(&text).expect("a dump can be read");
    assert!(config.refused.is_empty(), "{text}");
    (config.targets, text, missing)
}

#[test]
fn path_reads_back_or_is_reported() {
    for path in [
        "/a b",
        "/a\"b",
        "\"a\"",
        "/a\\",
        "/a<b>",
        "<<a",
        "/a/",
        "/ä",
        "/a'b",
        "/a$b",
        "/a*",
        "/a  b",
        "=a",
        "/a ",
        " a",
        "/a\\#b",
        "/a#b",
        "#a",
        "/a #b\\#c",
        "/a \"#\"",
    ] {
        let (targets, text, missing) = dumped(vec![shown(&[(1, "rdwr", path)], &[], &["ALL"])]);
        assert_eq!((targets[0].stores[0].path.as_str(), missing.as_slice()), (path, &[][..]), "{text}");
    }
    for (path, why) in [
        ("/a#\nb", ": it has a line break"),
        ("/a /*b*/", ""),
        ("/a,b", ": it has ','"),
        ("/a\u{fffd}b", ": it has bytes that are not UTF-8"),
        ("/a\nb", ": it has a line break"),
        ("/a\n", ": it has a line break"),
        ("/a\r\n\nb", ": it has a line break"),
        ("/a\n            Online: No", ": it has a line break"),
        ("/a\n        LUN: 9", ": it has a line break"),
        ("/a\nTarget 9: iqn.a:c", ": it has a line break"),
        ("/a\n    ACL information:", ": it has a line break"),
    ] {
        let units = [(1, "rdwr", path), (2, "rdwr", "/whole")];
        let (targets, text, missing) = dumped(vec![shown(&units, &[], &["ALL"])]);
        let paths: Vec<&str> = targets[0].stores.iter().map(|store| store.path.as_str()).collect();
        assert_eq!(paths, ["/whole"], "{text}");
        let said = format!("target iqn.a:b: LUN 1: path '{}' cannot be written{why}", path.escape_debug());
        assert_eq!(missing, [said]);
    }
}

#[test]
fn options_of_a_unit_whose_path_has_a_number_sign_do_not_become_those_of_others() {
    let lost = |lun: u64, path: &str| {
        let why = "it has '#', so its options are those of the whole target, which has other units";
        format!("target iqn.a:b: LUN {lun}: path '{path}' cannot be written: {why}")
    };
    // LUN, SCSI ID and serial number are given for each unit; a type is not.
    let cases: [(&[_], &[u64], Vec<String>); 4] = [
        (&[(3, "rdwr", "/a#b")], &[3], vec![]),
        (&[(3, "rdwr", "/a#b"), (1, "rdwr", "/c")], &[3, 1], vec![]),
        (&[(3, "aio", "/a#b"), (1, "rdwr", "/c")], &[1], vec![lost(3, "/a#b")]),
        (&[(3, "rdwr", "/a#b"), (1, "rdwr", "/c#d")], &[3], vec![lost(1, "/c#d")]),
    ];
    for (units, luns, expected) in cases {
        let (targets, text, missing) = dumped(vec![shown(units, &[], &["ALL"])]);
        let mut found: Vec<u64> = targets[0].stores.iter().filter_map(|store| store.lun).collect();
        found.sort_unstable();
        let mut luns = luns.to_vec();
        luns.sort_unstable();
        assert_eq!((found, missing), (luns, expected), "{text}");
    }
}

#[test]
fn other_values_with_a_line_break_are_reported() {
    let (targets, text, missing) =
        dumped(vec![shown(&[], &["ali\nce", "bob"], &["10.0.0.1\n2", "iqn.a\nb"])]);
    assert_eq!(targets[0].incoming.len(), 1, "{text}");
    assert_eq!(targets[0].incoming[0].user, "bob");
    assert!(targets[0].admitted().is_empty() && targets[0].names.is_empty(), "{text}");
    let why = "cannot be written: it has a line break";
    assert_eq!(
        missing,
        ["account 'ali\\nce'", "rule '10.0.0.1\\n2'", "rule 'iqn.a\\nb'"]
            .map(|what| format!("target iqn.a:b: {what} {why}"))
    );

    let (_, text, missing) = dumped(running::targets("Target 1: iqn.a:\nb\n    System information:\n"));
    assert_eq!(missing, [format!("target iqn.a:\nb: its name 'iqn.a:\\nb' {why}")]);
    assert!(!text.contains("<target"), "{text}");

    let report = "Target 7: iqn.a:b\n    LUN information:\n        LUN: 1\n            SCSI SN: be\naf\n\
                      \u{20}           Type: disk\n            Backing store path: /a\n            Backing store flags: \n";
    let units = running::targets(report).remove(0).units;
    let unit = RunningTarget { units, ..shown(&[], &[], &["ALL"]) };
    let (targets, text, missing) = dumped(vec![unit]);
    assert!(targets[0].stores.is_empty(), "{text}");
    assert_eq!(missing, [format!("target iqn.a:b: LUN 1: scsi_sn 'be\\naf' {why}")]);
}

#[test]
fn shared_file_is_reported_within_a_target_and_allowed_between_targets() {
    let twice = shown(&[(1, "rdwr", "/a"), (2, "rdwr", "/a")], &[], &["ALL"]);
    let (targets, text, missing) = dumped(vec![twice]);
    assert_eq!((targets[0].stores.len(), targets[0].stores[0].lun), (1, Some(1)), "{text}");
    let why = "an earlier unit of the target has it, and a target of the file has a path once";
    assert_eq!(missing, [format!("target iqn.a:b: LUN 2: path '/a' cannot be written: {why}")]);

    let once = |name: &str, path| RunningTarget {
        name: name.to_owned(),
        ..shown(&[(1, "rdwr", path)], &[], &["ALL"])
    };
    let (targets, text, missing) =
        dumped(vec![once("iqn.a:1", "/a"), once("iqn.a:2", "/b"), once("iqn.a:3", "/a")]);
    assert!(missing.is_empty(), "{missing:?}");
    assert_eq!(
        targets.iter().map(|target| target.allow_in_use).collect::<Vec<_>>(),
        [true, false, true],
        "{text}"
    );
}

#[test]
fn target_that_loses_its_accounts_is_closed_in_the_file() {
    let (targets, text, missing) = dumped(vec![shown(&[], &["a b", "whole"], &["ALL"])]);
    assert_eq!(
        (targets[0].incoming[0].user.as_str(), targets[0].admitted()),
        ("whole", vec!["ALL"]),
        "{text}"
    );
    assert_eq!(missing, ["target iqn.a:b: account 'a b' cannot be written"]);

    let (targets, text, missing) =
        dumped(vec![shown(&[], &["a b"], &["ALL", "iqn.1993-08.org.debian:01:abc"])]);
    assert!(targets[0].incoming.is_empty() && targets[0].admitted().is_empty(), "{text}");
    assert!(targets[0].names.is_empty() && missing.len() == 2, "{text}{missing:?}");

    let (targets, text, missing) = dumped(vec![shown(&[], &[], &["10.0.0.1,10.0.0.2"])]);
    assert!(targets[0].admitted().is_empty(), "a lost rule admits nobody: {text}");
    assert_eq!(missing, ["target iqn.a:b: rule '10.0.0.1,10.0.0.2' cannot be written"]);
}

#[test]
fn account_reads_back_with_its_names() {
    let names = ["eui.02004567a425678d", "iqn.1993-08.org.debian:01:abc"].map(str::to_owned).to_vec();
    let mut target = shown(&[], &["alice", "bob", "alice (outgoing)"], &["ALL"]);
    target.account_names.insert("alice".to_owned(), names.clone());
    let (targets, text, missing) = dumped(vec![target]);
    let line = "\tincominguser alice PLEASE_CORRECT_THE_PASSWORD eui.02004567a425678d iqn.1993-08.org.debian:01:abc\n";
    assert!(text.contains(line) && missing.is_empty(), "{text}{missing:?}");
    assert_eq!(targets[0].incoming[0].names, names);
    assert!(targets[0].incoming[1].names.is_empty() && targets[0].outgoing[0].names.is_empty());
}

#[test]
fn stores_without_files_read_back_without_unreported_options() {
    let units = [(1, "null", "nothing"), (2, "null", "None"), (3, "memory", "m")];
    let (targets, text, missing) = dumped(vec![shown(&units, &[], &["ALL"])]);
    let stores: Vec<_> = targets[0].stores.iter().map(|store| (store.path.as_str(), store.lun)).collect();
    assert_eq!(stores, [("NONE:7.2", Some(2)), ("m", Some(3)), ("nothing", Some(1))], "{text}");
    assert_eq!(
        missing,
        ["target iqn.a:b: LUN 3: no report shows the options (bsopts) of its 'memory' store"]
    );
}

#[test]
fn settings_that_cannot_be_written_are_reported() {
    let discovery = ["alice", "bob"].map(str::to_owned).to_vec();
    let running = Running {
        incoming_discovery: discovery,
        outgoing_discovery: vec!["c d".to_owned()],
        isns: [("iSNS", "On"), ("iSNSServerIP", "a#b")].map(|(k, v)| (k.to_owned(), v.to_owned())).into(),
        ..Running::default()
    };
    let Dump { text, missing } = dump(&running, Vec::new());
    let config = read(&text).unwrap();
    assert!(matches_account(config.incoming_discovery.as_ref(), "alice"), "{text}");
    assert_eq!(config.isns["iSNSServerIP"], "a#b");
    assert_eq!(
        missing,
        ["incomingdiscoveryuser bob", "outgoingdiscoveryuser c d"]
            .map(|line| format!("'{line} PLEASE_CORRECT_THE_PASSWORD' cannot be written"))
    );
    assert!(!text.contains("bob"));
}
