//! A pool of gated jobs: quotas, bounds, cancelling, hanging.

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
    let (idle, hangs_after) = (Duration::from_millis(50), Duration::from_secs(3600));
    Workers::new(Limits { threads_max, threads_per_unit_max, idle, hangs_after })
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
fn threads_that_hang_are_replaced_however_many_units_hang() {
    let limits = Limits { hangs_after: Duration::from_millis(20), ..pool(2, 1).shared.limits };
    let pool = Workers::new(limits);
    let (said, heard) = channel();
    let dead: Vec<_> = (0..5).map(|_| pool.unit()).collect();
    let alive = pool.unit();
    let gates: Vec<_> = dead
        .iter()
        .map(|unit| {
            let (job, open) = gated("dead", &said);
            unit.push(job);
            unit.push(free("behind", &said));
            open
        })
        .collect();
    alive.push(free("alive", &said));
    let mut begun: Vec<_> = (0..6).map(|_| heard.recv().unwrap()).collect();
    begun.sort();
    assert_eq!(begun, ["alive", "dead", "dead", "dead", "dead", "dead"], "a unit has no more than its quota");
    drop(gates);
    assert!((0..5).all(|_| heard.recv().unwrap() == "behind"));
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
