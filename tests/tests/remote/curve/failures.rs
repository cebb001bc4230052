//! Errors, requests without answer, and a server that is started again.

use std::time::{Duration, Instant};

use backstores::waiting::Waiting;
use scsi_core::store::{BlockOp, Completed, Completion, IoError, IoErrorKind, IoTag};

use super::{SIZE, Site, VOLUME, block};
use crate::harness::wait_until;

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn error_of_the_server_is_one_of_the_medium_at_its_offset() {
    let site = Site::with_volume();
    site.server.set(|switches| (switches.answer_errors, switches.bad) = (true, Some(65536..69632)));
    let (_store, mut waiting) = site.attached("");
    wait_until("a connection for heartbeats", || site.server.seen().heartbeats > 0);
    let error = waiting.read(65536, 4096).map(drop).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (IoErrorKind::Medium, Some(65536)));
    assert_eq!(waiting.write(65536, &[1; 8192], false), Err(IoError::medium(65536)));
    waiting.write(0, &[1; 4096], false).unwrap();
    assert_eq!(*waiting.read(0, 4096).unwrap(), [1; 4096]);
    assert_eq!(site.server.seen().connections, 2);
}

/// Drives the engine with a clock of the test: `steps` of a second.
fn pass_time(waiting: &mut Waiting, now: &mut Instant, seconds: u64, done: &mut Vec<Completion>) {
    for _ in 0..seconds {
        *now += Duration::from_secs(1);
        let engine = waiting.engine();
        engine.handle_timeout(*now);
        engine.kick();
        engine.reap(done);
    }
}

fn result(done: &[Completion], tag: IoTag) -> Option<Result<Completed, IoError>> {
    done.iter().find(|completion| completion.tag == tag).map(|completion| completion.result)
}

#[test]
fn request_that_the_server_has_dropped_is_sent_once_more() {
    let site = Site::with_volume();
    site.server.set(|switches| switches.unanswered = Some((0..4096, 1)));
    let (_store, mut waiting) = site.attached("timeout=60");
    let mut now = Instant::now();
    let dropped = waiting.submit(BlockOp::Write { offset: 0, from: block(4096, 7), fua: false });
    waiting.read(8192, 4096).expect("a later request is answered");
    let mut done = Vec::new();
    pass_time(&mut waiting, &mut now, 40, &mut done);
    let done = waiting.wait_for(1, MINUTE).expect("the write is repeated");
    assert_eq!(result(&done, dropped), Some(Ok(Completed::Done)));
    assert_eq!(*waiting.read(0, 4096).unwrap(), [7; 4096]);
}

#[test]
fn request_that_is_never_answered_ends_after_its_timeout_and_others_go_on() {
    let site = Site::with_volume();
    site.server.set(|switches| switches.unanswered = Some((0..8192, u32::MAX)));
    let (_store, mut waiting) = site.attached("timeout=60");
    let mut now = Instant::now();
    let write = waiting.submit(BlockOp::Write { offset: 0, from: block(4096, 7), fua: false });
    let read = waiting.submit(BlockOp::Read { offset: 4096, into: block(4096, 0) });
    waiting.read(8192, 4096).expect("a later request is answered");
    let mut done = Vec::new();
    pass_time(&mut waiting, &mut now, 59, &mut done);
    assert!(done.is_empty());
    pass_time(&mut waiting, &mut now, 30, &mut done);
    assert_eq!(result(&done, write), Some(Err(IoError::IN_DOUBT)));
    assert_eq!(result(&done, read), Some(Err(IoError::UNREACHABLE)));
    waiting.write(8192, &[1; 4096], false).unwrap();
}

