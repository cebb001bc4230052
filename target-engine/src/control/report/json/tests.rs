//! The documents are compared with those in `golden` and with the texts.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::samples::{
    disk, session, system as system_sample, target as target_sample, unit as unit_sample,
};
use super::super::{stat::LoginCounts, text};
use super::*;
use crate::control::error::TgtadmError;
use crate::control::request::{Driver, State};
use crate::model::DriverState;
use crate::model::acl::Matching;
use crate::model::target::RedirectReason;

fn counters() -> (UnitRow, ConnectionRow) {
    let moved = |bytes, commands| Moved { bytes, commands };
    let counts = UnitCounts {
        read_submitted: moved((1 << 53) + 1, 14374),
        read_done: moved(58_867_744, 14373),
        write_submitted: moved(4096, 7),
        write_done: moved(512, 6),
        errors: 1,
    };
    let connection = ConnectionCounts { received: 79708, sent: 277_516, data_out_pdus: 8, command_pdus: 23 };
    (UnitRow { tid: 1, lun: 3, sid: 2, counts }, ConnectionRow { sid: 2, cid: 0, counts: connection })
}

fn login_counts() -> LoginCounts {
    LoginCounts {
        refused_accounts: 2,
        refused_in_all: 0,
        refused_per_target: 0,
        refused_per_address: 3,
        refused_per_initiator: 7,
        failed_proofs: 12,
        failed_proofs_by_address: vec![("192.0.2.7".parse().unwrap(), 11)],
    }
}

fn admission_counts() -> AdmissionCounts {
    AdmissionCounts { logins: 3, logins_displaced: 1000, discoveries: 2, discoveries_displaced: 1 }
}

/// A report of every kind.
fn reports() -> Vec<(&'static str, Report)> {
    let (unit_row, connection_row) = counters();
    let mut system = system_sample();
    system.state = State::Offline;
    system.accounts.incoming.push("zed".to_owned());
    let mut redirected = target_sample();
    redirected.parameters.redirect.address = "10.0.0.9".to_owned();
    redirected.parameters.redirect.port = "3261".to_owned();
    redirected.parameters.redirect.reason = Some(RedirectReason::Temporary);
    let mut strict = target_sample();
    strict.acl.matching = Matching::All;
    strict.sessions.clear();
    let targets = vec![(1, "iqn.2001-04.com.example:storage.disk1.sys1".to_owned())];
    let driver = DriverReport { driver: Driver::Iscsi, state: DriverState::Ready, targets };
    let portals = ["[::]:3260", "0.0.0.0:3260"].map(|portal| portal.parse().unwrap()).to_vec();
    vec![
        ("done", Report::Done),
        ("system", Report::System(system)),
        ("targets", Report::Targets(vec![target_sample()])),
        ("target", Report::Target(Box::new(strict))),
        ("redirected", Report::Target(Box::new(redirected))),
        ("drivers", Report::Drivers(vec![driver])),
        ("portals", Report::Portals(portals)),
        ("accounts", Report::Accounts(["mike", "fujita"].map(str::to_owned).to_vec())),
        ("secret", Report::Secret { user: "mike".to_owned(), same: true }),
        ("sessions", Report::Sessions(vec![session()])),
        (
            "units",
            Report::Units(vec![unit_sample(0), UnitReport { unreachable_seconds: Some(42), ..disk(3) }]),
        ),
        ("unit_counters", Report::UnitCounts(vec![unit_row], vec![StoreRow { tid: 1, lun: 3, losses: 2 }])),
        (
            "system_counters",
            Report::SystemCounts(
                vec![unit_row],
                vec![StoreRow { tid: 1, lun: 3, losses: 2 }],
                login_counts(),
                admission_counts(),
            ),
        ),
        ("session_counters", Report::SessionCounts(vec![unit_row], vec![connection_row])),
        ("connection_counters", Report::ConnectionCounts(vec![connection_row])),
    ]
}

