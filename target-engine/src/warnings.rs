//! Rate limit for lines of the log that peers can cause as often as they like.

use std::fmt::Arguments;
use std::time::Instant;

use log::Level;

use crate::limits::{WARNINGS_MAX, WARNINGS_PERIOD};

/// Counts the lines of one kind; those beyond [`WARNINGS_MAX`] in one [`WARNINGS_PERIOD`] are only counted. Their number
/// is logged after the period: by the next line, or by [`Self::tick`].
#[derive(Debug, Default)]
pub(crate) struct Warnings {
    /// When the present period began.
    since: Option<Instant>,
    /// Lines in the present period.
    count: u32,
    /// The most severe level of the lines that were left out in the present period.
    left_out: Option<Level>,
}

impl Warnings {
    /// Logs a warning, unless the period has had enough lines.
    pub(crate) fn warn(&mut self, now: Instant, text: Arguments<'_>) {
        self.log(now, Level::Warn, text);
    }

    /// Logs a line of any level, unless the period has had enough lines.
    pub(crate) fn log(&mut self, now: Instant, level: Level, text: Arguments<'_>) {
        self.tick(now);
        if self.since.is_none_or(|since| is_over(since, now)) {
            (self.since, self.count) = (Some(now), 0);
        }
        self.count = self.count.saturating_add(1);
        if self.is_within_limit() {
            log::log!(level, "{text}");
        } else {
            self.left_out = Some(self.left_out.map_or(level, |other| other.min(level)));
        }
    }

    /// When [`Self::tick`] is due: at the end of a period that has left out lines.
    #[inline]
    pub(crate) fn due(&self) -> Option<Instant> {
        self.left_out.and(self.since).map(|since| since + WARNINGS_PERIOD)
    }

    /// Logs how many lines the period left out, once it is over.
    #[inline]
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.due().is_some_and(|due| due <= now) {
            self.log_left_out();
        }
    }

    #[cold]
    fn log_left_out(&mut self) {
        let Some(level) = self.left_out.take() else { return };
        log::log!(
            level,
            "{} lines like the last ones were left out",
            self.count.saturating_sub(WARNINGS_MAX)
        );
    }

    fn is_within_limit(&self) -> bool {
        self.count <= WARNINGS_MAX
    }
}

fn is_over(since: Instant, now: Instant) -> bool {
    now.saturating_duration_since(since) >= WARNINGS_PERIOD
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

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

    #[test]
    fn left_out_lines_are_counted_once_at_the_end_of_their_period() {
        let mut warnings = Warnings::default();
        let began = Instant::now();
        for _ in 0..WARNINGS_MAX {
            warnings.warn(began, format_args!("x"));
        }
        assert_eq!(warnings.due(), None, "no line was left out");
        warnings.warn(began, format_args!("x"));
        let due = began + WARNINGS_PERIOD;
        assert_eq!(warnings.due(), Some(due));
        warnings.tick(due - Duration::from_millis(1));
        assert_eq!(warnings.due(), Some(due));
        warnings.tick(due);
        assert_eq!(warnings.due(), None);
        warnings.warn(due, format_args!("x"));
        assert!(warnings.is_within_limit() && warnings.due().is_none(), "a new period");
    }
}
