//! Runs batches of one kind of command through the warm engine, to count instructions.
//!
//! ```text
//! warm_commands read|write null|memory BATCHES
//! ```

use std::process::ExitCode;

use tgt_tests::bare::{Bare, Batch, Store};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let [work, store, batches] = arguments[..] else { return usage() };
    let mut batch = match work {
        "read" => Batch::reads(4096),
        "write" => Batch::writes(4096),
        _ => return usage(),
    };
    let store = match store {
        "null" => Store::Null,
        "memory" => Store::Memory,
        _ => return usage(),
    };
    let Ok(batches) = batches.parse::<u32>() else { return usage() };
    let mut bare = Bare::new(store);
    // Fills the blocks that are read.
    bare.run(&mut Batch::writes(4096));
    for _ in 0..batches {
        bare.run(&mut batch);
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("usage: warm_commands read|write null|memory BATCHES");
    ExitCode::FAILURE
}
