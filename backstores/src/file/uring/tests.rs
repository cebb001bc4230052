//! Files that answer EAGAIN: pauses between the requests of an operation.

use scsi_core::store::Block;

use super::super::open::open_file;
use super::super::tests::new_file;
use super::*;
use crate::workers::Workers;

const AGAIN: i32 = -Errno::AGAIN.raw_os_error();
const TIME: i32 = -Errno::TIME.raw_os_error();

/// A read of 512 bytes of which the file has answered `busy` requests with EAGAIN, the last one just now.
fn read(busy: usize) -> Running {
    let (_dir, options) = new_file(1 << 20);
    let file = open_file("rdwr", &options, false, Workers::shared()).unwrap().file;
    Running {
        key: 0,
        file,
        op: BlockOp::Read { offset: 0, into: Block::new(512) },
        moved: 0,
        generation: 0,
        busy,
        pausing: busy > 0,
        queued: false,
        cancelled: false,
    }
}

/// Starts a read in a pause; reaps and kicks as a loop does until it has ended.
fn run(busy: usize, after_start: impl FnOnce(&mut Ring, RingKey)) -> Result<(), IoError> {
    let mut ring = Ring::new(Arc::new(Outbox::new().unwrap())).unwrap();
    let index = ring.ops.insert(read(busy));
    ring.enqueue(index);
    ring.kick();
    after_start(&mut ring, RingKey(index));
    let mut returned = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    while returned.is_empty() {
        assert!(Instant::now() < deadline, "the operation does not end");
        let mut ready = [PollFd::new(&ring.ring, PollFlags::IN)];
        rustix::event::poll(&mut ready, Some(&Timespec { tv_sec: 1, tv_nsec: 0 })).unwrap();
        ring.reap(&mut returned);
        ring.kick();
    }
    returned[0].result.map(drop)
}

#[test]
fn busy_file_is_asked_again_after_each_pause_then_the_operation_is_busy() {
    let mut read = read(0);
    for busy in 0..PAUSES.len() {
        assert_eq!(read.request().get_opcode(), u32::from(opcode::Read::CODE), "{busy}");
        assert_eq!(read.progress(AGAIN), None, "{busy}");
        assert_eq!(read.request().get_opcode(), u32::from(opcode::Timeout::CODE), "{busy}");
        assert_eq!(read.progress(TIME), None, "{busy}");
    }
    assert_eq!(read.progress(AGAIN), Some(Err(IoError::BUSY)));
}

#[test]
fn pauses_begin_again_after_progress() {
    let mut read = read(0);
    for code in [AGAIN, TIME, AGAIN, TIME, 256] {
        assert_eq!(read.progress(code), None);
    }
    assert_eq!(read.busy, 0);
    for code in [AGAIN, TIME] {
        assert_eq!(read.progress(code), None);
    }
    assert_eq!(read.progress(256), Some(Ok(Completed::Done)));
}

#[test]
fn operation_is_done_after_its_pause() {
    assert_eq!(run(1, |_, _| ()), Ok(()));
}

#[test]
fn operation_is_cancelled_in_its_pause() {
    assert_eq!(run(PAUSES.len(), Ring::cancel), Err(IoError::CANCELLED));
}
