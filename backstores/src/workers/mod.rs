//! A bounded pool of threads for system calls that block: operations that io_uring does not do, or all operations where
//! io_uring is not permitted.
//!
//! One pool serves the process. Each unit has a queue and a quota of threads, so that a unit whose medium hangs delays
//! no other unit. Threads start when there are jobs and end when idle.
//!
//! The pool has one lock. It is held to queue, take or remove a job, never while a job runs or a thread starts.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use slab::Slab;

/// A job for a worker thread. A job that is dropped without `run` or `cancelled` was abandoned.
pub trait Job: Send {
    /// Does the job. May block.
    fn run(self: Box<Self>);

    /// Called instead of `run` if the job was cancelled while it was queued.
    fn cancelled(self: Box<Self>);
}

/// A pool of worker threads.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

/// Limits of a pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Maximum number of threads of the pool.
    pub threads_max: usize,
    /// Maximum number of threads that run jobs of one unit.
    pub threads_per_unit_max: usize,
    /// Time after which a thread without jobs ends.
    pub idle: Duration,
    /// Time after which a running job hangs. For each thread with such a job the pool may start another one.
    pub hangs_after: Duration,
}

/// The queue of one unit in a pool. Dropping it abandons the queued jobs.
pub struct Unit {
    shared: Arc<Shared>,
    key: usize,
}

/// Identifies a job for [`Unit::cancel`].
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct JobId(u64);

impl Workers {
    /// Returns a pool without threads.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let state = Mutex::new(State::default());
        Self { shared: Arc::new(Shared { limits, state, work: Condvar::new() }) }
    }

    /// Returns the pool of the process, with [`Limits::default`] unless [`Workers::limit_shared`] has set others.
    #[must_use]
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::new(Limits::default()))
    }

    /// Sets the limits of the pool of the process. Returns `false` and changes nothing if the pool is in use already.
    #[must_use]
    pub fn limit_shared(limits: Limits) -> bool {
        SHARED.set(Self::new(limits)).is_ok()
    }

    /// Adds a queue whose jobs may run on several threads.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.queue(self.shared.limits.threads_per_unit_max)
    }

    /// Adds a queue whose jobs run one after the other.
    #[must_use]
    pub fn serial(&self) -> Unit {
        self.queue(1)
    }

    fn queue(&self, threads_max: usize) -> Unit {
        let queue = Queue { threads_max, ..Queue::default() };
        let key = self.shared.state.lock().units.insert(queue);
        Unit { shared: self.shared.clone(), key }
    }
}

static SHARED: OnceLock<Workers> = OnceLock::new();

impl Default for Limits {
    fn default() -> Self {
        Self {
            threads_max: THREADS_MAX,
            threads_per_unit_max: THREADS_PER_UNIT_MAX,
            idle: Duration::from_secs(10),
            hangs_after: HANGS_AFTER,
        }
    }
}

impl Unit {
    /// Queues a job. It is abandoned if the pool has no thread and cannot start one.
    pub fn push(&self, job: Box<dyn Job>) -> JobId {
        let mut state = self.shared.state.lock();
        state.next_id += 1;
        let id = JobId(state.next_id);
        state.units[self.key].jobs.push_back((id, job));
        self.shared.list_if_runnable(&mut state, self.key);
        let spawn = self.shared.wake_or_start(&mut state);
        drop(state);
        if let Some(thread) = spawn {
            self.shared.spawn(thread);
        }
        id
    }

    /// Cancels a job if it is still queued.
    pub fn cancel(&self, id: JobId) {
        let job = {
            let mut state = self.shared.state.lock();
            let jobs = &mut state.units[self.key].jobs;
            // Jobs are queued in the order of their numbers.
            let at = jobs.binary_search_by_key(&id, |(known, _)| *known);
            at.ok().and_then(|at| jobs.remove(at))
        };
        if let Some((_, job)) = job {
            job.cancelled();
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let abandoned = {
            let mut state = self.shared.state.lock();
            let queue = &mut state.units[self.key];
            queue.closed = true;
            let abandoned = std::mem::take(&mut queue.jobs);
            state.remove_if_over(self.key);
            abandoned
        };
        drop(abandoned);
    }
}

impl std::fmt::Debug for Workers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workers").field("limits", &self.shared.limits).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Unit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unit").field("key", &self.key).finish_non_exhaustive()
    }
}

/// The role of a thread.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Thread {
    /// Runs jobs.
    Worker,
    /// Starts workers in place of those that hang.
    Watcher,
}

/// Threads that run blocking calls of stores.
///
/// Hit by: store. Scope: daemon. Over it: further calls are queued. Seen: nowhere.
const THREADS_MAX: usize = 32;

/// Threads that run blocking calls of one store.
///
/// Hit by: store. Scope: unit. Over it: further calls are queued. Seen: nowhere.
const THREADS_PER_UNIT_MAX: usize = 8;

/// A blocking call of a store that takes so long hangs.
///
/// Hit by: store. Scope: call. Over it: the pool may start a thread in its place. Seen: nowhere.
const HANGS_AFTER: Duration = Duration::from_secs(10);

