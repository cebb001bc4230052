//! The store over functions of our own in place of the libraries.

mod fake;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use scsi_core::store::{Backstore, Block, BlockOp, Engines, IoError, IoErrorKind, Notice};

use self::fake::{Image, functions, image};
use super::name::NAME;
use super::*;
use crate::contract::{self, Subject};
use crate::registry::Registry;
use crate::waiting::{PATIENCE, Waiting, wait_readable};

const SIZE: usize = 2 << 20;

fn registry() -> Registry {
    let mut registry = Registry::new();
    registry.add(kind_with(|| Ok(functions())));
    registry
}

fn options(path: &str, bsopts: &str) -> OpenOptions {
    OpenOptions { path: path.into(), bsopts: bsopts.into(), ..OpenOptions::default() }
}

#[track_caller]
fn refusal(path: &str, bsopts: &str) -> String {
    registry().open(NAME, &options(path, bsopts)).err().expect("it is refused").to_string()
}

/// A new image of its own cluster, opened.
fn opened(name: &str) -> (Arc<dyn Backstore>, Arc<Image>) {
    let image = image(name, SIZE);
    (registry().open(NAME, &options(name, &format!("id={name}"))).unwrap(), image)
}

#[test]
fn keeps_the_contract() {
    let registry = registry();
    let number = std::cell::Cell::new(0);
    contract::check(&Subject::new(move || {
        number.set(number.get() + 1);
        let name = format!("contract{}", number.get());
        image(&name, SIZE);
        registry.open(NAME, &options(&name, "id=contract")).unwrap()
    }));
}

#[test]
fn snapshots_and_images_without_permission_to_write_are_read_only() {
    image("snapped", SIZE);
    image("forbidden", SIZE);
    for path in ["snapped@monday", "forbidden"] {
        let store = registry().open(NAME, &options(path, "id=read-only")).unwrap();
        assert!(store.capabilities().read_only, "{path}");
        contract::check(&Subject::new(move || store.clone()));
    }
}

#[test]
fn refusals_name_what_is_wrong_and_what_is_accepted() {
    image("small", 100);
    for (path, bsopts, expected) in [
        ("none", "", "none: no image 'none' in the pool 'rbd'"),
        ("none@monday", "", "none@monday: no such image or snapshot"),
        ("nopool/x", "", "nopool/x: no pool 'nopool'"),
        ("small", "", "small: has 100 bytes, and a unit needs at least one block of 512"),
        ("x", "conf=/missing", "x: /missing: No such file or directory (os error 2)"),
        (
            "x",
            "id=refused;cephx_key=QUJD",
            "cannot connect to the cluster as client.refused: Permission denied",
        ),
        ("x", "keyfile=/no/key", "key file /no/key: No such file"),
        (
            "x",
            "speed=9",
            "'rbd' does not accept option 'speed' in bsopts; it accepts: conf, id, cluster, keyfile, virsecretuuid, \
             cephx_key, cache, timeout, open-timeout",
        ),
    ] {
        let text = refusal(path, bsopts);
        assert!(text.contains(expected) && !text.contains("QUJD"), "{text}");
    }
}

#[test]
fn library_that_is_not_installed_is_named_with_its_package() {
    let mut registry = Registry::new();
    registry.add(kind_with(|| crate::library::load("librbd.so.999", "librbd1").map(|_| functions())));
    let refused = registry.open(NAME, &options("x", "")).err().unwrap().to_string();
    assert!(
        refused.starts_with("x: librbd is not available: install the package librbd1 (librbd.so.999:"),
        "{refused}"
    );
}

#[test]
fn open_that_waits_for_servers_ends_at_its_deadline() {
    image("waits", SIZE);
    let refused = refusal("waits", "id=hangs;open-timeout=1");
    assert!(refused.contains("waits: the cluster did not answer within 1 seconds"), "{refused}");
    fake::release("hangs");
}

#[test]
fn images_with_equal_settings_share_a_connection_until_the_last_is_closed() {
    let registry = registry();
    let open = |name: &str, bsopts: &str| {
        image(name, SIZE);
        registry.open(NAME, &options(name, bsopts)).unwrap()
    };
    let (first, second) = (open("one", "id=shared"), open("two", "id=shared"));
    assert_eq!(fake::connections("shared"), (1, 0));
    let third = open("three", "id=shared;cache=off;timeout=7;cephx_key=QUJD");
    assert_eq!(fake::connections("shared"), (2, 0));
    let set = fake::settings("shared");
    for expected in [
        ("rbd_cache", "false"),
        ("rados_osd_op_timeout", "7"),
        ("rados_mon_op_timeout", "7"),
        ("key", "QUJD"),
        ("rbd_non_blocking_aio", "true"),
    ] {
        assert!(set.contains(&(expected.0.to_owned(), expected.1.to_owned())), "{expected:?}: {set:?}");
    }
    drop((first, third));
    assert_eq!(fake::connections("shared"), (2, 1));
    drop(second);
    assert_eq!(fake::connections("shared"), (2, 2));
    drop(open("one", "id=shared"));
    assert_eq!(fake::connections("shared"), (3, 3));
}

