//! `tgtadm`: sends one request to a running daemon.

use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

fn main() -> ExitCode {
    // A core would have the passwords of accounts.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    tgtadm_bin::run(std::env::args_os())
}
