//! One loop's io_uring for reads and writes of all its files.
//!
//! The ring owns every operation, and with it buffer and file, from the moment it is started until its completion
//! was reaped: that is what makes the `unsafe` here sound. Its own descriptor is what the loop polls: it is
//! readable exactly while completions wait, so nothing is ever written or read to signal them. Workers' answers
//! reach the same descriptor by a poll request on their event.
#![allow(unsafe_code)] // Requests name buffers by address; the compiler cannot see how long the kernel uses them.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use io_uring::types::Fd;
use io_uring::{IoUring, Probe, opcode, squeue};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::{Errno, ReadWriteFlags};
use scsi_core::store::{BlockOp, Completed, IoError};
use slab::Slab;

use super::OpenFile;
use super::outbox::{Outbox, Returned};

/// One loop's ring.
pub(crate) struct Ring {
    ring: IoUring,
    ops: Slab<Running>,
    /// Of them, those of files whose requests may take one of the kernel's threads each.
    threaded: usize,
    /// Operations that wait for room, in order.
    backlog: VecDeque<usize>,
    /// Cancelled before the kernel had them.
    dropped: Vec<usize>,
    /// Requests whose completion was not reaped yet, of every sort.
    requests: usize,
    requests_max: usize,
    outbox: Arc<Outbox>,
    /// A poll request on the outbox is with the kernel.
    watching: bool,
    generation: u32,
    /// Reused by every reap.
    entries: Vec<(u64, i32)>,
}

/// An operation between its start and its completion.
struct Running {
    /// The engine's number of the operation.
    key: usize,
    file: Arc<OpenFile>,
    op: BlockOp,
    /// Bytes the kernel has moved; it may stop short.
    moved: usize,
    /// Tells a reused index from what it was before.
    generation: u32,
    queued: bool,
    cancelled: bool,
}

/// Names a started operation to [`Ring::cancel`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct RingKey(usize);

