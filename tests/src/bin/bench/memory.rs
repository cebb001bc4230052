//! What a daemon holds that has nothing to do: threads and memory with many sessions, and with many units.

use std::error::Error;
use std::fmt::Write;

use tgt_tests::load::{Cost, Idle, Plan, process_cost};

use super::peer::Peer;
use super::site::Site;
use super::workload::FILL;

/// Sessions that are logged in.
const SESSIONS: usize = 256;
/// Logical units, each a file of its own.
const UNITS: usize = 1000;

/// What one daemon holds.
pub(super) struct Held {
    peer: &'static str,
    /// As it was started, with the targets of all workloads.
    bare: Cost,
    /// With so many sessions.
    sessions: Cost,
    /// With so many units, and without the sessions.
    units: Cost,
}

/// Asks one daemon after the other.
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

/// As a table.
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
    fn a_daemon_is_a_row() {
        let cost = |threads, mib: u64| Cost { threads, resident: mib << 20, ..Cost::default() };
        let held = Held { peer: "ours", bare: cost(1, 2), sessions: cost(3, 4), units: cost(5, 6) };
        assert_eq!(markdown(&[held]).lines().last(), Some("| ours | 1 | 2 | 3 | 4 | 5 | 6 |"));
    }
}
