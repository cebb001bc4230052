//! Calls `scsi_core::fuzzing::sense`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scsi_core::fuzzing::sense(bytes));
