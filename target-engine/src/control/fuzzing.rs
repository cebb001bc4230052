//! Entry points for fuzzers: any bytes may come over the control socket.

use super::request::Request;
use super::wire::{Record, RecordReader, RequestHeader};

/// A connection's bytes, in two pieces: read as a record, understood or refused.
///
/// # Panics
/// A record that was read is not written as it was, or its parts depend on how it was cut.
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
    // A driver's name that is no text is not kept as it was.
    if !record.header.lld.contains(char::REPLACEMENT_CHARACTER) {
        let again = RecordReader::default().receive(&record.encode());
        assert_eq!(again.as_ref().map(Option::as_ref), Ok(Some(&record)), "what is written is read again");
    }
    let _ = Request::parse(&record);
    // The same strings for every mode and operation: the fuzzer need not find each by itself.
    for (mode, op) in (0..8).flat_map(|mode| (0..9).map(move |op| (mode, op))) {
        let header = RequestHeader { mode, op, ..record.header.clone() };
        let _ = Request::parse(&Record { header, payload: record.payload.clone() });
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// Replays the fuzzer's corpus, so that it guards without a fuzzer.
    #[test]
    fn every_input_worth_keeping_is_handled() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/management_request");
        let inputs: Vec<_> = std::fs::read_dir(corpus).unwrap().collect();
        assert!(inputs.len() > 5);
        for input in inputs {
            super::management_request(&std::fs::read(input.unwrap().path()).unwrap());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            super::management_request(&bytes);
        }
    }
}
