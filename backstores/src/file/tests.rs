//! Files and block devices, with operations by the ring and by the workers.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use scsi_core::store::{
    Backstore, Block, BlockOp, Completed, Completion, Engines, InlineOp, IoError, IoTag, Now,
};

use super::open::open_file;
use super::{File, FileEngine};
use crate::contract::{self, Subject};
use crate::registry::{OpenError, OpenFlags, OpenOptions, Registry};
use crate::waiting::Waiting;
use crate::workers::Workers;

/// What does the submitted operations of the engine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum By {
    Ring,
    Workers,
}

pub(super) fn engines(by: By) -> Engines {
    let mut engines = Engines::default();
    let make = || match by {
        By::Ring => FileEngine::new(),
        By::Workers => FileEngine::without_ring(),
    };
    let (_, engine) = engines.of_kind(make).unwrap();
    let needs = "this test needs io_uring: see kernel.io_uring_disabled, and seccomp in containers";
    assert_eq!(engine.has_ring(), by == By::Ring, "{needs}");
    engines
}

pub(super) fn open(kind: &str, options: &OpenOptions) -> Arc<dyn Backstore> {
    Registry::builtin().open(kind, options).unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn refusal(kind: &str, options: &OpenOptions) -> OpenError {
    match Registry::builtin().open(kind, options) {
        Ok(_) => panic!("{kind} opened with {options:?}"),
        Err(error) => error,
    }
}

/// A new directory beside the executable of the test, which is on a disk, and the path of a file in it.
fn new_path() -> (tempfile::TempDir, PathBuf) {
    let executable = std::env::current_exe().unwrap();
    let dir = tempfile::tempdir_in(executable.parent().unwrap()).unwrap();
    let path = dir.path().join("disk");
    (dir, path)
}

/// A new directory, and options that create a file of `len` bytes in it.
pub(super) fn new_file(len: u64) -> (tempfile::TempDir, OpenOptions) {
    let (dir, path) = new_path();
    let options = OpenOptions { size: Some(len), block_len: 4096, ..OpenOptions::for_path(&path) };
    (dir, options)
}

pub(super) fn keep_the_contract(kind: &'static str, options: &OpenOptions) {
    for by in [By::Ring, By::Workers] {
        let options = options.clone();
        let (dir, beside) = new_file(2 << 20);
        let other = move || {
            let _ = &dir;
            open(kind, &beside)
        };
        let subject = Subject::new(move || open(kind, &options)).beside(other);
        contract::check(&subject.with_engines(move || engines(by)));
    }
}

/// A file as on FUSE, where I/O blocks despite RWF_NOWAIT.
fn on_fuse(options: &OpenOptions) -> Arc<dyn Backstore> {
    let mut file = open_file("rdwr", options, false, Workers::shared()).unwrap();
    Arc::get_mut(&mut file.file).unwrap().ignores_nowait = true;
    Arc::new(file)
}

#[test]
fn files_that_ignore_nowait_have_no_inline_operations() {
    let (_dir, options) = new_file(64 << 20);
    for by in [By::Ring, By::Workers] {
        let of_subject = options.clone();
        let (_beside, other) = new_file(2 << 20);
        let subject = Subject::new(move || on_fuse(&of_subject)).beside(move || on_fuse(&other));
        contract::check(&subject.with_engines(move || engines(by)));
        let mut store = Waiting::with_engines(&*on_fuse(&options), engines(by)).unwrap();
        store.write(0, &[7; 4096], false).unwrap();
        // The block is in the page cache.
        assert_eq!(store.try_now(InlineOp::Read { offset: 0, into: &mut [0; 4096] }), None);
        assert_eq!(store.try_now(InlineOp::Write { offset: 0, from: &[7; 4096] }), None);
        assert_eq!(*store.read(0, 4096).unwrap(), [7; 4096]);
    }
}

#[test]
fn files_keep_the_contract() {
    let (_dir, options) = new_file(2 << 20);
    keep_the_contract("rdwr", &options);
}

#[test]
fn synchronous_files_keep_the_contract() {
    let (_dir, options) = new_file(1 << 20);
    let options = OpenOptions { bsoflags: OpenFlags { sync: true, direct: false }, ..options };
    assert!(!open("rdwr", &options).capabilities().volatile_cache);
    keep_the_contract("rdwr", &options);
}

#[test]
fn direct_files_keep_the_contract() {
    let (_dir, options) = new_file(2 << 20);
    keep_the_contract("aio", &options);
    let options = OpenOptions { bsoflags: OpenFlags { sync: true, direct: true }, ..options };
    keep_the_contract("rdwr", &options);
}

#[test]
fn files_in_memory_keep_the_contract() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = OpenOptions { size: Some(2 << 20), ..OpenOptions::for_path(&dir.path().join("disk")) };
    keep_the_contract("rdwr", &options);
}

