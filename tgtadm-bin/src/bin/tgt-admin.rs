//! `tgt-admin`: a running daemon becomes what a configuration file says.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::admin::run(std::env::args_os())
}
