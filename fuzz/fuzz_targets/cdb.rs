//! Calls `scsi_core::fuzzing::cdb`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scsi_core::fuzzing::cdb(bytes));
