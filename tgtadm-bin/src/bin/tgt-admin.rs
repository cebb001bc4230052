//! `tgt-admin`: configures a running daemon from a file.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::admin::run(std::env::args_os())
}
