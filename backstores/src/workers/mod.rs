//! A bounded pool of threads for calls that block: io_uring's stand-in, and what a ring cannot do.
//!
//! One pool serves the whole process. Each unit has its own queue and a quota of threads, so that a unit whose
//! medium hangs keeps its own jobs waiting and nobody else's. Threads start when there is work and end when idle.
//!
//! The one lock is a leaf: taken to push, pop or remove a job, never held while a job runs or a thread starts.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use slab::Slab;

/// Something to do on a worker. A job that is dropped, neither run nor cancelled, was abandoned.
pub trait Job: Send {
    /// Does it; may block.
    fn run(self: Box<Self>);

    /// It was cancelled before it was begun.
    fn cancelled(self: Box<Self>);
}

/// A pool of threads.
#[derive(Clone)]
pub struct Workers {
    shared: Arc<Shared>,
}

/// Bounds of a pool.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Threads in all.
    pub threads_max: usize,
    /// Threads that one unit may occupy.
    pub threads_per_unit_max: usize,
    /// A thread without work ends after this time.
    pub idle: Duration,
    /// A thread whose job takes longer than this hangs, and another one may take its place.
    pub hangs_after: Duration,
}

/// One unit's queue in a pool. Dropping it abandons what was not begun.
pub struct Unit {
    shared: Arc<Shared>,
    key: usize,
}

/// Names a queued job to [`Unit::cancel`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct JobId(u64);

impl Workers {
    /// A pool with its own bounds.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let state = Mutex::new(State::default());
        Self { shared: Arc::new(Shared { limits, state, work: Condvar::new() }) }
    }

    /// The pool of the process: [`Limits::default`] unless [`Workers::limit_shared`] said otherwise.
    #[must_use]
    pub fn shared() -> &'static Self {
        SHARED.get_or_init(|| Self::new(Limits::default()))
    }

    /// Gives the pool of the process other bounds. `false`: it is in use already and keeps those it has.
    #[must_use]
    pub fn limit_shared(limits: Limits) -> bool {
        SHARED.set(Self::new(limits)).is_ok()
    }

    /// A queue for one more unit.
    #[must_use]
    pub fn unit(&self) -> Unit {
        self.queue(self.shared.limits.threads_per_unit_max)
    }

    /// A queue whose jobs run one after the other.
    #[must_use]
    pub fn single_file(&self) -> Unit {
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
            threads_max: 32,
            threads_per_unit_max: 8,
            idle: Duration::from_secs(10),
            hangs_after: Duration::from_secs(10),
        }
    }
}

impl Unit {
    /// Queues a job. If no thread can be started and none is there, the job is abandoned.
    pub fn push(&self, job: Box<dyn Job>) -> JobId {
        let mut state = self.shared.state.lock();
        state.next_id += 1;
        let id = JobId(state.next_id);
        state.units[self.key].jobs.push_back((id, job));
        self.shared.list_if_runnable(&mut state, self.key);
        let spawn = self.shared.summon(&mut state);
        drop(state);
        if let Some(thread) = spawn {
            self.shared.spawn(thread);
        }
        id
    }

    /// Cancels a job that was not begun; otherwise nothing happens.
    pub fn cancel(&self, id: JobId) {
        let job = {
            let mut state = self.shared.state.lock();
            let jobs = &mut state.units[self.key].jobs;
            let at = jobs.iter().position(|(known, _)| *known == id);
            at.and_then(|at| jobs.remove(at))
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

/// What a thread of a pool does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Thread {
    Worker,
    Watcher,
}

/// Threads that hang, beyond which no more are replaced.
const HANGING_MAX: usize = 1024;

struct Shared {
    limits: Limits,
    state: Mutex<State>,
    work: Condvar,
}

#[derive(Default)]
struct State {
    units: Slab<Queue>,
    /// Units with a job that may start now, each at most once.
    runnable: VecDeque<usize>,
    threads: usize,
    /// Threads that wait for work.
    idle: usize,
    /// Since when each job runs.
    running: Slab<Instant>,
    /// Somebody looks now and then whether threads hang.
    watched: bool,
    next_id: u64,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<(JobId, Box<dyn Job>)>,
    /// Its quota.
    threads_max: usize,
    running: usize,
    listed: bool,
    closed: bool,
}

impl Shared {
    fn list_if_runnable(&self, state: &mut State, key: usize) {
        let queue = &mut state.units[key];
        let may_start = !queue.jobs.is_empty() && queue.running < queue.threads_max;
        if may_start && !queue.listed {
            queue.listed = true;
            state.runnable.push_back(key);
        }
    }

    /// Wakes a thread, or counts a new one that the caller must spawn once the lock is free.
    fn summon(&self, state: &mut State) -> Option<Thread> {
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

    /// Threads whose jobs hang; each unit's quota bounds them. Looked at when there are too few threads.
    fn hanging(&self, state: &State) -> usize {
        if state.threads < self.limits.threads_max {
            return 0;
        }
        let now = Instant::now();
        let hangs = |since: &Instant| now.saturating_duration_since(*since) >= self.limits.hangs_after;
        state.running.iter().filter(|(_, since)| hangs(since)).count().min(HANGING_MAX)
    }

    /// While there is more to do than the threads can, sees to it that those that hang are replaced.
    fn watch(self: Arc<Self>) {
        loop {
            std::thread::sleep(self.limits.hangs_after / 4);
            let mut state = self.state.lock();
            state.watched = !state.runnable.is_empty();
            if !state.watched {
                return;
            }
            let spawn = self.summon(&mut state);
            drop(state);
            if let Some(thread) = spawn {
                self.spawn(thread);
            }
        }
    }

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
            let spawn = self.summon(&mut state);
            let place = state.running.insert(Instant::now());
            drop(state);
            if let Some(thread) = spawn {
                self.spawn(thread);
            }
            if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                log::error!("a storage job panicked and was abandoned");
            }
            state = self.state.lock();
            state.running.remove(place);
            state.units[key].running -= 1;
            self.list_if_runnable(&mut state, key);
            state.remove_if_over(key);
        }
    }
}

impl State {
    fn remove_if_over(&mut self, key: usize) {
        let queue = &self.units[key];
        if queue.closed && queue.running == 0 && !queue.listed {
            self.units.remove(key);
        }
    }
}
