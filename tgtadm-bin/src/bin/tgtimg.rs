//! `tgtimg`: creates and lists the image files of tapes, discs and disks.

use std::process::ExitCode;

fn main() -> ExitCode {
    tgtadm_bin::image::run(std::env::args_os())
}
