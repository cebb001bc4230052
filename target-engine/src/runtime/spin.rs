//! When a loop had better look again than sleep: a round trip at queue depth 1 is mostly falling asleep and waking up.
//! It looks again for a short time only, only while answers were few and the last waits were short, and never where
//! there is one processor only.

use std::time::Duration;

/// Decides before each wait, and learns from it.
#[derive(Debug)]
pub struct Spin {
    allowed: bool,
    /// The last waits in nanoseconds, older ones counting less.
    usual_ns: u64,
}

/// As long as a loop looks again before it sleeps.
pub const SPIN_MAX: Duration = Duration::from_micros(50);

/// More commands than this in a turn, and throughput matters more than the next answer.
const FEW: usize = 2;

impl Spin {
    /// For a machine with so many processors.
    #[must_use]
    pub fn new(processors: usize) -> Self {
        Self { allowed: processors > 1, usual_ns: u64::MAX }
    }

    /// Whether to look again before sleeping, after a turn with so many commands.
    #[must_use]
    pub fn is_worth_it(&self, commands: usize) -> bool {
        self.allowed && commands > 0 && commands <= FEW && self.usual_ns < SPIN_MAX.as_nanos() as u64
    }

    /// A wait took so long, however it was waited.
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
    fn short_waits_are_worth_it_and_long_ones_are_not() {
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
