//! How often a step is tried again whose number or name another process took meanwhile.

use std::thread;
use std::time::Duration;

/// The tries that are left to one step.
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
    /// Whether to try again. `progress` says whether the daemon shows something else than at the last try: then
    /// another process has done its step, and this one's turn comes. Without progress it waits a moment.
    pub(crate) fn again(&mut self, progress: bool) -> bool {
        self.left = self.left.saturating_sub(1);
        if !progress {
            self.idle = self.idle.saturating_sub(1);
            thread::sleep(PAUSE);
        }
        self.left > 0 && self.idle > 0
    }
}

/// More than processes that make something at the same time.
const TRIES: u32 = 1000;
/// Two seconds: a unit whose store is being opened is not shown yet, but its number is taken.
const IDLE_TRIES: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_bounded() {
        let mut busy = Retries::default();
        assert_eq!((1..).take_while(|_| busy.again(true)).count(), TRIES as usize - 1);
        let mut idle = Retries { idle: 3, ..Retries::default() };
        assert_eq!((1..).take_while(|_| idle.again(false)).count(), 2);
    }
}