#[test]
fn read_only_files_keep_the_contract() {
    let (_dir, options) = new_file(1 << 20);
    keep_the_contract("rdwr", &OpenOptions { read_only: true, ..options });
}

/// A file whose reads hang: the reader of an empty pipe. The pipe stays empty while its writer exists.
fn dead_file(options: &OpenOptions) -> (File, std::os::fd::OwnedFd) {
    let mut file = open_file("rdwr", options, true, Workers::shared()).unwrap();
    let (reader, writer) = rustix::pipe::pipe().unwrap();
    Arc::get_mut(&mut file.file).unwrap().fd = reader;
    (file, writer)
}

#[test]
fn long_zeroing_is_done_in_pieces_and_can_be_cancelled_between_them() {
    const PIECE: u64 = 64 << 20;
    let (_dir, options) = new_file(5 * PIECE);
    let file = open_file("rdwr", &options, false, Workers::shared()).unwrap();
    let mut store = Waiting::with_engines(&file, engines(By::Ring)).unwrap();
    let at = [0, 4096, PIECE - 4096, PIECE, 3 * PIECE - 4096, 3 * PIECE + 4096, 4 * PIECE];
    at.iter().for_each(|&at| store.write(at, &[7; 4096], false).unwrap());
    let zeroes = |offset, len, may_unmap| BlockOp::WriteZeroes { offset, len, may_unmap };
    store.run(zeroes(4096, 3 * PIECE, true)).unwrap();
    let left: Vec<_> = at.iter().filter(|&&at| store.read(at, 4096).unwrap()[..] != [0; 4096]).collect();
    assert_eq!(left, [&0, &(3 * PIECE + 4096), &(4 * PIECE)]);
    store.run(BlockOp::Discard { offset: 0, len: 5 * PIECE }).unwrap();

    // Zeroes that have to be written.
    file.file.zero_range.store(false, std::sync::atomic::Ordering::Relaxed);
    let tag = store.submit(zeroes(0, 5 * PIECE, false));
    store.engine().cancel(tag);
    let done = store.wait_for(1, Duration::from_secs(60)).unwrap();
    assert_eq!(done[0].result, Err(IoError::CANCELLED));
    use std::os::unix::fs::MetadataExt;
    let written = std::fs::metadata(&options.path).unwrap().blocks() * 512;
    assert!(written <= PIECE + (1 << 20), "{written} bytes");
}

#[test]
fn files_that_hang_leave_space_in_the_ring_to_others() {
    let (_dir, options) = new_file(1 << 20);
    open("rdwr", &options);
    let mut engines = engines(By::Ring);
    let dead: Vec<_> = (0..3).map(|_| dead_file(&options)).collect();
    let mut ports: Vec<_> = dead.iter().map(|(file, _)| file.attach(&mut engines).unwrap()).collect();
    ports.push(open("aio", &options).attach(&mut engines).unwrap());
    let engine = engines.engine(ports[0].engine);
    let read = || BlockOp::Read { offset: 0, into: Block::new(4096) };
    let alive = 1_000_000;
    for tag in 0..1500 {
        (0..3).for_each(|file| engine.submit(ports[file].slot, IoTag(file as u64 * 10_000 + tag), read()));
    }
    engine.submit(ports[3].slot, IoTag(alive), read());
    let mut done = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while done.is_empty() && Instant::now() < deadline {
        engine.kick();
        engine.reap(&mut done);
    }
    assert_eq!(done.iter().map(|done: &Completion| done.tag).collect::<Vec<_>>(), [IoTag(alive)]);
    // An operation that has not started is cancelled at once.
    engine.cancel(IoTag(1499));
    done.clear();
    engine.reap(&mut done);
    assert_eq!(done[0].result, Err(IoError::CANCELLED));
    // Operations that wait start when earlier ones have ended.
    drop(dead);
    while done.len() < 4500 && Instant::now() < deadline {
        engine.kick();
        engine.reap(&mut done);
    }
    assert_eq!(done.len(), 4500);
}

