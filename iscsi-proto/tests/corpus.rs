//! Replays the fuzz corpora, so that they are tested without a fuzzer.

use std::fs;
use std::path::Path;

use iscsi_proto::fuzzing::{FuzzTarget, TARGETS};

#[test]
fn targets_accept_every_input_of_their_corpus() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for FuzzTarget { name, run } in TARGETS {
        let inputs: Vec<_> = fs::read_dir(corpora.join(name)).unwrap().collect();
        assert!(!inputs.is_empty(), "no inputs for {name}");
        for input in inputs {
            run(&fs::read(input.unwrap().path()).unwrap());
        }
    }
}
