//! Many hostile and honest sessions together for minutes: `bench --hostile --soak MINUTES`.

use std::error::Error;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tgt_tests::load::{Fairness, Generator, Plan};

use super::attacks::Attack;
use super::crowd::Crowd;
use super::report::{Bounds, LOGIN_MAX};
use super::{Field, HONEST_PORT, VICTIM, log_in_repeatedly};

/// Hostile connections, shared by all attacks.
const HOSTILE: usize = 1000;
/// Honest sessions.
const HONEST: usize = 100;
/// Commands outstanding on each of them.
const DEPTH: usize = 2;
/// Least fairness index of the honest sessions.
const JAIN_MIN: f64 = 0.9;

/// Runs honest sessions beside a mix of the attacks, and prints the figures.
///
/// # Errors
/// An honest command fails, or a bound is broken.
pub(super) fn run(
    field: &Field,
    attacks: &[&'static Attack],
    time: Duration,
    bounds: &Bounds,
) -> Result<(), Box<dyn Error>> {
    let plan = Plan {
        sessions: HONEST,
        depth: DEPTH,
        first_port: HONEST_PORT,
        time,
        warm_up: Duration::from_secs(1),
        ..field.peer.plan(&VICTIM)
    };
    let honest = Generator::log_in(&plan)?;
    field.reset_peak()?;
    let over = AtomicBool::new(false);
    let share = |index: usize| HOSTILE * (index + 1) / attacks.len() - HOSTILE * index / attacks.len();
    let crowds: Vec<Crowd<'_>> = attacks
        .iter()
        .enumerate()
        .map(|(index, attack)| Crowd::new(field, attack, share(index), &over))
        .collect();
    let (outcome, logins) = thread::scope(|scope| {
        let logins = scope.spawn(|| log_in_repeatedly(field, &over));
        crowds.iter().for_each(|crowd| crowd.spawn(scope));
        let outcome = honest.run();
        over.store(true, Ordering::Relaxed);
        (outcome, logins.join())
    });
    let logins = logins.map_err(|_| "the thread of new initiators panicked")?;
    let peak = field.peak()?;
    let outcome = outcome.map_err(|error| format!("an honest command failed: {error}"))?;
    let jain = Fairness::of(&outcome.rates()).jain;
    let ms = |nanoseconds: u64| nanoseconds as f64 / 1e6;
    println!(
        "{HOSTILE} hostile and {HONEST} honest sessions for {} s: {:.0} IOPS, Jain {jain:.3}, p99 {:.2} ms, {} of {} new \
         logins failed, the slowest {:.0} ms, peak RSS {} MiB",
        time.as_secs(),
        outcome.iops(),
        ms(outcome.latency.percentile(0.99)),
        logins.failed,
        logins.times.total(),
        ms(logins.times.max()),
        peak >> 20,
    );
    let faults = [
        (jain < JAIN_MIN, "Jain's index"),
        (peak > bounds.rss_max, "resident memory"),
        (logins.failed > 0 || logins.times.max() > LOGIN_MAX.as_nanos() as u64, "new logins"),
    ];
    let broken: Vec<_> = faults.iter().filter(|(is_broken, _)| *is_broken).map(|(_, what)| *what).collect();
    if broken.is_empty() { Ok(()) } else { Err(format!("bounds broken: {}", broken.join(", ")).into()) }
}
