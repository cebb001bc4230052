//! When a lost connection is established again.

use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// The failures of a connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Backoff {
    /// Number of attempts since the connection was last up for [`STABLE`].
    pub(crate) failures: u32,
    /// When the last violations of the protocol occurred.
    violations: [Option<Instant>; 2],
}

/// A connection that lasted as long is repaired at once.
const STABLE: Duration = Duration::from_secs(1);
const DELAY_MIN: Duration = Duration::from_millis(100);
const DELAY_MAX: Duration = Duration::from_secs(5);
/// Three violations within this time cause a pause of the same length.
const VIOLATIONS_WITHIN: Duration = Duration::from_secs(60);
/// The name is looked up after so many attempts.
const ATTEMPTS_PER_LOOK_UP: u32 = 10;

/// What to do about a lost connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Retry {
    pub(crate) after: Duration,
    /// The name of the server is to be looked up.
    pub(crate) look_up: bool,
    /// The delay is due to violations of the protocol.
    pub(crate) pause: bool,
}

impl Backoff {
    /// The connection was lost, or could not be established (`up_since` is `None`).
    pub(crate) fn lost(&mut self, now: Instant, up_since: Option<Instant>, violation: bool) -> Retry {
        if violation {
            let oldest = self.violations[0];
            self.violations = [self.violations[1], Some(now)];
            if oldest.is_some_and(|oldest| now.saturating_duration_since(oldest) < VIOLATIONS_WITHIN) {
                return Retry { after: VIOLATIONS_WITHIN, look_up: false, pause: true };
            }
        }
        if up_since.is_some_and(|since| now.saturating_duration_since(since) >= STABLE) {
            self.failures = 0;
            return Retry { after: Duration::ZERO, look_up: false, pause: false };
        }
        self.failures = self.failures.saturating_add(1);
        let doubled = DELAY_MIN * (1 << (self.failures - 1).min(6));
        let look_up = self.failures.is_multiple_of(ATTEMPTS_PER_LOOK_UP);
        Retry { after: jittered(doubled.min(DELAY_MAX)), look_up, pause: false }
    }
}

/// The delay changed by up to a fifth, so that many clients do not return at the same time.
fn jittered(delay: Duration) -> Duration {
    let random = RandomState::new().hash_one(0u8) % 401;
    delay * (800 + random as u32) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_five_seconds() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let millis: Vec<u128> = (0..8).map(|_| backoff.lost(now, None, false).after.as_millis()).collect();
        for (millis, exact) in millis.iter().zip([100, 200, 400, 800, 1600, 3200, 5000, 5000]) {
            assert!((exact * 4 / 5..=exact * 6 / 5).contains(millis), "{millis} for {exact}");
        }
    }

    #[test]
    fn connection_that_lasted_is_repaired_at_once_and_another_one_is_not() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let second = Duration::from_secs(1);
        backoff.lost(start, None, false);
        assert_eq!(backoff.lost(start + second, Some(start), false).after, Duration::ZERO);
        assert!(backoff.lost(start + second, Some(start + second), false).after > Duration::ZERO);
    }

    #[test]
    fn third_violation_within_a_minute_causes_a_pause() {
        let (mut backoff, start) = (Backoff::default(), Instant::now());
        let minute = Duration::from_secs(60);
        let mut lost = |at| backoff.lost(at, Some(start), true).pause;
        assert!(!lost(start) && !lost(start + minute / 2) && lost(start + minute - minute / 60));
        assert!(!lost(start + 3 * minute));
    }

    #[test]
    fn name_is_looked_up_after_ten_failures() {
        let (mut backoff, now) = (Backoff::default(), Instant::now());
        let asked: Vec<bool> = (0..20).map(|_| backoff.lost(now, None, false).look_up).collect();
        assert_eq!(asked.iter().filter(|asked| **asked).count(), 2);
        assert!(asked[9] && asked[19]);
    }
}
