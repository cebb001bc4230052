//! `tgtadm --json` with a running daemon: documents, refusals of the strict form, and tgt's daemon.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::client::Client;
use crate::harness::{Brand, DISK, Daemon, target_name};

const LEN: u64 = 64 << 20;

/// A daemon with a disk and a session that has written to it.
fn used() -> (Daemon, Client) {
    let daemon = Daemon::start();
    daemon.disk(1, LEN);
    let mut client = Client::login(&daemon, 1, DISK);
    client.write(0, &[5; 4096]).unwrap();
    (daemon, client)
}

fn try_json(daemon: &Daemon, words: &[&str]) -> Output {
    daemon.try_adm(&[&["--json"], words].concat())
}

fn ask(daemon: &Daemon, words: &[&str]) -> Value {
    let output = try_json(daemon, words);
    assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn golden(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target-engine/src/control/report/json/golden");
    serde_json::from_slice(&std::fs::read(path.join(name).with_extension("json")).unwrap()).unwrap()
}

/// Whether a document has every member of the golden one with the same type; null matches any type.
fn has_shape(document: &Value, golden: &Value) -> bool {
    match (document, golden) {
        (Value::Null, _) | (_, Value::Null) => true,
        (Value::Object(members), Value::Object(wanted)) => wanted
            .iter()
            .all(|(name, value)| members.get(name).is_some_and(|member| has_shape(member, value))),
        (Value::Array(items), Value::Array(wanted)) => {
            // All items have the members of the first.
            wanted.first().is_none_or(|wanted| items.iter().all(|item| has_shape(item, wanted)))
        }
        _ => std::mem::discriminant(document) == std::mem::discriminant(golden),
    }
}

#[test]
fn every_show_and_stat_has_the_shape_of_its_golden_document() {
    let (daemon, _client) = used();
    daemon.adm(&["--mode", "account", "--op", "new", "--user", "mike", "--password", "secretpass12"]);
    #[rustfmt::skip]
    let cases: &[(&[&str], &str)] = &[
        (&["--mode", "sys", "--op", "show"],                                  "system"),
        (&["--mode", "sys", "--op", "stat"],                                  "system_counters"),
        (&["--mode", "target", "--op", "show"],                               "targets"),
        (&["--mode", "target", "--op", "show", "--tid", "1"],                 "targets"),
        (&["--mode", "target", "--op", "stat"],                               "unit_counters"),
        (&["--mode", "target", "--op", "stat", "--tid", "1"],                 "unit_counters"),
        (&["--mode", "lu", "--op", "show", "--tid", "1"],                     "units"),
        (&["--mode", "lu", "--op", "show", "--tid", "1", "--lun", "1"],       "units"),
        (&["--mode", "lu", "--op", "stat", "--tid", "1", "--lun", "1"],       "unit_counters"),
        (&["--mode", "portal", "--op", "show"],                               "portals"),
        (&["--mode", "account", "--op", "show"],                              "accounts"),
        (&["--mode", "lld", "--op", "show"],                                  "drivers"),
        (&["--mode", "session", "--op", "show"],                              "sessions"),
        (&["--mode", "session", "--op", "show", "--tid", "1", "--sid", "1"],  "sessions"),
        (&["--mode", "session", "--op", "stat", "--sid", "1"],                "session_counters"),
        (&["--mode", "conn", "--op", "show", "--tid", "1"],                   "sessions"),
        (&["--mode", "conn", "--op", "stat", "--sid", "1", "--cid", "0"],     "connection_counters"),
    ];
    for (words, name) in cases {
        if words.contains(&"target") && words.contains(&"stat") && !words.contains(&"--tid") {
            // As tgt's tgtadm, ours requires --tid here.
            assert_eq!(try_json(&daemon, words).status.code(), Some(22));
            continue;
        }
        let document = ask(&daemon, words);
        assert!(has_shape(&document, &golden(name)), "{words:?}: {document:#} does not match {name}");
        let list = document.as_object().unwrap().values().next().unwrap();
        assert!(list.as_array().is_none_or(|items| !items.is_empty()), "{words:?}: {document:#}");
    }
}

#[test]
fn documents_have_the_current_values() {
    let (daemon, _client) = used();
    let document = ask(&daemon, &["--mode", "target", "--op", "show"]);
    let target = &document["targets"][0];
    assert_eq!((&target["tid"], &target["name"]), (&json!(1), &json!(target_name(1))));
    let disk = &target["units"][1];
    assert_eq!((&disk["lun"], &disk["size_bytes"]), (&json!(1), &json!(LEN)));
    let path = disk["backing_store"]["path"].as_str().unwrap();
    assert!(Path::new(path).is_file(), "{path}");
    let session = &target["sessions"][0];
    assert_eq!((&session["sid"], &session["connections"][0]["address"]), (&json!(1), &json!("127.0.0.1")));
    assert_eq!(session["parameters"]["ErrorRecoveryLevel"], json!(0));
    let counters = &ask(&daemon, &["--mode", "sys", "--op", "stat"])["unit_counters"];
    let disk = counters.as_array().unwrap().iter().find(|row| row["lun"] == json!(1)).unwrap();
    // The write may count twice: the first command of a session ends with a unit attention.
    let commands = disk["write_done"]["commands"].as_u64().unwrap();
    assert!(commands > 0, "{disk:#}");
    assert_eq!(disk["write_done"]["bytes"], json!(4096 * commands));
}

#[test]
fn changes_succeed_and_refusals_are_documents() {
    let daemon = Daemon::start();
    let new = ["--mode", "target", "--op", "new", "--tid", "1", "-T", "iqn.2026-01.org.example:one"];
    assert_eq!(ask(&daemon, &new), json!({}));
    let refused = |words: &[&str]| {
        let output = try_json(&daemon, words);
        assert_eq!(output.status.code(), Some(22), "{words:?}: {output:?}");
        let document: Value = serde_json::from_slice(&output.stdout).unwrap();
        let line = format!("tgtadm: {}\n", document["error"]["name"].as_str().unwrap());
        assert_eq!(String::from_utf8(output.stderr).unwrap(), line);
        document
    };
    let document = refused(&new);
    assert!(has_shape(&document, &golden("error")), "{document:#}");
    assert_eq!(document["error"]["number"], json!(9));
    let update =
        |list: &'static str| ["--mode", "lu", "--op", "update", "--tid", "1", "--lun", "0", "--params", list];
    let document = refused(&update("scsi_sn=7,colour=red"));
    assert!(
        document["error"]["reason"].as_str().unwrap().contains("\"colour\" is not a parameter"),
        "{document:#}"
    );
    let units = || ask(&daemon, &["--mode", "lu", "--op", "show", "--tid", "1"]);
    assert_ne!(units()["units"][0]["scsi_sn"], json!("7"), "no part of the update was done");
    assert_eq!(ask(&daemon, &update("scsi_sn=7")), json!({}));
    assert_eq!(units()["units"][0]["scsi_sn"], json!("7"));
    // The text form applies the parameters before the wrong one.
    let lenient = daemon.try_adm(&update("scsi_sn=8,colour=red"));
    assert_eq!((lenient.status.code(), units()["units"][0]["scsi_sn"].clone()), (Some(22), json!("8")));
}

#[test]
fn tgts_daemon_refuses_json_and_tgtadm_explains() {
    let daemon = Daemon::start_as(Brand::Tgt, Brand::Ours, &[]);
    for words in [
        &["--mode", "sys", "--op", "show"][..],
        &["--mode", "target", "--op", "show"],
        &["--mode", "target", "--op", "new", "--tid", "1", "-T", "iqn.2026-01.org.example:one"],
        &["--mode", "lu", "--op", "show", "--tid", "1"],
        &["--mode", "session", "--op", "show"],
        &["--mode", "lld", "--op", "show"],
        &["--mode", "portal", "--op", "show"],
        &["--mode", "account", "--op", "show"],
        &["--mode", "conn", "--op", "show", "--tid", "1"],
    ] {
        let output = try_json(&daemon, words);
        assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(22), &b""[..]), "{words:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        let expected =
            "tgtadm: can't find the driver\n  --json: this daemon does not speak it; ask without\n";
        assert_eq!(stderr, expected, "{words:?}");
    }
    assert_eq!(daemon.adm(&["--mode", "target", "--op", "show"]), "", "no target was created");
}
