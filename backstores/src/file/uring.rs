//! The io_uring of one loop, for reads and writes of all its files.
//!
//! The ring owns each operation, with its buffer and file, until its completion is reaped; the `unsafe` code relies on
//! that. The loop polls the descriptor of the ring, which is readable while completions wait. A poll request on the
//! event of the outbox makes it readable for results of workers, too.
#![allow(unsafe_code)] // Requests name buffers by address; the compiler cannot see how long the kernel uses them.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::{Fd, Timespec as KernelTimespec};
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, ReadWriteFlags};
use scsi_core::store::{BlockOp, Completed, IoError};
use slab::Slab;

use super::OpenFile;
use super::error::PAUSES;
use super::job::Returned;
use crate::outbox::Outbox;

/// The ring of one loop.
pub(crate) struct Ring {
    ring: IoUring,
    ops: Slab<Running>,
    /// Number of these operations that may occupy a thread of the kernel each.
    threaded: usize,
    /// Operations that wait for space in the ring, in order: index and generation. One that was cancelled meanwhile has
    /// another generation, or has ended.
    backlog: VecDeque<(usize, u32)>,
    /// Indices of operations that were cancelled before the kernel received them.
    dropped: Vec<usize>,
    /// Number of requests of all kinds whose completion is not reaped.
    requests: usize,
    requests_max: usize,
    outbox: Arc<Outbox<Returned>>,
    /// Whether the kernel has a poll request on the event of the outbox.
    watching: bool,
    /// The generation of the request that was pushed last.
    generation: u32,
    /// Reused by every reap.
    entries: Vec<(u64, i32)>,
}

/// A started operation.
struct Running {
    /// The key of the operation in the engine.
    key: usize,
    file: Arc<OpenFile>,
    op: BlockOp,
    /// Bytes that are transferred; a request may transfer less than it asks for.
    moved: usize,
    /// Distinguishes the request from earlier ones with the same index.
    generation: u32,
    /// How often in a row the file answered EAGAIN.
    busy: usize,
    /// Whether its request is a timeout, after which the operation is tried again.
    pausing: bool,
    /// Whether it is in the backlog.
    queued: bool,
    cancelled: bool,
}

/// Identifies a started operation for [`Ring::cancel`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RingKey(usize);

