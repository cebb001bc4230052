//! Calls `target_engine::control::fuzzing::management_request`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target_engine::control::fuzzing::management_request(bytes));
