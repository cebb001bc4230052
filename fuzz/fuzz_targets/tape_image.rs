//! What it does and what must hold stands where it calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scsi_core::fuzzing::tape_image(bytes));
