//! Compares our `tgtimg` with tgt's (Debian package `tgt`): the files and the output are the same.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use scsi_core::tape_image::{
    BLANK_LEN, HEADER_LEN, MAM_LEN, Mam, MediumKind, ObjectHeader, ObjectKind, blank,
};

const OURS: &str = env!("CARGO_BIN_EXE_tgtimg");
const TGT: &str = "/usr/sbin/tgtimg";

/// Exit code, standard output, standard error.
type Said = (Option<i32>, String, String);

fn run(tool: &str, words: &[&str], directory: &Path, zone: &str) -> Said {
    let output = Command::new(tool).args(words).current_dir(directory).env("TZ", zone).output();
    let output = output.unwrap_or_else(|error| panic!("{tool}: {error}; install the Debian package tgt"));
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// Runs a command line; returns its output, the file, its mode and its blocks.
fn made(tool: &str, line: &str) -> (Said, Vec<u8>, u32, u64) {
    let directory = tempfile::tempdir().unwrap();
    let said = run(tool, &line.split(' ').collect::<Vec<_>>(), directory.path(), "UTC");
    let path = directory.path().join("x.img");
    let metadata = fs::metadata(&path).unwrap();
    (said, fs::read(path).unwrap(), metadata.permissions().mode() & 0o777, metadata.blocks())
}

#[test]
fn files_equal_those_of_tgt() {
    #[rustfmt::skip]
    let lines = [
        "--op new --device-type tape --barcode A0001 --size 10 --type data --file x.img",
        "--op new --device-type tape --barcode=B_2 --size=1 --type=clean --file=x.img",
        "-o new -Y tape -b ABCDEFGHIJKLMNOPQRST -s 100000 -t WORM -f x.img",
        "-onew -bx -s2147483647 -tdata -fx.img",
        "--op show --op new --dev tape --bar ü --si 4096 --ty Data --fi x.img",
        "--op new --device-type tape --barcode c --size 5000 --type CLEAN --thin-provisioning --file x.img",
        "--op new --device-type disk --type disk --size 3 --file x.img",
        "--op new --device-type disk --type DISK --size 3 --thin-provisioning --file x.img",
        "--op new --device-type cd --type dvd+r --file x.img",
    ];
    for line in lines {
        // A tape has its creation time in seconds.
        let same = (0..10).any(|_| made(OURS, line) == made(TGT, line));
        assert!(same, "{line}: {:?} is not {:?}", made(OURS, line).0, made(TGT, line).0);
    }
}

/// An image of a tape with one object of each of these kinds.
fn tape(mam: &Mam, kinds: &[u32]) -> Vec<u8> {
    let mut image = blank(mam)[..HEADER_LEN + MAM_LEN].to_vec();
    let mut previous = 0;
    for (index, kind) in kinds.iter().chain(&[ObjectKind::END_OF_DATA.0]).enumerate() {
        let (at, kind) = (image.len() as u64, ObjectKind(*kind));
        let stored_len = if kind == ObjectKind::DATA { 1000 + index as u32 } else { 0 };
        let next = at + u64::from(stored_len) + HEADER_LEN as u64;
        let next = if kind == ObjectKind::END_OF_DATA { at } else { next };
        let number = index as u64 + 1;
        let header = ObjectHeader { stored_len, len: stored_len, kind, number, previous, at, next };
        image.extend(header.encode());
        image.resize(image.len() + stored_len as usize, 0x55);
        previous = at;
    }
    image
}

#[test]
fn tapes_are_listed_as_tgt_lists_them() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.img");
    let cartridge = |barcode, kind, made_at| Mam::new(barcode, 12, MediumKind(kind), made_at).unwrap();
    let mut images: Vec<Vec<u8>> =
        (0..7).map(|kind| tape(&cartridge("A0001", kind, 1_795_350_416), &[])).collect();
    images.push(tape(&cartridge("", 1, 0), &[]));
    images.push(tape(&cartridge("a_b", 1, 0), &[2, 64, 2, 2, 0, 1, 16, 128, 0x4000_0000, 64]));
    for image in images {
        fs::write(&path, image).unwrap();
        for zone in ["UTC", "Asia/Kolkata", "EST5EDT,M3.2.0,M11.1.0"] {
            let words = ["--op", "show", "--device-type", "tape", "--file", "x.img"];
            let [ours, tgt] = [OURS, TGT].map(|tool| run(tool, &words, directory.path(), zone));
            assert_eq!(ours, tgt);
            assert_eq!(ours.0, Some(0));
        }
    }
}

