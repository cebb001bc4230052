//! Files that are truncated, and devices that shrink, while they are open.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use scsi_core::store::{Backstore, BlockOp, InlineOp, IoError, Now};

use super::device_tests::LoopDevice;
use super::open::open_file;
use super::tests::{By, engines, new_file};
use crate::registry::OpenOptions;
use crate::waiting::Waiting;
use crate::workers::Workers;

fn truncate(options: &OpenOptions, len: u64) {
    std::fs::OpenOptions::new().write(true).open(&options.path).unwrap().set_len(len).unwrap();
}

fn len(options: &OpenOptions) -> u64 {
    std::fs::metadata(&options.path).unwrap().len()
}

/// Checks the size as a loop does, and waits until the worker has done it.
fn check_size(store: &mut Waiting, file: &super::File) {
    let slot = store.port().slot;
    store.engine().check_size(slot);
    wait_for_check(file);
}

fn wait_for_check(file: &super::File) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while file.file.short.checking.load(Ordering::Acquire) {
        assert!(Instant::now() < deadline, "the check does not end");
        std::thread::yield_now();
    }
}

fn assert_short(store: &mut Waiting, end: u64, by: By) {
    let inline = store.try_now(InlineOp::Write { offset: end, from: &[3; 4096] });
    assert_eq!(inline, Some(Err(IoError::OUT_OF_RANGE)), "{by:?}");
    let inline = store.try_now(InlineOp::Read { offset: end - 512, into: &mut [0; 1024] });
    assert_eq!(inline, Some(Err(IoError::OUT_OF_RANGE)), "{by:?}");
    for offset in [end - 512, end, end + 65536] {
        for fua in [false, true] {
            assert_eq!(store.write(offset, &[3; 4096], fua), Err(IoError::OUT_OF_RANGE), "{by:?}");
        }
        assert_eq!(store.read(offset, 4096).map(drop), Err(IoError::OUT_OF_RANGE), "{by:?}");
        let zeroes = BlockOp::WriteZeroes { offset, len: 4096, may_unmap: false };
        assert_eq!(store.run(zeroes).map(drop), Err(IoError::OUT_OF_RANGE), "{by:?}");
    }
    store.write(end - 512, &[4; 512], false).unwrap();
    assert_eq!(store.read(end - 512, 512).unwrap()[..], [4; 512]);
    store.flush().unwrap();
}

#[test]
fn truncated_file_does_not_grow_after_a_short_read() {
    for by in [By::Ring, By::Workers] {
        let (_dir, options) = new_file(1 << 20);
        let file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
        let mut store = Waiting::with_engines(&file, engines(by)).unwrap();
        truncate(&options, 65536);
        let error = store.read(61440, 8192).map(drop).unwrap_err();
        assert_eq!((error, error.offset()), (IoError::OUT_OF_RANGE, Some(65536)), "{by:?}");
        assert_short(&mut store, 65536, by);
        assert_eq!(len(&options), 65536, "{by:?}");
    }
}

#[test]
fn truncated_file_that_is_only_written_does_not_grow_after_a_check() {
    for by in [By::Ring, By::Workers] {
        let (_dir, options) = new_file(1 << 20);
        let file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
        let mut store = Waiting::with_engines(&file, engines(by)).unwrap();
        store.write(0, &[1; 4096], false).unwrap();
        truncate(&options, 65536);
        check_size(&mut store, &file);
        assert_short(&mut store, 65536, by);
        assert_eq!(len(&options), 65536, "{by:?}");
    }
}

#[test]
fn size_is_checked_only_after_writes_and_short_reads() {
    let (_dir, options) = new_file(1 << 20);
    let file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
    let mut store = Waiting::with_engines(&file, engines(By::Ring)).unwrap();
    truncate(&options, 65536);
    store.read(0, 4096).unwrap();
    check_size(&mut store, &file);
    let inline = store.try_now(InlineOp::Write { offset: 4096, from: &[3; 4096] });
    assert!(matches!(inline, Some(Ok(Now::Moved)) | None));
    // The read shows only that the file ends before it.
    assert_eq!(store.read(512 << 10, 4096).map(drop), Err(IoError::OUT_OF_RANGE));
    wait_for_check(&file);
    assert_short(&mut store, 65536, By::Ring);
}

#[test]
fn end_stays_until_the_size_is_set() {
    let (_dir, options) = new_file(1 << 20);
    let file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
    let mut loops = [(); 2].map(|()| Waiting::with_engines(&file, engines(By::Ring)).unwrap());
    truncate(&options, 65536);
    assert!(loops[0].read(65536, 4096).is_err());
    truncate(&options, 2 << 20);
    for store in &mut loops {
        assert_short(store, 65536, By::Ring);
    }
    assert_eq!(file.refresh().unwrap().size, 2 << 20);
    for store in &mut loops {
        store.write(1 << 20, &[5; 4096], false).unwrap();
    }
    check_size(&mut loops[0], &file);
    assert_eq!(loops[1].read(1 << 20, 4096).unwrap()[..], [5; 4096]);
}

#[test]
fn files_in_memory_that_were_truncated_do_not_grow() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = OpenOptions { size: Some(1 << 20), ..OpenOptions::for_path(&dir.path().join("disk")) };
    let file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
    let mut store = Waiting::new(&file).unwrap();
    truncate(&options, 65536);
    let inline = store.try_now(InlineOp::Read { offset: 65536, into: &mut [0; 512] });
    assert_eq!(inline, Some(Err(IoError::OUT_OF_RANGE)));
    assert_short(&mut store, 65536, By::Ring);
    assert_eq!(len(&options), 65536);
}

#[test]
fn device_that_shrank_is_short_after_a_check() {
    for by in [By::Ring, By::Workers] {
        let device = LoopDevice::new(1 << 20, &[]);
        let file = open_file("rdwr", &device.options(), false, Workers::shared()).unwrap();
        let mut store = Waiting::with_engines(&file, engines(by)).unwrap();
        store.write(0, &[1; 4096], true).unwrap();
        device.shrink(65536);
        check_size(&mut store, &file);
        assert_short(&mut store, 65536, by);
    }
}
