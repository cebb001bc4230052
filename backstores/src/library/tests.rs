//! The engine over a library that the test plays: it decides when and how each call ends.

#![allow(unsafe_code)] // The test is the C library.

use std::collections::VecDeque;
use std::ffi::{c_int, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use scsi_core::store::{
    Block, BlockOp, Completed, Completion, Engines, IoEngine, IoError, IoErrorKind, IoTag, Notice, Port, Slot,
};

use super::*;
use crate::workers::{Limits, Workers};

/// A medium whose calls the test ends.
struct Played {
    calls: Mutex<VecDeque<(Call, usize)>>,
    /// How the next call is refused.
    refuse: Mutex<Option<c_int>>,
    sync: bool,
    breaks: AtomicU64,
    timeout: Option<Duration>,
    listeners: Listeners,
    workers: crate::workers::Unit,
}

// SAFETY: only the addresses in `calls` are not `Send`, and the test uses them as the library would.
unsafe impl Send for Played {}
// SAFETY: see above.
unsafe impl Sync for Played {}

impl Medium for Played {
    const START_BLOCKS: bool = false;

    fn refusal(&self, op: &BlockOp) -> Option<IoError> {
        matches!(op, BlockOp::Allocation { .. }).then_some(IoError::UNSUPPORTED)
    }

    fn writes_through(&self) -> bool {
        self.sync
    }

    fn start(&self, call: Call, argument: *mut c_void) -> Result<(), c_int> {
        if let Some(errno) = self.refuse.lock().take() {
            return Err(errno);
        }
        self.calls.lock().push_back((call, argument as usize));
        Ok(())
    }

    fn run(&self, _: &BlockOp) -> Result<Completed, IoError> {
        Err(IoError::UNSUPPORTED)
    }

    fn error(&self, during: During, offset: u64, errno: c_int) -> IoError {
        let kind = if during == During::Flush { IoErrorKind::Forgotten } else { IoErrorKind::Medium };
        IoError::new(kind).at(offset).with_errno(errno)
    }

    fn is_disconnected(&self, errno: c_int) -> bool {
        errno == NOTCONN
    }

    fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Relaxed)
    }

    fn count_break(&self) {
        self.breaks.fetch_add(1, Ordering::Relaxed);
    }

    fn piece_len(&self, _: &BlockOp) -> u64 {
        4096
    }

    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn workers(&self) -> &crate::workers::Unit {
        &self.workers
    }
}

/// A medium that is attached to one loop.
struct Attached {
    medium: Arc<Played>,
    engines: Engines,
    port: Port,
}

impl Attached {
    fn new(sync: bool) -> Self {
        Self::with_timeout(sync, None)
    }

    fn with_timeout(sync: bool, timeout: Option<Duration>) -> Self {
        let medium = Arc::new(Played {
            calls: Mutex::default(),
            refuse: Mutex::default(),
            sync,
            breaks: AtomicU64::new(0),
            timeout,
            listeners: Listeners::default(),
            workers: Workers::new(Limits::default()).unit(),
        });
        let mut engines = Engines::default();
        let port = attach(&medium, &mut engines).unwrap();
        Self { medium, engines, port }
    }

    fn engine(&mut self) -> &mut dyn IoEngine {
        self.engines.engine(self.port.engine)
    }

    fn submit(&mut self, tag: u64, op: BlockOp) {
        let slot = self.port.slot;
        self.engine().submit(slot, IoTag(tag), op);
    }

    /// Tells the time if the engine asks for it.
    fn tick(&mut self, now: Instant) {
        if self.engine().poll_timeout().is_some_and(|due| due <= now) {
            self.engine().handle_timeout(now);
        }
    }

    fn notices(&mut self) -> Vec<Notice> {
        self.engine().event_ready();
        let mut notices = Vec::new();
        self.engine().notices(&mut notices);
        notices.into_iter().map(|(_, notice)| notice).collect()
    }

    /// Takes the oldest call.
    fn call(&self) -> Option<(Call, usize)> {
        self.medium.calls.lock().pop_front()
    }

