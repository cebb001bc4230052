//! Calls `target_engine::shard::fuzzing::connection`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target_engine::shard::fuzzing::connection(bytes));
