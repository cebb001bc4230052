//! Lines that peers can cause as often as they like: the log takes only so many.

use std::fmt::Arguments;
use std::time::Instant;

use log::Level;

use crate::limits::{WARNINGS_MAX, WARNINGS_PERIOD};

/// Since when lines are counted, and how many there were.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    since: Option<Instant>,
    count: u32,
}

impl Warnings {
    /// Logs a warning, unless there were too many in this period.
    pub(crate) fn warn(&mut self, now: Instant, text: Arguments<'_>) {
        self.say(now, Level::Warn, text);
    }

    /// Logs a line of any level, which is counted with all others.
    pub(crate) fn say(&mut self, now: Instant, level: Level, text: Arguments<'_>) {
        let is_over = self.since.is_none_or(|since| now.saturating_duration_since(since) >= WARNINGS_PERIOD);
        if is_over && self.count > WARNINGS_MAX {
            log::log!(level, "{} lines like the last ones were left out", self.count - WARNINGS_MAX);
        }
        if is_over {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.is_said() {
            log::log!(level, "{text}");
        }
    }

    fn is_said(&self) -> bool {
        self.count <= WARNINGS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_are_said_in_a_period() {
        let mut warnings = Warnings::default();
        let mut now = Instant::now();
        let mut said = |now| {
            warnings.warn(now, format_args!("x"));
            warnings.is_said()
        };
        for number in 0..2 * WARNINGS_MAX {
            assert_eq!(said(now), number < WARNINGS_MAX, "{number}");
        }
        now += WARNINGS_PERIOD;
        assert!(said(now));
    }
}