    /// Ends the oldest call with a number of bytes, or with an error number.
    fn end_call(&self, result: Result<u64, c_int>) -> Call {
        let (call, argument) = self.call().expect("a call");
        end(argument, result);
        call
    }

    fn reap(&mut self) -> Vec<Completion> {
        let mut done = Vec::new();
        self.engine().reap(&mut done);
        done
    }

    /// Reaps one completion and returns its result.
    fn result(&mut self) -> Result<Completed, IoError> {
        let done = self.reap();
        assert_eq!(done.len(), 1, "{done:?}");
        done[0].result
    }
}

/// ENOTCONN.
const NOTCONN: c_int = 107;

/// Ends a call from a thread of the library.
fn end(argument: usize, result: Result<u64, c_int>) {
    let thread = std::thread::spawn(move || {
        // SAFETY: the argument is of a call that was started and is ended once.
        unsafe { Request::<Played>::returned(argument as *mut c_void, |_, _| result) }
    });
    thread.join().unwrap();
}

fn read(offset: u64) -> BlockOp {
    BlockOp::Read { offset, into: Block::new(1024) }
}

fn write(fua: bool) -> BlockOp {
    BlockOp::Write { offset: 512, from: Block::new(1024), fua }
}

#[test]
fn short_transfer_is_continued_and_its_block_comes_back() {
    let mut store = Attached::new(false);
    store.submit(7, read(512));
    assert!(matches!(store.end_call(Ok(1000)), Call::Read { offset: 512, len: 1024, .. }));
    assert!(store.reap().is_empty());
    assert!(matches!(store.end_call(Ok(24)), Call::Read { offset: 1512, len: 24, .. }));
    let done = store.reap();
    assert_eq!((done[0].tag, &done[0].result), (IoTag(7), &Ok(Completed::Done)));
    assert_eq!(done[0].block.as_ref().unwrap().len(), 1024);
}

#[test]
fn read_that_moves_nothing_is_beyond_the_end() {
    let mut store = Attached::new(false);
    store.submit(1, read(0));
    store.end_call(Ok(512));
    assert!(store.reap().is_empty());
    store.end_call(Ok(0));
    let error = store.result().unwrap_err();
    assert_eq!((error.kind(), error.offset()), (IoErrorKind::OutOfRange, Some(512)));
}

#[test]
fn write_to_the_medium_ends_with_a_flush_and_reports_its_error() {
    for (sync, fua) in [(false, true), (true, false)] {
        let mut store = Attached::new(sync);
        store.submit(1, write(fua));
        assert!(matches!(store.end_call(Ok(1024)), Call::Write { offset: 512, len: 1024, .. }));
        assert!(store.reap().is_empty(), "before the flush");
        assert_eq!(store.end_call(Err(5)), Call::Flush);
        assert_eq!(store.result().unwrap_err().kind(), IoErrorKind::Forgotten);
    }
    let mut store = Attached::new(false);
    store.submit(1, write(false));
    store.end_call(Ok(1024));
    assert_eq!(store.result(), Ok(Completed::Done));
    store.submit(2, BlockOp::Flush);
    assert_eq!(store.end_call(Ok(0)), Call::Flush);
    assert_eq!(store.result(), Ok(Completed::Done));
}

#[test]
fn long_range_is_done_in_pieces_until_it_is_cancelled() {
    let mut store = Attached::new(false);
    store.submit(1, BlockOp::WriteZeroes { offset: 1024, len: 10_000, may_unmap: true });
    let mut pieces = Vec::new();
    while let Some((Call::Zero { offset, len, .. }, argument)) = store.call() {
        pieces.push((offset, len));
        end(argument, Ok(len));
        store.medium.calls.lock().len();
        let done = store.reap();
        assert_eq!(done.len(), usize::from(pieces.len() == 3), "{pieces:?}");
    }
    assert_eq!(pieces, [(1024, 3072), (4096, 4096), (8192, 2832)]);

    store.submit(2, BlockOp::Discard { offset: 0, len: 10_000 });
    store.engine().cancel(IoTag(2));
    assert_eq!(store.end_call(Ok(4096)), Call::Discard { offset: 0, len: 4096 });
    assert_eq!(store.result(), Err(IoError::CANCELLED));
    assert!(store.call().is_none());
}

