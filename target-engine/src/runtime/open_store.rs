//! An open store, shared by the control thread and the loops. Any of them may drop the last handle: the store itself is
//! then dropped on a thread that may block, and the control thread is sent [`JobDone::Closed`].
//!
//! [`JobDone::Closed`]: crate::control::jobs::JobDone::Closed

use std::borrow::Cow;
use std::sync::Arc;

use scsi_core::store::{Backstore, Capabilities, Engines, Geometry, IoError, Port};

use crate::model::store::StoreId;

/// Closes stores on other threads.
pub trait Closer: Send + Sync {
    /// Flushes and drops the store later, where that may take long. Does not block and does not fail.
    fn close(self: Arc<Self>, id: StoreId, store: Arc<dyn Backstore>);
}

/// A store that is closed by its [`Closer`] when the last handle on it is dropped.
pub struct OpenStore {
    id: StoreId,
    /// `None` only while it is dropped.
    store: Option<Arc<dyn Backstore>>,
    closer: Arc<dyn Closer>,
}

impl OpenStore {
    /// Wraps a store that was just opened.
    #[must_use]
    pub fn new(id: StoreId, store: Arc<dyn Backstore>, closer: Arc<dyn Closer>) -> Arc<Self> {
        Arc::new(Self { id, store: Some(store), closer })
    }

    fn store(&self) -> &dyn Backstore {
        self.store.as_deref().expect("only drop takes it")
    }
}

impl Backstore for OpenStore {
    fn kind(&self) -> &'static str {
        self.store().kind()
    }

    fn name(&self) -> Cow<'_, str> {
        self.store().name()
    }

    fn geometry(&self) -> Geometry {
        self.store().geometry()
    }

    fn capabilities(&self) -> Capabilities {
        self.store().capabilities()
    }

    fn refresh(&self) -> Result<Geometry, IoError> {
        self.store().refresh()
    }

    fn has_lost_writes(&self) -> bool {
        self.store().has_lost_writes()
    }

    fn flush(&self) -> Result<(), IoError> {
        self.store().flush()
    }

    fn attach(&self, engines: &mut Engines) -> Result<Port, IoError> {
        self.store().attach(engines)
    }
}

