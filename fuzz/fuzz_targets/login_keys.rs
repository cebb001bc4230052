//! Calls `iscsi_proto::fuzzing::login_keys`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| iscsi_proto::fuzzing::login_keys(bytes));