#[test]
fn every_error_number_has_its_kind() {
    use IoErrorKind::*;
    let (store, image) = opened("errors");
    let mut waiting = Waiting::new(&*store).unwrap();
    for (errno, read, write, flush) in [
        (5, Medium, Medium, Forgotten),
        (110, Unreachable, InDoubt, Forgotten),
        (28, NoSpace, NoSpace, NoSpace),
        (122, NoSpace, NoSpace, NoSpace),
        (30, Medium, ReadOnly, Forgotten),
        (1, NotReady, ReadOnly, Forgotten),
        (12, Busy, Busy, Forgotten),
        (95, Unsupported, Unsupported, Forgotten),
        (22, Medium, Medium, Forgotten),
    ] {
        image.errno.store(errno, Ordering::Relaxed);
        let errors = [
            waiting.read(4096, 512).unwrap_err(),
            waiting.write(4096, &[1; 512], false).unwrap_err(),
            waiting.flush().unwrap_err(),
        ];
        assert_eq!(errors.map(IoError::kind), [read, write, flush], "errno {errno}");
        assert_eq!(errors.map(|error| error.errno()), [Some(errno); 3]);
        assert_eq!(errors[0].offset(), Some(4096));
        assert!(!store.has_lost_writes());
    }
    image.errno.store(0, Ordering::Relaxed);
    waiting.flush().unwrap();
}

#[test]
fn client_that_the_cluster_refuses_is_fenced_until_the_image_is_opened_on_a_new_connection() {
    for errno in [108, 116, 121] {
        let name = format!("fenced{errno}");
        let fenced = image(&name, SIZE);
        let registry = registry();
        let options = options(&name, &format!("id={name}"));
        let store = registry.open(NAME, &options).unwrap();
        let mut waiting = Waiting::new(&*store).unwrap();
        fenced.errno.store(errno, Ordering::Relaxed);
        assert_eq!(waiting.flush(), Err(IoError::FENCED));
        assert!(store.has_lost_writes());
        fenced.errno.store(0, Ordering::Relaxed);
        assert_eq!(waiting.read(0, 512).err(), Some(IoError::FENCED));
        assert_eq!(waiting.write(0, &[1; 512], true), Err(IoError::FENCED));
        let again = registry.open(NAME, &options).unwrap();
        assert_eq!(fake::connections(&name).0, 2);
        Waiting::new(&*again).unwrap().write(0, &[1; 512], true).unwrap();
    }
}

/// librbd cuts off such a write and reports success.
#[test]
fn range_behind_the_end_does_not_reach_the_library() {
    let (store, image) = opened("ranges");
    let mut waiting = Waiting::new(&*store).unwrap();
    let (end, calls) = (SIZE as u64, image.calls.load(Ordering::Relaxed));
    for op in [
        BlockOp::Write { offset: end - 512, from: Block::new(1024), fua: false },
        BlockOp::Read { offset: end, into: Block::new(512) },
        BlockOp::WriteZeroes { offset: 0, len: end + 1, may_unmap: true },
        BlockOp::Discard { offset: u64::MAX, len: 2 },
    ] {
        assert_eq!(waiting.run(op).err(), Some(IoError::OUT_OF_RANGE));
    }
    assert_eq!(image.calls.load(Ordering::Relaxed), calls);
    waiting.write(end - 512, &[1; 512], false).unwrap();
    assert_eq!(image.calls.load(Ordering::Relaxed), calls + 1);
}

#[test]
fn change_of_the_image_is_noticed_and_refresh_reads_its_size() {
    let (store, image) = opened("grows");
    let mut engines = Engines::default();
    let port = store.attach(&mut engines).unwrap();
    image.resize(2 * SIZE);
    let engine = engines.engine(port.engine);
    assert!(wait_readable(engine, PATIENCE));
    engine.event_ready();
    let mut notices = Vec::new();
    engine.notices(&mut notices);
    assert_eq!(notices, [(port.slot, Notice::Resized)]);
    assert_eq!(store.geometry().size, SIZE as u64);
    assert_eq!(store.refresh().unwrap().size, 2 * SIZE as u64);
    assert_eq!(store.geometry().size, 2 * SIZE as u64);
}

#[test]
fn image_is_closed_once_and_its_watch_ended_when_the_last_call_has_ended() {
    let (store, image) = opened("closed");
    let mut waiting = Waiting::new(&*store).unwrap();
    image.hold.store(true, Ordering::Release);
    waiting.submit(BlockOp::Read { offset: 0, into: Block::new(512) });
    let closing = std::thread::spawn(move || drop(store));
    while image.watch.lock().is_some() {
        std::thread::yield_now();
    }
    assert_eq!(image.closed.load(Ordering::Acquire), 0, "a call runs");
    image.release();
    closing.join().unwrap();
    assert_eq!(image.closed.load(Ordering::Acquire), 1);
    let done = waiting.wait_for(1, PATIENCE).unwrap();
    assert!(done[0].result.is_ok());
    // A contract violation: an operation after the store is closed.
    assert_eq!(waiting.read(0, 512).map(drop).unwrap_err().kind(), IoErrorKind::NotReady);
}
