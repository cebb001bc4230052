//! Replays the fuzzers' corpora, so that they guard without a fuzzer.

use std::fs;
use std::path::Path;

use iscsi_proto::fuzzing::TARGETS;

#[test]
fn every_input_worth_keeping_is_handled() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, run) in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpora.join(name)).unwrap().collect();
        assert!(!inputs.is_empty(), "no inputs for {name}");
        for input in inputs {
            run(&fs::read(input.unwrap().path()).unwrap());
        }
    }
}
