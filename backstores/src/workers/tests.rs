//! Quotas, limits, cancellation and hangs, with jobs that wait for the test.

use super::*;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A job that sends its name when it starts and then waits for its gate. It sends `-name` when cancelled and `!name`
/// when abandoned.
struct Gated {
    name: &'static str,
    events: Sender<String>,
    gate: Option<Receiver<()>>,
    over: bool,
}

impl Job for Gated {
    fn run(mut self: Box<Self>) {
        self.over = true;
        self.events.send(self.name.to_owned()).unwrap();
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
    }

    fn cancelled(mut self: Box<Self>) {
        self.over = true;
        self.events.send(format!("-{}", self.name)).unwrap();
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        if !self.over {
            let _ = self.events.send(format!("!{}", self.name));
        }
    }
}

fn pool(threads_max: usize, threads_per_unit_max: usize) -> Workers {
    let (idle, hangs_after) = (Duration::from_millis(50), Duration::from_secs(3600));
    Workers::new(Limits { threads_max, threads_per_unit_max, idle, hangs_after })
}

fn gated(name: &'static str, events: &Sender<String>) -> (Box<Gated>, Sender<()>) {
    let (open, gate) = channel();
    (Box::new(Gated { name, events: events.clone(), gate: Some(gate), over: false }), open)
}

fn free(name: &'static str, events: &Sender<String>) -> Box<Gated> {
    Box::new(Gated { name, events: events.clone(), gate: None, over: false })
}

#[test]
fn pool_in_use_keeps_its_limits() {
    let limits = Workers::shared().shared.limits;
    assert!(!Workers::limit_shared(Limits { threads_max: limits.threads_max + 1, ..limits }));
    assert_eq!(Workers::shared().shared.limits, limits);
}

#[test]
fn unit_that_hangs_leaves_threads_to_others() {
    let pool = pool(3, 2);
    let (events, received) = channel();
    let (dead, alive) = (pool.unit(), pool.unit());
    let (a, open_a) = gated("a", &events);
    let (b, open_b) = gated("b", &events);
    dead.push(a);
    dead.push(b);
    let mut begun = [received.recv().unwrap(), received.recv().unwrap()];
    begun.sort();
    assert_eq!(begun, ["a", "b"]);
    dead.push(free("c", &events));
    alive.push(free("d", &events));
    assert_eq!(received.recv().unwrap(), "d", "c is beyond its unit's quota");
    drop(open_a);
    assert_eq!(received.recv().unwrap(), "c");
    drop(open_b);
}

#[test]
fn threads_that_hang_are_replaced_however_many_units_hang() {
    let limits = Limits { hangs_after: Duration::from_millis(20), ..pool(2, 1).shared.limits };
    let pool = Workers::new(limits);
    let (events, received) = channel();
    let dead: Vec<_> = (0..5).map(|_| pool.unit()).collect();
    let alive = pool.unit();
    let gates: Vec<_> = dead
        .iter()
        .map(|unit| {
            let (job, open) = gated("dead", &events);
            unit.push(job);
            unit.push(free("behind", &events));
            open
        })
        .collect();
    alive.push(free("alive", &events));
    let mut begun: Vec<_> = (0..6).map(|_| received.recv().unwrap()).collect();
    begun.sort();
    assert_eq!(begun, ["alive", "dead", "dead", "dead", "dead", "dead"], "a unit has no more than its quota");
    drop(gates);
    assert!((0..5).all(|_| received.recv().unwrap() == "behind"));
}

#[test]
fn serial_queue_runs_one_job_whatever_the_quota() {
    let pool = pool(3, 3);
    let (events, received) = channel();
    let (file, other) = (pool.serial(), pool.unit());
    let (a, open) = gated("a", &events);
    file.push(a);
    assert_eq!(received.recv().unwrap(), "a");
    file.push(free("b", &events));
    other.push(free("c", &events));
    assert_eq!(received.recv().unwrap(), "c", "b waits for a");
    drop(open);
    assert_eq!(received.recv().unwrap(), "b");
}

#[test]
fn threads_are_bounded_and_end_when_idle() {
    let pool = pool(2, 2);
    let (events, received) = channel();
    let units: Vec<_> = (0..4).map(|_| pool.unit()).collect();
    let gates: Vec<_> = ["a", "b", "c", "d"]
        .into_iter()
        .zip(&units)
        .map(|(name, unit)| {
            let (job, open) = gated(name, &events);
            unit.push(job);
            open
        })
        .collect();
    let _ = (received.recv().unwrap(), received.recv().unwrap());
    assert_eq!(pool.shared.state.lock().threads, 2);
    drop(gates);
    let _ = (received.recv().unwrap(), received.recv().unwrap());
    while pool.shared.state.lock().threads > 0 {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn queued_jobs_can_be_cancelled_and_running_ones_cannot() {
    let pool = pool(1, 1);
    let (events, received) = channel();
    let unit = pool.unit();
    let (a, open) = gated("a", &events);
    let running = unit.push(a);
    assert_eq!(received.recv().unwrap(), "a");
    let queued = unit.push(free("b", &events));
    unit.push(free("c", &events));
    unit.cancel(queued);
    unit.cancel(running);
    drop(open);
    assert_eq!((received.recv().unwrap(), received.recv().unwrap()), ("-b".to_owned(), "c".to_owned()));
}

#[test]
fn dropped_unit_abandons_queued_jobs() {
    let pool = pool(1, 1);
    let (events, received) = channel();
    let unit = pool.unit();
    let (a, open) = gated("a", &events);
    unit.push(a);
    assert_eq!(received.recv().unwrap(), "a");
    unit.push(free("b", &events));
    drop(unit);
    assert_eq!(received.recv().unwrap(), "!b");
    drop(open);
    while !pool.shared.state.lock().units.is_empty() {
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn panic_abandons_only_its_job() {
    struct Panics;
    impl Job for Panics {
        fn run(self: Box<Self>) {
            panic!("as expected");
        }
        fn cancelled(self: Box<Self>) {}
    }
    let pool = pool(1, 1);
    let (events, received) = channel();
    let unit = pool.unit();
    unit.push(Box::new(Panics));
    unit.push(free("after", &events));
    assert_eq!(received.recv().unwrap(), "after");
}
