//! Threads and memory of an idle daemon with many sessions, and with many units.

use std::error::Error;
use std::fmt::Write;

use tgt_tests::load::{Cost, Idle, Plan, process_cost};

use super::peer::Peer;
use super::site::Site;
use super::workload::FILL;

/// Idle sessions.
const SESSIONS: usize = 256;
/// Logical units, each with its own file.
const UNITS: usize = 1000;

/// Threads and memory of one daemon.
pub(super) struct Held {
    peer: &'static str,
    /// Configured with the targets of all workloads, without sessions.
    bare: Cost,
    /// With [`SESSIONS`] sessions.
    sessions: Cost,
    /// With [`UNITS`] units, without sessions.
    units: Cost,
}

/// Measures one daemon after the other.
pub(super) fn measure(peers: &[Peer], site: &Site) -> Result<Vec<Held>, Box<dyn Error>> {
    let mut all = Vec::new();
    for peer in peers {
        eprintln!("{}: {SESSIONS} sessions, then {UNITS} units", peer.name());
        peer.thaw()?;
        let plan = Plan { sessions: SESSIONS, ..peer.plan(&FILL) };
        let cost = || process_cost(&plan.processes);
        let bare = cost();
        let idle = Idle::log_in(&plan)?;
        let sessions = cost();
        drop(idle);
        for number in 0..UNITS {
            peer.add_unit(2 + number, &site.sparse(&format!("{}-{number}.img", peer.name()))?)?;
        }
        all.push(Held { peer: peer.name(), bare, sessions, units: cost() });
        peer.freeze()?;
    }
    Ok(all)
}

/// The table.
pub(super) fn markdown(all: &[Held]) -> String {
    let mut out = format!(
        "| peer | idle: threads | RSS MiB | {SESSIONS} sessions: threads | RSS MiB | {UNITS} units: threads | RSS MiB |\n\
         | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n"
    );
    for held in all {
        let _ = write!(out, "| {} |", held.peer);
        for cost in [held.bare, held.sessions, held.units] {
            let _ = write!(out, " {} | {:.0} |", cost.threads, cost.resident as f64 / f64::from(1 << 20));
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_has_a_row_for_each_daemon() {
        let cost = |threads, mib: u64| Cost { threads, resident: mib << 20, ..Cost::default() };
        let held = Held { peer: "ours", bare: cost(1, 2), sessions: cost(3, 4), units: cost(5, 6) };
        assert_eq!(markdown(&[held]).lines().last(), Some("| ours | 1 | 2 | 3 | 4 | 5 | 6 |"));
    }
}
