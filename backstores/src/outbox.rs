//! A queue of results from other threads to the engine of a loop.
//!
//! An engine whose operations run on threads of its own, or in a library that calls back from its threads, shares an
//! [`Outbox`] with them. A thread [puts](Outbox::put) its result, the engine returns [`Outbox::event_fd`] as its event, and
//! [takes](Outbox::take) the results in `reap`.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::event::EventfdFlags;

/// Results of type `T` for one engine, with an eventfd that is readable while there are any.
#[derive(Debug)]
pub struct Outbox<T> {
    results: Mutex<Vec<T>>,
    /// Whether there are results; read without the lock.
    filled: AtomicBool,
    event: OwnedFd,
}

impl<T> Outbox<T> {
    /// Returns an empty outbox.
    ///
    /// # Errors
    /// The process or the system has no descriptor left.
    pub fn new() -> std::io::Result<Self> {
        let event = rustix::event::eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { results: Mutex::default(), filled: AtomicBool::new(false), event })
    }

    /// Readable while there are results.
    #[must_use]
    pub fn event_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// Adds a result. Any thread may call it; it waits only while another thread adds or takes results, and makes a system
    /// call only if there were none. The event is signalled and cleared under the lock, so that it is readable only while
    /// there are results.
    pub fn put(&self, result: T) {
        let mut results = self.results.lock();
        results.push(result);
        if !self.filled.swap(true, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }

    /// Appends all results, in the order in which they were put. Costs a load if there are none.
    pub fn take(&self, into: &mut Vec<T>) {
        if !self.filled.load(Ordering::Acquire) {
            return;
        }
        let mut results = self.results.lock();
        into.append(&mut results);
        self.filled.store(false, Ordering::Release);
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }
}

#[cfg(test)]
impl<T> Outbox<T> {
    /// Runs `call` while no result can be added.
    pub(crate) fn while_locked(&self, call: impl FnOnce()) {
        let _results = self.results.lock();
        call();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rustix::event::{PollFd, PollFlags, Timespec, poll};

    use super::*;

    fn is_readable(outbox: &Outbox<u32>) -> bool {
        let mut ready = [PollFd::from_borrowed_fd(outbox.event_fd(), PollFlags::IN)];
        poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).unwrap() == 1
    }

    #[test]
    fn event_is_readable_only_while_there_are_results() {
        let outbox = Outbox::new().unwrap();
        let mut results = Vec::new();
        for round in 0..3 {
            assert!(!is_readable(&outbox));
            outbox.take(&mut results);
            outbox.put(round);
            assert!(is_readable(&outbox));
            outbox.put(round + 10);
            outbox.take(&mut results);
        }
        assert!(!is_readable(&outbox));
        assert_eq!(results, [0, 10, 1, 11, 2, 12]);
    }

    #[test]
    fn results_of_several_threads_arrive_once() {
        let outbox = Arc::new(Outbox::new().unwrap());
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let outbox = Arc::clone(&outbox);
                std::thread::spawn(move || (0..1000).for_each(|n| outbox.put(thread * 1000 + n)))
            })
            .collect();
        let mut results = Vec::new();
        while results.len() < 4000 {
            poll(&mut [PollFd::from_borrowed_fd(outbox.event_fd(), PollFlags::IN)], None).unwrap();
            outbox.take(&mut results);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!is_readable(&outbox));
        results.sort_unstable();
        assert!(results.into_iter().eq(0..4000));
    }
}
