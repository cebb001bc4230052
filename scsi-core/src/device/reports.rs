//! What the loops of a unit report of its store: whether they can reach it, and that its size may have changed. No command
//! reads it.

use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use parking_lot::Mutex;

/// The reports on the store of a unit, shared by all loops and the control plane.
#[derive(Debug, Default)]
pub struct StoreReports {
    /// Locked to read or change it.
    reach: Mutex<Reach>,
    /// A `RESIZE_` value.
    resize: AtomicU8,
}

/// Whether a store can be reached.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Reach {
    /// Number of loops that cannot reach it.
    loops: u32,
    /// When the first of them reported it; `None`: all loops reach the store.
    pub unreachable_since: Option<Instant>,
    /// How often the store has become unreachable.
    pub losses: u64,
}

/// Every reported resize is handled.
const RESIZE_NONE: u8 = 0;
/// A resize is being handled.
const RESIZE_HANDLED: u8 = 1;
/// A resize is being handled, and a further one was reported since.
const RESIZE_AGAIN: u8 = 2;

impl StoreReports {
    /// A loop cannot reach the store any more. Returns whether all others can.
    pub fn unreachable(&self, now: Instant) -> bool {
        let mut reach = self.reach.lock();
        reach.loops += 1;
        let first = reach.loops == 1;
        if first {
            reach.unreachable_since = Some(now);
            reach.losses += 1;
        }
        first
    }

    /// A loop that could not reach the store can again, or does not use it any more. If it was the last one, returns since
    /// when the store was unreachable.
    pub fn back(&self) -> Option<Instant> {
        let mut reach = self.reach.lock();
        reach.loops = reach.loops.saturating_sub(1);
        if reach.loops == 0 { reach.unreachable_since.take() } else { None }
    }

    /// Whether the store can be reached.
    #[must_use]
    pub fn reach(&self) -> Reach {
        *self.reach.lock()
    }

    /// The size of the store may have changed. Returns whether [`Unit::refresh_capacity`] must be called, and
    /// [`Self::resize_handled`] after it; otherwise that is already under way, and will be done again.
    ///
    /// [`Unit::refresh_capacity`]: super::unit::Unit::refresh_capacity
    pub fn resized(&self) -> bool {
        let next = |state| if state == RESIZE_NONE { RESIZE_HANDLED } else { RESIZE_AGAIN };
        self.resize.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| Some(next(state)))
            == Ok(RESIZE_NONE)
    }

    /// The size was read after [`Self::resized`]. Returns whether it must be read again.
    pub fn resize_handled(&self) -> bool {
        let next = |state| if state == RESIZE_AGAIN { RESIZE_HANDLED } else { RESIZE_NONE };
        self.resize.fetch_update(Ordering::AcqRel, Ordering::Acquire, |state| Some(next(state)))
            == Ok(RESIZE_AGAIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn store_is_unreachable_from_the_first_loop_to_the_last() {
        let reports = StoreReports::default();
        let now = Instant::now();
        assert!(reports.unreachable(now));
        assert!(!reports.unreachable(now + std::time::Duration::from_secs(1)));
        assert_eq!(reports.reach(), Reach { loops: 2, unreachable_since: Some(now), losses: 1 });
        assert_eq!(reports.back(), None);
        assert_eq!(reports.back(), Some(now));
        assert_eq!(reports.back(), None, "more than there were");
        assert!(reports.unreachable(now));
        assert_eq!(reports.reach().losses, 2);
    }

    #[test]
    fn resize_is_handled_by_one_and_again_if_reported_meanwhile() {
        let reports = StoreReports::default();
        assert!(reports.resized());
        assert!(!reports.resized() && !reports.resized());
        assert!(reports.resize_handled());
        assert!(!reports.resize_handled());
        assert!(!reports.resize_handled());
        assert!(reports.resized());
    }
}
