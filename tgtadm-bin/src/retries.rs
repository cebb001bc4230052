//! Bounds how often a request is retried after another process took its number or name.

use std::thread;
use std::time::Duration;

/// The remaining attempts of one request.
#[derive(Debug)]
pub(crate) struct Retries {
    left: u32,
    idle: u32,
}

impl Default for Retries {
    fn default() -> Self {
        Self { left: TRIES, idle: IDLE_TRIES }
    }
}

impl Retries {
    /// Whether to try again. Sleeps first if `progress` is false.
    ///
    /// `progress` says whether the daemon's state changed since the last attempt, because another process made
    /// progress.
    pub(crate) fn again(&mut self, progress: bool) -> bool {
        self.left = self.left.saturating_sub(1);
        if !progress {
            self.idle = self.idle.saturating_sub(1);
            thread::sleep(PAUSE);
        }
        self.left > 0 && self.idle > 0
    }
}

/// Attempts of one request; more than processes that run at the same time.
const TRIES: u32 = 1000;
/// Attempts without progress, two seconds in total. A unit is not listed while its store is being opened, but its
/// number is taken.
const IDLE_TRIES: u32 = 40;
/// The time between two attempts without progress.
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_bounded() {
        let mut busy = Retries::default();
        assert_eq!((1..).take_while(|_| busy.again(true)).count(), TRIES as usize - 1);
        let mut idle = Retries { idle: 3, ..Retries::default() };
        assert_eq!((1..).take_while(|_| idle.again(false)).count(), 2);
    }
}
