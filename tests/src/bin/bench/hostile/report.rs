//! The table of attacks, and which rows break a bound.

use std::fmt::Write;
use std::time::Duration;

use tgt_tests::load::Outcome;

use super::attacks::Attack;
use super::{KEPT_MAX, Logins};

/// Most time of a new login.
pub(super) const LOGIN_MAX: Duration = Duration::from_secs(1);
/// Least rate of the victim, as a part of its rate beside honest sessions.
const RATE_MIN: f64 = 0.5;
/// Largest latency of 99 % of the victim's commands.
const P99_MAX: Duration = Duration::from_millis(20);
/// Most CPUs that the daemon uses while attackers are silent and nobody else is there.
const IDLE_CORES_MAX: f64 = 0.2;
/// Largest [`Row::delay`]: beyond it the row measures the generator.
const DELAY_MAX: f64 = 0.3;

/// Bounds that the caller chooses.
pub(super) struct Bounds {
    /// Resident memory of the daemon in bytes.
    pub(super) rss_max: u64,
}

/// The result of one attack.
pub(super) struct Row {
    pub(super) attack: &'static Attack,
    /// The victim beside honest sessions.
    pub(super) honest: Outcome,
    /// The victim beside the attackers, or why one of its commands failed.
    pub(super) outcome: Result<Outcome, String>,
    /// The part of the time that the victim was ready to run and had no CPU, beside the attackers.
    pub(super) delay: f64,
    pub(super) logins: Logins,
    pub(super) idle_cores: Option<f64>,
    /// Largest resident memory of the daemon in bytes.
    pub(super) peak: u64,
    /// Bytes of resident memory that the daemon has kept when the attackers have gone.
    pub(super) kept: u64,
}

impl Row {
    /// What breaks a bound.
    pub(super) fn faults(&self, bounds: &Bounds) -> Vec<String> {
        let mut faults = Vec::new();
        if self.logins.failed > 0 {
            let why = self.logins.why.as_deref().unwrap_or_default();
            faults.push(format!(
                "{} of {} logins failed: {why}",
                self.logins.failed,
                self.logins.times.total()
            ));
        }
        if self.logins.times.max() > LOGIN_MAX.as_nanos() as u64 {
            faults.push(format!("login {:.0} ms", ms(self.logins.times.max())));
        }
        match &self.outcome {
            Err(error) => faults.push(error.clone()),
            Ok(outcome) => {
                let (rate, p99) = (self.rate(outcome), outcome.latency.percentile(0.99));
                if rate < RATE_MIN {
                    faults.push(format!("rate {:.0} %", rate * 100.0));
                }
                if p99 > P99_MAX.as_nanos() as u64 {
                    faults.push(format!("p99 {:.1} ms", ms(p99)));
                }
            }
        }
        if self.peak > bounds.rss_max {
            faults.push(format!("RSS {} MiB", self.peak >> 20));
        }
        if self.kept > KEPT_MAX {
            faults.push(format!("{} MiB kept", self.kept >> 20));
        }
        if self.idle_cores.is_some_and(|cores| cores > IDLE_CORES_MAX) {
            faults.push("not idle".to_owned());
        }
        if self.delay > DELAY_MAX {
            faults.push(format!("the generator waits, {:.0} %", self.delay * 100.0));
        }
        faults
    }

    fn rate(&self, outcome: &Outcome) -> f64 {
        outcome.iops() / self.honest.iops()
    }

    /// One line.
    pub(super) fn summary(&self, bounds: &Bounds) -> String {
        match self.faults(bounds) {
            faults if faults.is_empty() => "within all bounds".to_owned(),
            faults => faults.join("; "),
        }
    }
}

