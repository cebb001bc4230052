//! Files that the host truncates while they are units: no write makes them grow again before the operator sets the size.

use scsi_core::sense::{AdditionalSense, SenseKey};

use crate::client::{Client, End};
use crate::harness::{DISK, Daemon, wait_until};

const LEN: u64 = 1 << 20;
const SHORT: u64 = 64 << 10;
/// A block behind the new end.
const BEHIND: u32 = 1024;

fn truncate(path: &std::path::Path, len: u64) {
    std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

#[track_caller]
fn assert_fails<T: std::fmt::Debug>(result: Result<T, End>, code: AdditionalSense) {
    let failed = matches!(
        &result,
        Err(End::Status(_, Some(sense))) if (sense.key, sense.code) == (SenseKey::MediumError, code)
    );
    assert!(failed, "{result:?}");
}

#[track_caller]
fn assert_short(client: &mut Client, path: &std::path::Path, len: u64) {
    for lba in [BEHIND, (SHORT / 512) as u32, (LEN / 512) as u32 - 8] {
        assert_fails(client.write(lba, &[3; 4096]), AdditionalSense::WRITE_ERROR);
        assert_fails(client.read(lba, 8), AdditionalSense::UNRECOVERED_READ_ERROR);
    }
    client.write(0, &[4; 4096]).unwrap();
    assert_eq!(client.read(0, 8).unwrap(), [4; 4096]);
    assert_eq!(std::fs::metadata(path).unwrap().len(), len);
}

#[test]
fn unit_of_a_truncated_file_fails_behind_its_end_until_the_size_is_set() {
    for reads in [false, true] {
        let daemon = Daemon::start();
        let path = daemon.disk(1, LEN);
        let mut client = Client::login(&daemon, 1, DISK);
        client.write(BEHIND, &[1; 4096]).unwrap();
        truncate(&path, SHORT);
        if reads {
            let across = (SHORT / 512) as u32 - 4;
            assert_fails(client.read(across, 8), AdditionalSense::UNRECOVERED_READ_ERROR);
        }
        client.write(0, &[2; 4096]).unwrap();
        let line = format!("{}: has no data from byte ", path.display());
        wait_until("the size is checked", || daemon.log().contains(&line));
        assert_short(&mut client, &path, SHORT);

        truncate(&path, LEN);
        assert_short(&mut client, &path, LEN);
        assert_eq!(daemon.log().matches(&line).count(), 1, "{}", daemon.log());

        daemon.set_unit(1, DISK, "disksize=auto");
        client.write(BEHIND, &[5; 4096]).unwrap();
        assert_eq!(client.read(BEHIND, 8).unwrap(), [5; 4096]);
    }
}
