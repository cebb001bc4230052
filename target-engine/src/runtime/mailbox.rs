//! Messages between threads: a bounded queue and an event descriptor that its reader polls.
//!
//! A full or closed mailbox returns the message. Messages that must not be lost (the end of a session, the answer to a
//! ticket) are sent by [`Mailbox::send_reserved`]: their number is bounded by the sessions and tickets they end.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::event::{EventfdFlags, eventfd};

/// The writing end; clones write to the same queue.
pub struct Mailbox<T> {
    shared: Arc<Shared<T>>,
}

/// The reading end; dropping it closes the mailbox.
pub struct Inbox<T> {
    shared: Arc<Shared<T>>,
}

struct Shared<T> {
    /// Set after a push, cleared before a drain: an empty mailbox costs its reader one load.
    waiting: AtomicBool,
    queue: Mutex<Queue<T>>,
    /// Readable while messages wait.
    event: OwnedFd,
    capacity: usize,
}

struct Queue<T> {
    messages: VecDeque<T>,
    closed: bool,
}

/// Makes a mailbox for `capacity` messages.
///
/// # Errors
/// No descriptor is left.
pub fn mailbox<T>(capacity: usize) -> std::io::Result<(Mailbox<T>, Inbox<T>)> {
    let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
    let queue = Mutex::new(Queue { messages: VecDeque::new(), closed: false });
    let shared = Arc::new(Shared { waiting: AtomicBool::new(false), queue, event, capacity });
    Ok((Mailbox { shared: Arc::clone(&shared) }, Inbox { shared }))
}

impl<T> Mailbox<T> {
    /// Sends a message.
    ///
    /// # Errors
    /// The mailbox is full or its reader is gone; the message is returned.
    pub fn send(&self, message: T) -> Result<(), T> {
        self.push(message, self.shared.capacity)
    }

    /// Sends a message that must arrive, even if the mailbox is full.
    ///
    /// # Errors
    /// The reader is gone; the message is returned.
    pub fn send_reserved(&self, message: T) -> Result<(), T> {
        self.push(message, usize::MAX)
    }

    fn push(&self, message: T, capacity: usize) -> Result<(), T> {
        let mut queue = self.shared.queue.lock();
        if queue.closed || queue.messages.len() >= capacity {
            return Err(message);
        }
        queue.messages.push_back(message);
        // Signalled and cleared under the lock, which does not block: an event without a message would wake the reader
        // again and again until the next message.
        if !self.shared.waiting.swap(true, Ordering::AcqRel) {
            // The counter cannot overflow: it is written once per drain.
            let _ = rustix::io::write(&self.shared.event, &1u64.to_ne_bytes());
        }
        Ok(())
    }
}

impl<T> Inbox<T> {
    /// Whether no message waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.shared.waiting.load(Ordering::Acquire)
    }

    /// Moves all messages to the end of `into`.
    pub fn drain(&mut self, into: &mut Vec<T>) {
        if self.is_empty() {
            return;
        }
        let mut queue = self.shared.queue.lock();
        let mut count = [0; 8];
        let _ = rustix::io::read(&self.shared.event, &mut count);
        self.shared.waiting.store(false, Ordering::Release);
        into.extend(queue.messages.drain(..));
    }
}

impl<T> Clone for Mailbox<T> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<T> std::fmt::Debug for Mailbox<T> {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Mailbox")
    }
}

impl<T> AsFd for Inbox<T> {
    /// Readable while messages wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.shared.event.as_fd()
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        let mut queue = self.shared.queue.lock();
        queue.closed = true;
        let messages = std::mem::take(&mut queue.messages);
        drop(queue);
        drop(messages);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_arrive_in_order_and_a_full_mailbox_returns_them() {
        let (send, mut inbox) = mailbox(2).unwrap();
        assert_eq!([send.send(1), send.send(2), send.send(3)], [Ok(()), Ok(()), Err(3)]);
        assert_eq!(send.send_reserved(4), Ok(()));
        let mut got = Vec::new();
        inbox.drain(&mut got);
        assert_eq!(got, [1, 2, 4]);
        assert_eq!(send.send(5), Ok(()));
        inbox.drain(&mut got);
        assert_eq!(got, [1, 2, 4, 5]);
    }

    #[test]
    fn closed_mailbox_returns_even_reserved_messages() {
        let (send, inbox) = mailbox(2).unwrap();
        drop(inbox);
        assert_eq!(send.send_reserved(1), Err(1));
    }

    #[test]
    fn no_message_is_lost_between_threads() {
        let (send, mut inbox) = mailbox(usize::MAX).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let send = send.clone();
                std::thread::spawn(move || (0..1000).for_each(|n| send.send((writer, n)).unwrap()))
            })
            .collect();
        let mut got = Vec::new();
        while got.len() < 4000 {
            let mut fds = [rustix::event::PollFd::new(&inbox, rustix::event::PollFlags::IN)];
            rustix::event::poll(&mut fds, None).unwrap();
            inbox.drain(&mut got);
        }
        for writer in writers {
            writer.join().unwrap();
        }
        for writer in 0..4 {
            let own: Vec<_> = got.iter().filter(|(from, _)| *from == writer).map(|(_, n)| *n).collect();
            assert_eq!(own, (0..1000).collect::<Vec<_>>());
        }
    }

    #[test]
    fn event_is_not_signalled_without_messages() {
        let (send, mut inbox) = mailbox(usize::MAX).unwrap();
        let writers: Vec<_> = (0..4)
            .map(|_| {
                let send = send.clone();
                std::thread::spawn(move || (0..100_000).for_each(|n| send.send(n).unwrap()))
            })
            .collect();
        let mut count = 0;
        while count < 400_000 {
            // As a busy loop does: it drains without an event.
            let mut got = Vec::new();
            inbox.drain(&mut got);
            count += got.len();
            let mut fds = [rustix::event::PollFd::new(&inbox, rustix::event::PollFlags::IN)];
            if rustix::event::poll(&mut fds, Some(&rustix::event::Timespec::default())).unwrap() > 0 {
                let mut got = Vec::new();
                inbox.drain(&mut got);
                assert!(!got.is_empty());
                count += got.len();
            }
        }
        writers.into_iter().for_each(|writer| writer.join().unwrap());
    }
}
