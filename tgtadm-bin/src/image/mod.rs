//! `tgtimg`: makes the files behind tapes, discs and disks, and shows what is on a tape. [`make`] and [`show`] do it;
//! the bytes of a tape are `scsi_core::tape_image`.

pub mod make;
pub mod show;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::RangedU64ValueParser;
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches, Parser, ValueEnum};

/// Makes a file for a tape, a disc or a disk, or shows what is on a tape.
#[derive(Clone, Debug, Parser)]
#[command(name = "tgtimg", version, infer_long_args = true, args_override_self = true, after_help = AFTER_HELP)]
pub struct Args {
    /// What to do
    #[arg(short, long, value_enum, value_name = "OP")]
    op: Op,

    /// The device that the file is for
    #[arg(short = 'Y', long, value_enum, value_name = "DEVICE", default_value = "tape")]
    device_type: DeviceType,

    /// A new tape's barcode, at most 20 bytes; those of a library differ
    #[arg(short, long, value_name = "CODE", value_parser = make::barcode)]
    barcode: Option<String>,

    /// A new tape's or disk's size in MiB, from 1
    #[arg(short, long, value_name = "MIB", value_parser = RangedU64ValueParser::<u32>::new().range(1..=MIB_MAX))]
    size: Option<u32>,

    /// A new file's kind of medium: data, clean or WORM for tapes, dvd+r for discs, disk for disks
    #[arg(short = 't', long = "type", value_enum, value_name = "MEDIUM", ignore_case = true)]
    medium: Option<Medium>,

    /// The file
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,

    /// Take no space for a new disk until it is written to
    #[arg(short = 'T', long)]
    thin_provisioning: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Op {
    /// Make a file; one that is there is overwritten.
    New,
    /// Show what is on a tape.
    Show,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum DeviceType {
    Tape,
    Cd,
    Disk,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Medium {
    Data,
    #[value(alias = "cleaning")]
    Clean,
    #[value(name = "WORM")]
    Worm,
    #[value(name = "dvd+r")]
    DvdPlusR,
    Disk,
}

/// What went wrong, and the exit code for it.
#[derive(Clone, Debug, Eq, PartialEq)]
struct Failure {
    exit: u8,
    message: String,
}

impl Failure {
    fn of(exit: u8, what: &str, args: &Args, why: impl std::fmt::Display) -> Self {
        Self { exit, message: format!("{what} {}: {why}", args.file.display()) }
    }

    fn usage(message: impl Into<String>) -> Self {
        Self { exit: EINVAL, message: message.into() }
    }
}

/// The tool, from its arguments (the program's name first) to its exit code.
#[must_use]
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let read =
        Args::command().try_get_matches_from(arguments).and_then(|found| Args::from_arg_matches(&found));
    let args = match read {
        Ok(args) => args,
        Err(error) => {
            // A reader that went away changes nothing.
            let _ = error.print();
            let asked_for = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            return ExitCode::from(if asked_for { 0 } else { EINVAL });
        }
    };
    let done = match args.op {
        Op::New => make::make(&args),
        Op::Show => show::show(&args, &mut std::io::stdout().lock()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("tgtimg: {}", failure.message);
            ExitCode::from(failure.exit)
        }
    }
}

/// The file cannot be read, or is no tape.
const UNREADABLE: u8 = 1;
/// The file cannot be made.
const UNWRITABLE: u8 = 2;
/// The command line makes no sense.
const EINVAL: u8 = 22;
/// The format counts MiB in 31 bits.
const MIB_MAX: u64 = i32::MAX as u64;
const AFTER_HELP: &str = "\
Examples:
  tgtimg --op new --device-type tape --barcode A00001 --size 1024 --type data --file /srv/a00001.img
  tgtimg --op show --device-type tape --file /srv/a00001.img
  tgtimg --op new --device-type disk --type disk --size 100 --thin-provisioning --file /srv/disk.img
  tgtimg --op new --device-type cd --type dvd+r --file /srv/disc.img

Exit codes: 0 done; 1 the file is no whole tape; 2 the file cannot be made; 22 a mistake in the options.";