#[test]
fn damaged_tape_is_reported_with_its_offset() {
    let directory = tempfile::tempdir().unwrap();
    let whole = tape(&Mam::new("A", 12, MediumKind::DATA, 0).unwrap(), &[2, 64]);
    let end = HEADER_LEN + MAM_LEN;
    let with = |at: usize, byte: u8| {
        let mut image = whole.clone();
        image[at] = byte;
        image
    };
    let mut backward = whole.clone();
    let header = ObjectHeader::decode(whole[end..].first_chunk().unwrap()).unwrap();
    backward[end..end + HEADER_LEN].copy_from_slice(&ObjectHeader { next: header.at, ..header }.encode());
    #[rustfmt::skip]
    let cases = [
        (Vec::new(),                        "the file ends in the header at byte 0"),
        (whole[..BLANK_LEN / 2].to_vec(),   "the file ends in the medium's attributes at byte 48"),
        (whole[..end + 9].to_vec(),         "the file ends in the header at byte 1152"),
        (with(51, 3),                       "byte 48: media format version 3"),
        (with(9, 1),                        "byte 0: the header's checksum"),
        (with(end + 9, 1),                  "byte 1152: the header's checksum"),
        (backward,                          "byte 1152: the next header, at byte 1152, does not follow this one"),
    ];
    for (image, mention) in cases {
        fs::write(directory.path().join("x.img"), image).unwrap();
        let (exit, _, message) = run(OURS, &["--op", "show", "-f", "x.img"], directory.path(), "UTC");
        assert_eq!(exit, Some(1), "{mention}");
        assert!(message.starts_with("tgtimg: cannot read x.img: ") && message.contains(mention), "{message}");
    }
}

#[test]
fn usage_errors_have_the_option_and_accepted_values() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("folder")).unwrap();
    #[rustfmt::skip]
    let cases = [
        ("-f x",                                         22, "--op <OP>"),
        ("-o new",                                       22, "--file <FILE>"),
        ("-o make -f x",                                 22, "possible values: new, show"),
        ("-o new -f x -Y ssc",                           22, "possible values: tape, cd, disk"),
        ("-o new -f x -b A -s 1",                        22, "--type must be data, clean or WORM"),
        ("-o new -f x -b A -s 1 -t disk",                22, "--type must be data, clean or WORM"),
        ("-o new -f x -b A -t data",                     22, "a new tape needs --size"),
        ("-o new -f x -s 1 -t data",                     22, "a new tape needs --barcode"),
        ("-o new -f x -s 1 -t data -b 012345678901234567890", 22, "at most 20 bytes"),
        ("-o new -f x -s 0 -t data -b A",                22, "expected a number from 1 to 2147483647"),
        ("-o new -f x -s 1x -t data -b A",               22, "--size <MIB>"),
        ("-o new -f x -Y disk -t disk",                  22, "a new disk needs --size"),
        ("-o new -f x -Y cd -t data",                    22, "--type must be dvd+r"),
        ("-o show -f x -Y cd",                           22, "--device-type tape"),
        ("-o show -f x",                                 1,  "cannot read x: No such file or directory\n"),
        ("-o new -f no/x -b A -s 1 -t data",             2,  "cannot create no/x: No such file"),
        ("-o new -f folder -b A -s 1 -t data",           2,  "not a regular file"),
    ];
    for (line, exit, mention) in cases {
        let (code, _, message) = run(OURS, &line.split(' ').collect::<Vec<_>>(), directory.path(), "UTC");
        assert_eq!(code, Some(exit), "{line}: {message}");
        assert!(message.contains(mention), "{line}: {message}");
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no file was made");
}
