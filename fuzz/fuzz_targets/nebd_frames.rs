//! Calls `backstores::nebd::fuzzing::frames`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backstores::nebd::fuzzing::frames(bytes));
