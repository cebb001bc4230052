//! Lists the contents of a tape: the medium, then one line for each object, as tgt prints them.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use scsi_core::tape_image::{HEADER_LEN, MAM_LEN, Mam, MediumKind, ObjectHeader, ObjectKind, TapeImageError};

use super::args::{Args, DeviceType, Failure, UNREADABLE};

/// Why a tape cannot be listed to its end.
#[derive(Debug, thiserror::Error)]
enum Damage {
    #[error("byte {at}: {error}")]
    Format { at: u64, error: TapeImageError },
    #[error("the file ends in the {0} at byte {1}")]
    Short(&'static str, u64),
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// Prints the medium and the objects of the tape.
pub(super) fn show(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    if args.device_type != DeviceType::Tape {
        return Err(Failure::usage("--op show is for --device-type tape"));
    }
    let read = |error: Damage| Failure::of(UNREADABLE, "cannot read", args, error);
    let file = File::open(&args.file).map_err(|error| read(error.into()))?;
    print(&file, out).map_err(read)
}

fn print(file: &File, out: &mut impl Write) -> Result<(), Damage> {
    let first: [u8; HEADER_LEN] = bytes_at(file, 0, "header")?;
    let mam: [u8; MAM_LEN] = bytes_at(file, HEADER_LEN as u64, "medium's attributes")?;
    let mam = Mam::decode(&mam).map_err(|error| Damage::Format { at: HEADER_LEN as u64, error })?;
    medium(&mam, out)?;
    let (mut at, mut bytes) = (0, first);
    loop {
        let header = ObjectHeader::decode(&bytes).map_err(|error| Damage::Format { at, error })?;
        object(&header, out)?;
        match header.next_at(at).map_err(|error| Damage::Format { at, error })? {
            Some(next) => at = next,
            None => return Ok(()),
        }
        bytes = bytes_at(file, at, "header")?;
    }
}

fn bytes_at<const N: usize>(file: &File, at: u64, what: &'static str) -> Result<[u8; N], Damage> {
    let mut bytes = [0; N];
    match file.read_exact_at(&mut bytes, at) {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Damage::Short(what, at)),
        Err(error) => Err(error.into()),
    }
}

fn medium(mam: &Mam, out: &mut impl Write) -> io::Result<()> {
    let kind = match mam.kind() {
        MediumKind::UNSPECIFIED => "Unspecified",
        MediumKind::DATA => "Data",
        MediumKind::CLEANING => "Cleaning",
        MediumKind::DIAGNOSTICS => "Diagnostics",
        MediumKind::WORM => "WORM",
        MediumKind::MICROCODE => "Microcode",
        _ => "Unknown",
    };
    let made_at =
        mam.made_at().and_then(local_time).map_or(String::new(), |time| format!("created {time}\n"));
    out.write_all(&[b"Media     : ", &printable(mam.barcode())[..], b"\n"].concat())?;
    writeln!(out, " type     : {kind}")?;
    out.write_all(&[b"Media serial number : ", &printable(mam.serial())[..], b", "].concat())?;
    writeln!(out, "{made_at}")
}

/// Replaces control characters, which could control the terminal.
fn printable(text: &[u8]) -> Vec<u8> {
    text.iter().map(|byte| if byte.is_ascii_control() { b'?' } else { *byte }).collect()
}

/// Formats a time as C's `ctime` does, in the time zone of this machine or of `TZ`.
fn local_time(since_1970: u64) -> Option<String> {
    let time = Timestamp::from_second(i64::try_from(since_1970).ok()?).ok()?;
    Some(time.to_zoned(TimeZone::system()).strftime("%a %b %e %H:%M:%S %Y").to_string())
}

fn object(header: &ObjectHeader, out: &mut impl Write) -> io::Result<()> {
    let ObjectHeader { kind, number, previous, at, next, .. } = *header;
    let name = match kind {
        ObjectKind::BEGINNING_OF_TAPE => {
            return writeln!(
                out,
                "Beginning of Tape({}): Capacity {} MB, Blk No.: {number}, prev {previous}, curr {at}, next {next}",
                kind.0, header.len
            );
        }
        ObjectKind::NO_OPERATION => "      No Operation",
        ObjectKind::DATA => " Uncompressed data",
        ObjectKind::END_OF_DATA => "      End of Data",
        ObjectKind::FILEMARK => "         Filemark",
        _ => "      Unknown type",
    };
    let len = header.stored_len;
    writeln!(out, "{name}({}): Blk No. {number}, prev {previous}, curr {at},  next {next}, sz {len}", kind.0)
}
