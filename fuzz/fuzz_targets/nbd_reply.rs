//! Calls `backstores::nbd::fuzzing::reply`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backstores::nbd::fuzzing::reply(bytes));
