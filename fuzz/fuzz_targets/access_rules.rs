//! Calls `target_engine::control::fuzzing::access_rules`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target_engine::control::fuzzing::access_rules(bytes));