impl Ring {
    /// A ring, if the kernel has one for us.
    pub(crate) fn new(outbox: Arc<Outbox>) -> io::Result<Self> {
        let build = |coop: bool| {
            let mut builder = IoUring::builder();
            builder.setup_clamp().setup_cqsize(COMPLETIONS);
            if coop {
                builder.setup_coop_taskrun();
            }
            builder.build(SUBMISSIONS)
        };
        let ring = build(true).or_else(|error| match error.raw_os_error() {
            // Kernels before 5.19.
            Some(code) if code == Errno::INVAL.raw_os_error() => build(false),
            _ => Err(error),
        })?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed =
            [opcode::Read::CODE, opcode::Write::CODE, opcode::PollAdd::CODE, opcode::AsyncCancel::CODE];
        if !needed.iter().all(|code| probe.is_supported(*code)) {
            return Err(Errno::NOSYS.into());
        }
        // Waiting files must not use up the kernel's threads; old kernels keep their own bound.
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

    /// Whether the ring can do it.
    pub(crate) fn takes(op: &BlockOp) -> bool {
        matches!(op, BlockOp::Read { .. } | BlockOp::Write { .. })
    }

    /// Readable while there is something to reap.
    pub(crate) fn event_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// Whether no request is with the kernel, so that nothing can be reaped.
    pub(crate) fn is_idle(&self) -> bool {
        self.requests == 0 && self.dropped.is_empty()
    }

    /// Whether a file that has `held` operations here may have one more: half of what the others leave, of requests
    /// and of the kernel's threads, so that files that hang leave something to all others. One is never refused.
    pub(crate) fn has_room_for(&self, file: &OpenFile, held: usize) -> bool {
        let half_of_the_rest = |all: usize, taken: usize| (all + held).saturating_sub(taken) / 2;
        let requests = half_of_the_rest(self.requests_max, self.ops.len());
        let threads = match file.takes_threads {
            true => half_of_the_rest(KERNEL_THREADS_MAX as usize, self.threaded),
            false => usize::MAX,
        };
        held < requests.min(threads).max(1)
    }

    /// Takes an operation; it begins with the next `kick`.
    pub(crate) fn start(&mut self, key: usize, file: Arc<OpenFile>, op: BlockOp) -> RingKey {
        debug_assert!(Self::takes(&op));
        self.threaded += usize::from(file.takes_threads);
        let running = Running { key, file, op, moved: 0, generation: 0, queued: false, cancelled: false };
        let index = self.ops.insert(running);
        self.enqueue(index);
        RingKey(index)
    }

    /// Sees to it that the workers' answers make `event_fd` readable.
    pub(crate) fn watch_outbox(&mut self) {
        if self.watching {
            return;
        }
        let fd = Fd(self.outbox.event_fd().as_raw_fd());
        let poll = opcode::PollAdd::new(fd, u32::from(PollFlags::IN.bits())).build().user_data(WATCH);
        self.watching = self.push_or_enter(&poll);
    }

    /// Gives the kernel all that waits: one system call, unless there is more than the ring holds.
    pub(crate) fn kick(&mut self) {
        loop {
            while let Some(index) = self.backlog.front().copied() {
                if !self.push_op(index) {
                    break;
                }
                self.backlog.pop_front();
            }
            if self.ring.submission().is_empty() || !self.enter() {
                return;
            }
        }
    }

    /// Appends what is done; follows up what the kernel did in part only.
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

    /// Asks the kernel to give an operation up. It comes back by `reap` in any case.
    pub(crate) fn cancel(&mut self, RingKey(index): RingKey) {
        let Some(running) = self.ops.get_mut(index) else { return };
        if std::mem::replace(&mut running.cancelled, true) {
            return;
        }
        if running.queued {
            self.backlog.retain(|queued| *queued != index);
            self.dropped.push(index);
            // Does nothing but make the descriptor readable.
            self.push_or_enter(&opcode::Nop::new().build().user_data(CANCEL));
        } else {
            let target = user_data(index, running.generation);
            self.push_or_enter(&opcode::AsyncCancel::new(target).build().user_data(CANCEL));
        }
        self.kick();
    }

    fn enqueue(&mut self, index: usize) {
        if !self.backlog.is_empty() || !self.push_op(index) {
            self.ops[index].queued = true;
            self.backlog.push_back(index);
        }
    }

    /// `false`: there is no room now.
    fn push_op(&mut self, index: usize) -> bool {
        self.generation = self.generation.wrapping_add(1) & GENERATION_MASK;
        let running = &mut self.ops[index];
        running.generation = self.generation;
        // Otherwise the kernel first tries in our name.
        let flags = if running.file.ignores_nowait { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        let entry = running.request().flags(flags).user_data(user_data(index, self.generation));
        let pushed = self.push(&entry);
        self.ops[index].queued = !pushed;
        pushed
    }

    fn push_or_enter(&mut self, entry: &squeue::Entry) -> bool {
        self.push(entry) || (self.enter() && self.push(entry))
    }

    fn push(&mut self, entry: &squeue::Entry) -> bool {
        // Completions must never overflow.
        if self.requests >= self.requests_max {
            return false;
        }
        // SAFETY: a request's buffer and descriptor belong to `self.ops[index]`, which is removed only when the
        // request's completion was reaped; if that does not come before the ring is dropped, it is leaked. The
        // buffer is heap memory that stays where it is when the slab grows, and nobody else can reach it. Poll and
        // cancel requests name no memory, and the polled descriptor lives as long as `self.outbox`.
        let pushed = unsafe { self.ring.submission().push(entry) }.is_ok();
        self.requests += usize::from(pushed);
        pushed
    }

    /// Hands the queue to the kernel. `false`: the kernel does not take it now, and the next kick tries again.
    fn enter(&mut self) -> bool {
        for _ in 0..ENTER_TRIES {
            match self.ring.submit() {
                Ok(_) if self.ring.submission().is_empty() => return true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Out of memory for the moment.
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        log::error!("the kernel takes no file requests");
        false
    }

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

    fn in_kernel(&self) -> usize {
        self.ops.iter().filter(|(_, running)| !running.queued).count()
    }
}

/// The kernel may write to the buffers until their requests are over: cancel, wait, and rather leak than free.
impl Drop for Ring {
    fn drop(&mut self) {
        let backlog = std::mem::take(&mut self.backlog);
        for index in backlog.into_iter().chain(std::mem::take(&mut self.dropped)) {
            self.ops.remove(index);
        }
        let mut indices: Vec<usize> = self.ops.iter().map(|(index, _)| index).collect();
        for index in indices.drain(..) {
            self.cancel(RingKey(index));
        }
        let deadline = Instant::now() + DROP_PATIENCE;
        let mut returned = Vec::new();
        while self.in_kernel() > 0 && Instant::now() < deadline {
            self.kick();
            let mut ready = [PollFd::new(&self.ring, PollFlags::IN)];
            let _ = rustix::event::poll(&mut ready, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 }));
            self.reap(&mut returned);
        }
        if self.in_kernel() > 0 {
            log::error!("{} file requests do not end: their buffers are given up", self.in_kernel());
            std::mem::forget(std::mem::take(&mut self.ops));
        }
    }
}

impl Running {
    /// The request for what is still to be done.
    fn request(&mut self) -> squeue::Entry {
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

    /// What a request's result makes of the operation; `None` if it must go on.
    fn progress(&mut self, code: i32) -> Option<Result<Completed, IoError>> {
        let (offset, len, at_end) = match &self.op {
            BlockOp::Read { offset, into } => (*offset, into.len(), IoError::OUT_OF_RANGE),
            BlockOp::Write { offset, from, .. } => (*offset, from.len(), IoError::medium(*offset)),
            _ => (0, 0, IoError::UNSUPPORTED),
        };
        let result = match usize::try_from(code) {
            Ok(n) => {
                self.moved += n;
                match self.moved {
                    moved if moved >= len => Some(Ok(Completed::Done)),
                    _ if n == 0 => Some(Err(at_end)),
                    _ => None,
                }
            }
            Err(_) => match Errno::from_raw_os_error(-code) {
                Errno::INTR | Errno::AGAIN => None,
                errno => Some(Err(self.file.error(errno, offset + self.moved as u64))),
            },
        };
        if result.is_none() && self.cancelled { Some(Err(IoError::CANCELLED)) } else { result }
    }
}

fn user_data(index: usize, generation: u32) -> u64 {
    u64::from(generation) << 32 | index as u64
}

/// No operation has these: generations are smaller. The second is for cancel requests and wake-ups.
const WATCH: u64 = u64::MAX;
const CANCEL: u64 = u64::MAX - 1;
const GENERATION_MASK: u32 = u32::MAX >> 1;

const SUBMISSIONS: u32 = 256;
/// Also the bound of requests with the kernel.
const COMPLETIONS: u32 = 1024;
const REQUEST_LEN_MAX: usize = 1 << 30;
const KERNEL_THREADS_MAX: u32 = 64;
const ENTER_TRIES: usize = 1000;
const DROP_PATIENCE: Duration = Duration::from_secs(10);
