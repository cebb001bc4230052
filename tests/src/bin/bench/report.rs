//! Tables of medians and ratios.

use std::fmt::Write;

use tgt_tests::load::{Fairness, Outcome};

use super::workload::Workload;

/// Every measurement of a run.
#[derive(Default)]
pub(super) struct Results(Vec<Row>);

/// The result of one workload on one daemon.
pub(super) struct Measured {
    pub(super) outcome: Outcome,
    pub(super) fairness: Fairness,
}

struct Row {
    round: usize,
    workload: &'static str,
    peer: &'static str,
    outcome: Result<Figures, String>,
}

/// The figures of one measurement.
#[derive(Clone, Copy)]
struct Figures {
    iops: f64,
    megabytes: f64,
    /// Latency percentiles in microseconds.
    p50: f64,
    p99: f64,
    p999: f64,
    /// Microseconds of CPU time for a command.
    cpu: f64,
    switches: f64,
    /// CPUs the target kept busy.
    target_cores: f64,
    /// CPUs the generator kept busy; near 1, the generator limits the result.
    generator_cores: f64,
    /// Resident memory in MiB.
    resident: f64,
    fairness: Fairness,
}

/// Selects a figure.
type Figure = fn(&Figures) -> f64;

impl Figures {
    fn of(Measured { outcome, fairness }: &Measured) -> Self {
        let percentile = |part| outcome.latency.percentile(part) as f64 / 1e3;
        let elapsed = outcome.elapsed.as_secs_f64();
        Self {
            iops: outcome.iops(),
            megabytes: outcome.megabytes_per_second(),
            p50: percentile(0.5),
            p99: percentile(0.99),
            p999: percentile(0.999),
            cpu: outcome.cpu_per_command(),
            switches: outcome.switches_per_command(),
            target_cores: outcome.cost.cpu.as_secs_f64() / elapsed,
            generator_cores: outcome.own_cpu.as_secs_f64() / elapsed,
            resident: outcome.cost.resident as f64 / f64::from(1 << 20),
            fairness: *fairness,
        }
    }
}

impl Results {
    pub(super) fn add(
        &mut self,
        round: usize,
        workload: &'static str,
        peer: &'static str,
        outcome: Result<Measured, String>,
    ) {
        let outcome = outcome.map(|measured| Figures::of(&measured));
        self.0.push(Row { round, workload, peer, outcome });
    }

    /// Whether a peer failed a workload; later rounds skip it.
    pub(super) fn has_failed(&self, workload: &str, peer: &str) -> bool {
        self.of(workload, peer).any(|row| row.outcome.is_err())
    }

