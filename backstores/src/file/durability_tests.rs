//! Durability: pages that are dirty in the page cache, failed flushes, and full disks.
#![allow(unsafe_code)] // cachestat(2) has no safe wrapper.

use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use scsi_core::store::{Backstore, BlockOp, InlineOp, IoError};

use super::device_tests::LoopDevice;
use super::open::open_file;
use super::tests::{By, engines, new_file, open};
use crate::registry::{OpenFlags, OpenOptions};
use crate::waiting::Waiting;
use crate::workers::Workers;

/// Number of pages of the file that are dirty or under write-back, which a power failure would lose.
///
/// # Panics
/// The kernel is older than 6.5 and has no cachestat(2).
fn unsafe_pages(path: &Path) -> u64 {
    let file = std::fs::File::open(path).unwrap();
    // struct cachestat_range: offset and length (0: to the end). struct cachestat: cached, dirty, under write-back,
    // evicted, recently evicted.
    let (range, mut stat) = ([0u64; 2], [0u64; 5]);
    // SAFETY: the kernel reads two u64 and writes five, which is what the two pointers point to.
    let done = unsafe { libc::syscall(CACHESTAT, file.as_raw_fd(), range.as_ptr(), stat.as_mut_ptr(), 0) };
    let why = std::io::Error::last_os_error();
    assert_eq!(done, 0, "this test needs cachestat(2), which Linux has from 6.5 on: {why}");
    stat[1] + stat[2]
}

/// The number of the system call, the same on every architecture (Linux 6.5).
const CACHESTAT: libc::c_long = 451;

#[test]
fn flush_and_write_to_the_medium_leave_no_dirty_pages() {
    for by in [By::Ring, By::Workers] {
        let (_dir, options) = new_file(1 << 20);
        let mut store = Waiting::with_engines(&*open("rdwr", &options), engines(by)).unwrap();
        store.write(0, &[1; 65536], false).unwrap();
        assert!(
            unsafe_pages(&options.path) > 0,
            "{by:?}: a write without fua stays in the page cache for a while"
        );
        store.flush().unwrap();
        assert_eq!(unsafe_pages(&options.path), 0, "{by:?}: flushed");
        store.write(65536, &[2; 65536], true).unwrap();
        assert_eq!(unsafe_pages(&options.path), 0, "{by:?}: written to the medium");
    }
}

#[test]
fn synchronous_files_have_no_dirty_pages() {
    for by in [By::Ring, By::Workers] {
        let (_dir, options) = new_file(1 << 20);
        let options = OpenOptions { bsoflags: OpenFlags { sync: true, direct: false }, ..options };
        let mut store = Waiting::with_engines(&*open("rdwr", &options), engines(by)).unwrap();
        let from = [1; 4096];
        assert_eq!(store.try_now(InlineOp::Write { offset: 0, from: &from }), None, "the write would wait");
        store.write(0, &from, false).unwrap();
        assert_eq!(unsafe_pages(&options.path), 0, "{by:?}");
    }
}

/// A tmpfs of 1 MiB, unmounted on drop. Mounting it needs root.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// # Panics
    /// `mount` fails.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "small"])
            .arg(dir.path())
            .output()
            .expect("mount is installed");
        let why = String::from_utf8_lossy(&mounted.stderr);
        assert!(mounted.status.success(), "this test needs root and the right to mount a tmpfs: {why}");
        Self(dir)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        if !std::thread::panicking() {
            assert!(gone.unwrap().success(), "{} stays mounted", self.0.path().display());
        }
    }
}

/// Asserts that the store refuses writes and flushes, and does reads, after a failed flush.
fn refuses_writes(store: &mut Waiting, by: By) {
    assert_eq!(
        store.flush(),
        Err(IoError::LOST),
        "{by:?}: later flushes fail, too, although the kernel reports the error once"
    );
    assert_eq!(store.write(0, &[3; 4096], false), Err(IoError::LOST), "{by:?}");
    assert_eq!(store.write(0, &[3; 4096], true), Err(IoError::LOST), "{by:?}");
    let inline = store.try_now(InlineOp::Write { offset: 0, from: &[3; 4096] });
    assert_eq!(inline, Some(Err(IoError::LOST)), "{by:?}");
    let zeroes = BlockOp::WriteZeroes { offset: 0, len: 4096, may_unmap: false };
    assert_eq!(store.run(zeroes).map(drop), Err(IoError::LOST), "{by:?}");
    assert_eq!(store.run(BlockOp::Discard { offset: 0, len: 4096 }).map(drop), Err(IoError::LOST), "{by:?}");
    assert_eq!(store.read(0, 4096).unwrap()[..], [1; 4096], "{by:?}: reads succeed");
}

#[test]
fn writes_after_a_failed_flush_are_refused_until_the_file_is_opened_again() {
    for by in [By::Ring, By::Workers] {
        let (dir, options) = new_file(1 << 20);
        let mut file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
        // A flush by an O_PATH descriptor fails.
        let flags = rustix::fs::OFlags::PATH;
        Arc::get_mut(&mut file.file).unwrap().flushes.witness =
            rustix::fs::open(dir.path(), flags, 0.into()).unwrap();
        let mut store = Waiting::with_engines(&file, engines(by)).unwrap();
        store.write(0, &[1; 4096], true).unwrap();
        assert!(!file.has_lost_writes());
        assert_eq!(store.flush(), Err(IoError::LOST), "{by:?}");
        assert!(file.has_lost_writes());
        refuses_writes(&mut store, by);
        let mut reopened = Waiting::with_engines(&*open("rdwr", &options), engines(by)).unwrap();
        reopened.write(0, &[4; 4096], false).unwrap();
        reopened.flush().unwrap();
    }
}