impl Drop for OpenStore {
    fn drop(&mut self) {
        if let Some(store) = self.store.take() {
            Arc::clone(&self.closer).close(self.id, store);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::{Receiver, Sender, channel};

    use parking_lot::Mutex;
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;
    use crate::control::jobs::{Job, JobDone};
    use crate::control::messages::Ticket;
    use crate::limits::OPENER_THREADS;
    use crate::model::store::{OpenFlags, StoreKind, StoreOpener, StoreSpec};
    use crate::runtime::mailbox::{Inbox, mailbox};
    use crate::runtime::openers::Openers;
    use crate::test_store::TestStore;

    /// What the paths do: the open or the close of `hang-open` and `hang-close` waits for the test.
    /// Flushes are counted.
    struct TestOpener(Arc<Mutex<Receiver<()>>>, Arc<AtomicUsize>);

    impl StoreOpener for TestOpener {
        fn kinds(&self) -> Vec<StoreKind> {
            Vec::new()
        }
        fn open(&self, spec: &StoreSpec) -> Result<Arc<dyn Backstore>, String> {
            let wait = Arc::clone(&self.0);
            let on_drop: Box<dyn Fn() + Send + Sync> = match spec.path.as_str() {
                "hang-open" => return Err(format!("{:?}", wait.lock().recv())),
                "hang-close" => Box::new(move || _ = wait.lock().recv()),
                "panic" => Box::new(|| panic!("on purpose")),
                _ => Box::new(|| {}),
            };
            let (path, flushes) = (spec.path.clone(), Arc::clone(&self.1));
            let flush = move || {
                flushes.fetch_add(1, Ordering::Relaxed);
                match path.as_str() {
                    "fail-flush" => Err(IoError::LOST),
                    "panic-flush" => panic!("on purpose"),
                    _ => Ok(()),
                }
            };
            Ok(Arc::new(TestStore::idle(512).on_drop(on_drop).on_flush(flush)))
        }
    }

    /// Openers with other threads for closing, and the end that lets one wait go on.
    struct Bench {
        openers: Openers,
        _closers: Openers,
        inbox: Inbox<JobDone>,
        release: Sender<()>,
        done: Vec<JobDone>,
        /// Number of flushes of all stores.
        flushes: Arc<AtomicUsize>,
    }

    impl Bench {
        fn new() -> Self {
            let (release, wait) = channel();
            let (done, inbox) = mailbox(64).unwrap();
            let flushes = Arc::new(AtomicUsize::new(0));
            let opener = Arc::new(TestOpener(Arc::new(Mutex::new(wait)), Arc::clone(&flushes)));
            let closers = Openers::new("tgt/closer", opener.clone(), done.clone(), None);
            let openers = Openers::new("tgt/opener", opener, done, Some(&closers));
            Self { openers, _closers: closers, inbox, release, done: Vec::new(), flushes }
        }

        fn begin(&self, ticket: u64, path: &str) {
            let spec = StoreSpec {
                kind: "x".to_owned(),
                path: path.to_owned(),
                options: String::new(),
                flags: OpenFlags::default(),
                block_len: 512,
                read_only: false,
            };
            assert!(self.openers.push(Job::Open(Ticket(ticket), spec)).is_ok());
        }

        fn open(&mut self, ticket: u64, path: &str) -> Arc<dyn Backstore> {
            self.begin(ticket, path);
            match self.next() {
                JobDone::Opened(Ticket(opened), Ok(store)) if opened == ticket => store,
                _ => panic!("{path} is not opened"),
            }
        }

        fn next(&mut self) -> JobDone {
            while self.done.is_empty() {
                poll(&mut [PollFd::new(&self.inbox, PollFlags::IN)], None).unwrap();
                self.inbox.drain(&mut self.done);
            }
            self.done.remove(0)
        }

        #[track_caller]
        fn assert_closed(&mut self, id: u64) {
            assert!(matches!(self.next(), JobDone::Closed(StoreId(closed)) if closed == id));
        }
    }

    #[test]
    fn store_closes_on_another_thread_after_its_last_handle() {
        let mut bench = Bench::new();
        let (slow, quick) = (bench.open(1, "hang-close"), bench.open(2, "quick"));
        let other = Arc::clone(&slow);
        drop(slow);
        drop(quick);
        bench.assert_closed(2);
        // Would wait for ever here.
        drop(other);
        drop(bench.open(3, "quick"));
        bench.assert_closed(3);
        bench.release.send(()).unwrap();
        bench.assert_closed(1);
    }

    #[test]
    fn store_is_flushed_before_it_is_closed() {
        let mut bench = Bench::new();
        for (id, path) in [(1, "quick"), (2, "fail-flush"), (3, "panic-flush")] {
            let flushes = bench.flushes.load(Ordering::Relaxed);
            drop(bench.open(id, path));
            bench.assert_closed(id);
            assert_eq!(bench.flushes.load(Ordering::Relaxed), flushes + 1, "{path}");
        }
    }

    #[test]
    fn panic_in_a_close_counts_as_closed() {
        let mut bench = Bench::new();
        for id in 1..=OPENER_THREADS as u64 + 1 {
            drop(bench.open(id, "panic"));
            bench.assert_closed(id);
        }
    }

    #[test]
    fn hanging_opens_delay_no_close() {
        let mut bench = Bench::new();
        let store = bench.open(1, "quick");
        for ticket in 0..OPENER_THREADS as u64 {
            bench.begin(2 + ticket, "hang-open");
        }
        drop(store);
        bench.assert_closed(1);
        for _ in 0..OPENER_THREADS {
            bench.release.send(()).unwrap();
        }
    }

    #[test]
    fn stores_close_after_their_openers_have_ended() {
        let mut bench = Bench::new();
        let store = bench.open(1, "quick");
        let Bench { openers, _closers, .. } = &mut bench;
        let (done, _) = mailbox(1).unwrap();
        let opener = Arc::new(TestOpener(Arc::new(Mutex::new(channel().1)), Arc::default()));
        *openers = Openers::new("tgt/opener", opener.clone(), done.clone(), None);
        *_closers = Openers::new("tgt/closer", opener, done, None);
        drop(store);
        bench.assert_closed(1);
    }
}