/// Maximum number of threads that are started in place of threads that hang.
///
/// Hit by: store. Scope: daemon. Over it: further calls are queued. Seen: nowhere.
const HANGING_MAX: usize = 1024;

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    units: Slab<Queue>,
    /// Keys of units with a job that may start, each at most once.
    runnable: VecDeque<usize>,
    /// Number of worker threads.
    threads: usize,
    /// Number of worker threads that wait for jobs.
    idle: usize,
    /// Start time of each running job.
    running: Slab<Instant>,
    /// Whether the watcher runs.
    watched: bool,
    next_id: u64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(JobId, Box<dyn Job>)>,
    /// Quota of threads.
    threads_max: usize,
    /// Number of running jobs.
    running: usize,
    /// Whether the key is in [`State::runnable`].
    listed: bool,
    /// Whether the [`Unit`] was dropped.
    closed: bool,
}

impl Shared {
    /// Lists a unit as runnable if it has a job and its quota is not used up.
    fn list_if_runnable(&self, state: &mut State, key: usize) {
        let queue = &mut state.units[key];
        let may_start = !queue.jobs.is_empty() && queue.running < queue.threads_max;
        if may_start && !queue.listed {
            queue.listed = true;
            state.runnable.push_back(key);
        }
    }

    /// Wakes an idle thread, or returns the role of a thread that the caller has to start after it releases the lock.
    fn wake_or_start(&self, state: &mut State) -> Option<Thread> {
        if state.runnable.len() > state.idle {
            if state.threads < self.limits.threads_max + self.hanging(state) {
                state.threads += 1;
                return Some(Thread::Worker);
            }
            if !std::mem::replace(&mut state.watched, true) {
                return Some(Thread::Watcher);
            }
        }
        if !state.runnable.is_empty() {
            self.work.notify_one();
        }
        None
    }

    /// Number of threads whose jobs hang, at most [`HANGING_MAX`]; 0 while the pool may start threads anyway.
    fn hanging(&self, state: &State) -> usize {
        if state.threads < self.limits.threads_max {
            return 0;
        }
        let now = Instant::now();
        let hangs = |since: &Instant| now.saturating_duration_since(*since) >= self.limits.hangs_after;
        state.running.iter().filter(|(_, since)| hangs(since)).count().min(HANGING_MAX)
    }

    /// Starts workers in place of those that hang, until no unit is runnable.
    fn watch(self: Arc<Self>) {
        loop {
            std::thread::sleep(self.limits.hangs_after / 4);
            let mut state = self.state.lock();
            state.watched = !state.runnable.is_empty();
            if !state.watched {
                return;
            }
            let spawn = self.wake_or_start(&mut state);
            drop(state);
            if let Some(thread) = spawn {
                self.spawn(thread);
            }
        }
    }

    /// Starts a thread. If the pool has no thread then, it abandons all queued jobs.
    fn spawn(self: &Arc<Self>, thread: Thread) {
        let shared = self.clone();
        let builder = std::thread::Builder::new().name("tgt-worker".to_owned());
        let spawned = match thread {
            Thread::Worker => builder.spawn(move || shared.serve()),
            Thread::Watcher => builder.spawn(move || shared.watch()),
        };
        if let Err(error) = spawned {
            log::error!("cannot start a worker thread: {error}");
            let mut state = self.state.lock();
            if thread == Thread::Watcher {
                state.watched = false;
                return;
            }
            state.threads -= 1;
            if state.threads == 0 {
                let abandoned: Vec<_> =
                    state.units.iter_mut().flat_map(|(_, queue)| queue.jobs.drain(..)).collect();
                drop(state);
                drop(abandoned);
            }
        }
    }

    /// Runs jobs until the thread has been idle for [`Limits::idle`].
    fn serve(self: Arc<Self>) {
        let mut state = self.state.lock();
        loop {
            let Some(key) = state.runnable.pop_front() else {
                state.idle += 1;
                let waited = self.work.wait_for(&mut state, self.limits.idle);
                state.idle -= 1;
                if waited.timed_out() && state.runnable.is_empty() {
                    state.threads -= 1;
                    return;
                }
                continue;
            };
            let queue = &mut state.units[key];
            queue.listed = false;
            let Some((_, job)) = queue.jobs.pop_front() else {
                state.remove_if_over(key);
                continue;
            };
            queue.running += 1;
            self.list_if_runnable(&mut state, key);
            let spawn = self.wake_or_start(&mut state);
            let running = state.running.insert(Instant::now());
            drop(state);
            if let Some(thread) = spawn {
                self.spawn(thread);
            }
            if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                log::error!("a job of a worker thread panicked and was abandoned");
            }
            state = self.state.lock();
            state.running.remove(running);
            state.units[key].running -= 1;
            self.list_if_runnable(&mut state, key);
            state.remove_if_over(key);
        }
    }
}

impl State {
    /// Removes a closed unit when its last job has ended.
    fn remove_if_over(&mut self, key: usize) {
        let queue = &self.units[key];
        if queue.closed && queue.running == 0 && !queue.listed {
            self.units.remove(key);
        }
    }
}
