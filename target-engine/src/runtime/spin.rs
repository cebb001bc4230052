//! Busy polling: at queue depth 1 most of a round trip is the time to sleep and wake up. A loop polls for a short time
//! before it sleeps, only while its turns have few commands and its last waits were short, and never on a machine with
//! one processor.

use std::time::Duration;

/// Decides before each wait whether to poll, from the length of previous waits.
#[derive(Debug)]
pub struct Spin {
    allowed: bool,
    /// The weighted mean of the last waits, in nanoseconds.
    usual_ns: u64,
}

/// How long a loop polls before it sleeps.
///
/// Hit by: engine. Scope: loop and wait. Over it: the loop sleeps. Seen: nowhere.
pub const SPIN_MAX: Duration = Duration::from_micros(50);

/// With more commands than this in a turn throughput matters more than latency.
const FEW: usize = 2;

impl Spin {
    /// Makes one for a machine with this many processors.
    #[must_use]
    pub fn new(processors: usize) -> Self {
        Self { allowed: processors > 1, usual_ns: u64::MAX }
    }

    /// Returns whether to poll before sleeping, after a turn with this many commands.
    #[must_use]
    pub fn is_worth_it(&self, commands: usize) -> bool {
        self.allowed && commands > 0 && commands <= FEW && self.usual_ns < SPIN_MAX.as_nanos() as u64
    }

    /// Records the length of a wait, whether it polled or slept.
    pub fn learn(&mut self, waited: Duration) {
        let waited = u64::try_from(waited.as_nanos()).unwrap_or(u64::MAX);
        self.usual_ns = if self.usual_ns == u64::MAX { waited } else { self.usual_ns / 4 * 3 + waited / 4 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICRO: Duration = Duration::from_micros(1);

    #[test]
    fn loop_spins_after_short_waits_only() {
        let mut spin = Spin::new(2);
        assert!(!spin.is_worth_it(1), "nothing is known yet");
        spin.learn(20 * MICRO);
        assert!(spin.is_worth_it(1) && spin.is_worth_it(2));
        assert!(!spin.is_worth_it(3), "a busy turn");
        assert!(!spin.is_worth_it(0), "a turn without commands");
        spin.learn(2000 * MICRO);
        assert!(!spin.is_worth_it(1));
        for _ in 0..20 {
            spin.learn(20 * MICRO);
        }
        assert!(spin.is_worth_it(1));
    }

    #[test]
    fn one_processor_never_spins() {
        let mut spin = Spin::new(1);
        spin.learn(MICRO);
        assert!(!spin.is_worth_it(1));
    }
}
