//! What it does and what must hold stands where it calls.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tgtadm_bin::admin::config::fuzzing::targets_conf(bytes));