#[test]
fn call_that_is_refused_or_fails_ends_the_operation_at_its_offset() {
    let mut store = Attached::new(false);
    *store.medium.refuse.lock() = Some(12);
    store.submit(1, read(2048));
    let done = store.reap();
    assert_eq!(done[0].result, Err(IoError::medium(2048)));
    assert!(done[0].block.is_some());
    store.submit(2, read(4096));
    store.end_call(Err(5));
    assert_eq!(store.result().unwrap_err().errno(), Some(5));
}

/// The library writes to the block of an aborted command until its callback, whatever happened to the loop.
#[test]
fn memory_of_a_call_lives_until_its_callback_when_the_engine_is_dropped() {
    let mut store = Attached::new(false);
    store.submit(1, read(0));
    let (call, argument) = store.call().unwrap();
    store.engine().cancel(IoTag(1));
    let slot = store.port.slot;
    store.engine().detach(slot);
    let Attached { medium, engines, .. } = store;
    drop(engines);
    let Call::Read { into, len, .. } = call else { panic!("{call:?}") };
    // SAFETY: the block is valid for writes until the callback.
    unsafe { into.write_bytes(7, len) };
    assert_eq!(Arc::strong_count(&medium), 2);
    end(argument, Ok(1024));
    assert_eq!(Arc::strong_count(&medium), 1, "the request is freed");
}

#[test]
fn slot_is_reused_only_after_its_last_call() {
    let mut store = Attached::new(false);
    store.submit(1, read(0));
    let slot = store.port.slot;
    store.engine().detach(slot);
    let second = attach(&store.medium.clone(), &mut store.engines).unwrap();
    assert_ne!(second.slot, slot);
    store.end_call(Ok(1024));
    assert_eq!(store.result(), Ok(Completed::Done));
    assert_eq!(attach(&store.medium.clone(), &mut store.engines).unwrap().slot, slot);
}

#[test]
fn first_attached_loop_reports_a_changed_size_after_its_event() {
    let mut store = Attached::new(false);
    let mut other = Engines::default();
    let there = attach(&store.medium, &mut other).unwrap();
    store.medium.listeners().resized();
    let mut notices = Vec::new();
    // Taken by `reap`, it comes with the next event.
    assert!(store.reap().is_empty());
    store.engine().notices(&mut notices);
    assert!(notices.is_empty());
    assert!(crate::waiting::wait_readable(store.engine(), crate::waiting::PATIENCE));
    store.engine().event_ready();
    store.engine().notices(&mut notices);
    assert_eq!(notices, [(store.port.slot, Notice::Resized)]);

    let slot = store.port.slot;
    store.engine().detach(slot);
    store.medium.listeners().resized();
    let mut notices: Vec<(Slot, Notice)> = Vec::new();
    other.engine(there.engine).event_ready();
    other.engine(there.engine).notices(&mut notices);
    assert_eq!(notices, [(there.slot, Notice::Resized)]);
}

#[test]
fn call_without_a_connection_is_repeated_until_there_is_one() {
    let mut store = Attached::new(false);
    let start = Instant::now();
    store.engine().handle_timeout(start);
    store.submit(1, write(false));
    store.end_call(Err(NOTCONN));
    assert_eq!(store.notices(), [Notice::Unreachable]);
    assert!(store.reap().is_empty());
    for second in 0..5 {
        store.tick(start + Duration::from_secs(second));
        if second > 0 {
            assert!(matches!(store.end_call(Err(NOTCONN)), Call::Write { offset: 512, len: 1024, .. }));
            assert!(store.notices().is_empty() && store.reap().is_empty());
            store.tick(start + Duration::from_secs(second));
        }
        store.tick(start + Duration::from_millis(second * 1000 + 999));
        assert!(store.call().is_none(), "before the next second");
    }
    store.tick(start + Duration::from_secs(5));
    store.end_call(Ok(1024));
    assert_eq!(store.notices(), [Notice::Back]);
    assert_eq!(store.result(), Ok(Completed::Done));
    assert_eq!(store.engine().poll_timeout(), None);
}

