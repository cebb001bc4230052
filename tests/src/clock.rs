//! The simulated clock.

use std::time::{Duration, Instant};

/// The simulated time; it moves only by calls.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts at an arbitrary time.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The current simulated time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0
    }

    /// Moves forward to `to`; does nothing if `to` is in the past.
    pub fn move_to(&mut self, to: Instant) {
        self.0 = self.0.max(to);
    }

    /// Moves forward by `time`.
    pub fn advance(&mut self, time: Duration) {
        self.0 += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn move_to_the_past_does_nothing() {
        let mut clock = Clock::start();
        let start = clock.now();
        clock.advance(Duration::from_secs(2));
        clock.move_to(start);
        assert_eq!(clock.now(), start + Duration::from_secs(2));
    }
}