fn ms(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

/// The table.
pub(super) fn markdown(rows: &[Row], bounds: &Bounds) -> String {
    let mut out = format!(
        "Bounds: a new login within {} ms, {:.0} % of the rate beside honest sessions, p99 below {} ms, resident memory \
         below {} MiB.\n\n\
         | attack | what | new login p50 ms | max ms | failed | rate % | p99 ms | beside honest p99 ms | idle CPU % \
         | peak RSS MiB | kept MiB | breaks |\n\
         | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |\n",
        LOGIN_MAX.as_millis(),
        RATE_MIN * 100.0,
        P99_MAX.as_millis(),
        bounds.rss_max >> 20,
    );
    for row in rows {
        // Writing to a string does not fail.
        let _ = writeln!(out, "{}", line(row, bounds));
    }
    out
}

fn line(row: &Row, bounds: &Bounds) -> String {
    let Row { attack, honest, logins, .. } = row;
    let percent = |part: f64| format!("{:.0}", part * 100.0);
    let (rate, p99) = match &row.outcome {
        Ok(outcome) => (percent(row.rate(outcome)), format!("{:.2}", ms(outcome.latency.percentile(0.99)))),
        Err(_) => ("0".to_owned(), "-".to_owned()),
    };
    format!(
        "| {} | {} | {:.1} | {:.0} | {} of {} | {rate} | {p99} | {:.2} | {} | {} | {} | {} |",
        attack.name,
        attack.what,
        ms(logins.times.percentile(0.5)),
        ms(logins.times.max()),
        logins.failed,
        logins.times.total(),
        ms(honest.latency.percentile(0.99)),
        row.idle_cores.map_or("-".to_owned(), percent),
        row.peak >> 20,
        row.kept >> 20,
        row.faults(bounds).join("; "),
    )
}

/// The names of the rows that break a bound.
pub(super) fn failed(rows: &[Row], bounds: &Bounds) -> Vec<&'static str> {
    rows.iter().filter(|row| !row.faults(bounds).is_empty()).map(|row| row.attack.name).collect()
}

#[cfg(test)]
mod tests {
    use tgt_tests::load::{Cost, Histogram};

    use super::super::attacks::ATTACKS;
    use super::*;

    const BOUNDS: Bounds = Bounds { rss_max: 512 << 20 };

    fn outcome(commands: u64, latency: Duration) -> Outcome {
        let mut histogram = Histogram::default();
        histogram.record(latency.as_nanos() as u64);
        Outcome {
            commands,
            bytes: 0,
            elapsed: Duration::from_secs(1),
            latency: histogram,
            cost: Cost::default(),
            own_cpu: Duration::ZERO,
            sessions: Vec::new(),
        }
    }

    fn row() -> Row {
        let mut logins = Logins::default();
        logins.times.record(1_000_000);
        let fast = outcome(1000, Duration::from_millis(1));
        let beside = Ok(outcome(600, Duration::from_millis(2)));
        Row {
            attack: &ATTACKS[0],
            honest: fast,
            outcome: beside,
            delay: 0.1,
            logins,
            idle_cores: Some(0.0),
            peak: 1 << 20,
            kept: 0,
        }
    }

    #[test]
    fn each_bound_that_is_broken_is_a_fault() {
        assert_eq!(row().faults(&BOUNDS), [""; 0]);
        let mut slow = row();
        slow.logins.times.record(1_500_000_000);
        let rows = [
            slow,
            Row { logins: Logins { failed: 1, why: None, ..Logins::default() }, ..row() },
            Row { outcome: Ok(outcome(400, Duration::from_millis(2))), ..row() },
            Row { outcome: Ok(outcome(600, Duration::from_millis(30))), ..row() },
            Row { outcome: Err("TASK SET FULL".to_owned()), ..row() },
            Row { peak: 600 << 20, ..row() },
            Row { kept: 100 << 20, ..row() },
            Row { idle_cores: Some(1.0), ..row() },
            Row { delay: 0.5, ..row() },
        ];
        for row in &rows {
            assert_eq!(row.faults(&BOUNDS).len(), 1, "{}", row.summary(&BOUNDS));
        }
        assert_eq!(failed(&rows, &BOUNDS).len(), rows.len());
    }

    #[test]
    fn lines_have_as_many_cells_as_the_heading() {
        let text = markdown(&[row()], &BOUNDS);
        let cells: Vec<_> = text.lines().skip(2).map(|line| line.matches('|').count()).collect();
        assert_eq!(cells, [13; 3]);
    }
}
