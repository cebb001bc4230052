//! Calls `target_engine::iscsi::login::fuzzing::drive`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target_engine::iscsi::login::fuzzing::drive(bytes));