#[test]
fn file_has_what_was_written() {
    for by in [By::Ring, By::Workers] {
        let (_dir, options) = new_file(1 << 20);
        let mut store = Waiting::with_engines(&*open("rdwr", &options), engines(by)).unwrap();
        store.write(4096, &[0x5a; 8192], true).unwrap();
        assert_eq!(std::fs::read(&options.path).unwrap()[4096..12288], [0x5a; 8192]);
    }
}

#[test]
fn cached_reads_are_inline_and_direct_ones_are_not() {
    let (_dir, options) = new_file(1 << 20);
    std::fs::write(&options.path, vec![7; 1 << 20]).unwrap();
    let mut into = Block::new(4096);
    let mut try_read = |kind: &str| {
        let mut store = Waiting::new(&*open(kind, &options)).unwrap();
        into.fill(0);
        let done = store.try_now(InlineOp::Read { offset: 8192, into: &mut into });
        (done, into[0])
    };
    assert_eq!(try_read("rdwr"), (Some(Ok(Now::Moved)), 7));
    assert_eq!(try_read("aio"), (None, 0));
}

#[test]
fn files_in_memory_are_read_and_written_inline() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let options = OpenOptions { size: Some(1 << 20), ..OpenOptions::for_path(&dir.path().join("disk")) };
    let mut store = Waiting::new(&*open("rdwr", &options)).unwrap();
    let mut back = [0; 512];
    assert_eq!(store.try_now(InlineOp::Write { offset: 512, from: &[9; 512] }), Some(Ok(Now::Moved)));
    assert_eq!(store.try_now(InlineOp::Read { offset: 512, into: &mut back }), Some(Ok(Now::Moved)));
    assert_eq!(back, [9; 512]);
}

#[test]
fn range_beyond_the_end_of_a_file_that_shrank_is_refused() {
    for by in [By::Ring, By::Workers] {
        let (_dir, options) = new_file(1 << 20);
        let handle = open("rdwr", &options);
        let mut store = Waiting::with_engines(&*handle, engines(by)).unwrap();
        std::fs::OpenOptions::new().write(true).open(&options.path).unwrap().set_len(6144).unwrap();
        let mut into = [0; 4096];
        assert_eq!(store.try_now(InlineOp::Read { offset: 4096, into: &mut into }), None);
        assert_eq!(store.read(4096, 4096).map(drop), Err(IoError::OUT_OF_RANGE), "half of the range exists");
        assert_eq!(store.read(8192, 4096).map(drop), Err(IoError::OUT_OF_RANGE));
        assert_eq!(store.read(0, 4096).map(drop), Ok(()));
        assert_eq!(handle.refresh().unwrap().size, 6144);
    }
}

#[test]
fn refresh_reports_the_size_of_a_file_that_grew() {
    let (_dir, options) = new_file(1 << 20);
    let store = open("rdwr", &options);
    std::fs::OpenOptions::new().write(true).open(&options.path).unwrap().set_len(3 << 20).unwrap();
    assert_eq!(store.geometry().size, 1 << 20);
    assert_eq!(store.refresh().unwrap().size, 3 << 20);
    assert_eq!(store.geometry().size, 3 << 20);
}

