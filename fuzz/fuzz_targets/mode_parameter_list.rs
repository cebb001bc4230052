//! Calls `scsi_core::fuzzing::mode_parameter_list`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scsi_core::fuzzing::mode_parameter_list(bytes));