#[test]
fn cancelled_operation_is_not_called_again() {
    let mut store = Attached::new(false);
    let start = Instant::now();
    store.engine().handle_timeout(start);
    store.submit(1, write(false));
    store.end_call(Err(NOTCONN));
    assert!(store.reap().is_empty());
    store.engine().cancel(IoTag(1));
    assert_eq!(store.result(), Err(IoError::CANCELLED));
    store.submit(2, write(false));
    store.engine().cancel(IoTag(2));
    store.end_call(Err(NOTCONN));
    assert_eq!(store.result(), Err(IoError::CANCELLED));
    assert_eq!(store.engine().poll_timeout(), None);
}

#[test]
fn operation_without_a_connection_ends_with_its_error_after_the_timeout() {
    let mut store = Attached::with_timeout(false, Some(Duration::from_secs(3)));
    let start = Instant::now();
    store.engine().handle_timeout(start);
    store.submit(1, read(0));
    let mut calls = 0;
    let mut done = Vec::new();
    for second in 0..10 {
        while let Some((_, argument)) = store.call() {
            calls += 1;
            end(argument, Err(NOTCONN));
        }
        done.append(&mut store.reap());
        store.tick(start + Duration::from_secs(second));
    }
    done.append(&mut store.reap());
    assert_eq!((done.len(), calls), (1, 3));
    assert_eq!(done[0].result.unwrap_err().errno(), Some(NOTCONN));
}

/// A server may lose acknowledged writes when it goes away.
#[test]
fn first_flush_after_a_lost_connection_fails_once_if_there_were_unflushed_writes() {
    for written_before in [false, true] {
        let mut store = Attached::new(false);
        let start = Instant::now();
        store.engine().handle_timeout(start);
        let run = |store: &mut Attached, op| {
            store.submit(1, op);
            store.end_call(Ok(1024));
            store.result()
        };
        run(&mut store, write(false)).unwrap();
        run(&mut store, BlockOp::Flush).unwrap();
        if written_before {
            run(&mut store, write(false)).unwrap();
        }
        store.submit(2, read(0));
        store.end_call(Err(NOTCONN));
        assert!(store.reap().is_empty());
        store.tick(start);
        store.tick(start + Duration::from_secs(1));
        store.end_call(Ok(1024));
        store.result().unwrap();
        run(&mut store, write(false)).unwrap();
        let expected = if written_before { Err(IoError::FORGOTTEN) } else { Ok(Completed::Done) };
        assert_eq!(run(&mut store, BlockOp::Flush), expected);
        run(&mut store, write(false)).unwrap();
        run(&mut store, BlockOp::Flush).unwrap();
    }
}

#[test]
fn requests_are_reused() {
    let mut store = Attached::new(false);
    let mut arguments = Vec::new();
    for tag in 0..5 {
        store.submit(tag, read(0));
        let (_, argument) = store.call().unwrap();
        arguments.push(argument);
        end(argument, Ok(1024));
        assert_eq!(store.result(), Ok(Completed::Done));
    }
    assert!(arguments.iter().all(|argument| *argument == arguments[0]), "{arguments:?}");
}

#[test]
fn call_with_a_deadline_is_left_behind_and_drops_its_result() {
    let (dropped, was_dropped) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    struct Tells(std::sync::mpsc::Sender<()>);
    impl Drop for Tells {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let waited = wait_for(Duration::from_millis(1), move || {
        gone.recv().unwrap();
        Tells(dropped)
    });
    assert_eq!(waited.err(), Some(WaitError::Deadline));
    go.send(()).unwrap();
    was_dropped.recv().unwrap();
    assert_eq!(wait_for(Duration::from_secs(60), || 3), Ok(3));
}