#[test]
fn requests_wait_while_the_server_is_down_and_keep_their_number() {
    let site = Site::with_volume();
    let (_store, mut waiting) = site.attached("timeout=0");
    waiting.write(4096, &[1; 4096], false).unwrap();
    for round in 0..3 {
        site.server.stop();
        for at in 0..16 {
            waiting.submit(BlockOp::Write {
                offset: at * 4096,
                from: block(4096, round * 16 + at as u8),
                fua: false,
            });
        }
        assert!(waiting.wait_for(1, Duration::from_millis(50)).is_err());
        site.server.restart();
        let done = waiting.wait_for(16, MINUTE).expect("16 writes");
        assert!(done.iter().all(|completion| completion.result == Ok(Completed::Done)));
        let read = waiting.read(0, 65536).unwrap();
        for (at, bytes) in read.chunks(4096).enumerate() {
            assert!(bytes.iter().all(|byte| *byte == round * 16 + at as u8));
        }
    }
}

/// A server that has lost its table gives numbers again, perhaps the number of one volume to another.
#[test]
fn numbers_of_a_server_that_lost_its_table_are_not_mixed_up() {
    let site = Site::with_volume();
    site.server.volume("cbd:p//b_u_", SIZE, 4096);
    let (_store, mut first) = site.attached("timeout=0");
    let other = site.open("cbd:p//b_u_", 4096);
    let mut second = Waiting::new(&*other).unwrap();
    first.write(0, &[1; 4096], false).unwrap();
    second.write(0, &[2; 4096], false).unwrap();
    site.server.stop();
    site.server.lose_table();
    site.server.restart();
    second.write(4096, &[4; 4096], false).unwrap();
    first.write(4096, &[3; 4096], false).unwrap();
    assert_eq!(*first.read(0, 8192).unwrap(), *[[1; 4096], [3; 4096]].concat());
    assert_eq!(*second.read(0, 8192).unwrap(), *[[2; 4096], [4; 4096]].concat());
}

#[test]
fn volume_that_another_client_closed_is_opened_again() {
    let site = Site::with_volume();
    site.server.volume("cbd:p//b_u_", SIZE, 4096);
    let _other = site.open("cbd:p//b_u_", 4096);
    for answer_errors in [false, true] {
        site.server.set(|switches| switches.answer_errors = answer_errors);
        let (_store, mut waiting) = site.attached("");
        waiting.write(0, &[1; 4096], false).unwrap();
        site.server.forget(VOLUME);
        let writes = (1..9).map(|at| BlockOp::Write { offset: at * 4096, from: block(4096, 2), fua: false });
        let tags: Vec<IoTag> = writes.map(|op| waiting.submit(op)).collect();
        let done = waiting.wait_for(8, MINUTE).expect("8 writes");
        assert!(tags.iter().all(|tag| result(&done, *tag) == Some(Ok(Completed::Done))));
        assert_eq!(*waiting.read(32768, 4096).unwrap(), [2; 4096]);
    }
}

#[test]
fn volume_that_has_other_blocks_after_a_restart_is_not_used() {
    let site = Site::with_volume();
    let (_store, mut waiting) = site.attached("timeout=1");
    site.server.stop();
    std::fs::remove_file(site.directory.path().join("cbd:pool++dir+vol_user_.4096")).unwrap();
    site.server.volume(VOLUME, SIZE, 512);
    site.server.restart();
    assert_eq!(waiting.read(0, 4096).map(drop), Err(IoError::UNREACHABLE));
}

/// The size that another gateway or the cluster's tools gave the volume is reported when a connection begins.
#[test]
fn new_size_is_noticed_when_the_server_is_started_again() {
    let site = Site::with_volume();
    let (store, mut waiting) = site.attached("");
    site.server.stop();
    site.server.volume(VOLUME, 2 * SIZE, 4096);
    site.server.restart();
    waiting.read(0, 4096).unwrap();
    let mut notices = Vec::new();
    waiting.engine().notices(&mut notices);
    assert!(notices.iter().any(|(_, notice)| *notice == scsi_core::store::Notice::Resized), "{notices:?}");
    assert_eq!(store.geometry().size, 2 * SIZE);
}
