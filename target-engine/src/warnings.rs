//! Rate limit for lines of the log that peers can cause as often as they like.

use std::fmt::Arguments;
use std::time::Instant;

use log::Level;

use crate::limits::{WARNINGS_MAX, WARNINGS_PERIOD};

/// Counts the lines of one kind; those beyond [`WARNINGS_MAX`] in one [`WARNINGS_PERIOD`] are only counted.
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    /// When the present period began.
    since: Option<Instant>,
    /// Lines in the present period.
    count: u32,
}

impl Warnings {
    /// Logs a warning, unless the period has had enough lines.
    pub(crate) fn warn(&mut self, now: Instant, text: Arguments<'_>) {
        self.log(now, Level::Warn, text);
    }

    /// Logs a line of any level, unless the period has had enough lines.
    pub(crate) fn log(&mut self, now: Instant, level: Level, text: Arguments<'_>) {
        let is_over = self.since.is_none_or(|since| now.saturating_duration_since(since) >= WARNINGS_PERIOD);
        if is_over && self.count > WARNINGS_MAX {
            log::log!(level, "{} lines like the last ones were left out", self.count - WARNINGS_MAX);
        }
        if is_over {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.is_within_limit() {
            log::log!(level, "{text}");
        }
    }

    fn is_within_limit(&self) -> bool {
        self.count <= WARNINGS_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_period_are_limited() {
        let mut warnings = Warnings::default();
        let mut now = Instant::now();
        let mut is_logged = |now| {
            warnings.warn(now, format_args!("x"));
            warnings.is_within_limit()
        };
        for number in 0..2 * WARNINGS_MAX {
            assert_eq!(is_logged(now), number < WARNINGS_MAX, "{number}");
        }
        now += WARNINGS_PERIOD;
        assert!(is_logged(now));
    }
}
