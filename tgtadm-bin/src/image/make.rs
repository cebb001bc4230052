//! Creates image files: a blank tape, a blank disc, a disk of zeroes.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use scsi_core::tape_image::{self, HEADER_LEN, MAM_LEN, Mam, MediumKind};

use super::args::{Args, DeviceType, Failure, Medium, UNWRITABLE};

/// Creates the image file; an existing one is overwritten.
pub(super) fn make(args: &Args) -> Result<(), Failure> {
    match args.device_type {
        DeviceType::Tape => tape(args),
        DeviceType::Cd => cd(args),
        DeviceType::Disk => disk(args),
    }
}

fn tape(args: &Args) -> Result<(), Failure> {
    let kind = match args.medium {
        Some(Medium::Data) => MediumKind::DATA,
        Some(Medium::Clean) => MediumKind::CLEANING,
        Some(Medium::Worm) => MediumKind::WORM,
        _ => return Err(Failure::usage("--type must be data, clean or WORM for --device-type tape")),
    };
    let barcode = args.barcode.as_deref().ok_or_else(|| Failure::usage("a new tape needs --barcode"))?;
    let size = args.size.ok_or_else(|| Failure::usage("a new tape needs --size"))?;
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let made_at = u32::try_from(since_1970).unwrap_or(u32::MAX);
    let mam = Mam::new(barcode, size, kind, made_at).map_err(|error| Failure::usage(error.to_string()))?;
    let next = HEADER_LEN + MAM_LEN;
    // tgt prints this line too; its contents have no use.
    say(&format!("blk_sz: {size}, next {next}, {next}\nSizeof(mam): {MAM_LEN}, sizeof(h): {HEADER_LEN}"));
    create(args, |mut file| file.write_all(&tape_image::blank(&mam)))
}

fn cd(args: &Args) -> Result<(), Failure> {
    if args.medium != Some(Medium::DvdPlusR) {
        return Err(Failure::usage("--type must be dvd+r for --device-type cd"));
    }
    create(args, |_| Ok(()))?;
    say(&format!("Created blank DVD+R image file : {}", args.file.display()));
    Ok(())
}

fn disk(args: &Args) -> Result<(), Failure> {
    if args.medium != Some(Medium::Disk) {
        return Err(Failure::usage("--type must be disk for --device-type disk"));
    }
    let size = args.size.ok_or_else(|| Failure::usage("a new disk needs --size"))?;
    let len = u64::from(size) << 20;
    create(args, |file| if args.thin_provisioning { file.set_len(len) } else { allocate(file, len) })?;
    say(&format!("Created blank DISK image file : {}", args.file.display()));
    Ok(())
}

/// Creates and fills the file. If filling fails, a file that did not exist before is removed.
fn create(args: &Args, fill: impl FnOnce(&File) -> io::Result<()>) -> Result<(), Failure> {
    let failure = |error: io::Error| Failure::of(UNWRITABLE, "cannot create", args, error);
    let before = std::fs::metadata(&args.file).ok();
    if before.as_ref().is_some_and(|found| !found.is_file()) {
        return Err(failure(io::Error::other("it exists and is not a regular file")));
    }
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&args.file);
    let file = file.map_err(failure)?;
    fill(&file).map_err(|error| {
        if before.is_none() {
            // Only the first failure is reported.
            let _ = std::fs::remove_file(&args.file);
        }
        failure(error)
    })
}

/// Allocates the space; writes zeroes if the file system cannot reserve it.
fn allocate(file: &File, len: u64) -> io::Result<()> {
    match rustix::fs::fallocate(file, FallocateFlags::empty(), 0, len) {
        Err(Errno::OPNOTSUPP) => io::copy(&mut io::Read::take(io::repeat(0), len), &mut &*file).map(drop),
        done => Ok(done?),
    }
}

fn say(line: &str) {
    // A closed output is not a failure.
    let _ = writeln!(io::stdout(), "{line}");
}

/// The mode of a new file; 0640 under the usual umask.
const FILE_MODE: u32 = 0o660;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[test]
    fn file_that_cannot_be_filled_is_removed_if_it_is_new() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.img");
        let words = ["tgtimg", "--op", "new", "--file", path.to_str().unwrap()];
        let args = Args::try_parse_from(words).unwrap();
        let full = || create(&args, |_| Err(Errno::NOSPC.into())).unwrap_err();
        assert_eq!(full().exit, UNWRITABLE);
        assert!(!path.exists());

        std::fs::write(&path, "before").unwrap();
        assert!(full().message.contains("No space left"));
        assert!(path.exists());
    }
}
