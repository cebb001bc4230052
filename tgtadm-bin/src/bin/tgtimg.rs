//! `tgtimg`: makes and shows the files behind tapes, discs and disks.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::image::run(std::env::args_os())
}