/// The loop device is larger than the disk of its backing file, so that write-back fails for data in the page cache.
#[test]
fn every_flush_after_a_failed_write_back_fails() {
    let disk = SmallDisk::new();
    for by in [By::Ring, By::Workers] {
        let backing = disk.0.path().join("device");
        std::fs::File::create(&backing).unwrap().set_len(8 << 20).unwrap();
        let device = LoopDevice::over(&backing, &[]);
        let options = device.options();
        let mut store = Waiting::with_engines(&*open("rdwr", &options), engines(by)).unwrap();
        store.write(0, &[1; 4096], true).unwrap();
        store.write(2 << 20, &vec![2; 2 << 20], false).unwrap();
        let other = std::fs::File::open(&options.path).unwrap();
        assert!(other.sync_data().is_err(), "the device cannot write the data");
        // A write to the medium that receives the report of the kernel does not hide the error from flushes.
        assert!(store.write(0, &[1; 4096], true).is_err(), "{by:?}");
        assert!(store.flush().is_err(), "{by:?}");
        refuses_writes(&mut store, by);
        std::fs::remove_file(&backing).unwrap();
    }
}

#[test]
fn concurrent_flushes_fail_with_the_failed_one() {
    let (dir, options) = new_file(1 << 20);
    let mut file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
    Arc::get_mut(&mut file.file).unwrap().flushes.witness =
        rustix::fs::open(dir.path(), rustix::fs::OFlags::PATH, 0.into()).unwrap();
    let mut loops = [0, 1].map(|_| Waiting::with_engines(&file, engines(By::Ring)).unwrap());
    for store in &mut loops {
        for _ in 0..16 {
            store.submit(BlockOp::Flush);
        }
    }
    for store in &mut loops {
        let done = store.wait_for(16, Duration::from_secs(60)).unwrap();
        assert!(done.iter().all(|done| done.result == Err(IoError::LOST)));
    }
}

/// The kernel reports the failed write-back of other data to the sync after WRITE SAME or UNMAP, once.
#[test]
fn failed_sync_of_a_synchronous_device_counts_as_a_failed_flush() {
    for op in [
        BlockOp::WriteZeroes { offset: 0, len: 4096, may_unmap: false },
        BlockOp::Discard { offset: 0, len: 4096 },
    ] {
        let disk = SmallDisk::new();
        let backing = disk.0.path().join("device");
        std::fs::File::create(&backing).unwrap().set_len(8 << 20).unwrap();
        let device = LoopDevice::over(&backing, &[]);
        let options = OpenOptions { bsoflags: OpenFlags { sync: true, direct: false }, ..device.options() };
        let store = open("rdwr", &options);
        let mut waiting = Waiting::with_engines(&*store, engines(By::Ring)).unwrap();
        let other = std::fs::OpenOptions::new().write(true).open(&options.path).unwrap();
        other.write_all_at(&vec![2; 2 << 20], 2 << 20).unwrap();
        let shown = format!("{op:?}");
        assert!(waiting.run(op).is_err(), "{shown}");
        assert!(store.has_lost_writes(), "{shown}");
        assert_eq!(waiting.write(0, &[1; 4096], false), Err(IoError::LOST), "{shown}");
    }
}

#[test]
fn flush_of_the_store_leaves_no_dirty_pages_and_fails_with_the_flush_of_the_file() {
    let (dir, options) = new_file(1 << 20);
    let mut file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
    let mut store = Waiting::with_engines(&file, engines(By::Ring)).unwrap();
    store.write(0, &[1; 65536], false).unwrap();
    assert!(unsafe_pages(&options.path) > 0);
    assert_eq!(file.flush(), Ok(()));
    assert_eq!(unsafe_pages(&options.path), 0);
    drop(store);
    Arc::get_mut(&mut file.file).unwrap().flushes.witness =
        rustix::fs::open(dir.path(), rustix::fs::OFlags::PATH, 0.into()).unwrap();
    assert_eq!(file.flush(), Err(IoError::LOST));
    assert!(file.has_lost_writes());
}

#[test]
fn full_disk_is_no_space_and_data_stays() {
    let disk = SmallDisk::new();
    let options = OpenOptions { size: Some(8 << 20), ..OpenOptions::for_path(&disk.0.path().join("disk")) };
    for by in [By::Ring, By::Workers] {
        let mut store = Waiting::with_engines(&*open("rdwr", &options), engines(by)).unwrap();
        store.write(0, &[1; 4096], false).unwrap();
        assert_eq!(store.write(1 << 20, &vec![2; 2 << 20], false), Err(IoError::NO_SPACE), "{by:?}");
        let from = vec![3; 2 << 20];
        let inline = store.try_now(InlineOp::Write { offset: 4 << 20, from: &from });
        assert_eq!(inline, Some(Err(IoError::NO_SPACE)), "{by:?}");
        assert_eq!(store.read(0, 4096).unwrap()[..], [1; 4096]);
    }
}
