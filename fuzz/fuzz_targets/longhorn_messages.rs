//! Calls `backstores::longhorn::fuzzing::messages`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| backstores::longhorn::fuzzing::messages(bytes));
