//! `tgtimg`: creates the image files of tapes, discs and disks, and lists the contents of a tape.
//!
//! `scsi_core::tape_image` has the format of a tape.

mod args;
mod make;
mod show;

use std::ffi::OsString;
use std::process::ExitCode;

use target_engine::system_text::without_numbers;

pub use args::Args;
use args::{EINVAL, Op};

/// Runs `tgtimg` with its arguments, of which the first is the program's name.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Args = match crate::parse(arguments, EINVAL) {
        Ok(args) => args,
        Err(exit) => return exit,
    };
    let done = match args.op {
        Op::New => make::make(&args),
        Op::Show => show::show(&args, &mut std::io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tgtimg: {}", without_numbers(&failure.message));
            ExitCode::from(failure.exit)
        }
    }
}
