//! `tgt-setup-lun`: a target with one unit, in one command.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::setup_lun::run(std::env::args_os())
}
