//! `tgt-setup-lun`: creates a target with one unit.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::setup_lun::run(std::env::args_os())
}
