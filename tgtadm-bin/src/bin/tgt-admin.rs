//! `tgt-admin`: configures a running daemon from a file.

use std::process::ExitCode;

use rustix::process::{DumpableBehavior, set_dumpable_behavior};

fn main() -> ExitCode {
    // A core would have the passwords of accounts.
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
    tgtadm_bin::admin::run(std::env::args_os())
}
