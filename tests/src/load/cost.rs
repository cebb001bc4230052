//! CPU time, context switches and memory of processes.

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// CPU time, context switches, memory and threads of processes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Cost {
    /// User and system time of all threads, ended ones included.
    pub cpu: Duration,
    /// Context switches of the current threads, voluntary and involuntary.
    pub switches: u64,
    /// Resident memory in bytes.
    pub resident: u64,
    /// Number of threads.
    pub threads: usize,
}

impl Cost {
    /// CPU time and switches since `before`, with the current memory and threads.
    #[must_use]
    pub fn since(self, before: &Self) -> Self {
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            switches: self.switches.saturating_sub(before.switches),
            ..self
        }
    }
}

/// The total cost of these processes so far; ended ones are not counted.
#[must_use]
pub fn process_cost(processes: &[u32]) -> Cost {
    let mut cost = Cost::default();
    for &process in processes {
        cost.cpu += cpu_time(process).unwrap_or_default();
        let tasks = fs::read_dir(format!("/proc/{process}/task")).into_iter().flatten().flatten();
        for task in tasks {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            cost.switches += field(&status, "voluntary_ctxt_switches").unwrap_or(0)
                + field(&status, "nonvoluntary_ctxt_switches").unwrap_or(0);
            cost.threads += 1;
        }
        let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        cost.resident += field(&status, "VmRSS").unwrap_or(0) * 1024;
    }
    cost
}

/// CPU time of this process.
#[must_use]
pub fn own_cpu_time() -> Duration {
    ClockId::CLOCK_PROCESS_CPUTIME_ID.now().map(Duration::from).unwrap_or_default()
}

fn cpu_time(process: u32) -> Option<Duration> {
    let process = Pid::from_raw(i32::try_from(process).ok()?);
    Some(clock_getcpuclockid(process).ok()?.now().ok()?.into())
}

/// The number after `name:` in the text of `/proc/PID/status`.
fn field(status: &str, name: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    value.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_matches_the_whole_name() {
        let status = "VmRSS:\t    1234 kB\nvoluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "VmRSS"), Some(1234));
        assert_eq!(field(status, "voluntary_ctxt_switches"), Some(7));
        assert_eq!(field(status, "nonvoluntary_ctxt_switches"), Some(9));
        assert_eq!(field(status, "VmHWM"), None);
    }

    #[test]
    fn process_cost_includes_the_cpu_time_of_a_process() {
        let this = [std::process::id()];
        let before = process_cost(&this);
        while own_cpu_time() < before.cpu + Duration::from_millis(5) {}
        let spent = process_cost(&this).since(&before);
        assert!(spent.cpu >= Duration::from_millis(5), "{spent:?}");
        assert!(spent.threads >= 1 && spent.resident > 0, "{spent:?}");
    }
}
