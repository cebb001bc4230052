//! Tape images of our `tgtimg` in a drive of tgt's daemon, and their contents afterwards.

use std::process::Command;

use crate::client::Client;
use crate::harness::{Brand, Daemon};

/// Output of `tgtimg --op show` for a file.
fn shown(tool: Brand, file: &std::path::Path) -> String {
    let mut command = Command::new(tool.program("tgtimg"));
    let output = command.args(["--op", "show", "--file"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn tgtimg_shows_blocks_that_tgts_drive_wrote() {
    let daemon = Daemon::start_as(Brand::Tgt, Brand::Ours, &[]);
    let file = daemon.path("tape.img");
    let mut new = Command::new(Brand::Ours.program("tgtimg"));
    new.args(["--op", "new", "--barcode", "A0001", "--size", "10", "--type", "data", "--file"]).arg(&file);
    assert!(new.status().unwrap().success());
    daemon.target(1);
    let path = file.to_str().unwrap();
    let unit = ["--mode", "lu", "--op", "new", "--tid", "1", "--lun", "1", "-Y", "tape", "-b", path];
    daemon.adm(&unit);

    let mut drive = Client::login(&daemon, 1, 1);
    // WRITE (6), WRITE FILEMARKS (6), REWIND, READ (6) (SSC-3).
    drive.command(&[0x0a, 0, 0, 0, 11, 0], 0, b"hello world").unwrap();
    drive.command(&[0x10, 0, 0, 0, 2, 0], 0, &[]).unwrap();
    drive.command(&[0x0a, 0, 0, 0x10, 0, 0], 0, &[0xaa; 4096]).unwrap();
    drive.command(&[0x01, 0, 0, 0, 0, 0], 0, &[]).unwrap();
    assert_eq!(drive.command(&[0x08, 0, 0, 0, 11, 0], 11, &[]).unwrap(), b"hello world");

    let ours = shown(Brand::Ours, &file);
    assert_eq!(ours, shown(Brand::Tgt, &file));
    let ends = ["sz 11", "sz 0", "sz 0", "sz 4096", "sz 0"];
    assert!(
        ours.lines().rev().take(5).zip(ends.iter().rev()).all(|(line, end)| line.ends_with(end)),
        "{ours}"
    );
}