    fn of<'a>(&'a self, workload: &'a str, peer: &'a str) -> impl Iterator<Item = &'a Row> {
        self.0.iter().filter(move |row| row.workload == workload && row.peer == peer)
    }

    fn median(&self, workload: &str, peer: &str, figure: Figure) -> Option<f64> {
        median(self.of(workload, peer).filter_map(|row| row.outcome.as_ref().ok()).map(figure).collect())
    }

    /// The median over the rounds of the ratio within each round.
    fn ratio(&self, workload: &str, over: &str, under: &str, figure: Figure) -> Option<f64> {
        let ratios = self.of(workload, over).filter_map(|row| {
            let other = self.of(workload, under).find(|other| other.round == row.round)?;
            Some(figure(row.outcome.as_ref().ok()?) / figure(other.outcome.as_ref().ok()?))
        });
        median(ratios.filter(|ratio| ratio.is_finite()).collect())
    }

    /// The tables: all figures, and with two peers the ratios of the first to the second.
    pub(super) fn markdown(&self, workloads: &[Workload], peers: &[&str], rounds: usize) -> String {
        let mut out = format!("Medians of {rounds} round(s).\n\n");
        out.push_str(
            "| workload | peer | IOPS | MB/s | p50 µs | p99 µs | p99.9 µs | CPU µs per I/O | switches per I/O \
             | target cores | generator cores | RSS MiB | min/max of sessions | Jain |\n\
             | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        for workload in workloads {
            for peer in peers {
                self.write_row(&mut out, workload.name, peer);
            }
        }
        if let [ours, tgt] = peers {
            self.write_ratios(&mut out, workloads, ours, tgt);
        }
        out
    }

    fn write_row(&self, out: &mut String, workload: &str, peer: &str) {
        const COLUMNS: [(Figure, usize); 12] = [
            (|row| row.iops, 0),
            (|row| row.megabytes, 0),
            (|row| row.p50, 0),
            (|row| row.p99, 0),
            (|row| row.p999, 0),
            (|row| row.cpu, 2),
            (|row| row.switches, 3),
            (|row| row.target_cores, 2),
            (|row| row.generator_cores, 2),
            (|row| row.resident, 0),
            (|row| row.fairness.least, 2),
            (|row| row.fairness.jain, 3),
        ];
        let _ = write!(out, "| {workload} | {peer} |");
        for (figure, decimals) in COLUMNS {
            let _ = match self.median(workload, peer, figure) {
                Some(value) => write!(out, " {value:.decimals$} |"),
                None => write!(out, " - |"),
            };
        }
        out.push('\n');
    }

    fn write_ratios(&self, out: &mut String, workloads: &[Workload], ours: &str, tgt: &str) {
        let _ = write!(
            out,
            "\nRatios: the median over the rounds of the ratio within each round. The last column is the ratio of I/O per core.\n\n\
             | workload | what | {ours} / {tgt}: IOPS | p50 | p99 | {tgt} / {ours}: CPU per I/O |\n\
             | --- | --- | ---: | ---: | ---: | ---: |\n",
        );
        for workload in workloads {
            let _ = write!(out, "| {} | {workload} |", workload.name);
            let ratios: [(&str, &str, Figure); 4] = [
                (ours, tgt, |row| row.iops),
                (ours, tgt, |row| row.p50),
                (ours, tgt, |row| row.p99),
                (tgt, ours, |row| row.cpu),
            ];
            for (over, under, figure) in ratios {
                let _ = match self.ratio(workload.name, over, under, figure) {
                    Some(ratio) => write!(out, " {ratio:.2} |"),
                    None => write!(out, " - |"),
                };
            }
            out.push('\n');
        }
    }

    /// Comma-separated figures, one measurement per line.
    pub(super) fn csv(&self) -> String {
        let mut out = "round,workload,peer,iops,mb_s,p50_us,p99_us,p999_us,cpu_us,switches,target_cores,\
                       generator_cores,rss_mib,min_max,jain\n"
            .to_owned();
        for Row { round, workload, peer, outcome } in &self.0 {
            let Ok(row) = outcome else { continue };
            let _ = writeln!(
                out,
                "{round},{workload},{peer},{:.0},{:.1},{:.1},{:.1},{:.1},{:.3},{:.4},{:.3},{:.3},{:.1},{:.3},{:.4}",
                row.iops,
                row.megabytes,
                row.p50,
                row.p99,
                row.p999,
                row.cpu,
                row.switches,
                row.target_cores,
                row.generator_cores,
                row.resident,
                row.fairness.least,
                row.fairness.jain
            );
        }
        out
    }
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        len if len.is_multiple_of(2) => Some((values[middle - 1] + values[middle]) / 2.0),
        _ => Some(values[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn results(rows: &[(usize, &'static str, f64)]) -> Results {
        let figures = |iops| Figures {
            iops,
            megabytes: 0.0,
            p50: 0.0,
            p99: 0.0,
            p999: 0.0,
            cpu: 1e6 / iops,
            switches: 0.0,
            target_cores: 1.0,
            generator_cores: 0.0,
            resident: 0.0,
            fairness: Fairness { jain: 1.0, least: 1.0 },
        };
        let row = |&(round, peer, iops)| Row { round, workload: "w", peer, outcome: Ok(figures(iops)) };
        Results(rows.iter().map(row).collect())
    }

    #[test]
    fn median_of_odd_and_even_counts() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn ratio_is_the_median_of_ratios_within_rounds() {
        // In round 2 the machine was slow for both.
        let rows =
            [(1, "a", 100.0), (1, "b", 50.0), (2, "a", 10.0), (2, "b", 5.0), (3, "a", 90.0), (3, "b", 30.0)];
        assert_eq!(results(&rows).ratio("w", "a", "b", |row| row.iops), Some(2.0));
        assert_eq!(
            results(&rows[..3]).ratio("w", "a", "b", |row| row.iops),
            Some(2.0),
            "a round with one peer is ignored"
        );
    }
}
