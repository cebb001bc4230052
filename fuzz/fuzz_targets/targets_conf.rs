//! Calls `tgtadm_bin::admin::config::fuzzing::targets_conf`, which asserts the invariants.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| tgtadm_bin::admin::config::fuzzing::targets_conf(bytes));