impl Ring {
    /// Creates a ring.
    ///
    /// # Errors
    /// The kernel permits none, or does not support the requests.
    pub(crate) fn new(outbox: Arc<Outbox<Returned>>) -> io::Result<Self> {
        let build = |coop: bool| {
            let mut builder = IoUring::builder();
            builder.setup_clamp().setup_cqsize(COMPLETIONS);
            if coop {
                builder.setup_coop_taskrun();
            }
            builder.build(SUBMISSIONS)
        };
        let ring = build(true).or_else(|error| match error.raw_os_error() {
            // Kernels before 5.19 do not support the flag.
            Some(code) if code == Errno::INVAL.raw_os_error() => build(false),
            _ => Err(error),
        })?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [
            opcode::Read::CODE,
            opcode::Write::CODE,
            opcode::PollAdd::CODE,
            opcode::AsyncCancel::CODE,
            opcode::Timeout::CODE,
        ];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(Errno::NOSYS.into());
        }
        // Files that hang must not use up the kernel's threads. Kernels before 5.15 do not support the call.
        let _ = ring.submitter().register_iowq_max_workers(&mut [KERNEL_THREADS_MAX, 0]);
        Ok(Self {
            requests_max: ring.params().cq_entries() as usize,
            ring,
            ops: Slab::new(),
            threaded: 0,
            backlog: VecDeque::new(),
            dropped: Vec::new(),
            requests: 0,
            outbox,
            watching: false,
            generation: 0,
            entries: Vec::new(),
        })
    }

    /// Whether the ring supports an operation.
    pub(crate) fn takes(op: &BlockOp) -> bool {
        matches!(op, BlockOp::Read { .. } | BlockOp::Write { .. })
    }

    /// Readable while completions wait.
    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Whether there is nothing to reap, now or later.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests == 0 && self.dropped.is_empty()
    }

    /// Whether a file that has `held` operations in the ring may start one more. A file gets half of the requests and
    /// kernel threads that other files leave, so that files that hang leave some to the others. It always gets one.
    pub(crate) fn has_room_for(&self, file: &OpenFile, held: usize) -> bool {
        let half_of_the_rest = |all: usize, taken: usize| (all + held).saturating_sub(taken) / 2;
        let requests = half_of_the_rest(self.requests_max, self.ops.len());
        let threads = match file.takes_threads {
            true => half_of_the_rest(KERNEL_THREADS_MAX as usize, self.threaded),
            false => usize::MAX,
        };
        held < requests.min(threads).max(1)
    }

    /// Starts an operation; the next `kick` submits it.
    pub(crate) fn start(&mut self, key: usize, file: Arc<OpenFile>, op: BlockOp) -> RingKey {
        debug_assert!(Self::takes(&op));
        self.threaded += usize::from(file.takes_threads);
        let running = Running {
            key,
            file,
            op,
            moved: 0,
            generation: 0,
            busy: 0,
            pausing: false,
            queued: false,
            cancelled: false,
        };
        let index = self.ops.insert(running);
        self.enqueue(index);
        RingKey(index)
    }

    /// Makes `event_fd` readable when a worker returns a result.
    pub(crate) fn watch_outbox(&mut self) {
        if self.watching {
            return;
        }
        let fd = Fd(self.outbox.event_fd().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, u32::from(PollFlags::IN.bits())).build().user_data(WATCH);
        self.watching = self.push_or_enter(&poll);
    }

    /// Submits all operations that wait, by one system call unless there are more than the ring has entries.
    pub(crate) fn kick(&mut self) {
        loop {
            while let Some((index, generation)) = self.backlog.front().copied() {
                if self.waits(index, generation) && !self.push_op(index) {
                    break;
                }
                self.backlog.pop_front();
            }
            if self.ring.submission().is_empty() || !self.enter() {
                return;
            }
        }
    }

    /// Appends operations that have ended, and continues those that transferred only a part.
    pub(crate) fn reap(&mut self, returned: &mut Vec<Returned>) {
        for index in std::mem::take(&mut self.dropped) {
            self.finish(index, Err(IoError::CANCELLED), returned);
        }
        if self.requests == 0 {
            return;
        }
        let mut entries = std::mem::take(&mut self.entries);
        entries.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
        self.requests -= entries.len();
        for (user_data, code) in entries.drain(..) {
            match user_data {
                WATCH => self.watching = false,
                CANCEL => {}
                _ => self.completed((user_data & u64::from(u32::MAX)) as usize, code, returned),
            }
        }
        self.entries = entries;
    }

    /// Asks the kernel to cancel an operation, with the next `kick`. `reap` returns it in any case.
    pub(crate) fn cancel(&mut self, RingKey(index): RingKey) {
        let Some(running) = self.ops.get_mut(index) else { return };
        if std::mem::replace(&mut running.cancelled, true) {
            return;
        }
        if std::mem::take(&mut running.queued) {
            self.dropped.push(index);
            if self.dropped.len() == 1 {
                // The completion of the no-op makes the descriptor readable.
                self.push_or_enter(&opcode::Nop::new().build().user_data(CANCEL));
            }
        } else {
            let target = user_data(index, running.generation);
            self.push_or_enter(&opcode::AsyncCancel::new(target).build().user_data(CANCEL));
        }
    }

    /// Whether an entry of the backlog still stands for a request to push.
    fn waits(&self, index: usize, generation: u32) -> bool {
        self.ops.get(index).is_some_and(|running| running.queued && running.generation == generation)
    }

    /// Pushes an operation, or adds it to the backlog.
    fn enqueue(&mut self, index: usize) {
        if !self.backlog.is_empty() || !self.push_op(index) {
            self.generation = self.generation.wrapping_add(1) & GENERATION_MASK;
            let running = &mut self.ops[index];
            (running.queued, running.generation) = (true, self.generation);
            self.backlog.push_back((index, self.generation));
        }
    }

    /// Pushes the next request of an operation; returns `false` if the ring has no space.
    fn push_op(&mut self, index: usize) -> bool {
        let generation = self.generation.wrapping_add(1) & GENERATION_MASK;
        let running = &mut self.ops[index];
        // Otherwise the kernel first tries the request on this thread.
        let is_async = running.file.ignores_nowait && !running.pausing;
        let flags = if is_async { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        let entry = running.request().flags(flags).user_data(user_data(index, generation));
        let pushed = self.push(&entry);
        if pushed {
            self.generation = generation;
            let running = &mut self.ops[index];
            (running.queued, running.generation) = (false, generation);
        }
        pushed
    }

    fn push_or_enter(&mut self, entry: &squeue::Entry) -> bool {
        self.push(entry) || (self.enter() && self.push(entry))
    }

    /// Pushes a request; returns `false` if the ring has no space.
    fn push(&mut self, entry: &squeue::Entry) -> bool {
        // The completion queue must not overflow.
        if self.requests >= self.requests_max {
            return false;
        }
        // SAFETY: the buffer and the descriptor of a request belong to `self.ops[index]`, which is removed only when
        // the completion of the request is reaped; if the ring is dropped before that, it is leaked. The buffer is on
        // the heap, does not move when the slab grows, and has no other reference. The time of a timeout is a static.
        // Poll and cancel requests contain no address, and the polled descriptor lives as long as `self.outbox`.
        let pushed = unsafe { self.ring.submission().push(entry) }.is_ok();
        self.requests += usize::from(pushed);
        pushed
    }

    /// Submits all pushed requests. Returns `false` if the kernel does not accept them; the next kick tries again.
    fn enter(&mut self) -> bool {
        for _ in 0..ENTER_TRIES {
            match self.ring.submit() {
                Ok(_) if self.ring.submission().is_empty() => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel is short of memory.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        log::error!("the kernel accepts no io_uring requests");
        false
    }

    /// Handles the completion of a request with its result `code`.
    fn completed(&mut self, index: usize, code: i32, returned: &mut Vec<Returned>) {
        match self.ops[index].progress(code) {
            Some(result) => self.finish(index, result, returned),
            None => self.enqueue(index),
        }
    }

    fn finish(&mut self, index: usize, result: Result<Completed, IoError>, returned: &mut Vec<Returned>) {
        let Running { key, file, op, .. } = self.ops.remove(index);
        self.threaded -= usize::from(file.takes_threads);
        returned.push(Returned { key, op, result });
    }

    /// Number of operations whose request the kernel has.
    fn in_kernel(&self) -> usize {
        self.ops.iter().filter(|(_, running)| !running.queued).count()
    }
}

/// The kernel may write to the buffers until their requests complete: cancels them, waits, and leaks the buffers of
/// requests that do not complete.
impl Drop for Ring {
    fn drop(&mut self) {
        let mut unsent = std::mem::take(&mut self.dropped);
        let backlog = std::mem::take(&mut self.backlog);
        unsent.extend(
            backlog.iter().filter(|(index, generation)| self.waits(*index, *generation)).map(|entry| entry.0),
        );
        for index in unsent {
            self.ops.remove(index);
        }
        let mut indices: Vec<usize> = self.ops.iter().map(|(index, _)| index).collect();
        for index in indices.drain(..) {
            self.cancel(RingKey(index));
        }
        let deadline = Instant::now() + DROP_TIMEOUT;
        let mut returned = Vec::new();
        while self.in_kernel() > 0 && Instant::now() < deadline {
            self.kick();
            let mut ready = [PollFd::new(&self.ring, PollFlags::IN)];
            let _ = rustix::event::poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }));
            self.reap(&mut returned);
        }
        if self.in_kernel() > 0 {
            log::error!("{} io_uring requests do not complete: their buffers are leaked", self.in_kernel());
            std::mem::forget(std::mem::take(&mut self.ops));
        }
    }
}

