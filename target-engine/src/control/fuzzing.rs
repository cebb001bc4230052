//! Entry points for fuzzers: the control socket may deliver any bytes.

use std::net::IpAddr;

use iscsi_proto::name::IscsiName;

use super::request::Request;
use super::wire::{JSON_LLD, Record, RecordReader, RequestHeader};
use crate::model::acl::{Acl, Matching};

/// Reads the bytes of a connection as a record, whole and in two pieces, and parses it for every operation.
///
/// # Panics
/// The record is not encoded to the same bytes, or depends on how it was cut.
pub fn management_request(bytes: &[u8]) {
    let whole = RecordReader::default().receive(bytes);
    let mut reader = RecordReader::default();
    let (first, second) = bytes.split_at(bytes.len() / 2);
    let in_pieces = match reader.receive(first) {
        Ok(None) => reader.receive(second),
        early => early,
    };
    assert_eq!(whole, in_pieces, "a record does not depend on how it is cut");
    let Ok(Some(record)) = whole else { return };
    // A driver's name that is not UTF-8 is replaced.
    if !record.header.lld.contains(char::REPLACEMENT_CHARACTER) {
        let again = RecordReader::default().receive(&record.encode());
        assert_eq!(again.as_ref().map(Option::as_ref), Ok(Some(&record)), "what is written is read again");
    }
    let _ = Request::parse(&record);
    // The same strings for every mode and operation, so that the fuzzer need not find each of them.
    for (mode, op) in (0..8).flat_map(|mode| (0..9).map(move |op| (mode, op))) {
        let header = RequestHeader { mode, op, ..record.header.clone() };
        let lenient = Record { header, payload: record.payload.clone() };
        let mut strict = lenient.clone();
        JSON_LLD.clone_into(&mut strict.header.lld);
        let (meant, strict) = (Request::parse(&lenient), Request::parse(&strict));
        // Operations of one form only have no counterpart. The text form of `account show` ignores a secret, as tgt does.
        if let (Ok(strict), Ok(meant)) = (strict, meant)
            && !matches!(strict, Request::AccountCompare { .. })
        {
            assert_eq!(strict, meant, "what the strict form takes means the same in the other");
        }
    }
}

/// Lines: an initiator's address, its name, and then rules, those on names after a `=`.
///
/// # Panics
/// A rule that was taken is not there or cannot be removed; an address or a name does not match itself; who gets in
/// where all must match does not where one must.
pub fn access_rules(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let mut lines = text.split('\n');
    let mut line = || lines.next().unwrap_or_default();
    let (Ok(address), Ok(name)) = (line().parse::<IpAddr>(), IscsiName::parse_any(line())) else { return };
    let mut acl = Acl::default();
    for rule in lines {
        let mut alone = Acl::default();
        let (taken, is_own) = match rule.strip_prefix('=') {
            Some(rule) => {
                let is_own = IscsiName::parse_any(rule).as_ref() == Ok(&name);
                assert!(acl.add_name(rule).is_err() || acl.add_name(rule).is_err(), "a rule is there once");
                (alone.add_name(rule).is_ok(), is_own)
            }
            None => {
                assert!(
                    acl.add_address(rule).is_err() || acl.add_address(rule).is_err(),
                    "a rule is there once"
                );
                (alone.add_address(rule).is_ok(), rule.parse() == Ok(address))
            }
        };
        // A rule is in the list of its kind only: the same text may be refused as one kind and taken as the other.
        let present = match rule.strip_prefix('=') {
            Some(rule) => acl.names().any(|known| known == rule),
            None => acl.addresses().any(|known| known == rule),
        };
        assert_eq!(present, taken, "{rule:?}");
        assert!(!is_own || alone.allows(address, &name), "{rule:?} matches itself");
    }
    let by_any = acl.allows(address, &name);
    acl.set_matching(Matching::All);
    assert!(by_any || !acl.allows(address, &name));
    let rules: Vec<String> = acl.rules().map(str::to_owned).collect();
    for rule in rules {
        assert!(acl.remove_address(&rule).is_ok() || acl.remove_name(&rule).is_ok(), "{rule:?}");
    }
    assert_eq!(acl.rules().count(), 0);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Replays the fuzzer's corpus, so that it guards without a fuzzer.
    #[test]
    fn corpus_is_replayed() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/management_request");
        let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().collect();
        assert!(inputs.len() > 5);
        for input in inputs {
            super::management_request(&std::fs::read(input.unwrap().path()).unwrap());
        }
    }

    proptest::proptest! {
        #[test]
        fn likely_access_rules_are_taken_or_refused(
            rules in "(10\\.0\\.0\\.[0-9]|(::ffff:)?[0-9]\\.0\\.0\\.1|fe80::[0-9])\niqn\\.a(\n(ALL|all|=iqn\\.[ab]|=IQN\\.A|\\[?[0-9:.]{1,9}\\]?(/[0-9]{1,3})?|\\PC{0,8})){0,6}"
        ) {
            super::access_rules(rules.as_bytes());
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            super::management_request(&bytes);
        }
    }
}