/// The files are the contract: a change of them is a change of `docs/json.md`, and only an addition is allowed.
#[test]
fn documents_equal_the_golden_files() {
    let refused = TgtadmError::InvalidRequest.because("--bsoflags \"x\": \"x\" is not known; accepted: sync");
    let documents = reports().into_iter().map(|(name, answer)| (name, report(&answer)));
    for (name, value) in documents.chain([("error", refusal(&refused))]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/control/report/json/golden");
        let golden = std::fs::read_to_string(path.join(name).with_extension("json")).unwrap_or_default();
        assert_eq!(document(&value), golden, "{name}");
    }
}

#[test]
fn reply_has_the_number_and_the_length_of_the_document() {
    let reply = encode(&Err(TgtadmError::NoTarget.because("why")));
    assert_eq!(reply[..4], [4, 0, 0, 0]);
    assert!(reply.ends_with(b"}\n\0"));
    let reply = encode(&Ok(Report::Done));
    assert_eq!(reply, b"\0\0\0\0\x0c\0\0\0{}\n\0");
}

/// Numbers, words and switches, however deep.
fn leaves(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => members.values().for_each(|member| leaves(member, into)),
        Value::Array(items) => items.iter().for_each(|item| leaves(item, into)),
        Value::String(text) => drop(into.insert(text.clone())),
        Value::Null => drop(into.insert("null".to_owned())),
        other => drop(into.insert(other.to_string())),
    }
}

/// The value in a line of a text, as a document has it.
fn said(line: &str) -> Vec<String> {
    let line = line.trim();
    let line = line.strip_suffix(" (outgoing)").unwrap_or(line);
    let (name, value) = match line.split_once(": ").or_else(|| line.split_once('=')) {
        Some((name, value)) => (name, value),
        // A head, or a rule, an account or a kind in a list.
        None if line.ends_with(':') => return Vec::new(),
        None => ("", line),
    };
    let words = match name {
        "Size" => {
            let (_, block_len) = value.split_once("Block size: ").unwrap();
            vec![block_len]
        }
        "Initiator" => value.split(" alias: ").collect(),
        "Portal" => vec![value.rsplit_once(',').unwrap().1],
        "Backing store flags" => value.split(':').collect(),
        _ if name.starts_with("Target ") => vec![&name["Target ".len()..], value],
        _ => vec![value.split(" (bsoflags").next().unwrap()],
    };
    let plain = words.into_iter().filter(|word| !word.is_empty());
    let plain = plain.map(|word| match word {
        "Yes" | "On" | "on" => "true",
        "No" | "Off" | "off" => "false",
        "none" => "null",
        word => word,
    });
    plain.map(str::to_owned).collect()
}

#[test]
fn every_value_of_a_text_is_in_the_document() {
    for (name, answer) in reports() {
        let mut known = BTreeSet::new();
        leaves(&report(&answer), &mut known);
        // The text of a missing path is `None`.
        if known.contains("null") {
            known.insert("None".to_owned());
        }
        let text = text::report(&answer);
        let is_table = name.ends_with("counters");
        for line in text.lines().filter(|line| !is_table || line.starts_with(' ')) {
            // Two columns are always 0.
            let words: Vec<String> = if is_table {
                line.split_whitespace().map(str::to_owned).filter(|word| word != "0").collect()
            } else {
                said(line)
            };
            for word in words {
                assert!(known.contains(&word), "{name}: {line:?} says {word:?}, which is not in {known:?}");
            }
        }
    }
}

/// The sizes in the texts are megabytes, rounded.
#[test]
fn sizes_are_in_bytes() {
    let value = unit(&disk(3));
    assert_eq!((&value["size_bytes"], &value["block_size_bytes"]), (&json!(64 << 20), &json!(4096)));
    assert_eq!(value["physical_block_size_bytes"], json!(4096));
    assert_eq!(unit(&unit_sample(0))["physical_block_size_bytes"], Value::Null);
}
