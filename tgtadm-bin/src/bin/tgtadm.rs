//! `tgtadm`: sends one request to a running daemon.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::run(std::env::args_os())
}