impl Running {
    /// Returns the request for the bytes that remain, or for the pause before it.
    fn request(&mut self) -> squeue::Entry {
        if self.pausing {
            return opcode::Timeout::new(&raw const PAUSE_TIMES[self.busy - 1]).build();
        }
        let fd = Fd(self.file.fd.as_raw_fd());
        let moved = self.moved;
        match &mut self.op {
            BlockOp::Read { offset, into } => {
                let rest = &mut into[moved..];
                let len = rest.len().min(REQUEST_LEN_MAX) as u32;
                opcode::Read::new(fd, rest.as_mut_ptr(), len).offset(*offset + moved as u64).build()
            }
            BlockOp::Write { offset, from, fua } => {
                let rest = &from[moved..];
                let len = rest.len().min(REQUEST_LEN_MAX) as u32;
                let flags = if *fua { ReadWriteFlags::DSYNC } else { ReadWriteFlags::empty() };
                opcode::Write::new(fd, rest.as_ptr(), len)
                    .offset(*offset + moved as u64)
                    .rw_flags(flags.bits() as i32)
                    .build()
            }
            _ => opcode::Nop::new().build(),
        }
    }

    /// Returns the result of the operation after a request with result `code`; `None` if it needs a further request.
    fn progress(&mut self, code: i32) -> Option<Result<Completed, IoError>> {
        let pausing = std::mem::take(&mut self.pausing);
        let (offset, len) = match &self.op {
            BlockOp::Read { offset, into: block } | BlockOp::Write { offset, from: block, .. } => {
                (*offset, block.len())
            }
            _ => (0, 0),
        };
        let result = match usize::try_from(code) {
            Ok(n) => {
                self.moved += n;
                self.busy = 0;
                match self.moved {
                    moved if moved >= len => Some(Ok(Completed::Done)),
                    moved if n == 0 => Some(Err(self.at_end(offset + moved as u64))),
                    _ => None,
                }
            }
            Err(_) => match Errno::from_raw_os_error(-code) {
                Errno::INTR => None,
                Errno::TIME if pausing => None,
                Errno::AGAIN if self.busy < PAUSES.len() => {
                    self.busy += 1;
                    self.pausing = true;
                    None
                }
                errno => Some(Err(self.file.error(errno, offset + self.moved as u64))),
            },
        };
        if result.is_none() && self.cancelled { Some(Err(IoError::CANCELLED)) } else { result }
    }