#[test]
fn discard_frees_space_and_zeroing_without_unmap_keeps_it() {
    use std::os::unix::fs::MetadataExt;
    let (_dir, options) = new_file(1 << 20);
    let store = open("rdwr", &options);
    let held = || std::fs::metadata(&options.path).unwrap().blocks() * 512;
    assert_eq!(held(), 0, "a new file is sparse");
    assert!(store.capabilities().discard, "the file system of the disk supports holes");
    let mut store = Waiting::new(&*store).unwrap();
    store.write(0, &[1; 1 << 20], true).unwrap();
    let full = held();
    assert!(full >= 1 << 20);
    store.run(BlockOp::WriteZeroes { offset: 0, len: 512 << 10, may_unmap: false }).unwrap();
    assert!(held() >= full, "zeroes that may not unmap keep their space");
    store.run(BlockOp::Discard { offset: 0, len: 512 << 10 }).unwrap();
    assert!(held() <= full - (512 << 10));
    store.run(BlockOp::WriteZeroes { offset: 512 << 10, len: 512 << 10, may_unmap: true }).unwrap();
    assert_eq!(held(), full - (1 << 20));
    let (_, answer) = store.run(BlockOp::Allocation { offset: 0, len: 1 << 20 }).unwrap();
    assert_eq!(answer, Completed::Allocation { len: 1 << 20, hole: true });
}

#[test]
fn file_is_created_if_a_size_is_given_and_it_does_not_exist() {
    let (_dir, options) = new_file(1 << 20);
    assert!(matches!(refusal("rdwr", &OpenOptions { size: None, ..options.clone() }), OpenError::Io { .. }));
    assert_eq!(open("rdwr", &options).geometry().size, 1 << 20);
    let other = OpenOptions { size: Some(4 << 20), ..options };
    assert_eq!(open("rdwr", &other).geometry().size, 1 << 20);
}

#[test]
fn path_that_is_neither_file_nor_device_is_refused_with_its_type() {
    let (dir, path) = new_path();
    let with = |path: &Path| OpenOptions::for_path(path);
    assert!(matches!(
        refusal("rdwr", &with(dir.path())),
        OpenError::WrongFileType { what: "a directory", .. }
    ));
    assert!(matches!(
        refusal("rdwr", &with(Path::new("/dev/null"))),
        OpenError::WrongFileType { what: "a character device", .. }
    ));
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    assert!(matches!(refusal("rdwr", &with(&path)), OpenError::WrongFileType { what: "a pipe", .. }));
    let empty = dir.path().join("empty");
    std::fs::write(&empty, []).unwrap();
    assert!(matches!(refusal("rdwr", &with(&empty)), OpenError::TooSmall { size: 0, .. }));
    assert!(
        refusal("rdwr", &with(&dir.path().join("no/where"))).to_string().contains("no/where: No such file")
    );
}

#[test]
fn file_smaller_than_one_block_is_refused_with_both_lengths() {
    for (len, block_len, kind) in [(511, 512, "rdwr"), (512, 4096, "rdwr"), (4095, 4096, "aio")] {
        let (_dir, options) = new_file(len);
        let options = OpenOptions { size: None, block_len, ..options };
        std::fs::write(&options.path, vec![0; len as usize]).unwrap();
        let expected = format!(
            "{}: has {len} bytes, and a unit needs at least one block of {block_len}",
            options.path.display()
        );
        assert_eq!(refusal(kind, &options).to_string(), expected);
        std::fs::write(&options.path, vec![0; block_len as usize]).unwrap();
        assert_eq!(open(kind, &options).geometry().size, u64::from(block_len));
    }
}

#[test]
fn direct_io_refuses_blocks_below_its_alignment() {
    let (_dir, options) = new_file(1 << 20);
    let alignment = open("aio", &options).capabilities().alignment;
    assert!((512..=4096).contains(&alignment));
    let finer = OpenOptions { block_len: alignment / 2, ..options.clone() };
    match refusal("aio", &finer) {
        OpenError::Alignment { alignment: reported, .. } => assert_eq!(reported, alignment),
        other => panic!("{other}"),
    }
    assert_eq!(open("rdwr", &finer).capabilities().alignment, 1);
}

#[test]
fn file_without_write_permission_is_opened_read_only() {
    let (_dir, options) = new_file(1 << 20);
    open("rdwr", &options);
    std::fs::set_permissions(&options.path, std::fs::Permissions::from_mode(0o444)).unwrap();
    let root = rustix::process::geteuid().is_root();
    // Root may write the file. The tests of devices have a read-only device, which root cannot write either.
    assert_eq!(open("rdwr", &options).capabilities().read_only, !root);
}
