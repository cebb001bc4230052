//! What it does and what must hold stands where it calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| target_engine::control::fuzzing::access_rules(bytes));