    /// Returns the error of an operation of which no more bytes are transferred from byte `at` on.
    fn at_end(&self, at: u64) -> IoError {
        match self.op {
            BlockOp::Read { .. } => self.file.ends_at(at, at),
            _ => IoError::medium(at),
        }
    }
}

/// The user data of a request of an operation.
fn user_data(index: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | index as u64
}

/// User data of the poll request on the outbox. No operation has it, because generations are smaller.
const WATCH: u64 = u64::MAX;
/// User data of cancel requests and no-ops.
const CANCEL: u64 = u64::MAX - 1;
const GENERATION_MASK: u32 = u32::MAX >> 1;

/// [`PAUSES`] as the kernel reads them.
static PAUSE_TIMES: [KernelTimespec; PAUSES.len()] = {
    let mut times = [KernelTimespec::new(); PAUSES.len()];
    let mut at = 0;
    while at < times.len() {
        times[at] = KernelTimespec::new().nsec(PAUSES[at]);
        at += 1;
    }
    times
};

/// Entries of the submission queue.
const SUBMISSIONS: u32 = 256;
/// Entries of the completion queue, and maximum number of requests in the kernel.
///
/// Hit by: store. Scope: loop. Over it: further operations wait. Seen: nowhere.
const COMPLETIONS: u32 = 1024;
/// Maximum number of bytes of one request.
const REQUEST_LEN_MAX: usize = 1 << 30;
/// Maximum number of kernel threads for requests that block.
///
/// Hit by: store. Scope: loop. Over it: further operations wait in the kernel. Seen: nowhere.
const KERNEL_THREADS_MAX: u32 = 64;
/// Maximum number of tries to submit requests; after an error the next try is 1 ms later.
const ENTER_TRIES: usize = 1000;
/// The longest wait for requests when the ring is dropped.
///
/// Hit by: store. Scope: loop. Over it: its buffers are leaked. Seen: log.
const DROP_TIMEOUT: Duration = Duration::from_secs(10);
