//! The options of `tgtimg` and its errors.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use scsi_core::tape_image::BARCODE_LEN_MAX;
use target_engine::model::number::number_within;

/// Creates the image file of a tape, a disc or a disk, or lists the contents of a tape.
#[derive(Clone, Debug, Parser)]
#[command(name = "tgtimg", version, infer_long_args = true, args_override_self = true, after_help = AFTER_HELP)]
pub struct Args {
    /// What to do
    #[arg(short, long, value_enum, value_name = "OP")]
    pub(super) op: Op,

    /// The type of device that the file is for
    #[arg(short = 'Y', long, value_enum, value_name = "DEVICE", default_value = "tape")]
    pub(super) device_type: DeviceType,

    /// The barcode of a new tape, at most 20 bytes; unique within a library
    #[arg(short, long, value_name = "CODE", value_parser = barcode)]
    pub(super) barcode: Option<String>,

    /// The size of a new tape or disk in MiB, from 1
    #[arg(short, long, value_name = "MIB", value_parser = |text: &str| number_within(text, 1, MIB_MAX))]
    pub(super) size: Option<u32>,

    /// The medium of a new file: data, clean or WORM for tapes, dvd+r for discs, disk for disks
    #[arg(short = 't', long = "type", value_enum, value_name = "MEDIUM", ignore_case = true)]
    pub(super) medium: Option<Medium>,

    /// The image file
    #[arg(short, long, value_name = "FILE")]
    pub(super) file: PathBuf,

    /// Allocate the space of a new disk when it is written to
    #[arg(short = 'T', long)]
    pub(super) thin_provisioning: bool,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Op {
    /// Create a file; an existing file is overwritten
    New,
    /// List the contents of a tape
    Show,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum DeviceType {
    Tape,
    Cd,
    Disk,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Medium {
    Data,
    #[value(alias = "cleaning")]
    Clean,
    #[value(name = "WORM")]
    Worm,
    #[value(name = "dvd+r")]
    DvdPlusR,
    Disk,
}

/// An error message and its exit code.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Failure {
    pub(super) exit: u8,
    pub(super) message: String,
}

impl Failure {
    /// An error about the image file: what failed, its path and the reason.
    pub(super) fn of(exit: u8, what: &str, args: &Args, why: impl std::fmt::Display) -> Self {
        Self { exit, message: format!("{what} {}: {why}", args.file.display()) }
    }

    /// An error in the options.
    pub(super) fn usage(message: impl Into<String>) -> Self {
        Self { exit: EINVAL, message: message.into() }
    }
}

/// Checks a barcode: it must fit its field in the medium's attributes.
fn barcode(text: &str) -> Result<String, String> {
    if text.len() > BARCODE_LEN_MAX || text.contains(char::is_control) {
        return Err(format!("expected at most {BARCODE_LEN_MAX} bytes and no control characters"));
    }
    Ok(text.to_owned())
}

/// Exit code: the file cannot be read or is not a tape.
pub(super) const UNREADABLE: u8 = 1;
/// Exit code: the file cannot be created.
pub(super) const UNWRITABLE: u8 = 2;
/// Exit code: an option is wrong.
pub(super) const EINVAL: u8 = 22;
/// The largest size of an image: the tape format stores MiB in 31 bits.
const MIB_MAX: u32 = i32::MAX as u32;
const AFTER_HELP: &str = "\
Examples:
  tgtimg --op new --device-type tape --barcode A00001 --size 1024 --type data --file /srv/a00001.img
  tgtimg --op show --device-type tape --file /srv/a00001.img
  tgtimg --op new --device-type disk --type disk --size 100 --thin-provisioning --file /srv/disk.img
  tgtimg --op new --device-type cd --type dvd+r --file /srv/disc.img

Exit codes: 0 success; 1 the file is not a complete tape; 2 the file cannot be created; 22 an option is wrong.";
