//! The simulated clock: it moves when it is told to.

use std::time::{Duration, Instant};

/// A point in time that moves forward by hand.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock; where it begins is of no meaning.
    #[must_use]
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// The present.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.0
    }

    /// Moves to `to`, never back.
    pub fn move_to(&mut self, to: Instant) {
        self.0 = self.0.max(to);
    }

    /// Moves by `time`.
    pub fn advance(&mut self, time: Duration) {
        self.0 += time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let mut clock = Clock::start();
        let start = clock.now();
        clock.advance(Duration::from_secs(2));
        clock.move_to(start);
        assert_eq!(clock.now(), start + Duration::from_secs(2));
    }
}
