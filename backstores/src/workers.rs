//! A bounded pool of threads for calls that block: io_uring's stand-in, and what a ring cannot do.
//!
//! One pool serves the whole process. Each unit has its own queue and a quota of threads, so that a unit whose
//! medium hangs keeps its own jobs waiting and nobody else's. Threads start when there is work and end when idle.
//!
//! The one lock is a leaf: taken to push, pop or remove a job, never held while a job runs or a thread starts.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

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
        Self { threads_max: 32, threads_per_unit_max: 8, idle: Duration::from_secs(10) }
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
        if spawn {
            self.shared.spawn();
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
    fn summon(&self, state: &mut State) -> bool {
        if state.runnable.len() > state.idle && state.threads < self.limits.threads_max {
            state.threads += 1;
            return true;
        }
        if !state.runnable.is_empty() {
            self.work.notify_one();
        }
        false
    }

    fn spawn(self: &Arc<Self>) {
        let shared = self.clone();
        let thread = std::thread::Builder::new().name("tgt-worker".to_owned());
        if let Err(error) = thread.spawn(move || shared.serve()) {
            log::error!("cannot start a worker thread: {error}");
            let mut state = self.state.lock();
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
            drop(state);
            if spawn {
                self.spawn();
            }
            if catch_unwind(AssertUnwindSafe(|| job.run())).is_err() {
                log::error!("a storage job panicked and was abandoned");
            }
            state = self.state.lock();
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};

    /// Says its name when begun and then waits for its gate; says `-name` when cancelled, `!name` when abandoned.
    struct Gated {
        name: &'static str,
        said: Sender<String>,
        gate: Option<Receiver<()>>,
        over: bool,
    }

    impl Job for Gated {
        fn run(mut self: Box<Self>) {
            self.over = true;
            self.said.send(self.name.to_owned()).unwrap();
            if let Some(gate) = &self.gate {
                let _ = gate.recv();
            }
        }

        fn cancelled(mut self: Box<Self>) {
            self.over = true;
            self.said.send(format!("-{}", self.name)).unwrap();
        }
    }

    impl Drop for Gated {
        fn drop(&mut self) {
            if !self.over {
                let _ = self.said.send(format!("!{}", self.name));
            }
        }
    }

    fn pool(threads_max: usize, threads_per_unit_max: usize) -> Workers {
        Workers::new(Limits { threads_max, threads_per_unit_max, idle: Duration::from_millis(50) })
    }

    fn gated(name: &'static str, said: &Sender<String>) -> (Box<Gated>, Sender<()>) {
        let (open, gate) = channel();
        (Box::new(Gated { name, said: said.clone(), gate: Some(gate), over: false }), open)
    }

    fn free(name: &'static str, said: &Sender<String>) -> Box<Gated> {
        Box::new(Gated { name, said: said.clone(), gate: None, over: false })
    }

    #[test]
    fn a_pool_in_use_keeps_its_bounds() {
        let limits = Workers::shared().shared.limits;
        assert!(!Workers::limit_shared(Limits { threads_max: limits.threads_max + 1, ..limits }));
        assert_eq!(Workers::shared().shared.limits, limits);
    }

    #[test]
    fn a_unit_that_hangs_leaves_threads_to_others() {
        let pool = pool(3, 2);
        let (said, heard) = channel();
        let (dead, alive) = (pool.unit(), pool.unit());
        let (a, open_a) = gated("a", &said);
        let (b, open_b) = gated("b", &said);
        dead.push(a);
        dead.push(b);
        let mut begun = [heard.recv().unwrap(), heard.recv().unwrap()];
        begun.sort();
        assert_eq!(begun, ["a", "b"]);
        dead.push(free("c", &said));
        alive.push(free("d", &said));
        assert_eq!(heard.recv().unwrap(), "d", "c is beyond its unit's quota");
        drop(open_a);
        assert_eq!(heard.recv().unwrap(), "c");
        drop(open_b);
    }

    #[test]
    fn a_single_file_has_one_thread_whatever_the_quota() {
        let pool = pool(3, 3);
        let (said, heard) = channel();
        let (file, other) = (pool.single_file(), pool.unit());
        let (a, open) = gated("a", &said);
        file.push(a);
        assert_eq!(heard.recv().unwrap(), "a");
        file.push(free("b", &said));
        other.push(free("c", &said));
        assert_eq!(heard.recv().unwrap(), "c", "b waits for a");
        drop(open);
        assert_eq!(heard.recv().unwrap(), "b");
    }

    #[test]
    fn the_pool_is_bounded_and_ends_when_idle() {
        let pool = pool(2, 2);
        let (said, heard) = channel();
        let units: Vec<_> = (0..4).map(|_| pool.unit()).collect();
        let gates: Vec<_> = ["a", "b", "c", "d"]
            .into_iter()
            .zip(&units)
            .map(|(name, unit)| {
                let (job, open) = gated(name, &said);
                unit.push(job);
                open
            })
            .collect();
        let _ = (heard.recv().unwrap(), heard.recv().unwrap());
        assert_eq!(pool.shared.state.lock().threads, 2);
        drop(gates);
        let _ = (heard.recv().unwrap(), heard.recv().unwrap());
        while pool.shared.state.lock().threads > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn queued_jobs_can_be_cancelled_and_begun_ones_cannot() {
        let pool = pool(1, 1);
        let (said, heard) = channel();
        let unit = pool.unit();
        let (a, open) = gated("a", &said);
        let running = unit.push(a);
        assert_eq!(heard.recv().unwrap(), "a");
        let queued = unit.push(free("b", &said));
        unit.push(free("c", &said));
        unit.cancel(queued);
        unit.cancel(running);
        drop(open);
        assert_eq!((heard.recv().unwrap(), heard.recv().unwrap()), ("-b".to_owned(), "c".to_owned()));
    }

    #[test]
    fn a_dropped_unit_abandons_what_was_not_begun() {
        let pool = pool(1, 1);
        let (said, heard) = channel();
        let unit = pool.unit();
        let (a, open) = gated("a", &said);
        unit.push(a);
        assert_eq!(heard.recv().unwrap(), "a");
        unit.push(free("b", &said));
        drop(unit);
        assert_eq!(heard.recv().unwrap(), "!b");
        drop(open);
        while !pool.shared.state.lock().units.is_empty() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn a_panic_costs_its_job_only() {
        struct Panics;
        impl Job for Panics {
            fn run(self: Box<Self>) {
                panic!("as expected");
            }
            fn cancelled(self: Box<Self>) {}
        }
        let pool = pool(1, 1);
        let (said, heard) = channel();
        let unit = pool.unit();
        unit.push(Box::new(Panics));
        unit.push(free("after", &said));
        assert_eq!(heard.recv().unwrap(), "after");
    }
}
